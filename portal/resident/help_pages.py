"""Help: who to ask, what to try first, and what the portal promises. Open to everybody, signed in or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.shortcuts import render
from django.views.decorators.http import require_GET

from portal.core.clock import now
from portal.core.services import utility_settings, utility_zone

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

TAB = "help"


@require_GET
def help_page(request: HttpRequest) -> HttpResponse:
    """Show contacts, hours, what to try, and the ways to pay without this portal."""
    utility, today = utility_settings(), now().astimezone(utility_zone()).date()
    live = utility.goes_live_on is None or utility.goes_live_on <= today
    changing = utility.goes_live_on is not None and (
        not live or (utility.old_portal_ends_on is not None and today <= utility.old_portal_ends_on)
    )
    return render(request, "resident/help.html", {"tab": TAB, "changing": changing, "live": live})


@require_GET
def security(request: HttpRequest) -> HttpResponse:
    """Say how accounts and readings are protected."""
    return render(request, "resident/help_security.html", {"tab": TAB, "encrypted": settings.SESSION_COOKIE_SECURE})


@require_GET
def privacy(request: HttpRequest) -> HttpResponse:
    """Say what is kept, who sees it, and how to get it or have it deleted."""
    return render(request, "resident/help_privacy.html", {"tab": TAB})


@require_GET
def accessibility(request: HttpRequest) -> HttpResponse:
    """Say what was built and tested for everybody, what is not there yet, and how to report a barrier."""
    return render(request, "resident/help_accessibility.html", {"tab": TAB})

"""The profile's page on one's data: take a copy of everything, or end the login."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.decorators import reauthentication_required
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from portal.access.viewing import person_of
from portal.core.errors import Refused
from portal.core.personal_data import personal_data
from portal.core.services import utility_zone
from portal.downloads.leaving import delete_login, held_alone
from portal.downloads.own_data import CONTENT_TYPE, export
from portal.downloads.retention import kept_days
from portal.downloads.streaming import streamed

if TYPE_CHECKING:
    from django.http.response import HttpResponseBase


@require_GET
@never_cache
@login_required
def privacy(request: HttpRequest) -> HttpResponse:
    """Say what is held and for how long, and lead to the copy and to the end of the login."""
    return render(request, "resident/privacy.html", {"tab": "profile", "kept": kept_days()})


@require_GET
@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def copy(request: HttpRequest) -> HttpResponseBase:
    """Send everything that is held about the person as one zip, while it is being made."""
    from portal.core.clock import now

    person = person_of(request)
    day = now().astimezone(utility_zone()).date()
    return streamed(request, name=f"my-data-{day}.zip", content_type=CONTENT_TYPE, pieces=export(person))


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def delete(request: HttpRequest) -> HttpResponse:
    """Say what ends, what stays and why; then, on the person's word, end the login."""
    person = person_of(request)
    error = ""
    if request.method == "POST":
        if request.POST.get("understood") != "yes":
            error = _("Tick the box to say that you have read what ends.")
        else:
            try:
                delete_login(person)
            except Refused as refused:
                error = str(refused)
            else:
                logout(request)
                return render(request, "resident/deleted.html")
    context = {
        "tab": "profile",
        "alone": held_alone(person),
        "kept": [kind.kept for kind in personal_data() if kind.kept],
        "error": error,
    }
    return render(request, "resident/delete.html", context, status=422 if error else 200)

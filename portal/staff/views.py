"""The staff pages: lists to read, and a customer's usage against a reason."""

from __future__ import annotations

import functools
from datetime import date
from typing import TYPE_CHECKING, Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from portal.core.errors import Refused
from portal.core.models import User
from portal.customers.models import ServicePoint
from portal.staff.listing import PAGES_MAX
from portal.staff.lists import LISTS
from portal.staff.services import look_at_usage

if TYPE_CHECKING:
    from collections.abc import Callable


def staff_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let staff in, send strangers to sign in, refuse everybody else."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_staff:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return never_cache(login_required(guarded))


def page(
    request: HttpRequest, template: str, name: str, context: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    """Return a staff page; `name` is its entry in the navigation."""
    return render(request, template, {"name": name, "staff_page": True, **(context or {})}, status=status)


def actor_of(request: HttpRequest) -> User:
    """Return who asks, as a user of ours."""
    assert isinstance(request.user, User)
    return request.user


def page_number(request: HttpRequest) -> int:
    """Return the page of a list that is asked for, 1 when it is nonsense."""
    number = request.GET.get("page", "1")
    return min(int(number), PAGES_MAX) if number.isdecimal() and len(number) < 7 and int(number) else 1


def day_of(text: str) -> date:
    """Return the day that was typed; raises Refused(`day`)."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Refused("day", _("Write the day as year-month-day, such as 2026-06-17.")) from None


@require_GET
@staff_only
def listing(request: HttpRequest, name: str = "collectors") -> HttpResponse:
    """Show one list, searched and a page at a time."""
    if name not in LISTS:
        raise Http404
    search = request.GET.get("q", "").strip()[:80]
    return page(
        request, "staff/list.html", name, {"listing": LISTS[name](search, page_number(request)), "search": search}
    )


@require_http_methods(["GET", "POST"])
@staff_only
def look(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask for a reason; with one, show the usage of a service point once."""
    service_point = get_object_or_404(ServicePoint.objects.select_related("premise"), public_id=public_id)
    context: dict[str, Any] = {
        "service_point": service_point,
        "name": "places",
        "staff_page": True,
        "reason": request.POST.get("reason", ""),
        "title": _("Usage at %(address)s") % {"address": service_point.premise.address},
    }
    if request.method == "POST":
        assert isinstance(request.user, User)
        try:
            context["listing"] = look_at_usage(request.user, service_point, reason=context["reason"])
        except Refused as error:
            context["error"] = str(error)
    return render(request, "staff/look.html", context, status=422 if "error" in context else 200)

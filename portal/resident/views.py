"""The resident pages. Rules live in services; these only turn a request into a page."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portal.access.viewing import person_of, viewer_of
from portal.billing.projection import looked_at
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.remembering import remembers
from portal.customers.services import points_seen_by
from portal.resident.ahead import ask_of_meters, ask_of_person, ask_of_place
from portal.resident.compare import Compare
from portal.resident.costs import account_living_at, cost_card
from portal.resident.periods import By
from portal.resident.services import places_of, prefer_unit, usage_page

if TYPE_CHECKING:
    from portal.core.models import User
    from portal.customers.models import Account, ServicePoint
    from portal.customers.permissions import Viewer


def service_point_of(who: User | Viewer, public_id: str) -> ServicePoint:
    """Return a service point that a person may look at; anything else does not exist for them."""
    found = [point for point in points_seen_by(who) if point.public_id == public_id]
    if not found:
        raise Http404
    return found[0]


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Lead to the usage of the first place, or say that there is none yet."""
    user = viewer_of(request)
    places = places_of(user)
    if places:
        return redirect("resident:usage", public_id=places[0].public_id)
    if user.user.is_staff and not user.read_only:
        return redirect("staff:accounts")
    return render(request, "resident/no_place.html")


@require_GET
@never_cache
@login_required
@remembers
def usage(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show the usage of one service point, or of all meters of its home, in one of five views."""
    user, moment = viewer_of(request), now()
    ask_of_person(user, moment)
    service_point = service_point_of(user, public_id)
    home = [point for point in points_seen_by(user) if point.premise_id == service_point.premise_id]
    all_meters = request.GET.get("meters") == "all"
    ask_of_place(user, [service_point, *(one for one in home if all_meters and one != service_point)], home, moment)
    account = _billed(request, user, service_point, moment)
    ask_of_meters(home, account, moment)
    try:
        page = usage_page(
            user,
            service_point,
            by=By(request.GET.get("by", By.HOUR.value)),
            day=date.fromisoformat(text) if (text := request.GET.get("date", "")) else None,
            at=_moment(request.GET.get("at", "")),
            compare=Compare(text) if (text := request.GET.get("compare", "")) else None,
            all_meters=all_meters,
            looked_at=None if account is None else looked_at(account, moment),
        )
    except (ValueError, OverflowError, Refused) as error:
        raise BadRequest(str(error)) from error
    context = {
        "page": page,
        "tab": "usage",
        "cost": None if account is None else cost_card(account, moment),
        "series": page.chart(),
    }
    return render(request, "resident/usage.html", context)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _billed(request: HttpRequest, user: Viewer, service_point: ServicePoint, moment: datetime) -> Account | None:
    """Return whose running cost stands on a whole page; the parts that a script asks for again do without it."""
    htmx = getattr(request, "htmx", None)
    if htmx and not htmx.history_restore_request:
        return None
    return account_living_at(user, service_point, moment)


@require_POST
@login_required
def set_unit(request: HttpRequest) -> HttpResponse:
    """Keep the unit that was chosen and go back to the page."""
    try:
        prefer_unit(person_of(request), request.POST.get("unit", ""))
    except Refused as error:
        raise BadRequest(str(error)) from error
    target = request.POST.get("next", "/")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}):
        target = "/"
    return HttpResponseRedirect(target)

"""The pages of leak cases: the list by size and age, its file, one case with its contacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.alerts.texts import leak_rule
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.files import safe_text
from portal.core.services import audit, utility_zone
from portal.downloads.csv_file import CONTENT_TYPE, csv_rows
from portal.metering.leak_contacts import note_contact
from portal.metering.models import LeakCase
from portal.staff.leak_list import SORTS, STATES, Leak, facts_of, flow_text, lasted_text, leaks, volume_text
from portal.staff.listing import ROWS_PER_PAGE, Cell, Listing
from portal.staff.views import actor_of, day_of, page, page_number, staff_only

if TYPE_CHECKING:
    from datetime import datetime

NONE = "\N{EN DASH}"
COLUMNS = (
    "address", "account", "name", "meter", "rule", "began", "opened", "cleared", "litres_per_hour", "litres", "hours",
    "state", "answers", "contacts",
)  # fmt: skip
_TONES = {"unheard": "bad", "acknowledged": "warn", "answered": "warn", "cleared": "good"}


def _asked(request: HttpRequest) -> dict[str, str]:
    state, sort = request.GET.get("state", ""), request.GET.get("sort", "")
    return {
        "state": state if state in STATES else "open",
        "sort": sort if sort in SORTS else "size",
        "search": request.GET.get("q", "").strip()[:80],
    }


@require_GET
@staff_only
def listing(request: HttpRequest) -> HttpResponse:
    """List leak cases, sorted and filtered, a page at a time."""
    asked, number = _asked(request), page_number(request)
    rows = leaks(**asked)
    first = (number - 1) * ROWS_PER_PAGE
    shown = rows[first : first + ROWS_PER_PAGE]
    query = {"state": asked["state"], "sort": asked["sort"], **({"q": asked["search"]} if asked["search"] else {})}
    context = {
        "asked": asked,
        "states": STATES.items(),
        "sorts": SORTS.items(),
        "query": urlencode(query),
        "listing": Listing(
            _("Leaks"),
            (
                _("Place"),
                _("Account"),
                _("Flow"),
                _("So far"),
                _("For"),
                _("State"),
                _("What was said"),
            ),
            tuple(_row(leak) for leak in shown),
            _("No leak is like that."),
            number,
            len(rows) > first + ROWS_PER_PAGE,
        ),
        "number_of_cases": len(rows),
    }
    return page(request, "staff/leaks.html", "leaks", context)


def _row(leak: Leak) -> tuple[Cell, ...]:
    account, newest = leak.account, leak.contacts[:1]
    return (
        Cell(leak.address, href=reverse("staff:leak", args=[leak.case.public_id])),
        Cell(f"{account.number} {account.name}".strip(), href=reverse("staff:account", args=[account.public_id]))
        if account
        else Cell(NONE),
        Cell(flow_text(leak.litres_per_h), "number"),
        Cell(volume_text(leak.litres), "number"),
        Cell(lasted_text(leak.lasted)),
        Cell(leak.state_text, _TONES[leak.state]),
        Cell("; ".join([*leak.answers[:2], *(f"{one.on.isoformat()}: {one.note}" for one in newest)]) or NONE),
    )


@require_GET
@staff_only
def leak_file(request: HttpRequest) -> HttpResponse:
    """Return the list as a CSV file, all pages of it; that it was taken is written down."""
    asked = _asked(request)
    rows = leaks(**asked)
    audit("leaks.file", actor=actor_of(request), detail={"rows": len(rows), "state": asked["state"]})
    body = csv_rows([COLUMNS, *(_cells(leak) for leak in rows)])
    disposition = f'attachment; filename="leaks-{now().astimezone(utility_zone()).date().isoformat()}.csv"'
    return HttpResponse(body, content_type=CONTENT_TYPE, headers={"Content-Disposition": disposition})


def _cells(leak: Leak) -> list[object]:
    account, case = leak.account, leak.case
    return [
        safe_text(leak.address),
        safe_text(account.number if account else ""),
        safe_text(account.name if account else ""),
        safe_text(case.meter.meter_id),
        safe_text(case.rule),
        _iso(leak.began),
        _iso(case.opened_at),
        _iso(case.cleared_at) if case.cleared_at else "",
        leak.litres_per_h,
        leak.litres,
        int(leak.lasted.total_seconds() // 3600),
        leak.state,
        safe_text("; ".join(leak.answers)),
        safe_text("; ".join(f"{one.on.isoformat()}: {one.note} ({one.by})" for one in leak.contacts)),
    ]


def _iso(moment: datetime) -> str:
    return moment.astimezone(utility_zone()).isoformat(timespec="minutes")


@require_http_methods(["GET", "POST"])
@staff_only
def leak(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one case; a POST writes down a contact."""
    rows = LeakCase.objects.select_related("meter", "installation__service_point__premise")
    case = get_object_or_404(rows, public_id=public_id)
    today = now().astimezone(utility_zone()).date()
    context: dict[str, Any] = {"note": "", "on": today.isoformat(), "today": today.isoformat()}
    if request.method == "POST":
        context |= {"note": request.POST.get("note", "")[:400], "on": request.POST.get("on", "")[:10]}
        try:
            with transaction.atomic():
                note_contact(case, day_of(context["on"]), context["note"], actor=actor_of(request))
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            messages.success(request, _("The contact is written down."))
            return HttpResponseRedirect(reverse("staff:leak", args=[case.public_id]))
    (found,) = facts_of([case])
    zone = utility_zone()
    context |= {
        "leak": found,
        "flow": flow_text(found.litres_per_h),
        "volume": volume_text(found.litres),
        "lasted": lasted_text(found.lasted),
        "why": leak_rule(case.rule),
        "tone": _TONES[found.state],
        "began": found.began.astimezone(zone),
        "opened": case.opened_at.astimezone(zone),
        "cleared": case.cleared_at.astimezone(zone) if case.cleared_at else None,
        "first_day": case.opened_at.astimezone(zone).date().isoformat(),
    }
    return page(request, "staff/leak.html", "leaks", context, status=422 if "error" in context else 200)

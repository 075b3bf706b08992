"""The page of meters of which two collectors speak: what waits, and the action that moves a meter to the other one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db.models import Max, Min, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from portal.core.errors import Refused
from portal.core.models import User
from portal.core.services import utility_zone
from portal.fleet.models import Collector, Meter
from portal.ingest.moving import move_meter
from portal.metering.models import MeterAssignment, Quarantined
from portal.staff.listing import PAGES_MAX, ROWS_PER_PAGE, count, when
from portal.staff.views import staff_only

if TYPE_CHECKING:
    from collections.abc import Mapping


@require_http_methods(["GET", "POST"])
@staff_only
def foreign(request: HttpRequest) -> HttpResponse:
    """Show what waits because another collector speaks for its meter; a POST moves a meter."""
    context: dict[str, Any] = {"name": "foreign", "staff_page": True}
    if request.method == "POST":
        assert isinstance(request.user, User)
        try:
            _move(request.POST, request.user)
        except Refused as error:
            context |= {"error": str(error), "tried": request.POST}
        else:
            messages.success(request, _("The meter was moved, and what waited since then was let in."))
            return HttpResponseRedirect(reverse("staff:foreign"))
    search = request.GET.get("q", "").strip()[:80]
    number = request.GET.get("page", "1")
    page = min(int(number), PAGES_MAX) if number.isdecimal() and len(number) < 7 and int(number) else 1
    found = Quarantined.objects.all()
    if search:
        found = found.filter(meter__meter_id__icontains=search) | found.filter(
            collector__collector_id__icontains=search
        )
    groups = found.values("meter", "meter__public_id", "meter__meter_id", "collector__collector_id").annotate(
        reads=Sum("reads"), events=Sum("events"), first=Min("first_at"), last=Max("last_at")
    )
    ordered = groups.order_by("-last", "meter__meter_id", "collector__collector_id")
    begin = (page - 1) * ROWS_PER_PAGE
    rows: list[dict[str, Any]] = [dict(row) for row in ordered[begin : begin + ROWS_PER_PAGE + 1]]
    rows, more = rows[:ROWS_PER_PAGE], len(rows) > ROWS_PER_PAGE
    speaks = MeterAssignment.objects.filter(meter__in=[row["meter"] for row in rows], end__isnull=True)
    speaker = dict(speaks.values_list("meter", "collector__collector_id"))
    context |= {
        "search": search,
        "zone": utility_zone().key,
        "lines": [
            {
                "meter": row["meter__meter_id"],
                "public_id": row["meter__public_id"],
                "collector": row["collector__collector_id"],
                "speaker": speaker.get(row["meter"], ""),
                "reads": count(row["reads"]),
                "events": count(row["events"]),
                "first": when(row["first"]),
                "last": when(row["last"]),
            }
            for row in rows
        ],
        "previous": page - 1,
        "following": page + 1 if more else 0,
        "page": page,
    }
    return render(request, "staff/foreign.html", context, status=422 if "error" in context else 200)


def _move(asked: Mapping[str, str], actor: User) -> None:
    meter = get_object_or_404(Meter, public_id=asked.get("meter", ""))
    collector = get_object_or_404(Collector, collector_id=asked.get("collector", ""))
    try:
        start = datetime.fromisoformat(asked.get("start", ""))
    except ValueError:
        raise Refused("no-moment", _("Say from when on, as a date and a time.")) from None
    if start.tzinfo is None:
        start = start.replace(tzinfo=utility_zone())
    move_meter(meter, collector, start.astimezone(UTC), reason=asked.get("reason", "")[:300], actor=actor)

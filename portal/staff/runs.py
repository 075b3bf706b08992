"""Bill runs: start one for a cycle, watch it, look at what came out, issue it. The work itself is the worker's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db.models import Count, Max, Min
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.letters import waiting_letters
from portal.billing.models import BillingAccount, BillRun, Cycle
from portal.billing.periods import last_ended, period_with
from portal.billing.runs import cancel_run
from portal.billing.tasks import ask_continue, ask_issue, ask_start, work_on
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.staff.listing import Cell, Listing, day, days, money, page_of, when
from portal.staff.run_page import run_name, run_page, run_state
from portal.staff.views import actor_of, day_of, page, page_number, staff_only

if TYPE_CHECKING:
    from datetime import date


def _today() -> date:
    return now().astimezone(utility_zone()).date()


@require_http_methods(["GET", "POST"])
@staff_only
def runs(request: HttpRequest) -> HttpResponse:
    """List the runs; a POST starts one for a cycle and leads to its monitor."""
    context: dict[str, Any] = {}
    if request.method == "POST":
        context = {"cycle": request.POST.get("cycle", "")[:16], "end": request.POST.get("end", "")[:10]}
        try:
            run = _start(request, context["cycle"], context["end"])
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            return HttpResponseRedirect(reverse("staff:run", args=[run.public_id]), status=303)
    cycles = list(Cycle.objects.order_by("code"))
    number = page_number(request)
    rows, more = page_of(BillRun.objects.select_related("cycle", "started_by").order_by("-pk"), number)
    context |= {
        "cycles": cycles,
        "ends": [(row.code, last_ended(row, _today()).last_day) for row in cycles],
        "listing": _listing(rows, number, more=more),
        "letters": waiting_letters(),
    }
    return page(request, "staff/runs.html", "runs", context, status=422 if "error" in context else 200)


def _start(request: HttpRequest, code: str, end: str) -> BillRun:
    cycle = Cycle.objects.filter(code=code).first()
    if cycle is None:
        raise Refused("cycle", _("Choose a cycle."))
    return ask_start(cycle, day_of(end) if end else None, actor=actor_of(request))


def _listing(rows: list[BillRun], number: int, *, more: bool) -> Listing:
    return Listing(
        _("Bill runs"),
        (_("Run"), _("Period"), _("State"), _("Accounts"), _("Held"), _("Charges"), _("Started by"), _("Started")),
        tuple(
            (
                Cell(run_name(row), href=reverse("staff:run", args=[row.public_id])),
                Cell(days(row.period_start, row.period_end), "day"),
                run_state(row),
                Cell(f"{row.accounts:,}", "number"),
                Cell(f"{int(row.progress.get('held', 0)):,}", "number"),
                money(int(row.progress.get("charges_cents", 0))),
                Cell(row.started_by.get_full_name() if row.started_by else _("a schedule")),
                when(row.started_at),
            )
            for row in rows
        ),
        _("No run yet."),
        number,
        more,
    )


@require_http_methods(["GET", "POST"])
@staff_only
def run(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one run as it is now; a POST goes on with it, issues it or cancels it."""
    row = get_object_or_404(BillRun.objects.select_related("cycle", "started_by", "issued_by"), public_id=public_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        action = request.POST.get("action", "")
        if action not in ("continue", "issue", "cancel"):
            return HttpResponse(status=400)
        try:
            _act(request, row, action)
        except Refused as error:
            row.refresh_from_db()
            context["error"] = str(error)
        else:
            return HttpResponseRedirect(reverse("staff:run", args=[row.public_id]), status=303)
    context["page"] = run_page(row, work_on(row))
    return page(request, "staff/run.html", "runs", context, status=422 if "error" in context else 200)


def _act(request: HttpRequest, row: BillRun, action: str) -> None:
    if action == "continue":
        ask_continue(row, actor=actor_of(request))
        messages.success(request, _("The run goes on where it stopped."))
    elif action == "issue":
        if request.POST.get("sure") != "yes":
            raise Refused("sure", _("Say that you have looked at the report: issued bills go out."))
        ask_issue(row, actor=actor_of(request))
        messages.success(request, _("The bills are being issued."))
    else:
        cancel_run(row, reason=request.POST.get("reason", ""), actor=actor_of(request))
        messages.success(request, _("The run is cancelled; the cycle can be run again."))


@require_GET
@staff_only
def cycles(request: HttpRequest) -> HttpResponse:
    """List the cycles with their next days, and the routes in each."""
    today = _today()
    counted = Cycle.objects.annotate(number=Count("accounts"))
    cycle_rows = []
    for row in counted.order_by("code"):
        current = period_with(row, today)
        cycle_rows.append(
            (
                Cell(row.code, "code"),
                Cell(row.name or "\N{EN DASH}"),
                Cell(f"{row.number:,}", "number"),
                Cell(str(row.read_day), "number"),
                Cell(str(row.months), "number"),
                day(current.start),
                day(current.end),
            )
        )
    route_rows = [
        (
            Cell(route["route"] or _("no route"), "code"),
            Cell(route["cycle__code"], "code"),
            Cell(f"{route['number']:,}", "number"),
            Cell(f"{route['first']} \N{EN DASH} {route['last']}", "number"),
        )
        for route in BillingAccount.objects.filter(closed_on__isnull=True)
        .values("route", "cycle__code")
        .annotate(number=Count("pk"), first=Min("stop"), last=Max("stop"))
        .order_by("cycle__code", "route")[:500]
    ]
    context = {
        "cycles": Listing(
            _("Cycles"),
            (
                _("Cycle"),
                _("Name"),
                _("Accounts"),
                _("Day of the month"),
                _("Months"),
                _("Period since"),
                _("Next period starts"),
            ),
            tuple(cycle_rows),
            _("No cycle yet."),
        ),
        "routes": Listing(
            _("Routes"),
            (_("Route"), _("Cycle"), _("Accounts"), _("Stops")),
            tuple(route_rows),
            _("No route yet."),
        ),
    }
    return page(request, "staff/cycles.html", "cycles", context)

"""Bills: the list, the work list of held ones, one bill with the way down to the signed reads, what is done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.models import Bill, BillLine, Charge
from portal.core.errors import Refused
from portal.staff.account_page import label_of
from portal.staff.bill_lists import Filter, bill_list, cycles, held_reasons
from portal.staff.bill_page import bill_page, reckoned, used
from portal.staff.drilldown import dials_behind
from portal.staff.findings import told
from portal.staff.listing import dollars, page_of
from portal.staff.views import actor_of, page, page_number, staff_only

if TYPE_CHECKING:
    from portal.core.models import User


@require_GET
@staff_only
def bills(request: HttpRequest) -> HttpResponse:
    """List bills by state, cycle, month and reason."""
    asked = Filter.of(request.GET)
    context = {
        "listing": bill_list(asked, page_number(request)),
        "asked": asked,
        "states": Bill.State.choices,
        "cycles": cycles(),
        "reasons": held_reasons(Bill.objects.all()),
    }
    return page(request, "staff/bills.html", "bills", context)


@require_GET
@staff_only
def held(request: HttpRequest) -> HttpResponse:
    """List the bills that somebody must look at, the oldest first, with what was found and what can be done."""
    asked = Filter.of({**request.GET.dict(), "state": "held"})
    number = page_number(request)
    found = asked.bills().select_related("account").order_by("bill_date", "pk")
    rows, more = page_of(found, number)
    context = {
        "rows": [{"bill": row, "findings": told(row.findings), "charges": dollars(row.charges_cents)} for row in rows],
        "reasons": held_reasons(Bill.objects.all()),
        "asked": asked,
        "cycles": cycles(),
        "number": number,
        "previous": number - 1,
        "following": number + 1 if more else 0,
    }
    return page(request, "staff/held.html", "held", context)


@require_http_methods(["GET", "POST"])
@staff_only
def bill(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one bill; a POST does something with it and leads to the bill that stands then."""
    row = get_object_or_404(Bill.objects.select_related("account", "run", "entry", "replaces"), public_id=public_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        action = request.POST.get("action", "")
        if action not in ACTIONS:
            return HttpResponse(status=400)
        try:
            standing = ACTIONS[action](row, request.POST.get("reason", "")[:200], actor_of(request))
        except Refused as error:
            row.refresh_from_db()
            context = {"error": str(error), "tried": action, "reason": request.POST.get("reason", "")[:200]}
        else:
            messages.success(request, DONE[action]())
            back = request.POST.get("back") == "held"
            address = reverse("staff:held") if back else reverse("staff:bill", args=[standing.public_id])
            return HttpResponseRedirect(address, status=303)
    context["page"] = bill_page(row)
    return page(request, "staff/bill.html", "bills", context, status=422 if "error" in context else 200)


@require_GET
@staff_only
def line(request: HttpRequest, public_id: str, position: int) -> HttpResponse:
    """Show what one line of a bill rests on, down to the signed batches."""
    row = (
        BillLine.objects.select_related(
            "bill__account", "segment__agreement__service_point__premise", "segment__rate_book"
        )
        .filter(bill__public_id=public_id, position=position)
        .first()
    )
    if row is None:
        raise Http404
    segment = row.segment
    context = {
        "line": row,
        "label": label_of(row.label, row.code),
        "amount": dollars(row.amount_cents),
        "reckoned": reckoned(row),
        "segment": segment,
        "used": used(segment) if segment else "",
        "dials": dials_behind(segment) if segment else [],
        "charge": Charge.objects.filter(line=row).first(),
        "detail": sorted((str(key).replace("_", " "), value) for key, value in row.detail.items()),
    }
    return page(request, "staff/line.html", "bills", context)


def _release(row: Bill, reason: str, actor: User) -> Bill:
    from portal.billing.bills import release

    return release(row, reason=reason, actor=actor)


def _recalculate(row: Bill, reason: str, actor: User) -> Bill:
    from portal.billing.bills import recalculate

    return recalculate(row, actor=actor)


def _issue(row: Bill, reason: str, actor: User) -> Bill:
    from portal.billing.bills import issue

    return issue(row, actor)


def _cancel(row: Bill, reason: str, actor: User) -> Bill:
    from portal.billing.bills import cancel

    return cancel(row, reason=reason, actor=actor)


def _rebill(row: Bill, reason: str, actor: User) -> Bill:
    from portal.billing.bills import cancel_and_rebill

    return cancel_and_rebill(row, reason=reason, actor=actor)


ACTIONS = {
    "release": _release,
    "recalculate": _recalculate,
    "issue": _issue,
    "cancel": _cancel,
    "rebill": _rebill,
}
DONE = {
    "release": lambda: _("The bill is released and can be issued."),
    "recalculate": lambda: _("The bill was calculated again."),
    "issue": lambda: _("The bill is issued."),
    "cancel": lambda: _("The bill is cancelled."),
    "rebill": lambda: _("The bill is cancelled; this one takes its place. Look at it and issue it."),
}

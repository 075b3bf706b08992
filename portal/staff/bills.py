"""Bills: the list, the work list of held ones, one bill with the way down to the signed reads, what is done with it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.bills import cancel, cancel_and_rebill, issue, recalculate, release
from portal.billing.documents.facts import facts_of
from portal.billing.documents.pdf import render_pdf
from portal.billing.documents.words import words_of
from portal.billing.models import Bill, BillLine, Charge
from portal.core.errors import Refused
from portal.staff.account_page import label_of, period
from portal.staff.bill_lists import Filter, bill_list, cycles, held_reasons
from portal.staff.bill_page import Charged, bill_page, number, used
from portal.staff.drilldown import dials_behind
from portal.staff.findings import told
from portal.staff.listing import dollars, page_of
from portal.staff.views import actor_of, page, page_number, staff_only

if TYPE_CHECKING:
    from collections.abc import Callable

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
        "rows": [
            {"bill": row, "period": period(row), "findings": told(row.findings), "charges": dollars(row.charges_cents)}
            for row in rows
        ],
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
            messages.success(request, DONE[action](standing))
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
        "reckoned": Charged.of(row).reckoned,
        "segment": segment,
        "used": used(segment) if segment else "",
        "carried": number(Fraction(segment.remainder)) if segment else "",
        "dials": dials_behind(segment) if segment else [],
        "charge": Charge.objects.filter(line=row).first(),
        "detail": sorted((str(key).replace("_", " "), value) for key, value in row.detail.items()),
    }
    return page(request, "staff/line.html", "bills", context)


@require_GET
@staff_only
def sheet(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a bill as the customer sees it, in the customer's language."""
    row = get_object_or_404(Bill.objects.select_related("account"), public_id=public_id)
    facts = facts_of(row)
    context = {"row": row, "words": words_of(facts, facts.language), "due_cents": facts.due_cents}
    return page(request, "staff/sheet.html", "bills", context)


@require_GET
@staff_only
def pdf(request: HttpRequest, public_id: str) -> HttpResponse:
    """Give out a bill as the PDF that the customer gets; a draft says so itself."""
    row = get_object_or_404(Bill, public_id=public_id)
    facts = facts_of(row)
    name = f"bill-{row.number or row.public_id}.pdf"
    headers = {"Content-Disposition": f'inline; filename="{name}"'}
    return HttpResponse(render_pdf(facts, facts.language), content_type="application/pdf", headers=headers)


def _release(row: Bill, reason: str, actor: User) -> Bill:
    return release(row, reason=reason, actor=actor)


def _recalculate(row: Bill, _reason: str, actor: User) -> Bill:
    return recalculate(row, actor=actor)


def _issue(row: Bill, _reason: str, actor: User) -> Bill:
    return issue(row, actor)


def _cancel(row: Bill, reason: str, actor: User) -> Bill:
    if row.state == Bill.State.ISSUED:
        raise Refused("issued", _("An issued bill is cancelled by billing again."))
    return cancel(row, reason=reason, actor=actor)


def _rebill(row: Bill, reason: str, actor: User) -> Bill:
    return cancel_and_rebill(row, reason=reason, actor=actor)


ACTIONS: dict[str, Callable[[Bill, str, User], Bill]] = {
    "release": _release,
    "recalculate": _recalculate,
    "issue": _issue,
    "cancel": _cancel,
    "rebill": _rebill,
}
DONE: dict[str, Callable[[Bill], str]] = {
    "release": lambda _bill: _("The bill is released and can be issued."),
    "recalculate": lambda bill: (
        _("The bill was calculated again and is still held.")
        if bill.state == Bill.State.HELD
        else _("The bill was calculated again.")
    ),
    "issue": lambda _bill: _("The bill is issued."),
    "cancel": lambda _bill: _("The bill is cancelled."),
    "rebill": lambda bill: (
        _("The bill is cancelled, and this one is issued in its place.")
        if bill.state == Bill.State.ISSUED
        else _("The bill is cancelled. The one in its place is held: look at it first.")
    ),
}
"""What is said when an action is done, of the bill that stands then."""

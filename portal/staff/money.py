"""Money by hand: adjustments with their second person, and payments over the counter."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing import adjustments as rules
from portal.billing.fees import cash_only_until
from portal.billing.models import Adjustment, Bill
from portal.billing.nightly import policies_on
from portal.billing.recent_use import daily_units_now
from portal.core.errors import Refused
from portal.customers.models import Account
from portal.ledger.services import METHODS, balance_cents, record_payment, today
from portal.staff.account_page import period
from portal.staff.listing import Cell, Listing, dollars, last_day, money, page_of, when
from portal.staff.views import actor_of, day_of, page, page_number, staff_only

if TYPE_CHECKING:
    from datetime import date
    from fractions import Fraction

    from rates.policies import Policies

POLICY_TEXTS = {
    "leak": gettext_lazy("leak, by the utility's rule"),
    "goodwill": gettext_lazy("goodwill"),
    "read-error": gettext_lazy("wrong reading"),
    "billing-error": gettext_lazy("mistake on the bill"),
    "write-off": gettext_lazy("write-off"),
}
METHOD_TEXTS = {
    "cash": gettext_lazy("cash"),
    "check": gettext_lazy("check"),
    "phone": gettext_lazy("by telephone"),
    "card": gettext_lazy("card"),
    "transfer": gettext_lazy("bank transfer"),
}
STATE_TONES = {"requested": "warn", "approved": "good", "rejected": "bad"}
_AMOUNT = re.compile(r"-?\$?\d{1,7}(\.\d{1,2})?")


def cents_of_text(text: str) -> int:
    """Return the cents of an amount as people type it (`1,234.50`, `$20`); raises Refused(`amount`)."""
    plain = text.strip().replace(",", "")
    if not _AMOUNT.fullmatch(plain):
        raise Refused("amount", _("Write the amount in dollars and cents, such as 12.50."))
    return int(Decimal(plain.replace("$", "")) * 100)


@require_GET
@staff_only
def adjustments(request: HttpRequest) -> HttpResponse:
    """List adjustments: what waits for a decision first, or one state."""
    state = request.GET.get("state", "requested")
    found = Adjustment.objects.select_related("account", "bill", "requested_by", "decided_by")
    if state in Adjustment.State.values:
        found = found.filter(state=state)
    rows, more = page_of(
        found.order_by("requested_at" if state == "requested" else "-requested_at"), page_number(request)
    )
    listing = Listing(
        _("Adjustments"),
        (_("Asked on"), _("Account"), _("Why"), _("Amount"), _("Asked by"), _("State")),
        tuple(
            (
                Cell(when(row.requested_at).text, href=reverse("staff:adjustment", args=[row.public_id])),
                Cell(f"{row.account.number} {row.account.name}".strip()),
                Cell(str(POLICY_TEXTS.get(row.policy, row.policy))),
                money(row.amount_cents),
                Cell(row.requested_by.get_full_name()),
                Cell(row.get_state_display(), STATE_TONES[row.state]),
            )
            for row in rows
        ),
        _("No adjustment waits for a decision.") if state == "requested" else _("There is none."),
        page_number(request),
        more,
    )
    states = [*Adjustment.State.choices, ("all", _("all"))]
    context = {"listing": listing, "states": states, "state": state}
    return page(request, "staff/money_adjustments.html", "adjustments", context)


@require_http_methods(["GET", "POST"])
@staff_only
def adjust_bill(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask for an adjustment of a bill: a leak by the rule, or another one with an amount."""
    bill = get_object_or_404(Bill.objects.select_related("account"), public_id=public_id)
    policies = policies_on(today())
    daily = daily_units_now(bill)
    context: dict[str, Any] = {
        "bill": bill,
        "period": period(bill),
        "charges": dollars(bill.charges_cents),
        "typed": {"policy": "leak"},
    }
    if request.method == "POST":
        context["typed"] = request.POST
        try:
            made = _request(request, bill, policies, daily)
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            messages.success(request, _("The adjustment waits for a colleague's decision."))
            return HttpResponseRedirect(reverse("staff:adjustment", args=[made.public_id]), status=303)
    context |= {"policies": [(code, str(text)) for code, text in POLICY_TEXTS.items()], **_leak(bill, policies, daily)}
    return page(request, "staff/money_adjust.html", "adjustments", context, status=422 if "error" in context else 200)


def _request(request: HttpRequest, bill: Bill, policies: Policies | None, daily: Fraction | None) -> Adjustment:
    reason, evidence = request.POST.get("reason", ""), request.POST.get("evidence", "")[:4000]
    by, policy = actor_of(request), request.POST.get("policy", "")
    if policy == rules.LEAK:
        return rules.request_leak(
            bill,
            policies.leak if policies else None,
            proof_of_repair=request.POST.get("proof") == "yes",
            sewer=request.POST.get("sewer") == "yes",
            daily_units_now=daily,
            by=by,
            reason=reason,
            evidence=evidence,
        )
    cents = cents_of_text(request.POST.get("amount", ""))
    if request.POST.get("way") != "charge":
        cents = -cents
    return rules.request(
        bill.account, policy=policy, amount_cents=cents, reason=reason, evidence=evidence, by=by, bill=bill
    )


def _leak(bill: Bill, policies: Policies | None, daily: Fraction | None) -> dict[str, Any]:
    """Return what the leak rule would give, or why it gives nothing."""
    rule = policies.leak if policies else None
    if rule is None:
        return {"no_leak": _("The rates have no rule for leaks.")}
    try:
        credit = rules.leak_credit(bill, rule)
    except Refused as error:
        return {"no_leak": str(error)}
    normal = rules.back_to_normal(bill, credit, daily)
    return {
        "leak": {
            "used": f"{credit.used_units:,}",
            "average": f"{round(credit.average_units):,}",
            "credited": f"{credit.credit_units:,}",
            "amount": dollars(credit.credit_cents),
            "bills": len(credit.basis),
            "daily": _("not known") if daily is None else f"{round(daily):,}",
            "normal": normal,
        },
        "needs_proof": rule.needs_proof,
    }


@require_http_methods(["GET", "POST"])
@staff_only
def adjustment(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one adjustment; a POST decides it. Who asked for it is refused with 403 and the reason."""
    found = Adjustment.objects.select_related("account", "bill", "requested_by", "decided_by")
    row = get_object_or_404(found, public_id=public_id)
    actor, context, status = actor_of(request), dict[str, Any](), 200
    if request.method == "POST":
        try:
            _decide(request, row)
        except Refused as error:
            context = {"error": str(error), "typed": request.POST.get("decision", "")[:300]}
            status = 403 if error.code == "second-person" else 422
        else:
            messages.success(request, _("The decision is written down."))
            return HttpResponseRedirect(reverse("staff:adjustment", args=[public_id]), status=303)
        row.refresh_from_db()
    context |= {
        "row": row,
        "amount": dollars(row.amount_cents),
        "policy": POLICY_TEXTS.get(row.policy, row.policy),
        "state": Cell(row.get_state_display(), STATE_TONES[row.state]),
        "requested_at": when(row.requested_at).text,
        "decided_at": when(row.decided_at).text,
        "may_decide": rules.may_decide(row, actor),
        "own": row.requested_by_id == actor.pk,
        "numbers": _numbers(row.calculation),
    }
    return page(request, "staff/money_adjustment.html", "adjustments", context, status=status)


def _decide(request: HttpRequest, row: Adjustment) -> None:
    actor, words = actor_of(request), request.POST.get("decision", "")
    if request.POST.get("action") == "approve":
        policies = policies_on(today())
        rules.approve(row, by=actor, decision=words, rule=policies.leak if policies else None)
    else:
        rules.reject(row, by=actor, decision=words)


def _numbers(calculation: dict[str, Any]) -> list[tuple[str, str]]:
    if "used_units" not in calculation:
        return []
    average = calculation["average_units"]
    whole = round(int(average.partition("/")[0]) / int(average.partition("/")[2] or 1))
    return [
        (_("Billed units of this bill"), f"{calculation['used_units']:,}"),
        (_("Own average for as many days"), f"{whole:,}"),
        (_("Bills in the average"), str(len(calculation["basis"]))),
        (_("Share of the excess"), str(calculation["rule"]["share"])),
        (_("Credited units"), f"{calculation['credit_units']:,}"),
        (_("Sewer as well"), _("yes") if calculation["sewer"] else _("no")),
    ]


@require_http_methods(["GET", "POST"])
@staff_only
def payment(request: HttpRequest) -> HttpResponse:
    """Record a payment that came by hand, by mail or by telephone; the same amount within a day must be confirmed."""
    typed = {"received_on": today().isoformat(), **request.GET.dict(), **request.POST.dict()}
    context: dict[str, Any] = {"typed": typed}
    account = Account.objects.filter(number=typed.get("account", "").strip()).first()
    if request.method == "POST":
        try:
            done = _record(request, account)
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            shown = {"amount": dollars(done), "balance": dollars(balance_cents(account)) if account else ""}
            messages.success(request, _("%(amount)s is posted; the account now owes %(balance)s.") % shown)
            return HttpResponseRedirect(f"{reverse('staff:payment')}", status=303)
    if account is not None:
        context |= {
            "account": account,
            "owes": dollars(balance_cents(account)),
            "cash_only": _cash_only_through(account),
        }
    context["methods"] = [(code, str(METHOD_TEXTS[code])) for code in METHODS]
    return page(request, "staff/money_payment.html", "payment", context, status=422 if "error" in context else 200)


def _cash_only_through(account: Account) -> date | None:
    """Return the last day on which the account pays by cash or card only; None when it pays as it likes."""
    policies = policies_on(today())
    until = cash_only_until(account, policies.returned_payment if policies else None, on=today())
    return None if until is None else last_day(until)


def _record(request: HttpRequest, account: Account | None) -> int:
    if account is None:
        raise Refused("account", _("No account has this number."))
    cents = cents_of_text(request.POST.get("amount", ""))
    method = request.POST.get("method", "")
    last = _cash_only_through(account)
    if last is not None and method not in ("cash", "card"):
        raise Refused("method", _("After returned payments this account pays by cash or card until %s.") % last)
    record_payment(
        account,
        cents,
        method=method,
        received_on=day_of(request.POST.get("received_on", "")),
        reference=request.POST.get("reference", ""),
        actor=actor_of(request),
        confirmed=request.POST.get("confirmed") == "yes",
    )
    return cents

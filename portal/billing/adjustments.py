"""Adjustments: asked for by one person with evidence, decided by another, posted when approved.

An approved adjustment is posted to the ledger at once, as an entry of its own (kind `adjustment`, key `adjustment:ID`:
receivables against 4900), so that the account owes less from that moment on: dunning, late fees and aging see it. It is
no line of a bill and no waiting Charge: the next bill shows it among what happened since the last one, inside the
balance before, and so it counts once.

A leak's credit is made of the bill's own lines: the rule's share of the excess over the account's own average is taken
off the highest priced units first, as if they had not been used; each service is rounded to cents once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.billing.models import Adjustment, Bill
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit, utility_zone
from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.services import Leg, post, today
from rates.book import LineKind, cents_of
from rates.policies import DueRule

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from portal.billing.models import BillLine
    from portal.core.models import User
    from rates.policies import LeakAdjustment

LEAK = "leak"
POLICIES = (LEAK, "goodwill", "read-error", "billing-error", "write-off")
"""Why something may be adjusted; only a leak's amount is calculated."""

HISTORY_BILLS_MIN = 3
"""With fewer bills before it, nobody can say what is usual."""

NORMAL_PERCENT = 25
"""Use is back to normal when a day takes at most so much more than the average day, in percent."""

_WORDS_CHARS_MIN = 8


@dataclass(frozen=True, slots=True)
class LeakCredit:
    """What a leak rule gives for one bill: its numbers, and the credit in cents (positive)."""

    used_units: int
    average_units: Fraction
    basis: tuple[str, ...]
    credit_units: int
    credit_cents: int
    taken: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for the adjustment's row: units as exact text."""
        return {
            "used_units": self.used_units,
            "average_units": str(self.average_units),
            "basis": list(self.basis),
            "credit_units": self.credit_units,
            "credit_cents": self.credit_cents,
            "taken": list(self.taken),
        }


def leak_credit(bill: Bill, rule: LeakAdjustment, *, sewer: bool = False) -> LeakCredit:
    """Return the credit of the rule for one bill.

    sewer   the water did not reach the sewer: its units are taken off the sewer's lines too, in their proportion.
    raises  Refused(`history`) when the account has too few bills before this one.
    """
    used, _days = _use(bill)
    basis = _bills_before(bill, rule.average_months)
    if len(basis) < HISTORY_BILLS_MIN:
        shown = {"need": HISTORY_BILLS_MIN, "have": len(basis)}
        raise Refused("history", _("An average needs %(need)s bills before this one; there are %(have)s.") % shown)
    uses = [_use(each) for each in basis]
    days = (bill.period_end - bill.period_start).days
    average = Fraction(sum(units for units, _ in uses), sum(days for _, days in uses)) * days
    units = min(rule.credit_units(used, average), used)
    cents, taken = 0, []
    for service in ("water", "sewer") if sewer else ("water",):
        part, lines = _off_the_top([line for line in bill.lines.all() if line.service == service], units, used)
        cents += part
        taken += lines
    return LeakCredit(used, average, tuple(each.public_id for each in basis), units, cents, tuple(taken))


def _use(bill: Bill) -> tuple[int, int]:
    return sum(segment.units for segment in bill.segments.all()), (bill.period_end - bill.period_start).days


def _bills_before(bill: Bill, months: int) -> list[Bill]:
    year, month = divmod(bill.period_start.year * 12 + bill.period_start.month - 1 - months, 12)
    first = bill.period_start.replace(year=year, month=month + 1, day=min(bill.period_start.day, 28))
    found = Bill.objects.filter(
        account=bill.account_id,
        state=Bill.State.ISSUED,
        period_start__gte=first,
        period_end__lte=bill.period_start,
    )
    return list(found.order_by("period_start").prefetch_related("segments"))


def _off_the_top(lines: Iterable[BillLine], units: int, used: int) -> tuple[int, list[dict[str, str]]]:
    """Take units off priced lines, the dearest first, and off every surcharge; return cents and what was taken."""
    priced = [line for line in lines if line.quantity and line.price and line.amount_cents > 0]
    usage = sorted(
        (line for line in priced if line.kind == LineKind.USAGE.value), key=lambda line: (-_unit_price(line), line.pk)
    )
    whole = sum((Fraction(line.quantity) for line in usage), Fraction(0))
    # A sewer line may count another quantity than the meter's: its share of the units is its share of the use.
    left = min(Fraction(units), whole) if whole >= used else whole * units / (used or 1)
    amount, taken = Fraction(0), []
    for line in [*usage, *(line for line in priced if line.kind == LineKind.SURCHARGE.value)]:
        part = min(left if line.kind == LineKind.USAGE.value else Fraction(units), Fraction(line.quantity))
        if line.kind == LineKind.USAGE.value:
            left -= part
        if part > 0:
            amount += part * _unit_price(line)
            taken.append({"line": line.public_id, "code": line.code, "units": str(part), "price": line.price})
    return cents_of(amount), taken


def _unit_price(line: BillLine) -> Fraction:
    return Fraction(line.price) / Fraction(line.per or 1)


def back_to_normal(bill: Bill, credit: LeakCredit, daily_units: Fraction | None) -> bool:
    """Tell whether the use since then (units a day; None: not known) is near the average again."""
    if daily_units is None:
        return False
    days = (bill.period_end - bill.period_start).days
    return daily_units * 100 <= credit.average_units / days * (100 + NORMAL_PERCENT)


@transaction.atomic
def request_leak(
    bill: Bill,
    rule: LeakAdjustment | None,
    *,
    reason: str,
    evidence: str,
    proof_of_repair: bool,
    daily_units_now: Fraction | None,
    by: User,
    sewer: bool = False,
) -> Adjustment:
    """Ask for the credit that the leak rule gives for a bill.

    daily_units_now  what a day uses since the repair, in billed units; None: not known, which is refused.
    raises  Refused(`policy`, `proof`, `not-normal`, `too-often`, `history`, `nothing`, ...).
    """
    if rule is None:
        raise Refused("policy", _("The rates have no rule for leaks; ask for another adjustment."))
    if rule.needs_proof and not proof_of_repair:
        raise Refused("proof", _("The rule needs proof of the repair: a plumber's bill, a receipt for parts, a photo."))
    credit = leak_credit(bill, rule, sewer=sewer)
    if not back_to_normal(bill, credit, daily_units_now):
        raise Refused("not-normal", _("The use is not back to normal yet, or nobody knows; wait for a week of reads."))
    if credit.credit_cents <= 0:
        raise Refused("nothing", _("By the rule there is nothing to credit: the use was not far enough above average."))
    _refuse_too_often(bill, rule, today())
    written = {
        **credit.as_json(),
        "rule": {
            "share": str(rule.share),
            "average_months": rule.average_months,
            "every_months": rule.every_months,
            "rounding": rule.rounding,
            "excess_percent": str(rule.excess_percent),
            "bills_max": rule.bills_max,
        },
        "sewer": sewer,
        "daily_units_now": str(daily_units_now),
    }
    return request(
        bill.account,
        policy=LEAK,
        amount_cents=-credit.credit_cents,
        reason=reason,
        evidence=evidence,
        by=by,
        bill=bill,
        calculation=written,
    )


def _refuse_too_often(bill: Bill, rule: LeakAdjustment, on: date, *, besides: int | None = None) -> None:
    """Refuse a second leak within the rule's months; bills next to each other are one leak, up to its bills_max."""
    earlier = Adjustment.objects.filter(account=bill.account_id, policy=LEAK, state=Adjustment.State.APPROVED)
    earlier = earlier.exclude(pk=besides or 0).select_related("bill")
    same, days, zone = {bill.pk}, [], utility_zone()
    edges = {bill.period_start, bill.period_end}
    for other in sorted(earlier, key=lambda each: each.decided_at or each.requested_at, reverse=True):
        if other.bill and edges & {other.bill.period_start, other.bill.period_end}:
            edges |= {other.bill.period_start, other.bill.period_end}
            same.add(other.bill.pk)
        elif other.decided_at is not None:
            days.append(other.decided_at.astimezone(zone).date())
    if len(same) > rule.bills_max or not rule.allowed_on(on, days):
        raise Refused("too-often", _("The account had a leak adjustment; the rule does not allow another one yet."))


@transaction.atomic
def request(
    account: Account,
    *,
    policy: str,
    amount_cents: int,
    reason: str,
    evidence: str,
    by: User,
    bill: Bill | None = None,
    calculation: dict[str, Any] | None = None,
) -> Adjustment:
    """Ask for an adjustment; nothing is posted before another person approves it.

    raises  Refused(`policy`, `amount`, `reason`, `evidence`, `bill`, `again`).
    """
    reason, evidence = " ".join(reason.split()), evidence.strip()
    if policy not in POLICIES:
        raise Refused("policy", _("Choose why something is adjusted."))
    if amount_cents == 0:
        raise Refused("amount", _("An adjustment of nothing changes nothing."))
    if not _WORDS_CHARS_MIN <= len(reason) <= 300:
        raise Refused("reason", _("Write the reason in a few words that the customer may read."))
    if len(evidence) < _WORDS_CHARS_MIN:
        raise Refused("evidence", _("Say what shows it: which document, which reads, who saw it."))
    Account.objects.select_for_update().get(pk=account.pk)
    if bill is not None:
        _refuse_bill(account, bill, policy, amount_cents)
    made = Adjustment.objects.create(
        account=account,
        bill=bill,
        policy=policy,
        amount_cents=amount_cents,
        reason=reason,
        evidence=evidence,
        calculation=calculation or {},
        requested_by=by,
        requested_at=now(),
    )
    _tell("adjustment.requested", made, by)
    return made


def _refuse_bill(account: Account, bill: Bill, policy: str, amount_cents: int) -> None:
    if bill.account_id != account.pk or bill.state != Bill.State.ISSUED:
        raise Refused("bill", _("Only an issued bill of this account can be adjusted."))
    standing = Adjustment.objects.filter(bill=bill).exclude(state=Adjustment.State.REJECTED)
    if standing.filter(policy=policy).exists():
        raise Refused("again", _("This bill has such an adjustment already, approved or waiting."))
    if bill.charges_cents + amount_cents + sum(standing.values_list("amount_cents", flat=True)) < 0:
        raise Refused("amount", _("The credits would be more than the bill's charges."))


@transaction.atomic
def approve(adjustment: Adjustment, *, by: User, decision: str = "", rule: LeakAdjustment | None = None) -> Adjustment:
    """Approve and post; the same person approving again changes nothing.

    rule    of leaks, as it holds today: that the account had no other one meanwhile is looked at again.
    raises  Refused(`second-person`, `decided`, `bill`, `too-often`).
    """
    row = _locked(adjustment)
    if row.state == Adjustment.State.APPROVED and row.decided_by_id == by.pk:
        return row
    _refuse_decision(row, by)
    if row.bill is not None and row.bill.state != Bill.State.ISSUED:
        raise Refused("bill", _("The bill was cancelled in the meantime; reject this and look at the new bill."))
    if row.bill is not None and row.policy == LEAK and rule is not None:
        _refuse_too_often(row.bill, rule, today(), besides=row.pk)
    _decide(row, Adjustment.State.APPROVED, by, decision)
    day = today()
    due_on = DueRule().due_date(day) if row.amount_cents > 0 else day
    post(
        "adjustment",
        day,
        [
            Leg(chart.RECEIVABLES, row.amount_cents, account=row.account_id, service="adjustment", due_on=due_on),
            Leg(chart.ADJUSTMENTS, -row.amount_cents, service=row.policy),
        ],
        key=f"adjustment:{row.public_id}",
        memo=row.reason[:200],
        actor=by,
        detail={"adjustment": row.public_id, "policy": row.policy, "requested_by": row.requested_by.public_id},
    )
    _tell("adjustment.approved", row, by)
    return row


@transaction.atomic
def reject(adjustment: Adjustment, *, by: User, decision: str) -> Adjustment:
    """Reject with a reason; raises Refused(`reason`, `second-person`, `decided`)."""
    decision = " ".join(decision.split())
    if len(decision) < _WORDS_CHARS_MIN:
        raise Refused("reason", _("Write why it is rejected."))
    row = _locked(adjustment)
    if row.state == Adjustment.State.REJECTED and row.decided_by_id == by.pk:
        return row
    _refuse_decision(row, by)
    _decide(row, Adjustment.State.REJECTED, by, decision)
    _tell("adjustment.rejected", row, by)
    return row


def may_decide(adjustment: Adjustment, by: User) -> bool:
    """Tell whether this person may decide it: staff, and not who asked."""
    return by.is_staff and adjustment.requested_by_id != by.pk and adjustment.state == Adjustment.State.REQUESTED


def _locked(adjustment: Adjustment) -> Adjustment:
    # The account's row is the lock that requests take too: two leaks of one account are decided one after the other.
    Account.objects.select_for_update().get(pk=adjustment.account_id)
    rows = Adjustment.objects.select_for_update(of=("self",)).select_related("bill", "account", "requested_by")
    return rows.get(pk=adjustment.pk)


def _refuse_decision(row: Adjustment, by: User) -> None:
    if row.requested_by_id == by.pk:
        raise Refused("second-person", _("You asked for this adjustment; somebody else must decide it."))
    if not by.is_staff:
        raise Refused("not-staff", _("Only staff may decide."))
    if row.state != Adjustment.State.REQUESTED:
        raise Refused("decided", _("This adjustment was decided already."))


def _decide(row: Adjustment, state: Adjustment.State, by: User, decision: str) -> None:
    row.state, row.decided_by, row.decided_at, row.decision = state, by, now(), decision[:300]
    row.save(update_fields=["state", "decided_by", "decided_at", "decision"])


def _tell(action: str, row: Adjustment, by: User) -> None:
    detail = {"adjustment": row.public_id, "policy": row.policy, "amount_cents": row.amount_cents}
    if row.bill is not None:
        detail["bill"] = row.bill.public_id
    audit(action, actor=by, target=row.account, reason=(row.decision or row.reason)[:200], detail=detail)

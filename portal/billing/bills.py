"""Bills: the only door to their rows. Calculated as drafts, issued once, taken back and replaced, never edited."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.billing import budget
from portal.billing.agreements import end_agreement
from portal.billing.calculation import CalculatedBill, calculate
from portal.billing.delivery import deliver_many
from portal.billing.deposits import give_back
from portal.billing.documents.facts import freeze
from portal.billing.drafts import rewrite_draft, write_drafts
from portal.billing.gathering import Want, gather
from portal.billing.models import Bill, BillingAccount, BillLine, Charge, Deposit, ServiceAgreement
from portal.billing.periods import Period, period_with
from portal.billing.posting import legs_of
from portal.billing.shelf import Shelf, standing_shelf
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.prepared import Prepared
from portal.core.services import audit, utility_zone
from portal.customers.models import Occupancy
from portal.customers.services import move_out
from portal.ledger import chart
from portal.ledger.services import NewEntry, balances, post_many, reverse, today
from portal.metering.calendar import midnight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account

NEVER_RELEASED = frozenset(
    {"cannot-price", "nothing-to-bill", "no-meter", "no-start-read", "no-end-read", "earlier-bill-open"}
)
"""Findings that nobody can wave through: without what they ask for there is no amount."""


def next_period(row: BillingAccount, on: date) -> Period:
    """Return the days that an account's next bill is for, when it is made on a day: up to the cycle's end or its own.

    raises  Refused(`nothing-to-bill`) for an account that was billed to its end.
    """
    whole = period_with(row.cycle, on)
    start = period_start(row, whole.start)
    last = ServiceAgreement.objects.filter(account=row.account).order_by("-start").first()
    if last is None:
        raise Refused("nothing-to-bill", _("The account has no agreement; start one first."))
    if start >= whole.end:
        whole = period_with(row.cycle, start)
    end = min(whole.end, row.closed_on or whole.end)
    if start >= end:
        raise Refused("nothing-to-bill", _("The account was billed to its end."))
    return Period(start, end)


def period_start(row: BillingAccount, cycle_start: date) -> date:
    """Return the first day that is not billed yet of an account, given where its cycle's period starts."""
    if newest := LAST_END(row.account_id):
        return newest[0]
    return max([cycle_start, *FIRST_DAY(row.account_id)])


LAST_END: Prepared[date] = Prepared(
    lambda account: (
        Bill.objects.filter(account=account)
        .exclude(state=Bill.State.CANCELLED)
        .order_by("-period_end")
        .values_list("period_end", flat=True)[:1]
    )
)
FIRST_DAY: Prepared[date] = Prepared(
    lambda account: (
        ServiceAgreement.objects.filter(account=account).order_by("start").values_list("start", flat=True)[:1]
    )
)


def preview(account: Account, *, period: Period | None = None) -> CalculatedBill:
    """Return what the account's bill would be; nothing is written. period: the running one up to today by default."""
    row = _billed(account)
    if period is None:
        period = next_period(row, today())
        period = Period(period.start, max(min(period.end, today()), _next_day(period.start)))
    shelf = standing_shelf()
    facts = gather([Want(account.pk, period, row.cycle, today())], shelf)
    return calculate(facts[account.pk], shelf)


@transaction.atomic
def save_draft(
    account: Account,
    period: Period,
    *,
    bill_date: date | None = None,
    kind: str = Bill.Kind.REGULAR,
    replaces: Bill | None = None,
) -> Bill:
    """Calculate one bill and write it down; raises Refused(`billed`) when some of its days are on a living bill."""
    row = _billed(account, lock=True)
    standing = Bill.objects.filter(account=account, period_end__gt=period.start, period_start__lt=period.end)
    if standing.exclude(state=Bill.State.CANCELLED).exists():
        raise Refused("billed", _("Some of these days are on a bill already; cancel that one first."))
    on, shelf = bill_date or today(), standing_shelf()
    facts = gather([Want(account.pk, period, row.cycle, on)], shelf, record=True)
    bill = calculate(facts[account.pk], shelf)
    due = {account.pk: due_date(shelf, on)}
    return write_drafts([bill], bill_date=on, due_dates=due, kind=kind, replaces=replaces)[0]


@transaction.atomic
def recalculate(bill: Bill, *, actor: User | None = None, label: str = "") -> Bill:
    """Calculate a draft or held bill again from what is known now; raises Refused(`issued`) for any other."""
    bill = _locked(bill)
    if bill.state not in (Bill.State.DRAFT, Bill.State.HELD):
        raise Refused("issued", _("Only a bill that is not issued can be calculated again; correct this one instead."))
    shelf, row = standing_shelf(), _billed(bill.account, lock=True)
    want = Want(bill.account_id, Period(bill.period_start, bill.period_end), row.cycle, bill.bill_date)
    Charge.objects.filter(line__bill=bill).update(line=None)
    facts = gather([want], shelf, without=[bill.pk], record=True)
    done = calculate(facts[bill.account_id], shelf)
    rewrite_draft(bill, done, bill_date=bill.bill_date, due_date=bill.due_date)
    audit("bill.recalculate", actor=actor, label=label, target=bill, detail={"state": bill.state})
    return bill


@transaction.atomic
def release(bill: Bill, *, reason: str, actor: User) -> Bill:
    """Let a held bill go out as it is: it becomes a draft, and its findings say who decided so and why.

    raises  Refused(`reason`), Refused(`state`), Refused(`finding`) where an amount is missing.
    """
    reason = _reason(reason)
    bill = _locked(bill)
    if bill.state != Bill.State.HELD:
        raise Refused("state", _("Only a held bill can be released."))
    for finding in bill.findings:
        if finding["severity"] == "hold" and finding["code"] in NEVER_RELEASED:
            text = finding["detail"].get("text", finding["code"])
            raise Refused("finding", _("This cannot be waved through: %(text)s") % {"text": text})
    bill.findings = [
        {**finding, "severity": "note", "released": {"by": actor.public_id, "reason": reason}}
        if finding["severity"] == "hold"
        else finding
        for finding in bill.findings
    ]
    bill.state = Bill.State.DRAFT
    bill.save(update_fields=["findings", "state"])
    audit("bill.release", actor=actor, target=bill, reason=reason)
    return bill


def issue(bill: Bill, actor: User | None = None, *, label: str = "") -> Bill:
    """Give a draft its number, post it and send it, in one transaction; one that is issued already stays as it is.

    raises  Refused(`held`), Refused(`cancelled`).
    """
    with transaction.atomic():
        row = _locked(bill)
        if row.state == Bill.State.ISSUED:
            return row
        if row.state != Bill.State.DRAFT:
            raise Refused(row.state, _("This bill cannot be issued: resolve what holds it, or make another one."))
        _issue_one(row, actor, label)
        audit("bill.issue", actor=actor, label=label, target=row, detail={"number": row.number})
        return row


def _issue_one(bill: Bill, actor: User | None, label: str) -> None:
    """Issue a draft that the caller holds locked, with what its kind brings along.

    A final bill asks for less by the deposits; after a corrected one follow the bills that started where it ended.
    """
    if bill.kind == Bill.Kind.FINAL:
        for deposit in Deposit.objects.filter(account=bill.account_id, returned_on__isnull=True):
            give_back(deposit, on=bill.bill_date, pay_out=False, actor=actor, reason="final bill")
    issue_locked([bill], actor=actor, label=label)
    if bill.replaces is not None:
        _correct_next(bill, actor, label)


def _correct_next(bill: Bill, actor: User | None, label: str) -> None:
    """Correct the account's next bill too when a corrected one ends with other counts: it starts with them."""
    assert bill.replaces is not None
    if _ends(bill) == _ends(bill.replaces):
        return
    following = Bill.objects.filter(account=bill.account_id, period_start=bill.period_end)
    following = following.exclude(state=Bill.State.CANCELLED).select_related("account")
    for later in following:
        reason = f"the bill before it was corrected: {bill.number}"
        if later.state == Bill.State.ISSUED:
            cancel_and_rebill(later, reason=reason, actor=actor, label=label)
        else:
            recalculate(later, actor=actor, label=label)


def _ends(bill: Bill) -> set[tuple[Any, ...]]:
    """Return where a bill ends at each service point: what is carried on, and what the dials show."""
    rows = bill.segments.filter(end=bill.period_end)
    dials = rows.values_list("agreement__service_point", "remainder", "dials__register", "dials__last_shown")
    return set(dials)


def issue_locked(bills: Sequence[Bill], *, actor: User | None = None, label: str = "") -> None:
    """Issue drafts whose rows the caller holds locked, in the caller's transaction; few queries for any number."""
    if not bills:
        return
    accounts = [bill.account_id for bill in bills]
    before = balances(accounts)
    lines: dict[int, list[BillLine]] = {bill.pk: [] for bill in bills}
    for line in BillLine.objects.filter(bill__in=lines).order_by("bill", "position"):
        lines[line.bill_id].append(line)
    plans = _plans(bills)
    entries = list[NewEntry]()
    for bill in bills:
        bill.number = f"{bill.bill_date:%Y%m}-{bill.pk:07d}"
        legs = legs_of(bill.account_id, lines[bill.pk], due_on=bill.due_date, budget=plans.get(bill.pk))
        bill.balance_before_cents = before[bill.account_id]
        asked = sum(leg.amount_cents for leg in legs if leg.ledger_account_code == chart.RECEIVABLES)
        bill.due_cents = bill.balance_before_cents + asked
        if legs:
            detail: dict[str, Any] = {"bill": bill.public_id, "number": bill.number}
            entries.append(NewEntry("bill", bill.bill_date, legs, entry_key(bill), bill.number, actor, label, detail))
    posted = {entry.key: entry for entry in post_many(entries)} if entries else {}
    for bill in bills:
        bill.entry = posted.get(entry_key(bill))
        bill.state, bill.issued_at = Bill.State.ISSUED, now()
    freeze(bills)
    columns = ["number", "balance_before_cents", "due_cents", "entry", "state", "issued_at", "facts"]
    Bill.objects.bulk_update(bills, columns, batch_size=200)
    deliver_many(bills)


def _plans(bills: Sequence[Bill]) -> dict[int, budget.BudgetDue]:
    """Return what budget plans make of bills, by bill."""
    result = {}
    for final in (False, True):
        some = [bill for bill in bills if (bill.kind == Bill.Kind.FINAL) is final]
        for on in {bill.bill_date for bill in some}:
            of_day = [bill for bill in some if bill.bill_date == on]
            found = budget.states([bill.account_id for bill in of_day], on, final=final)
            result.update({bill.pk: found[bill.account_id] for bill in of_day if bill.account_id in found})
    return result


def entry_key(bill: Bill) -> str:
    """Return the key of a bill's journal entry."""
    return f"bill:{bill.public_id}"


@transaction.atomic
def cancel(bill: Bill, *, reason: str, actor: User | None = None, label: str = "") -> Bill:
    """Take a bill back: its entry is reversed, its charges wait again, the bill stays to be seen.

    raises  Refused(`reason`), Refused(`cancelled`).
    """
    reason = _reason(reason)
    bill = _locked(bill)
    if bill.state == Bill.State.CANCELLED:
        raise Refused("cancelled", _("This bill was cancelled already."))
    if bill.entry is not None:
        reverse(bill.entry, key=f"{entry_key(bill)}:reversed", reason=reason, actor=actor, label=label)
    Charge.objects.filter(line__bill=bill).update(line=None)
    bill.state, bill.cancelled_at, bill.cancel_reason = Bill.State.CANCELLED, now(), reason
    bill.save(update_fields=["state", "cancelled_at", "cancel_reason"])
    audit("bill.cancel", actor=actor, label=label, target=bill, reason=reason, detail={"number": bill.number or ""})
    return bill


@transaction.atomic
def cancel_and_rebill(bill: Bill, *, reason: str, actor: User | None = None, label: str = "") -> Bill:
    """Take an issued bill back and issue the one that follows from what is known now; both stay.

    The corrected bill is held, and not issued, when something must be looked at first. A later bill that started with
    a count that is another one now is corrected too.
    raises  Refused(`state`) for a bill that is not issued; Refused(`reason`).
    """
    old = _locked(bill)
    if old.state != Bill.State.ISSUED:
        raise Refused("state", _("Only an issued bill is corrected; calculate a draft again instead."))
    old = cancel(old, reason=reason, actor=actor, label=label)
    new = save_draft(old.account, Period(old.period_start, old.period_end), kind=Bill.Kind.CORRECTED, replaces=old)
    if new.state == Bill.State.DRAFT:
        _issue_one(new, actor, label)
    detail = {"was_cents": old.charges_cents, "is_cents": new.charges_cents, "replaces": old.public_id}
    audit("bill.rebill", actor=actor, label=label, target=new, reason=_reason(reason), detail=detail)
    return new


@transaction.atomic
def final_bill(account: Account, on: date, actor: User | None = None, *, label: str = "") -> Bill:
    """End an account's agreements and occupancies on a day and issue its last bill, up to the midnight before it.

    Deposits are set against what is owed first, so that the bill asks for less. Held like any other bill.
    raises  Refused(`day`) for a day to come; Refused(`billed`) when the days up to it are on bills already.
    """
    row = _billed(account, lock=True)
    if on > today():
        raise Refused("day", _("This day is not here yet; its last reads are not either."))
    start = period_start(row, period_with(row.cycle, on - timedelta(days=1)).start)
    if start >= on:
        raise Refused("billed", _("The days up to this one are on bills already; cancel the last one first."))
    for agreement in ServiceAgreement.objects.filter(account=account, end__isnull=True):
        end_agreement(agreement, on, actor=actor, label=label)
    moment = midnight(on, utility_zone())
    for occupancy in Occupancy.objects.filter(account=account, end__isnull=True, start__lt=moment):
        move_out(occupancy, moment, actor=actor, label=label)
    row.closed_on = on
    row.save(update_fields=["closed_on"])
    bill = save_draft(account, Period(start, on), kind=Bill.Kind.FINAL)
    if bill.state == Bill.State.DRAFT:
        _issue_one(bill, actor, label)
    audit("bill.final", actor=actor, label=label, target=bill, detail={"on": on.isoformat(), "state": bill.state})
    return bill


def difference(bill: Bill) -> list[tuple[str, int, int]]:
    """Return (service, cents of the replaced bill, cents of this one) for a corrected bill, where they differ."""
    old: dict[str, int] = {}
    new: dict[str, int] = {}
    for row, sums in ((bill.replaces, old), (bill, new)):
        for service, cents in [] if row is None else row.lines.values_list("service", "amount_cents"):
            sums[service] = sums.get(service, 0) + cents
    return [
        (service, old.get(service, 0), new.get(service, 0))
        for service in sorted({*old, *new})
        if old.get(service, 0) != new.get(service, 0)
    ]


def due_date(shelf: Shelf, bill_date: date) -> date:
    """Return when bills of a day are due, by the policies of that day."""
    return shelf.on(bill_date).book.policies(bill_date).due.due_date(bill_date)


def _billed(account: Account, *, lock: bool = False) -> BillingAccount:
    rows = BillingAccount.objects.select_related("cycle")
    if lock:
        rows = rows.select_for_update(of=("self",))
    row = rows.filter(account=account).first()
    if row is None:
        raise Refused("not-billed", _("This account is not billed; put it into a cycle first."))
    return row


def _locked(bill: Bill) -> Bill:
    return Bill.objects.select_for_update(of=("self",)).select_related("account", "entry").get(pk=bill.pk)


def _reason(text: str) -> str:
    text = " ".join(text.split())[:200]
    if not text:
        raise Refused("reason", _("Say why."))
    return text


def _next_day(day: date) -> date:
    return day + timedelta(days=1)

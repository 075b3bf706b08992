"""Fees: each a Charge that waits for the next bill, once for its key; the amounts are the rate file's.

A late fee is charged once for a bill (`late-fee:BILL`), on what is still unpaid of that bill, late fees in it left out;
while an outage lasts none is, and the days to pay start anew when it ends. A payment that the bank sent back is
reversed and costs its fee (`returned-payment:ENTRY`).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.billing.addressed import within
from portal.billing.models import Bill, Charge, OutageGrace
from portal.billing.posting import LATE_FEE
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.models import Account
from portal.ledger.models import JournalEntry, Posting
from portal.ledger.services import open_items, return_payment, today

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from django.db.models import QuerySet

    from portal.core.models import User
    from rates.policies import LateFee, Policies, ReturnedPayment

LOOK_BACK_DAYS = 60
"""A bill that fell due longer ago gets no late fee any more: somebody decided, or the job was off for too long."""

_LABELS: Mapping[str, Mapping[str, str]] = {
    LATE_FEE: {"en": "Late fee", "es": "Cargo por pago tardío"},
    "returned-payment": {"en": "Returned payment fee", "es": "Cargo por pago devuelto"},
    "connection": {"en": "Connection fee", "es": "Cargo por conexión"},
    "transfer": {"en": "Transfer fee", "es": "Cargo por traslado"},
    "reconnect": {"en": "Reconnection fee", "es": "Cargo por reconexión"},
}


@transaction.atomic
def charge_fee(
    account: Account, code: str, *, about: str, on: date, rules: Policies, actor: User | None = None, label: str = ""
) -> Charge:
    """Charge one of the rate file's fees, once for what it is about (an agreement's or an order's public id).

    raises  Refused(`fee`) for a code that the rates do not have.
    """
    if code not in rules.fees:
        shown = {"code": code, "known": ", ".join(sorted(rules.fees)) or "\N{EN DASH}"}
        raise Refused("fee", _("The rates have no fee “%(code)s”; they have: %(known)s.") % shown)
    return _charge(account, code, about, rules.fees[code], on, rules, actor=actor, by=label)


def _charge(
    account: Account,
    code: str,
    about: str,
    cents: int,
    on: date,
    rules: Policies | None,
    *,
    actor: User | None,
    by: str = "",
) -> Charge:
    wording = (rules.fee_labels.get(code) if rules else None) or _LABELS.get(code) or {"en": code}
    made, fresh = Charge.objects.get_or_create(
        key=f"{code}:{about}",
        defaults={
            "account": account,
            "on": on,
            "kind": "fee",
            "service": "account",
            "code": code,
            "label": dict(wording),
            "amount_cents": cents,
            "created_at": now(),
        },
    )
    if fresh:
        audit("fee.charged", actor=actor, label=by, target=account, detail={"key": made.key, "cents": cents})
    return made


@transaction.atomic
def waive(charge: Charge, *, reason: str, actor: User) -> Charge:
    """Waive a charge that is on no bill yet; raises Refused(`billed`) for another, which an adjustment takes back."""
    reason = " ".join(reason.split())[:200]
    if not reason:
        raise Refused("reason", _("Say why."))
    row = Charge.objects.select_for_update().get(pk=charge.pk)
    if row.line_id is not None:
        raise Refused("billed", _("It is on a bill already; ask for an adjustment."))
    if row.waived_at is None:
        row.waived_at = now()
        row.save(update_fields=["waived_at"])
        audit("charge.waived", actor=actor, target=row.account, reason=reason, detail={"key": row.key})
    return row


@transaction.atomic
def charge_late_fees(on: date, rules: Policies) -> list[Charge]:
    """Charge the late fees that fall due up to a day, and return the new ones; running it again adds nothing."""
    rule = rules.late_fee
    if rule is None:
        return []
    graces = [(grace, _addressed(grace)) for grace in _graces(on)]
    bills = [
        bill
        for bill in _late_candidates(on)
        if _charge_day(bill.due_date, rule, [one for one, who in graces if who is None or bill.account_id in who], on)
    ]
    unpaid, late_fees = _unpaid(bills, on)
    made = []
    for bill in bills:
        place = bill.account_id, bill.due_date
        cents = rule.fee_cents(unpaid[place], late_fees_in_it_cents=late_fees[place])
        if cents > 0:
            made.append(_charge(bill.account, LATE_FEE, bill.public_id, cents, on, rules, actor=None, by="late fees"))
    return made


def _graces(on: date) -> QuerySet[OutageGrace]:
    return OutageGrace.objects.filter(Q(end__isnull=True) | Q(end__gte=on - timedelta(days=LOOK_BACK_DAYS)))


def _addressed(grace: OutageGrace) -> frozenset[int] | None:
    """Return the accounts whose fees a grace holds; None: all."""
    if not grace.audience:
        return None
    return frozenset(Account.objects.filter(within(grace.audience)).values_list("pk", flat=True))


def _late_candidates(on: date) -> list[Bill]:
    had = Charge.objects.filter(code=LATE_FEE, key__startswith=f"{LATE_FEE}:", on__gte=on - timedelta(days=400))
    charged = {key.partition(":")[2] for key in had.values_list("key", flat=True)}
    found = Bill.objects.filter(
        state=Bill.State.ISSUED, due_date__lt=on, due_date__gte=on - timedelta(days=LOOK_BACK_DAYS), due_cents__gt=0
    ).select_related("account")
    return [bill for bill in found if bill.public_id not in charged]


def _charge_day(due: date, rule: LateFee, graces: Sequence[OutageGrace], on: date) -> bool:
    """Tell whether the fee of a bill that was due on a day has fallen due, given the outages since."""
    day = rule.charge_on(due)
    for grace in sorted(graces, key=lambda each: each.start):
        if grace.start <= day and (grace.end is None or grace.end >= due):
            if grace.end is None:
                return False
            day = max(day, rule.charge_on(grace.end))
    return day <= on


def _unpaid(bills: Sequence[Bill], on: date) -> tuple[dict[tuple[int, date], int], dict[tuple[int, date], int]]:
    """Return what is unpaid by account and due day, and how much of that is late fees."""
    unpaid: defaultdict[tuple[int, date], int] = defaultdict(int)
    late_fees: defaultdict[tuple[int, date], int] = defaultdict(int)
    for item in open_items(on, accounts=sorted({bill.account_id for bill in bills})):
        unpaid[item.account, item.due_on] += item.cents
        if item.service == LATE_FEE:
            late_fees[item.account, item.due_on] += item.cents
    return unpaid, late_fees


@transaction.atomic
def start_grace(*, reason: str, start: date | None = None, actor: User | None = None, label: str = "") -> OutageGrace:
    """Hold late fees from a day on, because people cannot pay; the grace that lasts is returned when there is one."""
    reason = " ".join(reason.split())[:200]
    if not reason:
        raise Refused("reason", _("Say why."))
    standing = OutageGrace.objects.select_for_update().filter(end__isnull=True, audience={}).order_by("start").first()
    if standing is not None:
        return standing
    made = OutageGrace.objects.create(start=start or today(), reason=reason, started_by=actor)
    audit("grace.started", actor=actor, label=label, target=made, reason=reason)
    return made


@transaction.atomic
def end_grace(
    grace: OutageGrace, *, end: date | None = None, actor: User | None = None, label: str = ""
) -> OutageGrace:
    """End a grace on a day, inclusive; from then on the days to pay count anew."""
    row = OutageGrace.objects.select_for_update().get(pk=grace.pk)
    if row.end is None:
        row.end, row.ended_by = max(end or today(), row.start), actor
        row.save(update_fields=["end", "ended_by"])
        audit("grace.ended", actor=actor, label=label, target=row)
    return row


@transaction.atomic
def plan_grace(
    *,
    reason: str,
    start: date,
    end: date | None = None,
    audience: Mapping[str, Sequence[str]] | None = None,
    actor: User | None = None,
    label: str = "",
) -> OutageGrace:
    """Hold late fees from one day to another, inclusive; other graces may hold them at the same time.

    audience  of which accounts (see portal.billing.addressed); without one: of all.
    """
    reason = " ".join(reason.split())[:200]
    made = OutageGrace.objects.create(
        start=start, end=end, audience=dict(audience or {}), reason=reason, started_by=actor
    )
    audit("grace.started", actor=actor, label=label, target=made, reason=made.reason)
    return made


@transaction.atomic
def move_grace(
    grace: OutageGrace, *, start: date, end: date | None, actor: User | None = None, label: str = ""
) -> OutageGrace:
    """Let a grace begin and end on other days, inclusive, or last until somebody ends it (None)."""
    row = OutageGrace.objects.select_for_update().get(pk=grace.pk)
    wanted = start, None if end is None else max(end, start)
    if wanted != (row.start, row.end):
        detail = {"before": _span(row)}
        (row.start, row.end), row.ended_by = wanted, None if end is None else actor
        row.save(update_fields=["start", "end", "ended_by"])
        audit("grace.moved", actor=actor, label=label, target=row, detail={**detail, "after": _span(row)})
    return row


@transaction.atomic
def cancel_grace(grace: OutageGrace, *, actor: User | None = None, label: str = "") -> None:
    """Take back a grace that has not begun; one that has ends today, for nobody is charged for days that were held."""
    row = OutageGrace.objects.select_for_update().get(pk=grace.pk)
    if row.start <= today():
        move_grace(row, start=row.start, end=today(), actor=actor, label=label)
        return
    audit("grace.cancelled", actor=actor, label=label, target=row, detail={"was": _span(row)})
    row.delete()


def _span(row: OutageGrace) -> str:
    return f"{row.start.isoformat()} to {'...' if row.end is None else row.end.isoformat()}"


@transaction.atomic
def returned_payment(
    entry: JournalEntry, *, reason: str, rules: Policies, on: date | None = None, actor: User | None = None
) -> tuple[JournalEntry, Charge | None]:
    """Take back a payment that the bank returned and charge its fee; return the reversal and the fee, if there is one.

    raises  what portal.ledger.services.return_payment raises.
    """
    day = on or today()
    made = return_payment(entry, reason=reason, on=day, actor=actor)
    account = _payer(entry)
    if rules.returned_payment is None or rules.returned_payment.fee_cents <= 0 or account is None:
        return made, None
    fee = _charge(
        account, "returned-payment", entry.public_id, rules.returned_payment.fee_cents, day, rules, actor=actor
    )
    return made, fee


def cash_only_until(account: Account, rule: ReturnedPayment | None, *, on: date) -> date | None:
    """Return up to when the account pays by cash or card only, after too many returned payments; None otherwise."""
    if rule is None or rule.cash_only_after is None:
        return None
    returned = list(
        JournalEntry.objects.filter(
            reverses__kind="payment", reverses__postings__account=account, date__gt=_months_before(on, 12), date__lte=on
        )
        .distinct()
        .order_by("date")
        .values_list("date", flat=True)
    )
    if len(returned) < rule.cash_only_after:
        return None
    until = _months_before(returned[-1], -rule.cash_only_months)
    return until if until > on else None


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return day.replace(year=year, month=month + 1, day=min(day.day, 28))


def _payer(entry: JournalEntry) -> Account | None:
    leg = Posting.objects.filter(entry=entry, account__isnull=False).select_related("account").first()
    return leg.account if leg else None

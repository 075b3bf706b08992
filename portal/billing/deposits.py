"""Deposits: money held for an account, without interest, given back less what it owes.

Taken over the counter it is posted at once (cash against 2200); put on a bill it is a waiting Charge of kind `deposit`
with the key `deposit:ID`, which the bill posts to 2200. Giving back sets it against what is owed first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.billing.lateness import late_bills
from portal.billing.models import Bill, Charge, Deposit
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.services import METHODS, Leg, balance_cents, post

if TYPE_CHECKING:
    from datetime import date

    from portal.core.models import User
    from rates.policies import Deposit as DepositRule

LABEL = {"en": "Deposit", "es": "Depósito"}


@transaction.atomic
def take(
    account: Account, amount_cents: int, *, on: date, method: str, reference: str, actor: User | None = None
) -> Deposit:
    """Take a deposit over the counter, once for each account, method and reference.

    raises  Refused(`amount`, `method`, `reference`), Refused(`key`) for a reference that stands with another amount.
    """
    reference = " ".join(reference.split())
    if amount_cents <= 0:
        raise Refused("amount", _("A deposit is more than nothing."))
    if method not in METHODS:
        raise Refused("method", _("Choose how it was paid."))
    if not reference or len(reference) > 60:
        raise Refused(
            "reference", _("Give the check's number, the receipt's, or another reference that is not reused.")
        )
    _lock(account)
    entry = post(
        "deposit",
        on,
        [Leg(chart.CASH, amount_cents), Leg(chart.DEPOSITS, -amount_cents, account=account.pk)],
        key=f"deposit:{method}:{account.public_id}:{reference}",
        memo=f"{method} {reference}",
        actor=actor,
    )
    standing = Deposit.objects.filter(entry=entry).first()
    if standing is not None:
        return standing
    made = Deposit.objects.create(account=account, amount_cents=amount_cents, taken_on=on, entry=entry)
    audit("deposit.taken", actor=actor, target=account, detail={"deposit": made.public_id, "cents": amount_cents})
    return made


@transaction.atomic
def put_on_bill(
    account: Account, rate_class: str, rule: DepositRule, *, on: date, actor: User | None = None
) -> Deposit:
    """Ask for the rule's deposit on the account's next bill; what is asked or held already is returned as it stands.

    raises  Refused(`amount`) when the rule asks nothing of the class.
    """
    cents = rule.amount_cents.get(rate_class, 0)
    if cents <= 0:
        raise Refused("amount", _("The rates ask no deposit of this class."))
    _lock(account)
    standing = Deposit.objects.filter(account=account, returned_on__isnull=True).order_by("pk").first()
    if standing is not None:
        return standing
    made = Deposit.objects.create(account=account, amount_cents=cents, taken_on=on)
    Charge.objects.create(
        account=account,
        key=f"deposit:{made.public_id}",
        on=on,
        kind="deposit",
        service="account",
        code="deposit",
        label=LABEL,
        amount_cents=cents,
        created_at=now(),
    )
    audit("deposit.asked", actor=actor, target=account, detail={"deposit": made.public_id, "cents": cents})
    return made


@transaction.atomic
def give_back(deposit: Deposit, *, on: date, pay_out: bool, actor: User | None = None, reason: str = "") -> Deposit:
    """Give a deposit back: what the account owes is covered first; the rest is paid out, or stays as its credit.

    pay_out  False before a final bill is made, which then asks for less; True when the account is settled.
    A deposit that was asked for and never billed is waived. Giving back twice changes nothing.
    """
    _lock(deposit.account)
    row = Deposit.objects.select_for_update().get(pk=deposit.pk)
    if row.returned_on is not None:
        return row
    if held(row):
        owed = min(row.amount_cents, max(balance_cents(row.account), 0)) if pay_out else row.amount_cents
        row.return_entry = post(
            "deposit-return",
            on,
            [
                Leg(chart.DEPOSITS, row.amount_cents, account=row.account_id),
                Leg(chart.RECEIVABLES, -owed, account=row.account_id, service="deposit"),
                Leg(chart.CASH, owed - row.amount_cents),
            ],
            key=f"deposit-return:{row.public_id}",
            memo=reason[:200],
            actor=actor,
        )
    else:
        Charge.objects.filter(key=f"deposit:{row.public_id}", line__isnull=True).update(waived_at=now())
    row.returned_on = on
    row.save(update_fields=["returned_on", "return_entry"])
    detail = {"deposit": row.public_id, "cents": row.amount_cents, "pay_out": pay_out}
    audit("deposit.returned", actor=actor, target=row.account, reason=reason[:200], detail=detail)
    return row


def held(deposit: Deposit) -> bool:
    """Tell whether the deposit was paid over the counter or billed, so that the ledger holds it."""
    if deposit.entry_id is not None:
        return True
    key = f"deposit:{deposit.public_id}"
    return Charge.objects.filter(key=key, line__bill__state=Bill.State.ISSUED).exists()


def earned_back(deposit: Deposit, rule: DepositRule, *, on: date) -> bool:
    """Tell whether the account has paid well for long enough that the rule gives the deposit back."""
    if rule.refund_after_months is None or deposit.returned_on is not None:
        return False
    taken = deposit.taken_on
    months = (on.year - taken.year) * 12 + on.month - taken.month - (on.day < taken.day)
    if months < rule.refund_after_months:
        return False
    return len(late_bills(deposit.account, since=taken, until=on)) <= rule.late_max


def _lock(account: Account) -> None:
    Account.objects.select_for_update().get(pk=account.pk)

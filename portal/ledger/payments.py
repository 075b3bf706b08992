"""Money that comes in over the counter, by mail or telephone, and money that the bank sends back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.models import JournalEntry
from portal.ledger.posting import Leg, NewEntry, post_many, reverse, today

if TYPE_CHECKING:
    from datetime import date

    from portal.core.models import User

METHODS = ("cash", "check", "phone", "card", "transfer")
SAME_AMOUNT_WITHIN = timedelta(hours=24)
_REFERENCE_CHARS_MAX = 60


@transaction.atomic
def record_payment(
    account: Account,
    amount_cents: int,
    *,
    method: str,
    received_on: date,
    reference: str,
    actor: User | None = None,
    label: str = "",
    confirmed: bool = False,
) -> JournalEntry:
    """Post a payment, once for each account, method and reference (check number, receipt); a repeat finds it.

    confirmed  staff looked and said that it is not the payment of the same amount from the last 24 hours.
    raises     Refused(`amount`, `method`, `day`, `reference`); Refused(`duplicate`) for the same amount within 24 hours
               unless confirmed; Refused(`key`) when the reference stands with another amount.
    """
    entry = payment_entry(account, amount_cents, method=method, received_on=received_on, reference=reference)
    # Payments of one account take turns: otherwise two of the same amount at the same moment would not see each other.
    Account.objects.select_for_update().get(pk=account.pk)
    standing = JournalEntry.objects.filter(key=entry.key).first()
    if standing is None and not confirmed and (alike := _alike(account, amount_cents)):
        shown = {"reference": alike.detail.get("reference", ""), "day": alike.date.isoformat()}
        raise Refused(
            "duplicate",
            _("The same amount was posted within 24 hours (%(reference)s, %(day)s). Say so if this is another payment.")
            % shown,
        )
    [posted] = post_many([entry.by(actor, label)])
    if standing is None:
        detail: dict[str, Any] = {"entry": posted.public_id, "amount_cents": amount_cents, "method": method}
        audit("payment.recorded", actor=actor, label=label, target=account, detail=detail)
    return posted


def payment_entry(account: Account, amount_cents: int, *, method: str, received_on: date, reference: str) -> NewEntry:
    """Return the entry of a payment; its key has account, method and reference, so that it is posted once.

    raises  Refused(`amount`, `method`, `day`, `reference`).
    """
    reference = " ".join(reference.split())
    if amount_cents <= 0:
        raise Refused("amount", _("A payment is more than nothing."))
    if method not in METHODS:
        raise Refused("method", _("Choose how it was paid."))
    if received_on > today():
        raise Refused("day", _("A payment cannot be received on a day to come."))
    if not 1 <= len(reference) <= _REFERENCE_CHARS_MAX:
        raise Refused(
            "reference", _("Give the check's number, the receipt's, or another reference that is not reused.")
        )
    return NewEntry(
        "payment",
        received_on,
        [Leg(chart.CASH, amount_cents), Leg(chart.RECEIVABLES, -amount_cents, account=account.pk)],
        f"payment:{method}:{account.public_id}:{reference}",
        f"{method} {reference}",
        detail={"method": method, "reference": reference},
    )


def _alike(account: Account, amount_cents: int) -> JournalEntry | None:
    return JournalEntry.objects.filter(
        kind="payment",
        posted_at__gt=now() - SAME_AMOUNT_WITHIN,
        reversed_by__isnull=True,
        postings__account=account,
        postings__amount_cents=-amount_cents,
    ).first()


@transaction.atomic
def return_payment(
    entry: JournalEntry, *, reason: str, on: date | None = None, actor: User | None = None, label: str = ""
) -> JournalEntry:
    """Take back a payment that the bank returned; what it paid is owed again, as old as it was.

    raises  Refused(`kind`) for an entry that is no payment, and what `reverse` raises.
    """
    if entry.kind != "payment":
        raise Refused("kind", _("This entry is not a payment."))
    return reverse(entry, key=f"returned:{entry.public_id}", reason=reason, on=on, actor=actor, label=label)

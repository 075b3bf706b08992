"""Bills that could not be emailed: what their readers are told until the address is right again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.billing.delivery import email_key, hidden, known_addresses
from portal.billing.models import Bill, BillDelivery, BillingAccount
from portal.notifications.bounces import bad_addresses
from portal.notifications.models import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from portal.customers.models import Account


@dataclass(frozen=True, slots=True)
class Returned:
    """An account whose bills, or newest bill, could not be emailed and went on paper after all.

    address  that they were sent to, in lower case; to: with its middle hidden.
    day      of the one bill; None when every bill goes on paper until the address is corrected or confirmed again.
    """

    account: Account
    address: str
    day: date | None

    @property
    def to(self) -> str:
        """Return the address as it is shown."""
        return hidden(self.address)


def returned_bills(accounts: Sequence[Account]) -> list[Returned]:
    """Return what could not be emailed of accounts that want their bills by email; a few queries for any number.

    It ends when an address is chosen that works, when the owner confirms the old one, or with the next bill that went.
    """
    billed = set(BillingAccount.objects.filter(account__in=accounts, paper=False).values_list("account", flat=True))
    asked = [account for account in accounts if account.pk in billed]
    both, bad = known_addresses([account.pk for account in asked]), bad_addresses()
    known = {account: [address.lower() for address in some] for account, some in both.items()}
    found: list[Returned] = []
    others: list[Account] = []
    for account in asked:
        mine = known[account.pk]
        if mine and all(address in bad for address in mine):
            found.append(Returned(account, mine[0], None))
        elif mine:
            others.append(account)
    lost = _lost({account.pk for account in others}, bad)
    for account in others:
        day, address = lost.get(account.pk, (None, ""))
        if address in known[account.pk]:
            found.append(Returned(account, address, day))
    return found


def _lost(accounts: Iterable[int], bad: frozenset[str]) -> dict[int, tuple[date, str]]:
    """Return day and address of each account's newest bill, where its email did not arrive and nobody saw to it."""
    rows = BillDelivery.objects.filter(bill__account__in=accounts, channel="email", bill__state=Bill.State.ISSUED)
    newest = {row.bill.account_id: row for row in rows.select_related("bill").order_by("bill__bill_date", "pk")}
    messages = Message.objects.in_bulk([email_key(row.bill) for row in newest.values()], field_name="key")
    lost: dict[int, tuple[date, str]] = {}
    for account, row in newest.items():
        message = messages.get(email_key(row.bill))
        address = row.to.lower()
        if message and (message.failed_at or (message.bounced_at and address in bad)):
            lost[account] = row.bill.bill_date, address
    return lost


def on_paper_after_all(messages: Iterable[Message]) -> dict[int, BillDelivery]:
    """Return, by message, the paper way of the bill that it carried and that did not arrive by it."""
    carried = {
        message.attachment.partition(":")[2]: message.pk
        for message in messages
        if message.attachment and (message.failed_at or message.bounced_at)
    }
    if not carried:
        return {}
    rows = BillDelivery.objects.filter(bill__public_id__in=carried, channel="paper").select_related("bill")
    return {carried[row.bill.public_id]: row for row in rows}

"""One customer's account as the journal has it: every entry that touches it, and what was owed after each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from django.db.models import Q, Sum
from django.db.models.functions import Coalesce

from portal.ledger import chart
from portal.ledger.models import JournalEntry
from portal.ledger.posting import balance_cents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet
    from django_stubs_ext import WithAnnotations

    from portal.customers.models import Account

    class _Cents(TypedDict):
        cents: int
        held_cents: int

    _Entry = WithAnnotations[JournalEntry, _Cents]

PAID = ("payment", "deposit")
"""Kinds of entries by which a customer's money comes in."""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Transaction:
    """One entry, as one account sees it.

    cents          what it adds to what is owed; negative: what it takes off.
    held_cents     what it adds to the deposits that are held for the account.
    balance_cents  what is owed after it; entries of one day stand in the order in which they were posted.
    """

    entry: JournalEntry
    cents: int
    held_cents: int
    balance_cents: int

    @property
    def reversed_by(self) -> JournalEntry | None:
        """The entry that took it back."""
        return getattr(self.entry, "reversed_by", None)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One entry by which an account's money came in, and how much."""

    entry: JournalEntry
    cents: int

    @property
    def reversed_by(self) -> JournalEntry | None:
        """The entry that took it back, as after a returned check."""
        return getattr(self.entry, "reversed_by", None)


def transactions(account: Account, *, first: int = 0, most: int) -> list[Transaction]:
    """Return an account's entries, the newest first, from the entry at place `first` on."""
    rows = _entries(account).order_by("-date", "-pk")
    owed = balance_cents(account) - sum(rows.values_list("cents", flat=True)[:first])
    found = []
    for row in rows[first : first + most]:
        found.append(Transaction(row, row.cents, row.held_cents, owed))
        owed -= row.cents
    return found


def all_transactions(account: Account) -> Iterator[Transaction]:
    """Yield all of an account's entries, the oldest first."""
    owed = 0
    for row in _entries(account).order_by("date", "pk").iterator(_AT_ONCE):
        owed += row.cents
        yield Transaction(row, row.cents, row.held_cents, owed)


def payments(account: Account, *, first: int = 0, most: int) -> list[Receipt]:
    """Return what was paid on an account, the newest first, from the payment at place `first` on."""
    return [Receipt(row, row.held_cents - row.cents) for row in _payments(account)[first : first + most]]


def all_payments(account: Account) -> Iterator[Receipt]:
    """Yield all of an account's payments, the newest first."""
    for row in _payments(account).iterator(_AT_ONCE):
        yield Receipt(row, row.held_cents - row.cents)


def _payments(account: Account) -> QuerySet[_Entry]:
    return _entries(account).filter(kind__in=PAID).order_by("-date", "-pk")


def _entries(account: Account) -> QuerySet[_Entry]:
    legs = Q(postings__account=account)
    owed = Sum("postings__amount_cents", filter=legs & Q(postings__ledger_account__code=chart.RECEIVABLES))
    held = Sum("postings__amount_cents", filter=legs & Q(postings__ledger_account__code=chart.DEPOSITS))
    return (
        JournalEntry.objects.filter(legs)
        .select_related("reverses", "reversed_by")
        .annotate(cents=Coalesce(owed, 0), held_cents=-Coalesce(held, 0))
    )

"""The ledger's door: everything that other packages may do with it, by name."""

from __future__ import annotations

from portal.ledger.aging import Ages, Aging, OpenItem, aging, open_items
from portal.ledger.auditing import Difference, audit_ledger
from portal.ledger.payments import METHODS, payment_entry, record_payment, return_payment
from portal.ledger.posting import (
    Leg,
    NewEntry,
    balance_cents,
    balances,
    post,
    post_many,
    receivable_legs,
    reverse,
    today,
)

__all__ = [
    "METHODS",
    "Ages",
    "Aging",
    "Difference",
    "Leg",
    "NewEntry",
    "OpenItem",
    "aging",
    "audit_ledger",
    "balance_cents",
    "balances",
    "open_items",
    "payment_entry",
    "post",
    "post_many",
    "receivable_legs",
    "record_payment",
    "return_payment",
    "reverse",
    "today",
]

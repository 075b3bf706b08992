"""Builds what the ledger's tests need: accounts, bills as legs."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.services import Leg, receivable_legs

if TYPE_CHECKING:
    from collections.abc import Mapping

DAY = date(2026, 3, 2)
DUE = date(2026, 3, 16)


def account(number: str = "10001") -> Account:
    return Account.objects.create(number=number, name="A. Payer")


def bill_legs(payer: Account, *, due_on: date = DUE, **cents_by_service: int) -> list[Leg]:
    """A bill's legs: what is owed, by service, and the income."""
    services: Mapping[str, int] = cents_by_service
    income = [Leg(chart.income_code(name), -cents, service=name) for name, cents in services.items()]
    return receivable_legs(payer.pk, services, due_on=due_on) + income

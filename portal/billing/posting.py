"""What a bill is in the journal: the legs of its one entry, made of its lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from portal.ledger import chart
from portal.ledger.services import Leg, receivable_legs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from portal.billing.budget import BudgetDue

ONE_OFF = frozenset({"fee", "deposit", "adjustment"})
"""Kinds of lines that are paid at once even under a budget plan."""

LATE_FEE = "late-fee"
"""Code of a late fee's line; and on receivables its service, so that no late fee is ever charged on one."""

BUDGET = "budget"
"""On receivables: the service of a budget plan's monthly amount."""


class PostedLine(Protocol):
    """What the ledger must know of a line; BillLine has it."""

    @property
    def service(self) -> str:
        """`water`, `sewer`, ..."""

    @property
    def code(self) -> str:
        """The line's stable name."""

    @property
    def kind(self) -> str:
        """See BillLine."""

    @property
    def amount_cents(self) -> int:
        """A charge positive, a credit negative."""


def legs_of(account: int, lines: Iterable[PostedLine], *, due_on: date, budget: BudgetDue | None = None) -> list[Leg]:
    """Return the legs of a bill: receivables one leg a service, income and liabilities by account and service.

    budget  of an account on a plan: what is owed at once in place of the service lines' sum; the rest goes to 1210.
    The legs sum to zero whatever the lines are; a bill that comes to nothing in every line has none.
    """
    lines = list(lines)
    owed: Counter[str] = Counter()
    earned: Counter[tuple[str, str]] = Counter()
    for line in lines:
        plain = budget is not None and line.kind not in ONE_OFF
        owed["" if plain else _receivable(line)] += line.amount_cents
        earned[_credited(line), line.service] += line.amount_cents
    legs: list[Leg] = []
    if budget is not None:
        services = owed.pop("", 0)
        owed[BUDGET] = budget.receivable_cents(services)
        legs.append(Leg(chart.BUDGET_DEFERRED, budget.deferred_cents(services), account=account))
    legs += receivable_legs(account, owed, due_on=due_on)
    for (code, service), cents in sorted(earned.items()):
        legs.append(Leg(code, -cents, account=account if code in chart.OF_CUSTOMERS else None, service=service))
    return [leg for leg in legs if leg.amount_cents]


def service_cents(lines: Iterable[PostedLine]) -> int:
    """Return the sum of the lines that a budget plan evens out."""
    return sum(line.amount_cents for line in lines if line.kind not in ONE_OFF)


def _receivable(line: PostedLine) -> str:
    if line.kind == "fee":
        return LATE_FEE if line.code == LATE_FEE else "fee"
    return line.kind if line.kind in ("deposit", "adjustment") else line.service


def _credited(line: PostedLine) -> str:
    named = {"fee": chart.FEES, "deposit": chart.DEPOSITS, "adjustment": chart.ADJUSTMENTS, "tax": chart.TAXES}
    return named.get(line.kind) or chart.income_code(line.service)

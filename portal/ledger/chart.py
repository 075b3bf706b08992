"""The chart of accounts: codes by name, and what each is for. A migration writes it; services make what is missing."""

from __future__ import annotations

from typing import Final

CASH: Final = "1000"
RECEIVABLES: Final = "1200"
BUDGET_DEFERRED: Final = "1210"
DEPOSITS: Final = "2200"
UNAPPLIED: Final = "2300"
OPENING: Final = "3000"
WATER: Final = "4100"
SEWER: Final = "4200"
SANITATION: Final = "4300"
OTHER_SERVICES: Final = "4400"
FEES: Final = "4500"
TAXES: Final = "4600"
ADJUSTMENTS: Final = "4900"

CHART: Final[tuple[tuple[str, str, str], ...]] = (
    (CASH, "Cash", "asset"),
    (RECEIVABLES, "Accounts receivable", "asset"),
    (BUDGET_DEFERRED, "Budget billing deferred", "asset"),
    (DEPOSITS, "Customer deposits", "liability"),
    (UNAPPLIED, "Unapplied credits", "liability"),
    (OPENING, "Opening balances", "equity"),
    (WATER, "Water", "income"),
    (SEWER, "Sewer", "income"),
    (SANITATION, "Sanitation", "income"),
    (OTHER_SERVICES, "Other services", "income"),
    (FEES, "Fees", "income"),
    (TAXES, "Taxes collected", "liability"),
    (ADJUSTMENTS, "Adjustments", "income"),
)
"""(code, name, kind) of each account."""

OF_CUSTOMERS: Final = frozenset({RECEIVABLES, BUDGET_DEFERRED, DEPOSITS, UNAPPLIED})
"""Control accounts: every posting on them names the customer's account."""

_OF_SERVICE: Final = {"water": WATER, "sewer": SEWER, "sanitation": SANITATION, "tax": TAXES, "fee": FEES}


def income_code(service: str) -> str:
    """Return the account that a service's charges are credited to; what has none of its own goes to other services."""
    return _OF_SERVICE.get(service, OTHER_SERVICES)

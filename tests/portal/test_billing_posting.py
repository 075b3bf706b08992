"""A bill's entry, with and without a budget plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest

from portal.billing.budget import BudgetDue
from portal.billing.posting import legs_of, service_cents
from portal.ledger.services import Leg

DUE = date(2026, 4, 20)


@dataclass(frozen=True)
class Line:
    service: str
    kind: str
    amount_cents: int
    code: str = "x"


LINES = [
    Line("water", "fixed", 1090),
    Line("water", "usage", 5035),
    Line("sewer", "usage", 2300),
    Line("water", "tax", 210),
    Line("stormwater", "fixed", 400),
    Line("account", "fee", 500, "late-fee"),
    Line("account", "fee", 1000, "connection"),
    Line("account", "deposit", 7500),
    Line("account", "adjustment", -700),
    Line("account", "adjustment", 0),
]


def test_a_bill_debits_receivables_by_service_and_credits_income() -> None:
    legs = legs_of(7, LINES, due_on=DUE)
    assert set(legs) == {
        Leg("1200", 6335, 7, "water", DUE),
        Leg("1200", 2300, 7, "sewer", DUE),
        Leg("1200", 400, 7, "stormwater", DUE),
        Leg("1200", 500, 7, "late-fee", DUE),
        Leg("1200", 1000, 7, "fee", DUE),
        Leg("1200", 7500, 7, "deposit", DUE),
        Leg("1200", -700, 7, "adjustment", DUE),
        Leg("4100", -6125, None, "water"),
        Leg("4200", -2300, None, "sewer"),
        Leg("4400", -400, None, "stormwater"),
        Leg("4600", -210, None, "water"),
        Leg("4500", -1500, None, "account"),
        Leg("2200", -7500, 7, "account"),
        Leg("4900", 700, None, "account"),
    }
    assert sum(leg.amount_cents for leg in legs) == 0


@pytest.mark.parametrize(
    ("due", "owed", "moved"),
    [
        (BudgetDue(6000, 0, settles=False), 6000, 3035),
        (BudgetDue(9500, -100, settles=False), 9500, -465),
        (BudgetDue(6000, 1234, settles=True), 9035 + 1234, -1234),
        (BudgetDue(6000, -20000, settles=True), 9035 - 20000, 20000),
    ],
)
def test_a_budget_evens_out_services_alone(due: BudgetDue, owed: int, moved: int) -> None:
    assert service_cents(LINES) == 9035
    legs = legs_of(7, LINES, due_on=DUE, budget=due)
    by = {(leg.ledger_account_code, leg.service): leg.amount_cents for leg in legs}
    assert by["1200", "budget"] == owed == due.receivable_cents(9035)
    assert by["1210", ""] == moved == due.deferred_cents(9035)
    assert by["1200", "deposit"] == 7500
    assert by["4100", "water"] == -6125, "income is what was used"
    assert ("1200", "water") not in by
    assert sum(leg.amount_cents for leg in legs) == 0
    facts = due.as_facts(9035)
    assert facts["deferred_after_cents"] == due.deferred_before_cents + moved
    assert facts["deferred_after_cents"] == 0 or not due.settles


def test_a_bill_of_nothing_has_no_legs() -> None:
    assert legs_of(7, [Line("water", "usage", 0)], due_on=DUE) == []

"""Rules as data: the values that utilities publish."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from rates.policies import BudgetBilling, DueRule, LateFee, LeakAdjustment, ProrationRule
from rates.reading import load_file
from tests.rates.texts import example


def test_half_of_the_excess_the_odd_thousand_to_the_customer() -> None:
    """Wildwood NJ: 125,000 gal at an average of 6,000; 60,000 of the 119,000 above it are credited."""
    rule = LeakAdjustment(share=Fraction(1, 2), rounding=1000, every_months=0)
    assert rule.credit_units(125_000, 6_000) == 60_000
    assert rule.credit_units(6_000, 6_000) == 0
    assert LeakAdjustment().credit_units(20_000, 10_000) == 5_000  # Cedar Hill TX
    assert LeakAdjustment().credit_units(7, Fraction(20, 3)) == 1
    assert LeakAdjustment(excess_percent=Fraction(100)).credit_units(19_999, 10_000) == 0
    assert LeakAdjustment(excess_percent=Fraction(100)).credit_units(20_000, 10_000) == 5_000


def test_the_published_examples(data_dir: Path) -> None:
    path = data_dir / "rates" / "policy_examples.json"
    if not path.is_file():
        pytest.skip(f"required-data: policy examples not found at {path}")
    leaks = [row for row in json.loads(path.read_text()) if row["rule"].startswith("leak adjustment")]
    for row in leaks:
        rule = LeakAdjustment(rounding=1000 if "odd thousand" in row.get("note", "") else 1)
        used = row.get("period_gallons", row.get("leak_gallons"))
        average = row.get("average_gallons", row.get("normal_gallons"))
        assert rule.credit_units(used, average) == row["credit_gallons"]
    assert len(leaks) == 2


def test_once_in_so_many_months_or_in_a_life() -> None:
    yearly, once = LeakAdjustment(every_months=12), LeakAdjustment(every_months=0)
    had = [date(2025, 3, 15), date(2024, 1, 1)]
    assert yearly.allowed_on(date(2026, 3, 15), had)
    assert not yearly.allowed_on(date(2026, 3, 14), had)
    assert yearly.allowed_on(date(2026, 4, 1), had)
    assert once.allowed_on(date(2026, 1, 1), [])
    assert not once.allowed_on(date(2046, 1, 1), had)


def test_budget_billing() -> None:
    bills = [10_000 + 100 * month for month in range(12)]  # sum 126,600 cents
    assert BudgetBilling(factor=Fraction("1.05")).monthly_cents(bills) == 11_078  # Brentwood TN: / 12 * 1.05 = 110.775
    huntingburg = BudgetBilling(divisor=11, settle_month=9)
    assert huntingburg.monthly_cents(bills) == 11_509  # / 11 = 115.0909...
    assert huntingburg.monthly_cents(bills[1:]) is None
    assert huntingburg.monthly_cents([999_999, *bills]) == 11_509
    assert huntingburg.settle_on(date(2026, 10, 1)) == date(2027, 9, 1)
    assert huntingburg.settle_on(date(2026, 3, 1)) == date(2026, 9, 1)
    assert BudgetBilling().settle_on(date(2026, 3, 20)) == date(2027, 3, 1)


def test_late_fee() -> None:
    """Mesa AZ: max(2 %, 5.00), none when less than 25.00 is owed; never on a late fee."""
    mesa = LateFee(Fraction(2), minimum_cents=500, threshold_cents=2500)
    assert [mesa.fee_cents(cents) for cents in (0, 2_499, 2_500, 25_000, 25_025, 30_000)] == [0, 0, 500, 500, 501, 600]
    assert mesa.fee_cents(40_500, late_fees_in_it_cents=500) == 800
    assert mesa.fee_cents(3_000, late_fees_in_it_cents=3_000) == 0
    assert mesa.charge_on(date(2026, 2, 28)) == date(2026, 3, 1)


def test_due_dates_fall_on_business_days() -> None:
    bend = DueRule(days=13)
    assert bend.due_date(date(2026, 6, 1)) == date(2026, 6, 15)  # the 14th is a Sunday
    assert DueRule(days=13, next_business_day=False).due_date(date(2026, 6, 1)) == date(2026, 6, 14)
    assert DueRule(days=13, holidays=frozenset({date(2026, 6, 15)})).due_date(date(2026, 6, 1)) == date(2026, 6, 16)
    tenth = DueRule(days=10, day_of_month=10)  # Spencer OK: the 10th
    assert tenth.due_date(date(2026, 5, 25)) == date(2026, 6, 10)
    assert tenth.due_date(date(2026, 6, 1)) == date(2026, 7, 10)


def test_a_period_ten_percent_longer_is_a_full_one_and_more_is_not() -> None:
    rule = ProrationRule()
    assert [rule.full_days(days, 30) for days in (26, 27, 30, 33, 34)] == [30, 27, 30, 33, 30]


def test_the_rules_of_a_file() -> None:
    text = example().replace(
        "versions:\n  - start", "  - from: 2026-07-01\n    due: {days: 20}\nversions:\n  - start", 1
    )
    book = load_file(text, name="example.yaml")
    before, after = book.policies(date(2026, 6, 30)), book.policies(date(2026, 7, 1))
    assert before.due == DueRule(days=13, holidays=frozenset({date(2026, 7, 3)}))
    assert after.due == DueRule(days=20)
    assert after.late_fee == before.late_fee == LateFee(Fraction(2), 500, 2500, 1)
    assert before.budget == BudgetBilling(divisor=11, settle_month=9)
    assert before.leak == LeakAdjustment()
    assert before.returned_payment is not None
    assert (before.returned_payment.fee_cents, before.returned_payment.cash_only_after) == (2500, 3)
    assert before.fee_labels["connection"]["es"] == "Conexión"


def test_a_ccf_counted_as_748_gallons() -> None:
    """Woodland CA: the second tier starts above 12 ccf = 8,976 gal."""
    from domain.units import Unit

    book = load_file(example(), name="example.yaml")
    assert book.units_of(Fraction(8976), Unit.GALLON) == 12
    assert book.units_of(Fraction(1200), Unit.CUBIC_FOOT) == 12
    exact = load_file(example().replace(", conversions: {gal: 748}", ""), name="example.yaml")
    assert 0 < 12 - exact.units_of(Fraction(8976), Unit.GALLON) < Fraction(1, 1000)

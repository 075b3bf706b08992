"""The pilot's rates: worked by hand from the city's page, and the eleven cases that were worked from it before."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from rates.book import Priced
from rates.file import FileBook
from rates.loading import load_book
from tests.rates.texts import NORMAN, amounts, price


@pytest.fixture(scope="module")
def norman() -> FileBook:
    book = load_book(NORMAN.read_text(), name="norman.yaml")
    assert isinstance(book, FileBook)
    return book


def services(priced: Priced) -> dict[str, str]:
    found: dict[str, int] = {}
    for line in priced.lines:
        found[line.service] = found.get(line.service, 0) + line.cents
    return {service: f"{cents // 100}.{cents % 100:02d}" for service, cents in found.items()}


# gallons, month, winter average, low income: water, sewer (sanitation is always 14.00). Worked by hand.
WORKED = [
    (0, 1, 4000, "no", "10.90", "20.80"),
    (1, 1, 0, "no", "10.90", "10.00"),
    (4000, 2, 4000, "no", "24.74", "20.80"),
    (5000, 5, 4000, "no", "28.20", "20.80"),
    (5001, 5, 4000, "no", "28.20", "20.80"),
    (5002, 5, 4000, "no", "28.21", "20.80"),
    (12345, 6, 5200, "no", "61.25", "24.04"),
    (15000, 6, 5200, "no", "73.20", "24.04"),
    (20000, 7, 5200, "no", "106.95", "24.04"),
    (20100, 8, 5200, "no", "107.94", "24.04"),  # 0.951 and 0.035, each rounded half up
    (26000, 7, 5200, "no", "166.11", "24.04"),
    (26000, 9, 5200, "no", "164.01", "24.04"),
    (5000, 3, 3000, "yes", "21.15", "15.60"),
    (8000, 3, 3000, "yes", "34.65", "15.60"),
]


@pytest.mark.parametrize(("gallons", "month", "winter", "poor", "water", "sewer"), WORKED)
def test_a_residential_bill(
    norman: FileBook, gallons: int, month: int, winter: int, poor: str, water: str, sewer: str
) -> None:
    on = date(2026, month, 15)
    priced = price(norman, gallons, "residential", on=on, winter_average=winter, low_income=poor)
    assert services(priced) == {"water": water, "sewer": sewer, "sanitation": "14.00"}
    assert priced.total * 100 == sum(line.cents for line in priced.lines)


def test_the_cases_worked_before(norman: FileBook, data_dir: Path) -> None:
    path = data_dir / "rates" / "norman" / "norman_2023.json"
    if not path.is_file():
        pytest.skip(f"required-data: Norman's cases not found at {path}")
    cases = json.loads(path.read_text())["cases"]
    for case in cases:
        on = date(2026, case["month"], 15)
        inputs = {"winter_average": case["winter_average_gallons"], "low_income": case["low_income"]}
        assert services(price(norman, case["gallons"], "residential", on=on, **inputs)) == case["expected"]
    assert len(cases) == 11


def test_apartments_pay_fees_by_unit(norman: FileBook) -> None:
    lines = amounts(price(norman, 4000, "apartments", dwelling_units=8, winter_average=4000))
    assert lines == [
        *("base 87.20", "use 13.84"),
        *("base 40.00", "use 10.80", "maintenance 40.00"),
        "base 112.00",
    ]


def test_a_commercial_bill(norman: FileBook) -> None:
    """Above the own winter average water is dearer; sewer is for 80 % of it; improvements are 60 % of sewer."""
    lines = amounts(price(norman, 10000, "commercial", winter_average=6000))
    assert lines == [
        *("base 10.90", "use 28.14", "use 28.16"),
        *("base 5.00", "use 21.60", "maintenance 5.00", "capital_improvement 18.96"),
        *("base 19.64", "oswma 0.20"),
    ]
    assert amounts(price(norman, 10000, "commercial"))[:2] == ["base 10.90", "use 46.90"]


def test_before_the_vote(norman: FileBook) -> None:
    before = price(norman, 26000, "residential", on=date(2023, 8, 31), winter_average=5200)
    assert amounts(before)[:5] == ["base 7.50", "use 16.75", "use 41.00", "use 26.00", "use 40.80"]
    assert {line.version for line in before.lines} == {"2015-01-01"}
    after = price(norman, 26000, "residential", on=date(2023, 9, 1), winter_average=5200)
    assert {line.version for line in after.lines} == {"2023-09-01"}
    assert norman.changes(date(2023, 1, 1), date(2026, 1, 1)) == (date(2023, 9, 1),)
    assert norman.classes(date(2020, 1, 1)) == ("residential", "apartments")


def test_a_period_over_the_vote_at_constant_daily_use_is_the_day_weighted_mean(norman: FileBook) -> None:
    use, full = Fraction(31000), 31
    whole = {}
    for on in (date(2023, 8, 20), date(2023, 9, 10)):
        whole[on] = sum(line.amount for line in price(norman, use, "residential", on=on, month=9).lines)
    parts = [
        price(norman, use * days / full, "residential", on=on, month=9, days=days, full_days=full)
        for on, days in ((date(2023, 8, 20), 12), (date(2023, 9, 10), 19))
    ]
    exact = sum(line.amount for part in parts for line in part.lines)
    assert exact == (whole[date(2023, 8, 20)] * 12 + whole[date(2023, 9, 10)] * 19) / full


def test_the_open_question_is_off_and_can_be_tried(norman: FileBook) -> None:
    """10.90 + 1.50 = 12.40, if the city says so."""
    assert amounts(price(norman, 0, "residential"))[0] == "base 10.90"
    tried = norman.with_lines_on(frozenset({"water.capital_improvement"}))
    assert amounts(price(tried, 0, "residential"))[:2] == ["base 10.90", "capital_improvement 1.50"]


def test_fees_and_rules(norman: FileBook) -> None:
    policies = norman.policies(date(2026, 1, 1))
    assert policies.fees == {"connection": 1000, "transfer": 2000, "reconnect": 5000, "online_payment": 300}
    assert policies.deposit is not None
    assert policies.deposit.amount_cents == {"commercial": 3000}
    assert policies.late_fee is None
    assert norman.policies(date(2020, 1, 1)).fees == {}
    rule = norman.winter_rule("residential", date(2026, 1, 1))
    assert rule is not None
    assert (rule.months, rule.reset_month, rule.default_units) == ((12, 1, 2), 3, None)
    assert rule == norman.winter_rule("commercial", date(2026, 1, 1))

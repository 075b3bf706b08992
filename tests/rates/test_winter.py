"""The worked tables of docs/algorithms/winter-average.md, and what they leave out."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import pytest

from rates.winter import MonthUse, WinterRule, average_start, bill_month, winter_average
from tests.rates.texts import HEAD, ROOT, price, small, table_after

PAGE = ROOT / "docs" / "algorithms" / "winter-average.md"
RULES = {
    "Norman: Dec, Jan, Feb": WinterRule(),
    "3 lowest of Nov to Feb, default 6000": WinterRule(months=(11, 12, 1, 2), lowest=3, default_units=6000),
    "at least 2 of Dec to Feb, default 6000": WinterRule(months_min=2, default_units=6000),
}
ENDS = {
    "Nov": date(2025, 12, 1),
    "Dec": date(2026, 1, 1),
    "Jan": date(2026, 2, 1),
    "Feb": date(2026, 3, 1),
    "Mar": date(2026, 4, 1),
}


def bills(row: dict[str, str]) -> list[MonthUse]:
    found = []
    for name, end in ENDS.items():
        if row[name] != "-":
            units, _, days = row[name].partition(" in ")
            start = end - timedelta(days=int(days.split()[0]) if days else 28)
            found.append(MonthUse(start, end, int(units)))
    return found


@pytest.mark.parametrize("row", table_after(PAGE, "## A worked table"), ids=lambda row: "-".join(row.values()))
def test_the_worked_table(row: dict[str, str]) -> None:
    found = winter_average(RULES[row["rule"]], bills(row))
    assert found.units == (None if row["average"] == "actual" else Fraction(row["average"]))
    assert bool(found.basis) == (row["average"] not in ("actual", "6000"))
    assert found == winter_average(RULES[row["rule"]], list(reversed(bills(row))))


@pytest.mark.parametrize("row", table_after(PAGE, "## What is charged"), ids=lambda row: "-".join(row.values()))
def test_what_is_charged(row: dict[str, str]) -> None:
    head = HEAD.replace("winter_average: {months: [12, 1, 2]}", f"winter_average: {{cap_actual: {row['capped']}}}")
    book = small("code: use, charge: usage, basis: winter_average, per: 1000, price: 2.70", head=head)
    priced = price(book, row["used"], winter_average=5200, days=int(row["days"]), full_days=30)
    assert priced.lines[0].quantity == Fraction(row["charged gallons"])
    assert priced.total == Fraction(row["sewer use"])


def test_only_the_latest_winter_counts() -> None:
    uses = [MonthUse(date(year, 1, 1), date(year, 2, 1), year) for year in (2024, 2025, 2026)]
    assert winter_average(WinterRule(), uses).units == 2026
    assert winter_average(WinterRule(), uses[:2]).basis == (uses[1],)
    december = MonthUse(date(2025, 12, 1), date(2026, 1, 1), 1000)
    assert winter_average(WinterRule(), [*uses, december]).basis == (december, uses[2])


def test_a_bill_is_of_the_month_of_its_last_day() -> None:
    assert [bill_month(end) for end in (date(2026, 1, 1), date(2026, 1, 2), date(2026, 3, 1))] == [12, 1, 2]


def test_an_average_holds_from_the_reset_month_on() -> None:
    rule = WinterRule(reset_month=3)
    assert average_start(rule, date(2026, 2, 28)) == date(2025, 3, 1)
    assert average_start(rule, date(2026, 3, 1)) == date(2026, 3, 1)
    assert average_start(rule, date(2026, 12, 31)) == date(2026, 3, 1)

"""The worked tables of docs/algorithms/tiers.md."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rates.reading import load_file
from tests.rates.texts import NORMAN, ROOT, price, small, table_after

PAGE = ROOT / "docs" / "algorithms" / "tiers.md"


@pytest.mark.parametrize(
    "row", table_after(PAGE, "## A worked table"), ids=lambda row: f"{row['gallons']}-{row['days']}"
)
def test_the_worked_table(row: dict[str, str]) -> None:
    book = load_file(NORMAN.read_text(), name="norman.yaml")
    days, full_days = int(row["days"]), int(row["full days"])
    priced = price(book, row["gallons"], "residential", month=2, days=days, full_days=full_days)
    tiers = {line.tier: Fraction(line.cents, 100) for line in priced.lines if line.code == "use" and line.tier}
    expected = {n: Fraction(row[f"tier {n}"]) for n in range(1, 5) if row[f"tier {n}"] != "-"}
    assert tiers == expected
    assert sum(tiers.values()) == Fraction(row["sum"])


@pytest.mark.parametrize("row", table_after(PAGE, "## One gallon decides"), ids=lambda row: row["units"])
@pytest.mark.parametrize("bound", ["to: 10", "below: 10"])
def test_one_gallon_decides(row: dict[str, str], bound: str) -> None:
    book = small(f"code: use, charge: usage, per: 1, tiers: [{{{bound}, price: 2.00}}, {{price: 3.00}}]")
    assert price(book, row["units"]).total == Fraction(row[bound])

"""Real files against the bills published for them, and against the vectors of the format's own tool."""

from __future__ import annotations

import json
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rates.book import Priced, PriceRequest
from rates.errors import RatesError
from rates.owrs import OwrsBook

HALF_A_CENT = Fraction(5, 1000) + Fraction(1, 10**6)
REFUSALS = {"class not in rate file": "no class RESIDENTIAL_MULTI", "tier_starts missing": "needs tier_starts"}


@pytest.fixture
def folder(data_dir: Path) -> Path:
    if not (data_dir / "rates").is_dir():
        pytest.skip(f"required-data: rate files not found at {data_dir / 'rates'}")
    return data_dir / "rates"


def read(path: Path) -> Any:
    return json.loads(path.read_text(), parse_float=Fraction)


def quote(book: OwrsBook, rate_class: str, usage: object, inputs: dict[str, object]) -> Priced:
    return book.price(PriceRequest(rate_class, Fraction(str(usage)), date(2026, 1, 1), 4, inputs=inputs))


def test_every_published_bill_to_the_cent(folder: Path) -> None:
    cases = read(folder / "expected_bills.json")
    missed = []
    for case in cases:
        name, months, expected = case["rate_file"], case["months_in_period"], case["expected_per_month"]["bill"]
        book = OwrsBook.load((folder / "owrs" / name).read_text(), name)
        keys = ["usage_low", "usage_high"] if case["check"] == "bracket" else ["usage_billing_units_per_period"] * 2
        low, high = (quote(book, case["rate_class"], case[key], case["inputs"]) for key in keys)
        for answer in (low, high):
            assert sum(line.amount for line in answer.lines) == answer.total
        if not low.total / months - HALF_A_CENT <= expected <= high.total / months + HALF_A_CENT:
            missed.append((name, float(low.total / months), float(expected)))
    assert len(cases) == 30
    assert missed == []


def test_the_parts_of_a_published_bill(folder: Path) -> None:
    """The service and the use that the source lists are lines of ours."""
    for case in read(folder / "expected_bills.json"):
        if case["check"] == "bracket":
            continue
        book = OwrsBook.load((folder / "owrs" / case["rate_file"]).read_text(), case["rate_file"])
        answer = quote(book, case["rate_class"], case["usage_billing_units_per_period"], case["inputs"])
        for part in ("service_charge", "commodity_charge"):
            ours = sum((line.amount for line in answer.lines if line.code == part), Fraction(0))
            assert abs(ours / case["months_in_period"] - case["expected_per_month"][part]) <= HALF_A_CENT, case[
                "rate_file"
            ]


def test_no_real_file_has_a_fault(folder: Path) -> None:
    files = sorted((folder / "owrs").glob("*.owrs"))
    faults = {path.name: OwrsBook.load(path.read_text(), path.name).faults for path in files}
    assert {name: [str(fault) for fault in found] for name, found in faults.items() if found} == {}
    assert len(files) == 30


def test_the_vectors_of_the_formats_own_tool(folder: Path) -> None:
    book = OwrsBook.load((folder / "rateparser_vectors.owrs").read_text(), "rateparser_vectors.owrs")
    vectors = read(folder / "rateparser_vectors.json")
    for vector in vectors:
        inputs = vector["inputs"]
        if "expected_error" in vector:
            with pytest.raises(RatesError, match=REFUSALS[vector["expected_error"]]):
                quote(book, inputs["cust_class"], 0, inputs)
        else:
            assert quote(book, inputs["cust_class"], 0, inputs).total == vector["expected_bill"]
    assert len(vectors) == 4

"""What is refused, with its line; and that nothing but our own errors comes out of a broken file."""

from __future__ import annotations

import random
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rates.book import PriceRequest
from rates.errors import InputError, RateFileError, RatesError
from rates.owrs import OwrsBook
from rates.owrs.structure import date_of, months_of, unit_of
from tests.rates.owrs_texts import BUDGET, HEAD, HOUSE, TIERED, book_of, total

CLASS_LINE = 7  # of the class in a file that book_of makes; its first part stands on the next


def messages(parts: str) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.where.split(".")[-1], fault.message) for fault in book_of(parts).faults]


def test_a_sound_file_has_no_faults() -> None:
    assert messages(TIERED) == []
    assert messages(BUDGET) == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "empty"),
        ("just a word", 1, "mapping"),
        ("metadata: {}\n", 1, "missing"),
        ("rate_structure:\n", 1, "missing"),
        ("rate_structure:\n  A:\n    bill: [1, 2\n", 4, "not valid YAML"),
        ('rate_structure:\n  A:\n    x: "a\n  B: 2\n', 5, "not valid YAML"),
        ("rate_structure:\n  A:\n   b: 1\n    c: 2\n", 4, "not valid YAML"),
        ("rate_structure:\n\tA: 1\n", 2, "not valid YAML"),
        ("rate_structure:\n  A: {bill: 1}\x07\n", 2, "not valid YAML"),
        ("rate_structure:\n  ? [1]\n  : 2\n", 2, "a key must be plain text"),
        ("a: 1\n---\nb: 1\n", 2, "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(RateFileError) as refused:
        OwrsBook.load(text, "bad.owrs")
    fault = refused.value.faults[0]
    assert fault.line == line
    assert message in fault.message
    assert f"bad.owrs: line {line}: " in str(refused.value)


@pytest.mark.parametrize(
    ("parts", "line", "part", "message"),
    [
        ("commodity_charge: Tiered\ntier_prices: [1]\nbill: commodity_charge", 8, "commodity_charge",
         "needs tier_starts"),
        ("sewer_charge: Tiered\ntier_starts: [0]\ntier_prices: [1]\nbill: sewer_charge", 8, "sewer_charge",
         "needs sewer_tier_prices"),
        ("commodity_charge: Tiered\ntier_starts: [0, 5, 9]\ntier_prices: [1, 2]\nbill: commodity_charge", 8,
         "commodity_charge", "tier_starts has 3 entries, tier_prices has 2"),
        ("bill: a+\na: 1", 8, "bill", "the formula ends"),
        ("a: 1\nbill: 2a", 9, "bill", "operator is missing before `a`"),
        ("bill: 1 & 2", 8, "bill", "`&` has no place"),
        ("bill: (1", 8, "bill", "`)` is missing at the end"),
        ("bill: a+b\na: b\nb: 2*c\nc: a", 9, "a", "goes in a circle: a -> b -> c -> a"),
        ("service_charge: 1\nbill: service_charge+comodity_charge\ncommodity_charge: 2", 9, "bill",
         "did you mean commodity_charge?"),
        ("service_charge: 1", 7, "bill", "missing"),
        ("bill:", 8, "bill", "is empty"),
        ("a: {depends_on: x}\nbill: a", 8, "a", "needs both depends_on"),
        ("a: {values: {x: 1}}\nbill: a", 8, "a", "needs both depends_on"),
        ("a: 1\nb: 2\na: 3\nbill: a", 10, "a", "stands twice with different contents"),
        ("a: {depends_on: x, values: {q: 1, q: 2}}\nbill: a", 8, "a", "the entry `q` stands twice"),
        ("commodity_charge: Tiered\ntier_starts: [0, 50%]\ntier_prices: [1, 2]\nbill: commodity_charge", 9,
         "tier_starts", "only a `Budget` charge has shares"),
        ("commodity_charge: Tiered\ntier_starts: [0, 9, 5]\ntier_prices: [1, 2, 3]\nbill: commodity_charge", 9,
         "tier_starts", "5 does not lie above"),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_line(parts: str, line: int, part: str, message: str) -> None:
    found = messages(parts)
    assert any(row[0] == line and row[1] == part and message in row[2] for row in found), found


def test_all_faults_are_listed_in_the_order_of_the_lines_and_spoil_only_their_class() -> None:
    text = HEAD + "  A:\n    bill: x_charge\n  B:\n    bill: 7\n  C:\n    fee: 1 2\n"
    book = OwrsBook.load(text.replace("07/01/2021", "soon").replace("kgal", "buckets"), "three.owrs")
    assert [fault.line for fault in book.faults] == [2, 5, 8, 11, 12]
    assert total(book, 0, rate_class="B") == 7
    with pytest.raises(RateFileError, match="C.bill: missing"):
        total(book, 0, rate_class="C")
    with pytest.raises(InputError, match="A has no part `x_charge`, which bill needs"):
        total(book, 0, rate_class="A")
    assert total(book, 0, rate_class="A", x_charge=3) == 3


@pytest.mark.parametrize(
    ("parts", "inputs", "error", "message"),
    [
        ("bill: 1/zero\nzero: 0", {}, RateFileError, "line 8: RESIDENTIAL_SINGLE.bill: `1/zero` divides by zero"),
        ("bill: 9^9^9^9", {}, RateFileError, "power|too large"),
        ("bill: (0-8)^(1/3)", {}, RateFileError, "power that cannot be computed"),
        ("bill: a\na: b\nb: a", {}, RateFileError, "goes in a circle: a -> b -> a"),
        ("bill: a\na: [1, 2]", {}, RateFileError, "not a list"),
        ("bill: a", {"a": "many"}, InputError, "a is `many`: a number is needed"),
        ("bill: a", {"a": float("nan")}, InputError, "no number"),
        ("bill: usage_ccf", {"usage_ccf": "much"}, InputError, "usage_ccf is `much`"),
        ("bill: a\na: {depends_on: x, values: {q: wide}}", {"x": "q"}, RateFileError, "`wide` stands where a number"),
        ("bill: 1", {"days": 0}, InputError, "days"),
    ],
)
def test_a_quote_that_cannot_be_made_says_why(
    parts: str, inputs: dict[str, object], error: type[RatesError], message: str
) -> None:
    with pytest.raises(error, match=message):
        total(book_of(parts), 1, **inputs)


def test_a_small_file_cannot_grow_without_bounds() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
    for text in ("l0: &l0 [1]\n" + levels, "[" * 5000, "a: &a {b: *a}\nrate_structure: *a\n", "x: " + "{y: " * 200):
        with pytest.raises(RateFileError):
            OwrsBook.load(text, "bomb.owrs")
    with pytest.raises(RateFileError, match="circle|chain"):
        total(book_of("\n".join(["bill: p0", *(f"p{n}: p{n + 1}" for n in range(300)), "p300: 1"])), 1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2017-01-01", date(2017, 1, 1)),
        ("07/01/2017", date(2017, 7, 1)),
        ("7/1/17", date(2017, 7, 1)),
        ("07-03-2017", date(2017, 7, 3)),
        ("2017/7/1", date(2017, 7, 1)),
        ("July 1, 2017", date(2017, 7, 1)),
        ("1 Jul 2017", date(2017, 7, 1)),
        ("13/13/2017", None),
        ("2017", None),
        ("", None),
        ("Smarch 1, 2017", None),
    ],
)
def test_dates_as_files_write_them(written: str, meant: date | None) -> None:
    assert date_of(written) == meant


def test_frequencies_and_units_in_any_spelling() -> None:
    spelt = {"Monthly": 1, "monthly": 1, "Bi-Monthly": 2, "bimonthly": 2, "BI MONTHLY": 2, "Quarterly": 3,
             "Annually": 12, "Semi-Annually": 6, "yearly": 12, "": None, "never": None}  # fmt: skip
    assert {text: months_of(text) for text in spelt} == spelt
    for text, unit in (
        ("CCF", "ccf"),
        ("Kgal", "kgal"),
        ("kilolitre", "m3"),
        ("HCF", "ccf"),
        ("1,000 gallons", "kgal"),
    ):
        quantity = unit_of(text)
        assert quantity is not None
        assert quantity.unit.value == unit
    assert unit_of("buckets") is None


PIECES = [*"*^()0-|%:\n\t\"[]{}é", "Tiered", "Budget", "depends_on", "values", "usage_ccf", "&a", "*a", "  ", "1e9",
          "9" * 40, "bill", "indoor", "/0"]  # fmt: skip


@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_a_mutated_file_raises_nothing_but_our_own_errors(seed: int, cuts: int) -> None:
    dice = random.Random(seed)
    source = HEAD + "  RESIDENTIAL_SINGLE:\n" + dice.choice([TIERED, BUDGET])
    text = list(source)
    for _ in range(cuts):
        at = dice.randrange(len(text))
        text[at : at + dice.choice([0, 1, 3, 12])] = dice.choice([*PIECES, ""])
    inputs = {**HOUSE, "meter_size": '3/4"'}
    try:
        book = OwrsBook.load("".join(text), "mutant.owrs")
        for rate_class in book.classes(date(2030, 1, 1)):
            book.explain(rate_class, date(2030, 1, 1), dice.choice(["en", "es"]))
            book.inputs(rate_class, date(2030, 1, 1))
            request = PriceRequest(rate_class, Fraction(dice.randrange(100)), date(2030, 1, 1), 1, 30, 61, inputs)
            answer = book.price(request)
            assert sum((line.amount for line in answer.lines), Fraction(0)) == answer.total
    except RatesError:
        return

"""The format of our own rate files: the reference's example, and each kind of line by itself."""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction

import pytest
from jsonschema import Draft202012Validator

from rates.asking import Question, day_for, request_of
from rates.book import LineKind, PriceRequest
from rates.errors import InputError
from rates.reading import load_file
from rates.schema import validator
from tests.rates.texts import REFERENCE, amounts, example, price, small, table_after


@pytest.mark.parametrize(
    "row", table_after(REFERENCE, "| class | on |"), ids=lambda row: f"{row['class']}-{row['inputs']}"
)
def test_the_references_example(row: dict[str, str]) -> None:
    book = load_file(example(), name="example.yaml")
    question = Question(row["class"], row["on"], None, tuple(row["inputs"].split()), None, None, ())
    priced = book.price(request_of(book, question, day_for(book, row["on"])))
    assert f"{float(priced.total):.2f}" == row["total"], amounts(priced)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(validator().schema)


def test_a_fixed_amount_by_units_and_days() -> None:
    book = small("code: base, charge: fixed, price: 10.00, times: units")
    assert amounts(price(book, 0, units=3)) == ["base 30.00"]
    line = price(book, 0, units=3, days=10, full_days=30).lines[0]
    assert (line.amount, line.days, line.full_days, line.quantity) == (10, 10, 30, 3)


def test_a_bound_says_whether_its_unit_is_in_it() -> None:
    including = small("code: use, charge: usage, per: 1, tiers: [{to: 10, price: 1}, {price: 2}]")
    excluding = small("code: use, charge: usage, per: 1, tiers: [{below: 10, price: 1}, {price: 2}]")
    assert [price(including, use).total for use in (9, 10, 11)] == [9, 10, 12]
    assert [price(excluding, use).total for use in (9, 10, 11)] == [9, 11, 13]
    assert [(line.lower, line.upper) for line in price(excluding, 11).lines] == [(0, 9), (9, None)]


def test_tiers_become_narrower_in_a_part_of_a_period() -> None:
    book = small("code: use, charge: usage, per: 1, tiers: [{to: 30, price: 1}, {price: 2}]")
    lines = price(book, 20, days=10, full_days=30).lines
    assert [(line.tier, line.quantity, line.upper, line.amount) for line in lines] == [
        (1, 10, 10, 10),
        (2, 10, None, 20),
    ]


def test_a_surcharge_above_a_bound_in_some_months() -> None:
    book = small("code: summer, charge: usage, kind: surcharge, per: 10, months: [7, 8], above: 20, price: 0.50")
    assert amounts(price(book, 20, month=7)) == []
    assert amounts(price(book, 30, month=7)) == ["summer 0.50"]
    assert amounts(price(book, 30, month=9)) == []


def test_a_minimum_fills_the_printed_lines_up() -> None:
    book = small(
        "code: use, charge: usage, per: 1, price: 0.005",
        "code: least, charge: minimum, amount: 20.00, of: [water.use]",
        "code: tax, charge: percent, kind: tax, percent: 10%, of: [water]",
    )
    for use in (0, 1, 2, 3, 999):
        assert price(book, use).total == 22
    assert amounts(price(book, 5000)) == ["use 25.00", "tax 2.50"]
    assert price(book, 0, days=15, full_days=30).total == 11


def test_percentages_of_named_lines_are_exact() -> None:
    book = small(
        "code: use, charge: usage, per: 1, price: 0.004",
        "code: fee, charge: fixed, price: 1.00",
        "code: tax, charge: percent, kind: tax, percent: 50%, of: [water.use]",
    )
    assert price(book, 1).lines[-1].amount == Fraction("0.002")
    assert amounts(price(book, 100)) == ["use 0.40", "fee 1.00", "tax 0.20"]


def test_a_discount_of_what_is_printed_never_overtakes_it() -> None:
    book = small(
        "code: use, charge: usage, per: 1000, price: 1.00",
        "code: poor, charge: percent, kind: credit, percent: 10%, of: [water], when: {poor: yes}",
    )
    assert amounts(price(book, 1050, poor=True)) == ["use 1.05", "poor -0.11"]
    totals = [price(book, use, poor="yes").total for use in range(1000, 1200)]
    assert totals == sorted(totals)
    assert price(book, 1050, poor="no").total == Fraction("1.05")


def test_a_credit_stops_at_what_it_is_taken_from() -> None:
    book = small(
        "code: use, charge: usage, per: 1, price: 1",
        "code: help, charge: fixed, kind: credit, price: 5.00, at_most: [water.use]",
    )
    assert [price(book, use).total for use in (0, 3, 8)] == [0, 0, 3]
    assert price(book, 3).lines[-1].kind is LineKind.CREDIT


def test_the_winter_average_in_place_of_the_use_and_as_a_bound() -> None:
    sewer = small("code: use, charge: usage, per: 1, basis: winter_average, price: 2")
    assert price(sewer, 100, winter_average=30).total == 60
    assert price(sewer, 100).total == 200  # without a winter of its own: the actual use
    assert price(sewer, 100, winter_average="91/3", days=10, full_days=30).total == cents(Fraction(182, 9))
    above = small("code: use, charge: usage, per: 1, tiers: [{to: winter_average, price: 1}, {price: 3}]")
    assert price(above, 100, winter_average=30).total == 30 + 210
    assert price(above, 100).total == 100


def cents(amount: Fraction) -> Fraction:
    return Fraction(int(amount * 100 + Fraction(1, 2)), 100)


def test_default_and_cap_of_the_winter_average() -> None:
    from tests.rates.texts import HEAD

    head = HEAD.replace("winter_average: {months: [12, 1, 2]}", "winter_average: {default: 60, cap_actual: yes}")
    book = small("code: use, charge: usage, per: 1, basis: winter_average, price: 1", head=head)
    assert price(book, 100).total == 60
    assert price(book, 40).total == 40
    assert price(book, 40, winter_average=10).total == 10


def test_a_share_and_a_budget() -> None:
    book = small("code: use, charge: usage, per: 1, share: 80%, price: 1")
    assert price(book, 10).total == 8
    budget = small(
        'code: use, charge: usage, per: 1, budget: "(allotment + 1) / 4", budget_rounding: half-even,'
        " tiers: [{to: 50%, price: 1}, {to: 100%, price: 2}, {price: 4}]"
    )
    assert price(budget, 20, allotment=49).total == 6 + 2 * 6 + 4 * 8  # 12.5 rounds to the even 12
    assert price(budget, 20, allotment=53).total == 7 + 2 * 7 + 4 * 6  # 13.5 to the even 14


def test_one_price_for_all_units_when_the_file_says_so() -> None:
    from tests.rates.texts import HEAD

    head = HEAD.replace("label: {en: Home}", "label: {en: Home}\n        decreasing: yes")
    book = small("code: use, charge: usage, per: 1, method: whole, tiers: [{to: 10, price: 2}, {price: 1}]", head=head)
    assert [price(book, use).total for use in (10, 11)] == [20, 11]


def test_dated_lines_change_prices_within_a_version() -> None:
    book = small(
        "code: fee, charge: fixed, price: 1.00, until: 2026-03-01",
        "code: fee, charge: fixed, price: 2.00, from: 2026-03-01, until: 2026-05-01",
        "code: idea, charge: fixed, price: 9.00, from: 2026-04-01, off: yes",
    )
    days = [date(2026, 2, 28), date(2026, 3, 1), date(2026, 4, 2), date(2026, 5, 1)]
    assert [price(book, 0, on=day).total for day in days] == [1, 2, 2, 0]
    assert book.changes(date(2026, 1, 1), date(2027, 1, 1)) == (date(2026, 3, 1), date(2026, 5, 1))
    assert book.changes(date(2026, 3, 1), date(2026, 5, 1)) == ()
    tried = book.with_lines_on(frozenset({"water.idea"}))
    assert [price(tried, 0, on=day).total for day in days] == [1, 2, 11, 9]
    assert price(book, 0, on=days[2]).total == 2


def test_seasons_by_days_are_changes_and_seasons_by_months_are_not() -> None:
    book = load_file(example(), name="example.yaml")
    assert book.changes(date(2026, 6, 1), date(2027, 12, 1)) == (
        *(date(2026, 7, 1), date(2026, 9, 16)),
        *(date(2027, 7, 1), date(2027, 9, 16)),
    )
    wrapped = example().replace("first_day: 07-01, last_day: 09-15", "first_day: 11-20, last_day: 02-10")
    winter = load_file(wrapped, name="example.yaml").seasons[1]
    assert [winter.holds(date(2026, *day), 1) for day in ((11, 19), (11, 20), (1, 3), (2, 10), (2, 11))] == [
        *(False, True, True, True, False),
    ]


def test_only_the_services_that_are_asked_for() -> None:
    book = load_file(example(), name="example.yaml")
    assert book.services("residential", date(2026, 2, 1)) == ("water", "sewer", "tax")
    priced = price(book, 10, "residential", meter_size="5/8", winter_average=6, services=frozenset({"sewer"}))
    assert amounts(priced) == ["use 7.50"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input meter_size is missing; expected one of: 5/8, 1, 2"),
        ({"meter_size": "3"}, "input meter_size is '3'; expected one of: 5/8, 1, 2"),
        ({"meter_size": "1", "metersize": "1"}, "input 'metersize' is not known; known are: meter_size, zone"),
        ({"meter_size": "1", "dwelling_units": "1.5"}, "expected a whole number"),
        ({"meter_size": "1", "dwelling_units": 0}, "the least is 1"),
        ({"meter_size": "1", "winter_average": "1e999999999"}, "expected a number"),
        ({"meter_size": "1", "low_income": "perhaps"}, "expected one of: yes, no"),
    ],
)
def test_inputs_that_will_not_do(inputs: dict[str, object], message: str) -> None:
    book = load_file(example(), name="example.yaml")
    with pytest.raises(InputError, match=message):
        price(book, 10, "residential", **inputs)


def test_days_and_classes_that_the_file_does_not_have() -> None:
    book = load_file(example(), name="example.yaml")
    with pytest.raises(InputError, match="no rates on 2025-12-31; its versions: 2026-01-01"):
        book.version_on(date(2025, 12, 31))
    with pytest.raises(InputError, match="no rates on 2028-01-01"):
        book.price(PriceRequest("residential", Fraction(1), date(2028, 1, 1), 1))
    with pytest.raises(InputError, match="class 'RESIDENTIAL' is not in version 2026-01-01; it has: residential, irr"):
        price(book, 1, "RESIDENTIAL")
    with pytest.raises(InputError, match="must not be negative"):
        price(book, -1, "residential", meter_size="1")


def test_what_a_class_asks_for() -> None:
    book = load_file(example(), name="example.yaml")
    specs = {spec.name: spec for spec in book.inputs("residential", date(2026, 2, 1))}
    assert list(specs) == ["meter_size", "zone", "dwelling_units", "low_income", "winter_average"]
    assert (specs["meter_size"].required, specs["zone"].required) == (True, False)
    assert specs["winter_average"].unit == "ccf"
    assert book.winter_rule("irrigation", date(2026, 2, 1)) is None
    assert book.winter_rule("residential", date(2026, 2, 1)) is not None


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_line_is_explained_in_both_languages(language: str) -> None:
    book = load_file(example(), name="example.yaml")
    for name in book.classes(date(2026, 2, 1)):
        said = "\n".join(book.explain(name, date(2026, 2, 1), language))
        for charge, _ in book.rate_class(name, date(2026, 2, 1)).charges:
            assert charge.label[language] in said
        assert "{" not in said


def _keys_of(schema: object) -> set[str]:
    if isinstance(schema, list):
        return set().union(*(_keys_of(item) for item in schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})) | set().union(*(_keys_of(value) for value in schema.values()))


def test_the_reference_names_every_key_of_the_format() -> None:
    from rates.schema import validator

    keys = _keys_of(validator().schema)
    words = set(re.findall(r"[a-z_0-9]+", REFERENCE.read_text()))
    assert len(keys) > 60
    assert keys - words == set()

"""What a file comes to: tiers, budgets, maps, formulas, inputs, parts of a period."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from domain.units import Unit
from rates.book import LineKind
from rates.errors import InputError
from rates.owrs import OwrsBook
from tests.rates.owrs_texts import BUDGET, HOUSE, METER, TIERED, book_of, dollars, priced, total


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("0", "12.40"),
        ("5", "22.40"),
        ("5.4", "22.72"),  # the tier below ends one unit under the start: 0.4 at the second price
        ("15", "30.40"),
        ("15.5", "532.65"),
        ("16", "1034.90"),
    ],
)
def test_a_tier_ends_one_unit_before_the_next_start(units: str, expected: str) -> None:
    assert total(book_of(TIERED), units, **METER) == dollars(expected)


def test_the_first_start_is_taken_as_nothing() -> None:
    parts = "tier_starts: [1, 11]\ntier_prices: [2, 3]\ncommodity_charge: Tiered\nbill: commodity_charge"
    assert total(book_of(parts), 12) == 20 + 6


def test_a_budget_and_its_shares_are_rounded_half_to_even_and_end_at_their_start() -> None:
    # indoor 55*4*61/748 = 17.94 -> 18; outdoor .7*5.5*1800*.62/748 = 5.744 -> 6; budget 24; 150 % of it 36
    book = book_of(BUDGET)
    assert total(book, 40, **HOUSE) == 18 * 1 + 6 * 2 + 12 * 4 + 4 * 8
    assert total(book, "18.5", **HOUSE) == 18 + 1
    tiers = [(line.tier, line.lower, line.upper, line.quantity) for line in priced(book, 40, **HOUSE).lines]
    assert tiers == [(1, 0, 18, 18), (2, 18, 24, 6), (3, 24, 36, 12), (4, 36, None, 4)]


@pytest.mark.parametrize(("percent", "end"), [("125%", 2), ("175%", 4), ("50 %", 1), ("112.5 %", 2)])
def test_a_share_of_the_budget_at_a_half_goes_to_the_even_unit(percent: str, end: int) -> None:
    # a budget of 2: 2.5 -> 2, 3.5 -> 4
    parts = (
        f"budget: 2\ntier_starts: [0, {percent}]\ntier_prices: [1, 0]\ncommodity_charge: Budget\nbill: commodity_charge"
    )
    assert total(book_of(parts), 50) == end


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("2.5", 2),
        ("3.5", 4),
        ("a + b", 4),  # 2.4 and 1.6: each is rounded, so 2 + 2
        ("0.6*a", 2),  # 1 * 2
        ("b^a", 4),
        ("a-b", 1),  # one piece: 0.8 rounded
        ("a/b", 2),
        ("(a+b)", 4),  # cut at the plus, brackets or not: round((a) + round(b)) = round(4.4)
    ],
)
def test_the_pieces_of_a_budget_formula_are_rounded_one_by_one(formula: str, expected: int) -> None:
    assert total(book_of(f"a: 2.4\nb: 1.6\nbudget: {formula}\nbill: budget"), 1) == expected


def test_parts_stand_in_any_order_and_synonyms_are_one_name() -> None:
    parts = """
        bill: 1.5*(commodity_charge+service_charge)
        commodity_charge: flat_rate*usage_ccf
        service_charge: base_commodity - 1
        flat_rate_commodity: rate_per
        rate_per: "1.25"
        base: 11
    """
    assert total(book_of(parts), 4) == dollars("22.5")


def test_drought_and_sewer_tiers_have_their_own_fields() -> None:
    parts = """
        tier_starts_commodity: [0, 11]
        tier_prices_commodity: [1, 2]
        commodity_charge: Tiered
        tier_starts_drought: [0, 6]
        tier_prices_drought: [0, 10]
        variable_drought_surcharge: tiered
        sewer_tier_starts: [0, 50%]
        sewer_tier_prices: [3, 0]
        sewer_budget: 8
        sewer_charge: Budget
        bill: commodity_charge + variable_drought_surcharge + sewer_charge
    """
    answer = priced(book_of(parts), 12)
    assert answer.total == (10 + 2 * 2) + 7 * 10 + 4 * 3
    by_part = {(line.code, line.service): line.amount for line in answer.lines if line.tier == 1}
    assert by_part == {
        ("commodity_charge", "water"): 10,
        ("variable_drought_surcharge", "water"): 0,
        ("sewer_charge", "sewer"): 12,
    }


@pytest.mark.parametrize(
    "size", ['3/4"', '3/4 "', "3/4", "3/4”", "0.75", "¾"], ids=["exact", "blank", "bare", "curly", "decimal", "sign"]
)
def test_a_meter_size_is_found_however_it_is_written(size: str) -> None:
    assert total(book_of(TIERED), 0, meter_size=size) == dollars("12.40")


@pytest.mark.parametrize(("size", "expected"), [("1.5", "30"), ("1-1/2", "30"), ('2 1/2"', "44"), ("1½", "30")])
def test_mixed_numbers_find_their_size(size: str, expected: str) -> None:
    assert total(book_of(TIERED), 0, meter_size=size) == dollars(expected)


def test_several_keys_are_joined_and_a_part_of_the_file_may_be_one_of_them() -> None:
    parts = """
        season:
          depends_on: usage_month
          values: {7: Summer, jan: Winter}
        price:
          depends_on: [pressure_zone, season]
          values:
            1|Summer: 2
            1|Winter: [1.5]
            2|Summer: 1.10*usage_ccf
        bill: price*2
    """
    book = book_of(parts)
    assert total(book, 10, pressure_zone=1) == 4
    assert total(book, 10, pressure_zone="1", usage_month=1) == 3
    assert total(book, 10, pressure_zone=Fraction(2)) == 22
    assert total(book, 10, pressure_zone=1, season="winter") == 3  # an input wins over a part of that name
    with pytest.raises(InputError, match=r"no entry for pressure_zone=9, season=Summer: the file has 1\|Summer"):
        total(book, 10, pressure_zone=9)
    with pytest.raises(InputError, match="depends on pressure_zone: give it as an input, one of 1, 2"):
        total(book, 10)


def test_maps_within_maps_and_maps_of_rows() -> None:
    parts = """
        tier_starts:
          depends_on: [water, zone]
          values:
            potable: {a: [0, 3], b: [0, 5]}
            recycled:
              depends_on: zone
              values: {a: [0, 9], b: [0, 9]}
        tier_prices: {depends_on: water, values: {potable: [1, 2], recycled: "0 1"}}
        commodity_charge: Tiered
        bill: commodity_charge
    """
    book = book_of(parts)
    assert total(book, 10, water="potable", zone="b") == 4 + 6 * 2
    assert total(book, 10, water="recycled", zone="a") == 2
    with pytest.raises(InputError, match="no entry for zone=c: the file has a, b"):
        total(book, 10, water="potable", zone="c")


def test_an_input_wins_over_a_part_and_usage_over_the_units() -> None:
    book = book_of("days: 30\nbill: days*usage_ccf")
    assert total(book, 2) == 60
    assert total(book, 2, **{"usage_ccf": "20.35", "Days": 1}) == dollars("20.35")


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("2^3^2/2^8", 2),
        ("-2^2", -4),
        ("2^-1", Fraction(1, 2)),
        ("(1+2)*3-4/8", dollars("8.5")),
        ("1e2 + .5 + 5.", dollars("105.5")),
        ("max(usage_ccf, 12) - min(1, 2)", 11),
        ("--3", 3),
    ],
)
def test_formulas_are_computed_exactly(formula: str, expected: Fraction) -> None:
    assert total(book_of(f"bill: '{formula}'"), 7) == expected


def test_a_root_is_no_fraction_and_has_forty_digits() -> None:
    assert abs(total(book_of("bill: usage_ccf^0.5"), 2) ** 2 - 2) < Fraction(1, 10**38)


def test_lines_are_what_the_bill_adds_up_and_sum_to_it() -> None:
    parts = """
        service_charge: 20
        pumping_rate: 0.25
        pumping_charge: pumping_rate*usage_ccf
        city_tax: 1.5
        rebate: 3
        total: service_charge+pumping_charge+city_tax-rebate
        bill: 1.0143*total
    """
    answer = priced(book_of(parts), 8)
    assert answer.total == dollars("1.0143") * dollars("20.5")
    rows = [(line.code, line.kind, line.amount, line.quantity, line.price) for line in answer.lines]
    assert rows == [
        ("service_charge", LineKind.FIXED, 20, None, None),
        ("pumping_charge", LineKind.USAGE, 2, 8, dollars("0.25")),
        ("city_tax", LineKind.TAX, dollars("1.5"), None, None),
        ("rebate", LineKind.CREDIT, -3, None, None),
        ("bill_adjustment", LineKind.SURCHARGE, dollars("0.0143") * dollars("20.5"), None, None),
    ]
    assert sum(line.amount for line in answer.lines) == answer.total


def test_a_factor_on_the_whole_bill_is_a_line_of_its_own() -> None:
    answer = priced(book_of("a_charge: 10\nb_charge: 2*usage_ccf\nbill: 1.02*(a_charge+b_charge)"), 5)
    assert [(line.code, line.amount) for line in answer.lines] == [
        ("a_charge", 10),
        ("b_charge", 10),
        ("bill_adjustment", dollars("0.40")),
    ]
    assert answer.lines[-1].label["en"] == "+2 % on the bill"


@pytest.mark.parametrize("units", ["0", "7", "13.2", "40"])
def test_the_parts_of_a_period_at_one_daily_use_sum_to_the_whole(units: str) -> None:
    book = book_of(TIERED)
    whole = priced(book, units, **METER)
    parts = [priced(book, Fraction(units) * days / 61, days=days, full_days=61, **METER) for days in (10, 20, 31)]
    assert sum(part.total for part in parts) == whole.total
    assert all(sum(line.amount for line in part.lines) == part.total for part in parts)
    service = [line for line in parts[0].lines if line.code == "service_charge"][0]
    assert (service.amount, service.days, service.full_days) == (dollars("12.40") * 10 / 61, 10, 61)


def test_what_the_file_says_about_itself() -> None:
    book = book_of(TIERED)
    version = book.versions()[0]
    assert (version.id, version.start, version.end, book.currency) == ("2021-07-01", date(2021, 7, 1), None, "USD")
    assert (book.quantity.unit, book.months, book.format) == (Unit.KILOGALLON, 2, "owrs")
    assert book.winter_rule("RESIDENTIAL_SINGLE", version.start) is None
    assert book.changes(date(2021, 6, 1), date(2021, 8, 1)) == (date(2021, 7, 1),)
    assert book.changes(date(2021, 7, 1), date(2022, 8, 1)) == ()
    assert book.services("RESIDENTIAL_SINGLE", version.start) == ("water",)
    with pytest.raises(InputError, match="hold from 2021-07-01 on"):
        book.version_on(date(2021, 6, 30))


def test_inputs_are_what_the_bill_needs_and_the_file_lacks() -> None:
    book = book_of(BUDGET)
    assert {spec.name for spec in book.inputs("RESIDENTIAL_SINGLE", date(2022, 1, 1))} == {
        "hhsize", "days_in_period", "et_amount", "irr_area",
    }  # fmt: skip
    specs = {spec.name: spec for spec in book.inputs("RESIDENTIAL_SINGLE", date(2022, 1, 1))}
    assert not specs["days_in_period"].required
    size = book_of(TIERED).inputs("RESIDENTIAL_SINGLE", date(2022, 1, 1))[0]
    assert size.values == ('5/8"', '3/4"', '1 1/2"', '2|1/2"')


def test_days_in_the_period_go_without_saying_on_a_bill() -> None:
    book = book_of("bill: days_in_period*usage_month*usage_year")
    assert total(book, 0, days=61, full_days=61) == 61 * 7 * 2022
    with pytest.raises(InputError, match="days_in_period"):
        total(book, 0)


@pytest.mark.parametrize("spelt", ["residential single", "Residential-Single", "RESIDENTIALSINGLE"])
def test_a_class_is_found_however_it_is_spelt(spelt: str) -> None:
    assert total(book_of(TIERED), 0, rate_class=spelt, **METER) == dollars("12.40")


def test_a_class_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"no class INDUSTRIAL: it has RESIDENTIAL_SINGLE"):
        total(book_of(TIERED), 0, rate_class="INDUSTRIAL")


def test_the_first_examples_of_the_format_write_a_class_as_a_list() -> None:
    parts = ["tier_starts: [0, 15]", "tier_prices: [1, 2]", "commodity_charge: Tiered", "bill: commodity_charge"]
    rows = "".join(f"    - {part}\n" for part in parts)
    book = OwrsBook.load(f"metadata: {{}}\nrate_structure:\n  A:\n{rows}", "list.owrs")
    assert total(book, 20, rate_class="A") == 14 + 12


def test_one_rate_structure_for_each_class_is_taken_together() -> None:
    text = "rate_structure:\n  A: {bill: 1}\nrate_structure:\n  B: {bill: 2}\n"
    book = OwrsBook.load(text, "two.owrs")
    assert (total(book, 0, rate_class="A"), total(book, 0, rate_class="B")) == (1, 2)
    assert any("stands twice" in fault.message for fault in book.faults)


def test_explained_in_both_languages() -> None:
    english = "\n".join(book_of(TIERED).explain("RESIDENTIAL_SINGLE", date(2022, 1, 1)))
    spanish = "\n".join(book_of(TIERED).explain("RESIDENTIAL_SINGLE", date(2022, 1, 1), "es"))
    assert "2.00 for each unit up to and including 5" in english
    assert ".8 for each unit above 5 up to and including 15" in english
    assert "por cada unidad por encima de 15" in spanish

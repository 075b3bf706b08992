"""Exact units, exact conversion, the shorter way round a dial."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.units import Unit, as_decimal, count_value, counts_to, rollover_difference, unroll

units = st.sampled_from(list(Unit))
counts = st.integers(-(10**12), 10**12)
scales = st.integers(-9, 9)
moduli = st.integers(2, 10**10)


def test_factors_are_those_of_the_definitions() -> None:
    assert counts_to(1, unit=Unit.GALLON, scale=0, to=Unit.LITRE) == Fraction("3.785411784")
    assert counts_to(1, unit=Unit.CUBIC_FOOT, scale=0, to=Unit.LITRE) == Fraction("28.316846592")
    assert counts_to(1, unit=Unit.CCF, scale=0, to=Unit.CUBIC_FOOT) == 100
    assert counts_to(1, unit=Unit.KILOGALLON, scale=0, to=Unit.GALLON) == 1000
    # A gallon is 231 cubic inches and a foot 12 inches, whatever the litre is: two definitions, one answer.
    assert counts_to(1728, unit=Unit.GALLON, scale=0, to=Unit.CUBIC_FOOT) == 231


@given(counts, units, scales, units)
def test_conversion_there_and_back_changes_nothing(count: int, unit: Unit, scale: int, other: Unit) -> None:
    there = counts_to(count, unit=unit, scale=scale, to=other)
    assert there * other.litres / unit.litres == count * Fraction(10) ** scale


@given(st.lists(counts, max_size=20), units, scales, units)
def test_a_converted_sum_is_the_sum_of_conversions(parts: list[int], unit: Unit, scale: int, other: Unit) -> None:
    converted = sum((counts_to(part, unit=unit, scale=scale, to=other) for part in parts), Fraction(0))
    assert converted == counts_to(sum(parts), unit=unit, scale=scale, to=other)


@given(units, scales)
def test_a_count_is_worth_ten_times_the_next_smaller_one(unit: Unit, scale: int) -> None:
    assert count_value(unit, scale) == 10 * count_value(unit, scale - 1)


@given(st.fractions(-(10**9), 10**9), st.integers(0, 6))
def test_rounding_is_within_half_a_last_place_and_prints_all_places(value: Fraction, places: int) -> None:
    rounded = as_decimal(value, places)
    assert abs(Fraction(rounded) - value) <= Fraction(1, 2 * 10**places)
    assert -rounded.as_tuple().exponent == places


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (Fraction(5, 1000), 2, "0.01"),
        (Fraction(-5, 1000), 2, "-0.01"),
        (Fraction(4999, 10**6), 2, "0.00"),
        (Fraction(-1, 1000), 2, "0.00"),
        (Fraction(264172, 1000), 1, "264.2"),
    ],
)
def test_halves_are_rounded_away_from_zero(value: Fraction, places: int, text: str) -> None:
    assert str(as_decimal(value, places)) == text
    assert as_decimal(value, places) == Decimal(text)


@given(moduli, st.data())
def test_use_of_up_to_half_a_dial_is_exact_over_a_rollover(modulus: int, data: st.DataObject) -> None:
    earlier = data.draw(st.integers(0, modulus - 1))
    used = data.draw(st.integers(0, modulus // 2))
    assert rollover_difference(earlier, (earlier + used) % modulus, modulus) == used


@given(moduli, st.data())
def test_a_dial_that_turns_back_through_zero_is_no_use(modulus: int, data: st.DataObject) -> None:
    earlier = data.draw(st.integers(0, modulus - 1))
    back = data.draw(st.integers(0, (modulus - 1) // 2))
    assert rollover_difference(earlier, (earlier - back) % modulus, modulus) == -back


def test_the_dial_of_a_meter_that_ran_backwards_on_its_first_day() -> None:
    assert rollover_difference(2, 99_999_998, 10**8) == -4


@given(counts, counts)
def test_without_a_modulus_the_difference_is_plain(earlier: int, later: int) -> None:
    assert rollover_difference(earlier, later, None) == later - earlier
    assert unroll(earlier, later, None) == later


@given(moduli, st.integers(0, 10**9), st.data())
def test_an_unrolled_count_follows_the_true_one_for_ever(modulus: int, start: int, data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(-((modulus - 1) // 2), modulus // 2), max_size=50))
    true = count = start
    for step in steps:
        true += step
        count = unroll(count, true % modulus, modulus)
    assert count == true

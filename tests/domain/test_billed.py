"""Billed quantity: nothing is lost or billed twice between two bills."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from domain.billed import billed_units
from domain.units import Unit, counts_to

units = st.sampled_from(list(Unit))


@given(st.lists(st.integers(0, 10**10), min_size=2, max_size=30), units, st.integers(-6, 3), units, st.integers(-3, 3))
def test_the_bills_of_a_year_sum_to_the_years_bill(
    counts: list[int], unit: Unit, scale: int, billing_unit: Unit, billing_scale: int
) -> None:
    dial = sorted(counts)

    def billed(first: int, last: int) -> int:
        return billed_units(first, last, unit=unit, scale=scale, billing_unit=billing_unit, billing_scale=billing_scale)

    assert sum(billed(a, b) for a, b in zip(dial, dial[1:], strict=False)) == billed(dial[0], dial[-1])
    exact = counts_to(dial[-1] - dial[0], unit=unit, scale=scale, to=billing_unit)
    assert abs(billed(dial[0], dial[-1]) - exact / Fraction(10) ** billing_scale) < 1


def test_the_remainder_carries_into_the_next_period() -> None:
    def bill(first: int, last: int) -> int:
        return billed_units(first, last, unit=Unit.CUBIC_METRE, scale=-3, billing_unit=Unit.GALLON, billing_scale=3)

    # 1 kgal is 3,785.411784 litres: dials of 3,785 and 3,786 litres show 0 and 1 of them.
    assert [bill(0, 3785), bill(3785, 3786), bill(3786, 7570), bill(7570, 7571)] == [0, 1, 0, 1]
    assert bill(0, 7571) == 2

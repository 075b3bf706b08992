"""Billed quantity: the difference of two truncated dial readings, so nothing is lost between two bills."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from domain.units import counts_to

if TYPE_CHECKING:
    from domain.units import Unit


def billed_units(
    first_count: int, last_count: int, *, unit: Unit, scale: int, billing_unit: Unit, billing_scale: int = 0
) -> int:
    """Return whole billing units (10**billing_scale of billing_unit) between two unrolled boundary counts.

    Each boundary is truncated to the billing unit and the two are subtracted, so the remainder carries into the next
    period and a year of bills sums to the year's truncated difference.
    """
    step = Fraction(10) ** billing_scale
    first = counts_to(first_count, unit=unit, scale=scale, to=billing_unit) / step
    last = counts_to(last_count, unit=unit, scale=scale, to=billing_unit) / step
    return last.__floor__() - first.__floor__()

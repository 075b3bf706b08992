"""Volumes: exact units, exact conversion, roll-over arithmetic.

A register counts in its own unit and scale and is never converted on its way to the portal; conversion happens where a
number meets a person. Factors are exact: 1 US gallon = 3.785411784 l and 1 ft3 = 28.316846592 l by definition
(NIST Handbook 44, appendix C).
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from fractions import Fraction


class Unit(Enum):
    """A unit of volume; the value is what goes on the wire and into databases."""

    LITRE = "l"
    CUBIC_METRE = "m3"
    GALLON = "gal"
    CUBIC_FOOT = "ft3"
    CCF = "ccf"
    KILOGALLON = "kgal"

    @property
    def litres(self) -> Fraction:
        """Litres in one of this unit, exact."""
        return _LITRES[self]


_LITRES = {
    Unit.LITRE: Fraction(1),
    Unit.CUBIC_METRE: Fraction(1000),
    Unit.GALLON: Fraction("3.785411784"),
    Unit.CUBIC_FOOT: Fraction("28.316846592"),
    Unit.CCF: Fraction("2831.6846592"),
    Unit.KILOGALLON: Fraction("3785.411784"),
}


def count_value(unit: Unit, scale: int) -> Fraction:
    """Return the litres that one count of a register is worth (one count is 10**scale of its unit)."""
    return unit.litres * Fraction(10) ** scale


def counts_to(counts: int, *, unit: Unit, scale: int, to: Unit) -> Fraction:
    """Return a number of counts in another unit, exact."""
    return counts * count_value(unit, scale) / to.litres


def as_decimal(value: Fraction, places: int) -> Decimal:
    """Round an exact volume half up to `places` decimals, for a screen or a printed line."""
    return rounded_ratio(value.numerator, value.denominator, places)


def rounded_ratio(numerator: int, denominator: int, places: int) -> Decimal:
    """Return the same of a fraction that need not be in lowest terms; its denominator is above zero."""
    whole, rest = divmod(abs(numerator) * 10**places, denominator)
    if 2 * rest >= denominator:
        whole += 1
    return Decimal(whole if numerator >= 0 else -whole).scaleb(-places)


def rollover_difference(earlier: int, later: int, modulus: int | None) -> int:
    """Return the counts that passed between two raw counts of one register.

    modulus  the count at which the register returns to zero (10**digits for a dial), None when it never does.
    Of the two ways round the dial the shorter one was taken: a fall by more than half of it is a roll-over, a rise by
    more than half a dial that turned back through zero. A negative difference is a step backwards: backflow, or a
    register that was changed. It is for validation to judge, never dropped here.
    """
    difference = later - earlier
    if modulus is None:
        return difference
    forwards = difference % modulus
    return forwards if forwards <= modulus // 2 else forwards - modulus


def unroll(earlier_unrolled: int, later_raw: int, modulus: int | None) -> int:
    """Continue an unrolled count (one that never rolls over) with the next raw count."""
    if modulus is None:
        return later_raw
    return earlier_unrolled + rollover_difference(earlier_unrolled % modulus, later_raw, modulus)

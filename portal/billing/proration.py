"""How a period is divided where prices change in it, and how exact volumes become whole billed units. Pure arithmetic.

A part's units are the difference of two whole numbers: the volume up to its end and up to its start, each truncated.
So parts sum to their period, periods to the year, and what is less than one unit goes on into the next part.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.units import count_value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from domain.units import Unit
    from rates.book import Quantity


def parts_of(start: date, end: date, changes: Iterable[date]) -> list[tuple[date, date]]:
    """Return [start, end) cut at each day on which a price condition changes."""
    days = [start, *sorted({day for day in changes if start < day < end}), end]
    return list(zip(days, days[1:], strict=False))


def litres_of(counts: int, *, unit: Unit, scale: int) -> Fraction:
    """Return what counts of a register are worth, exact."""
    return counts * count_value(unit, scale)


@dataclass(frozen=True, slots=True)
class Carried:
    """Litres below one billed unit that were metered and not billed yet."""

    litres: Fraction = Fraction(0)

    def add(self, litres: Fraction, quantity: Quantity) -> tuple[int, Carried]:
        """Return the whole billed units in what was carried and what came to it, and what is carried on.

        A register that ran backwards gives negative units, rounded down: the remainder is never negative.
        """
        worth = quantity.unit.litres * Fraction(10) ** quantity.scale
        units, rest = divmod(self.litres + litres, worth)
        return int(units), Carried(rest)


def first_carried(shown_litres: Fraction, quantity: Quantity) -> Carried:
    """Return what is carried into a service point's first bill: the dial's own fraction of a billed unit.

    With it the units billed are the difference of the two dials, each read in whole units.
    """
    worth = quantity.unit.litres * Fraction(10) ** quantity.scale
    return Carried(shown_litres % worth)

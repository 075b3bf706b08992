"""The winter average: what goes down the drain is judged by the months in which nobody waters a garden."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date


@dataclass(frozen=True, slots=True)
class WinterRule:
    """How a winter average is made.

    months         of the bills that count, by the month in which their period ends.
    lowest         take the lowest so many of them; None: all.
    reset_month    from the first bill of this month on, the new average holds for twelve months.
    default_units  billed units for an account without a winter of its own; None: its actual use.
    cap_actual     never more than what was actually used in the period.
    months_min     fewer than this many of the months and the default holds.
    """

    months: tuple[int, ...] = (12, 1, 2)
    lowest: int | None = None
    reset_month: int = 3
    default_units: int | None = None
    cap_actual: bool = False
    months_min: int = 1


@dataclass(frozen=True, slots=True)
class MonthUse:
    """What one bill's period used: its days and its billed units."""

    start: date
    end: date
    units: int


@dataclass(frozen=True, slots=True)
class WinterAverage:
    """Billed units for a full period, and the periods that it was made of (empty: the rule's default)."""

    units: Fraction | None
    basis: tuple[MonthUse, ...] = field(default=())

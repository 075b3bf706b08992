"""The winter average: what goes down the drain is judged by the months in which nobody waters a garden."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MONTHS_A_YEAR = 12


@dataclass(frozen=True, slots=True)
class WinterRule:
    """How a winter average is made.

    months         of the bills that count, by the month in which their period ends.
    lowest         take the lowest so many of them; None: all.
    reset_month    from the first bill of this month on, the new average holds for twelve months.
    default_units  billed units for an account without a winter of its own; None: its actual use.
    cap_actual     never more than what was actually used in the period.
    months_min     fewer than this many of the months and the default holds.
    days_min       a bill of fewer days does not count.
    """

    months: tuple[int, ...] = (12, 1, 2)
    lowest: int | None = None
    reset_month: int = 3
    default_units: int | None = None
    cap_actual: bool = False
    months_min: int = 1
    days_min: int = 20


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


def winter_average(rule: WinterRule, months: Sequence[MonthUse]) -> WinterAverage:
    """Return the average of the latest winter in an account's bills, exact; the rule's default when they are too few.

    months  bills in any order, `end` exclusive: a bill counts by the month of its last day. Of months that occur in
            several winters only the twelve months up to the latest bill count. Bills of fewer days than the rule's
            `days_min` (a move in the middle of a month) say nothing about a month and are left out.
    """
    counting = [
        use
        for use in sorted(months, key=lambda use: use.end)
        if bill_month(use.end) in rule.months and (use.end - use.start).days >= rule.days_min
    ]
    if counting:
        latest = counting[-1].end
        counting = [use for use in counting if _months_between(use.end, latest) < MONTHS_A_YEAR]
    if len(counting) < rule.months_min:
        default = None if rule.default_units is None else Fraction(rule.default_units)
        return WinterAverage(default)
    basis = counting
    if rule.lowest is not None:
        lowest = sorted(counting, key=lambda use: (use.units, use.end))[: rule.lowest]
        basis = sorted(lowest, key=lambda use: use.end)
    return WinterAverage(Fraction(sum(use.units for use in basis), len(basis)), tuple(basis))


def bill_month(end: date) -> int:
    """Return the month that a bill of a period up to (not including) `end` is of: that of its last day."""
    return (end - timedelta(days=1)).month


def average_start(rule: WinterRule, on: date) -> date:
    """Return the first day of the twelve months in which the average that holds on a day holds."""
    year = on.year if on.month >= rule.reset_month else on.year - 1
    return date(year, rule.reset_month, 1)


def _months_between(earlier: date, later: date) -> int:
    first, last = earlier - timedelta(days=1), later - timedelta(days=1)
    return (last.year - first.year) * MONTHS_A_YEAR + last.month - first.month

"""Periods of a cycle, in days of the utility's calendar: half-open, one period's end is the next one's start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.core.errors import Refused

if TYPE_CHECKING:
    from portal.billing.models import Cycle


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """Days from `start` (inclusive) to `end` (exclusive)."""

    start: date
    end: date

    @property
    def days(self) -> int:
        """How many calendar days it has: a day of 23 or 25 hours is one."""
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        """The last day that is in it."""
        return self.end - timedelta(days=1)


def ends_on(cycle: Cycle, day: date) -> bool:
    """Tell whether a period of the cycle ends (and the next one starts) at the midnight with which a day begins."""
    return day.day == cycle.read_day and (day.month - cycle.anchor_month) % cycle.months == 0


def period_ending(cycle: Cycle, end: date) -> Period:
    """Return the cycle's period that ends on a day; raises Refused(`period`) when none does."""
    if not ends_on(cycle, end):
        shown = {"cycle": cycle.code, "day": end, "next": period_with(cycle, end).end}
        text = _("%(day)s is not the first day after a period of cycle %(cycle)s; the next such day is %(next)s.")
        raise Refused("period", text % shown)
    return Period(_months_later(end, -cycle.months), end)


def period_with(cycle: Cycle, day: date) -> Period:
    """Return the cycle's period that a day lies in."""
    start = date(day.year, day.month, cycle.read_day)
    if start > day:
        start = _months_later(start, -1)
    start = _months_later(start, -((start.month - cycle.anchor_month) % cycle.months))
    return Period(start, _months_later(start, cycle.months))


def last_ended(cycle: Cycle, today: date) -> Period:
    """Return the newest period that is over on a day."""
    return period_ending(cycle, period_with(cycle, today).start)


def nominal_days(cycle: Cycle, end: date) -> int:
    """Return the days of the cycle's own period in which a bill ends: what prices for a full period are meant for."""
    return period_with(cycle, end - timedelta(days=1)).days


def _months_later(day: date, months: int) -> date:
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, day.day)

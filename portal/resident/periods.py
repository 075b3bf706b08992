"""Which hours, days or months one chart shows, and where previous and next lead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from portal.metering.calendar import Resolution, following, midnight
from portal.resident.wording import day_text, hour_label

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)


class By(Enum):
    """What one bar is: an hour (the chart is a day), a day (a month), a month (a year)."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def resolution(self) -> Resolution:
        """The resolution of the usage series."""
        return self.value


@dataclass(frozen=True, slots=True)
class Period:
    """One chart's stretch of time in the utility's zone.

    first, last_excluded  calendar days; the period is [first, last_excluded).
    """

    by: By
    zone: ZoneInfo
    first: date
    last_excluded: date

    @property
    def start(self) -> datetime:
        """The moment at which the period starts."""
        return midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The moment at which the next period starts."""
        return midnight(self.last_excluded, self.zone)

    @property
    def hours(self) -> int:
        """Hours in the period: 23 or 25 for a day on which clocks change."""
        return (self.end - self.start) // _HOUR

    @property
    def title(self) -> str:
        """The period's name: a date, a month, a year."""
        if self.by is By.HOUR:
            return day_text(self.first)
        return date_format(self.first, pgettext("month", "F Y") if self.by is By.DAY else pgettext("year", "Y"))

    @property
    def clock_note(self) -> str:
        """A sentence for days that are not 24 hours long, else nothing."""
        if self.by is not By.HOUR or self.hours == 24:
            return ""
        if self.hours > 24:
            return _("Clocks go back on this day: it has 25 hours.")
        return _("Clocks go forward on this day: it has 23 hours.")

    def previous_first(self) -> date:
        """Return the first day of the period before."""
        return period_of(self.by, self.first - timedelta(days=1), self.zone).first

    def row_label(self, start: datetime) -> str:
        """Return the short label of a bar."""
        local = start.astimezone(self.zone)
        if self.by is By.HOUR:
            return hour_label(start, self.zone, twice=self._twice(start))
        if self.by is By.DAY:
            return str(local.day)
        return date_format(local, "M")

    def row_title(self, start: datetime, end: datetime) -> str:
        """Return the full name of a bar: from when to when."""
        if self.by is By.HOUR:
            if end - start != _HOUR:
                end = following(start, "hour", self.zone)
            until = hour_label(end, self.zone, twice=self._twice(end))
            return f"{self.row_label(start)} \N{EN DASH} {until}"
        local = start.astimezone(self.zone)
        if self.by is By.DAY:
            return date_format(local, pgettext("day in a table", "D, M j"))
        return date_format(local, pgettext("month", "F Y"))

    def _twice(self, moment: datetime) -> bool:
        """Whether another hour of this day has the same name."""
        local = moment.astimezone(self.zone)
        return any(
            (moment + step).astimezone(self.zone).replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0)
            for step in (_HOUR, -_HOUR)
        )


def period_of(by: By, day: date, zone: ZoneInfo) -> Period:
    """Return the period in which a day lies."""
    if by is By.HOUR:
        return Period(by, zone, day, day + timedelta(days=1))
    if by is By.DAY:
        first = day.replace(day=1)
        return Period(by, zone, first, (first + timedelta(days=32)).replace(day=1))
    return Period(by, zone, date(day.year, 1, 1), date(day.year + 1, 1, 1))

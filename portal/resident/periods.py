"""Which hours, days or months one chart shows, and where previous and next lead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from django.utils.formats import date_format
from django.utils.translation import get_language, gettext_lazy, pgettext
from django.utils.translation import gettext as _

from portal.metering.calendar import Resolution, boundaries, floor, following, midnight
from portal.resident.wording import clock_time, day_text, day_words, hour_label

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from django_stubs_ext import StrPromise

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_SUNDAY = 6  # as `date.weekday` counts
PIECE = timedelta(minutes=15)


class By(Enum):
    """What one bar is: minutes (the chart is an hour), an hour (a day), a day (a week or a month), a month (a year)."""

    MINUTE = "minute"
    HOUR = "hour"
    WEEK = "week"
    DAY = "day"
    MONTH = "month"

    @property
    def resolution(self) -> Resolution:
        """The resolution of the usage series."""
        return _RESOLUTIONS[self]


_RESOLUTIONS: dict[By, Resolution] = {
    By.MINUTE: "hour",
    By.HOUR: "hour",
    By.WEEK: "day",
    By.DAY: "day",
    By.MONTH: "month",
}


@dataclass(frozen=True, slots=True)
class PeriodWords:
    """What a kind of period is called: the view, the steps to its neighbours, the first column of its table."""

    view: StrPromise
    before: StrPromise
    after: StrPromise
    bar: StrPromise


PERIOD_WORDS: dict[By, PeriodWords] = {
    By.MINUTE: PeriodWords(
        gettext_lazy("Hour"), gettext_lazy("The hour before"), gettext_lazy("The hour after"), gettext_lazy("Minutes")
    ),
    By.HOUR: PeriodWords(
        gettext_lazy("Day"), gettext_lazy("The day before"), gettext_lazy("The day after"), gettext_lazy("Hour")
    ),
    By.WEEK: PeriodWords(
        gettext_lazy("Week"), gettext_lazy("The week before"), gettext_lazy("The week after"), gettext_lazy("Day")
    ),
    By.DAY: PeriodWords(
        gettext_lazy("Month"), gettext_lazy("The month before"), gettext_lazy("The month after"), gettext_lazy("Day")
    ),
    By.MONTH: PeriodWords(
        gettext_lazy("Year"), gettext_lazy("The year before"), gettext_lazy("The year after"), gettext_lazy("Month")
    ),
}


@dataclass(frozen=True, slots=True)
class Period:
    """One chart's stretch of time in the utility's zone.

    first, last_excluded  calendar days; the period is [first, last_excluded).
    hour                  the hour's start (UTC) when the chart is one hour of the day `first`, else None.
    piece                 how long one bar of such an hour is.
    """

    by: By
    zone: ZoneInfo
    first: date
    last_excluded: date
    hour: datetime | None = None
    piece: timedelta = PIECE

    @property
    def start(self) -> datetime:
        """The moment at which the period starts."""
        return self.hour or midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The moment at which the next period starts."""
        return self.hour + _HOUR if self.hour else midnight(self.last_excluded, self.zone)

    @property
    def edges(self) -> tuple[datetime, ...]:
        """The moments between which its bars lie."""
        return _edges(self)

    @property
    def hours(self) -> int:
        """Hours in the period: 23 or 25 for a day on which clocks change."""
        return (self.end - self.start) // _HOUR

    @property
    def title(self) -> str:
        """The period's name: an hour of a date, a date, the days of a week, a month, a year."""
        if self.hour is not None:
            return _("%(hours)s, %(day)s") % {"hours": self._hours_text(self.start), "day": day_text(self.first)}
        if self.by is By.HOUR:
            return day_text(self.first)
        if self.by is By.WEEK:
            last = self.last_excluded - _DAY
            form = pgettext("day of a week", "F j") if self.first.year == last.year else pgettext("date", "F j, Y")
            first_text, last_text = date_format(self.first, form), date_format(last, pgettext("date", "F j, Y"))
            return _("%(first)s to %(last)s") % {"first": first_text, "last": last_text}
        return date_format(self.first, pgettext("month", "F Y") if self.by is By.DAY else pgettext("year", "Y"))

    @property
    def clock_note(self) -> str:
        """A sentence for days that are not 24 hours long, else nothing."""
        if self.by is not By.HOUR or self.hours == 24:
            return ""
        if self.hours > 24:
            return _("Clocks go back on this day: it has 25 hours.")
        return _("Clocks go forward on this day: it has 23 hours.")

    def previous(self) -> Period:
        """Return the period before."""
        return period_of(self.by, self.first - _DAY, self.zone, at=self.start - _HOUR, piece=self.piece)

    def next(self) -> Period:
        """Return the period after."""
        return period_of(self.by, self.last_excluded, self.zone, at=self.end, piece=self.piece)

    def previous_first(self) -> date:
        """Return the first day of the period before."""
        return self.previous().first

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """The label and the title of every bar in the page's language: most people look at the same periods."""
        return _labels(self, get_language())

    def row_label(self, start: datetime) -> str:
        """Return the short label of a bar."""
        local = start.astimezone(self.zone)
        if self.hour is not None:
            return date_format(local, pgettext("minutes of an hour", "g:i"))
        if self.by is By.HOUR:
            return self._hour_text(start)
        if self.by is By.WEEK:
            return day_words(local.date(), pgettext("day of a week, short", "D j"))
        if self.by is By.DAY:
            return str(local.day)
        return day_words(local.date(), "M")

    def row_title(self, start: datetime, end: datetime) -> str:
        """Return the full name of a bar: from when to when."""
        if self.hour is not None:
            return f"{clock_time(start, self.zone)} \N{EN DASH} {clock_time(end, self.zone)}"
        if self.by is By.HOUR:
            if end - start != _HOUR:
                end = following(start, "hour", self.zone)
            return self._hours_text(start)
        local = start.astimezone(self.zone)
        if self.by in (By.DAY, By.WEEK):
            return day_words(local.date(), pgettext("day in a table", "D, M j"))
        return day_words(local.date(), pgettext("month", "F Y"))

    def _hours_text(self, start: datetime) -> str:
        end = following(start, "hour", self.zone)
        return f"{self._hour_text(start)} \N{EN DASH} {self._hour_text(end)}"

    def _hour_text(self, moment: datetime) -> str:
        """Return the name of an hour, which stands at its bar and on both sides of its row and the row before."""
        return _hour_words(moment, self.zone, get_language())


@lru_cache(maxsize=1024)
def _edges(period: Period) -> tuple[datetime, ...]:
    if period.hour is not None:
        return tuple(period.hour + n * period.piece for n in range(_HOUR // period.piece + 1))
    return tuple(boundaries(period.start, period.end, period.by.resolution, period.zone))


@lru_cache(maxsize=1024)
def _labels(period: Period, language: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((period.row_label(start), period.row_title(start, end)) for start, end in pairwise(period.edges))


@lru_cache(maxsize=4096)
def _hour_words(moment: datetime, zone: ZoneInfo, language: str | None) -> str:
    return hour_label(moment, zone, twice=_twice(moment, zone))


def _twice(moment: datetime, zone: ZoneInfo) -> bool:
    """Whether another hour of this day has the same name."""
    local = moment.astimezone(zone)
    return any(
        (moment + step).astimezone(zone).replace(tzinfo=None, fold=0) == local.replace(tzinfo=None, fold=0)
        for step in (_HOUR, -_HOUR)
    )


def period_of(by: By, day: date, zone: ZoneInfo, *, at: datetime | None = None, piece: timedelta = PIECE) -> Period:
    """Return the period in which a day lies, or the hour in which `at` lies; a day alone has its first hour."""
    if by is By.MINUTE:
        hour = floor(at or midnight(day, zone), "hour", zone)
        first = hour.astimezone(zone).date()
        return Period(by, zone, first, first + _DAY, hour, piece)
    if by is By.HOUR:
        return Period(by, zone, day, day + _DAY)
    if by is By.WEEK:
        first = day - timedelta(days=(day.weekday() - _SUNDAY) % 7)
        return Period(by, zone, first, first + timedelta(days=7))
    if by is By.DAY:
        first = day.replace(day=1)
        return Period(by, zone, first, (first + timedelta(days=32)).replace(day=1))
    return Period(by, zone, date(day.year, 1, 1), date(day.year + 1, 1, 1))

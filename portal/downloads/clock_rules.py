"""A zone's clock changes as Green Button wants them: two 32-bit rules and two offsets.

Bits 0-11 seconds, 12-16 hour, 17-19 day of the week (Monday 1), 20-24 day of the month, 25-27 operator, 28-31 month;
operators 2 to 6 the first to fifth such weekday of the month, 7 the last one, 1 the first on or after the day of the
month. The moment is what the clocks show just before they change. Source: NAESB REQ.21, DstRuleType.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

NO_RULE = 0xFFFFFFFF
_YEARS = 6
_LAST = 7
_ON_OR_AFTER = 1


@dataclass(frozen=True, slots=True)
class ClockRules:
    """LocalTimeParameters: rules as integers of 32 bits (NO_RULE: clocks never change), offsets in seconds."""

    start_rule: int
    end_rule: int
    dst_offset_s: int
    zone_offset_s: int


@dataclass(frozen=True, slots=True)
class _Change:
    """Clocks change: what they show just before, and by how much they go forward (negative: back)."""

    local: datetime
    by: timedelta


def clock_rules(zone: ZoneInfo, year: int) -> ClockRules:
    """Return the rules of a zone as they hold in a year and the ones after it."""
    years = [list(_changes(zone, one)) for one in range(year, year + _YEARS)]
    standard = min(_offset(zone, datetime(year, month, 1, tzinfo=UTC)) for month in range(1, 13))
    forward = [[change for change in one if change.by > timedelta(0)] for one in years]
    back = [[change for change in one if change.by < timedelta(0)] for one in years]
    starts, ends = _rule(forward), _rule(back)
    if starts is None or ends is None:
        return ClockRules(NO_RULE, NO_RULE, 0, _seconds(_offset(zone, datetime(year, 1, 1, tzinfo=UTC))))
    return ClockRules(starts, ends, _seconds(forward[0][0].by), _seconds(standard))


def _rule(years: Sequence[Sequence[_Change]]) -> int | None:
    """Return one rule for the change of every year; None when there is none, or not one a year."""
    if any(len(changes) != 1 for changes in years):
        return None
    moments = [changes[0].local for changes in years]
    first = moments[0]
    operator, day = _weekday_rule([moment.date() for moment in moments])
    second = first.minute * 60 + first.second
    return first.month << 28 | operator << 25 | day << 20 | first.isoweekday() << 17 | first.hour << 12 | second


def _weekday_rule(days: Sequence[date]) -> tuple[int, int]:
    """Return (operator, day of the month) that fits every year's day."""
    if all(day.day + 7 > monthrange(day.year, day.month)[1] for day in days):
        return _LAST, 0
    weeks = {(day.day - 1) // 7 for day in days}
    if len(weeks) == 1:
        return weeks.pop() + 2, 0
    return _ON_OR_AFTER, min(day.day for day in days)


def _changes(zone: ZoneInfo, year: int) -> Iterator[_Change]:
    """Yield the changes of a year: days are looked at, then halved down to the second."""
    day = datetime(year, 1, 1, tzinfo=UTC)
    while day.year == year:
        following = day + timedelta(days=1)
        before, after = _offset(zone, day), _offset(zone, following)
        if before != after:
            low, high = day, following
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield _Change((high + before).replace(tzinfo=None), after - before)
        day = following


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None  # a ZoneInfo always has one
    return offset


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())

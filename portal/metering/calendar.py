"""Hours, days and months as the utility's zone has them: days of 23 and 25 hours, labelled by their start."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, get_args

from portal.core.errors import Refused

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

Resolution = Literal["hour", "day", "month"]
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
MAX_BUCKETS = 20_000
"""More rows than this are refused: two years of hours are 17,544."""


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the UTC moment at which a calendar day of the zone starts."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def floor(moment: datetime, resolution: Resolution, zone: ZoneInfo) -> datetime:
    """Return the start (UTC) of the hour, day or month of the zone in which a moment lies."""
    local = moment.astimezone(zone)
    if resolution == "hour":
        # Subtracting in UTC keeps the two hours apart that autumn labels the same.
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return (moment - past).astimezone(UTC)
    return midnight(local.date() if resolution == "day" else local.date().replace(day=1), zone)


def following(start: datetime, resolution: Resolution, zone: ZoneInfo) -> datetime:
    """Return the start of the next bucket after the one that starts at `start`."""
    if resolution == "hour":
        return start + timedelta(hours=1)
    day = start.astimezone(zone).date()
    if resolution == "day":
        return midnight(day + timedelta(days=1), zone)
    return midnight((day.replace(day=1) + timedelta(days=32)).replace(day=1), zone)


def boundaries(start: datetime, end: datetime, resolution: Resolution, zone: ZoneInfo) -> list[datetime]:
    """Return start, every bucket boundary between start and end, and end: n + 1 moments for n buckets.

    raises  Refused when start is not before end, or the span has more than MAX_BUCKETS buckets.
    """
    if resolution not in RESOLUTIONS:
        raise Refused("resolution", f"{resolution!r} is not a resolution; expected hour, day or month")
    if not start < end:
        raise Refused("span", "the span is empty; `from` must be before `to`")
    if (end - start) > timedelta(hours=MAX_BUCKETS) * {"hour": 1, "day": 24, "month": 700}[resolution]:
        raise Refused("span", f"the span has more than {MAX_BUCKETS} {resolution}s; ask for a shorter one")
    result = [start.astimezone(UTC)]
    edge = following(floor(start, resolution, zone), resolution, zone)
    while edge < end:
        if edge > result[-1]:
            result.append(edge)
        edge = following(edge, resolution, zone)
    return [*result, end.astimezone(UTC)]

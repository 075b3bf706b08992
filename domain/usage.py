"""Usage between register reads: the one place that turns counts at moments into counts between moments.

Charts, roll-ups and bills all come from `count_at`, so that any partition of a span sums exactly to the difference of
the registers at its ends: each boundary has one integer count, whoever asks and however finely. Between two reads
the count is split by time and rounded down to a whole count, so every part is within one count of its exact share.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING

from domain.reading import Interval, ReadQuality
from domain.units import unroll

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MICROSECOND = timedelta(microseconds=1)
_TRUST = (ReadQuality.MEASURED, ReadQuality.EDITED, ReadQuality.ESTIMATED, ReadQuality.SUSPECT, ReadQuality.MISSING)


@dataclass(frozen=True, slots=True)
class CountPoint:
    """An unrolled count at one moment."""

    at: datetime
    count: int
    quality: ReadQuality = ReadQuality.MEASURED


def unrolled(points: Iterable[CountPoint], modulus: int | None) -> list[CountPoint]:
    """Return the points in time order with their raw counts unrolled, so that they never fall at a roll-over."""
    result: list[CountPoint] = []
    for point in sorted(points, key=lambda p: p.at):
        count = unroll(result[-1].count, point.count, modulus) if result else point.count
        result.append(CountPoint(point.at, count, point.quality))
    return result


def worse(one: ReadQuality, other: ReadQuality) -> ReadQuality:
    """Return the less trustworthy of two qualities."""
    return one if one is other else max(one, other, key=_TRUST.index)


def count_at(points: Sequence[CountPoint], moment: datetime) -> tuple[int, ReadQuality, bool] | None:
    """Return (unrolled count, quality, interpolated) at a moment; None before the first and after the last point.

    points  in time order, unrolled.
    """
    after = bisect_right(points, moment, key=_at)
    if after == 0:
        return None
    left = points[after - 1]
    if left.at == moment:
        return left.count, left.quality, False
    if after == len(points):
        return None
    right = points[after]
    passed, whole = (moment - left.at) // _MICROSECOND, (right.at - left.at) // _MICROSECOND
    return left.count + (right.count - left.count) * passed // whole, worse(left.quality, right.quality), True


_at = attrgetter("at")


def split(points: Sequence[CountPoint], boundaries: Sequence[datetime]) -> list[Interval]:
    """Return the intervals between consecutive boundaries.

    points      in time order, unrolled.
    boundaries  rising; n boundaries give n - 1 intervals.
    An interval that reaches outside the points is cut to them; one wholly outside is MISSING with counts None. The
    counts of all intervals sum to the difference between the first and last known boundary.
    """
    if not points:
        return [Interval(a, b, None, ReadQuality.MISSING) for a, b in zip(boundaries, boundaries[1:], strict=False)]
    first, last = points[0].at, points[-1].at
    result = []
    for start, end in zip(boundaries, boundaries[1:], strict=False):
        known_from, known_to = max(start, first), min(end, last)
        # A lone read inside an interval proves no usage, not even none.
        low = count_at(points, known_from) if known_from < known_to else None
        high = count_at(points, known_to) if known_from < known_to else None
        if low is None or high is None:
            result.append(Interval(start, end, None, ReadQuality.MISSING))
        else:
            result.append(Interval(start, end, high[0] - low[0], worse(low[1], high[1]), low[2] or high[2]))
    return result


def storage_day(moment: datetime) -> int:
    """Return the UTC day of a moment as days since 1970-01-01: the unit in which reads are folded."""
    return int(moment.astimezone(UTC).timestamp() // 86_400)

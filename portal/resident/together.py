"""All meters of a home as one: each row is the sum of the rows of its meters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.usage import worse
from portal.metering.usage import UsageRow, UsageSeries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


def together(series: Sequence[UsageSeries], known_from: Sequence[datetime]) -> UsageSeries:
    """Return the sum of series that have the same edges.

    known_from  since when each one's meter can be known: before, its missing rows are no gap of the sum.
    Counts are of different dials and are not added; `as_of` is the oldest of the newest reads.
    """
    if len(series) == 1:
        return series[0]
    rows = [
        _sum(
            [s.rows[index] for s in series],
            [since < s.rows[index].end for s, since in zip(series, known_from, strict=True)],
        )
        for index in range(len(series[0].rows))
    ]
    read = [one.as_of for one in series if one.as_of is not None]
    firsts, lasts = [s.first for s in series if s.first], [s.last for s in series if s.last]
    return replace(
        series[0],
        rows=tuple(rows),
        counts_unit=None,
        counts_scale=None,
        as_of=min(read, default=None),
        first=min(firsts, key=lambda dial: dial.at, default=None),
        last=max(lasts, key=lambda dial: dial.at, default=None),
        whole=all(one.whole for one, since in zip(series, known_from, strict=True) if since < one.end),
    )


def _sum(rows: Sequence[UsageRow], expected: Sequence[bool]) -> UsageRow:
    known = [row for row in rows if row.volume is not None]
    if not known:
        return rows[0]
    volumes = [row.volume for row in known if row.volume is not None]
    quality = ReadQuality.MEASURED
    for row in known:
        quality = worse(quality, row.quality)
    return UsageRow(
        rows[0].start,
        rows[0].end,
        sum(volumes[1:], volumes[0]),
        None,
        quality,
        any(row.interpolated for row in known),
        any(row.shared for row in known),
        partial=any(wanted and row.volume is None for row, wanted in zip(rows, expected, strict=True)),
    )

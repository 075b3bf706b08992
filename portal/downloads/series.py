"""What goes into a file: the usage of one's places, in pieces of a month, so that a long file needs no more memory.

The numbers come from `portal.metering.usage.usage`, counter by counter: what a file says, the page and the bill say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Literal, get_args

from domain.reading import ReadQuality
from domain.units import Unit
from domain.usage import worse
from portal.customers.services import Span
from portal.metering.calendar import boundaries, floor, following
from portal.metering.usage import UsageRow, count_points, counters_at, usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.customers.models import ServicePoint
    from portal.metering.calendar import Resolution
    from portal.metering.usage import Counter, UsageSeries


class Every(Enum):
    """What one row of a file covers."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    READ = "read"

    @property
    def resolution(self) -> Resolution:
        """How the calendar cuts it; rows from read to read are cut by the reads instead."""
        return "hour" if self is Every.READ else self.value

    @property
    def seconds(self) -> int:
        """The usual length of a row; 0 where it has none."""
        return {Every.HOUR: 3_600, Every.DAY: 86_400}.get(self, 0)


EveryName = Literal["hour", "day", "month", "read"]
UnitName = Literal["l", "m3", "gal", "ft3", "ccf", "kgal"]
assert set(get_args(EveryName)) == {every.value for every in Every}
assert set(get_args(UnitName)) == {unit.value for unit in Unit}


@dataclass(frozen=True, slots=True)
class Place:
    """A service point and the times of it that belong into the file: the person's own, in order, apart."""

    service_point: ServicePoint
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file is to hold: [start, end) of some places.

    now  the moment of asking, by the portal's clock.
    """

    places: tuple[Place, ...]
    start: datetime
    end: datetime
    every: Every
    unit: Unit
    zone: ZoneInfo
    now: datetime


@dataclass(frozen=True, slots=True)
class CountedRow:
    """One row of a file: the usage from start to end, and its exact counts where all are of one kind.

    counts_unit, counts_scale  what one count is worth: 10**counts_scale of the unit.
    """

    usage: UsageRow
    counts_unit: Unit | None
    counts_scale: int | None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one place: what each counter counted between the same moments."""

    edges: tuple[datetime, ...]
    series: tuple[tuple[Counter, UsageSeries], ...]

    @property
    def as_of(self) -> datetime | None:
        """The newest read that the piece rests on."""
        return max((series.as_of for _, series in self.series if series.as_of), default=None)

    def rows(self) -> Iterator[CountedRow]:
        """Yield what all counters together counted, as a page and a bill add it up."""
        for index, start in enumerate(self.edges[:-1]):
            known = [series for _, series in self.series if series.rows[index].volume is not None]
            yield _together(start, self.edges[index + 1], known, index)


def pieces(wanted: Wanted, place: Place, *, only: Counter | None = None) -> Iterator[Piece]:
    """Yield a place's usage in time order, a month or less at a time.

    only  the usage of this counter, and no time when it did not hang there.
    """
    for span in place.spans:
        inside = span.intersection(Span(wanted.start, wanted.end))
        if inside is not None and only is not None:
            inside = inside.intersection(Span(only.installation.start, only.installation.end))
        if inside is not None:
            counters = counters_at(place.service_point, inside) if only is None else [only]
            yield from _pieces_of(wanted, place.service_point, inside, counters)


def _pieces_of(wanted: Wanted, service_point: ServicePoint, span: Span, counters: Sequence[Counter]) -> Iterator[Piece]:
    edge = until = span.start
    while until < span.end:
        until = min(following(until, "month", wanted.zone), span.end)
        edges = _edges(wanted, edge, until, counters, last=until == span.end)
        if len(edges) > 1:
            yield Piece(tuple(edges), tuple(_counted(wanted, service_point, edges, counters)))
            edge = edges[-1]


def _counted(
    wanted: Wanted, service_point: ServicePoint, edges: Sequence[datetime], counters: Sequence[Counter]
) -> Iterator[tuple[Counter, UsageSeries]]:
    window = Span(edges[0], edges[-1])
    for counter in counters:
        if window.intersection(Span(counter.installation.start, counter.installation.end)) is not None:
            yield (
                counter,
                usage(
                    service_point,
                    start=edges[0],
                    end=edges[-1],
                    resolution=wanted.every.resolution,
                    zone=wanted.zone,
                    unit=wanted.unit,
                    counters=[counter],
                    edges=edges,
                ),
            )


def _edges(
    wanted: Wanted, start: datetime, end: datetime, counters: Sequence[Counter], *, last: bool
) -> list[datetime]:
    """Return the moments between which the rows of [start, end) lie.

    From read to read a piece ends with its last read, so that the month's end does not cut an interval in two.
    """
    if wanted.every is not Every.READ:
        return boundaries(start, end, wanted.every.resolution, wanted.zone)
    window = Span(start, end)
    moments = {
        point.at
        for counter in counters
        if (hung := window.intersection(Span(counter.installation.start, counter.installation.end))) is not None
        for point in count_points(counter.registers, counter.installation, hung)
        if start < point.at < end
    }
    return [start, *sorted(moments), *([end] if last else [])]


def _together(start: datetime, end: datetime, known: Sequence[UsageSeries], index: int) -> CountedRow:
    rows = [series.rows[index] for series in known]
    if not rows:
        return CountedRow(UsageRow(start, end, None, None, ReadQuality.MISSING, interpolated=False), None, None)
    kinds = {(series.counts_unit, series.counts_scale) for series in known}
    counts_unit, counts_scale = kinds.pop() if len(kinds) == 1 else (None, None)
    quality = ReadQuality.MEASURED
    for row in rows:
        quality = worse(quality, row.quality)
    together = UsageRow(
        start,
        end,
        sum((row.volume for row in rows if row.volume is not None), Decimal(0)),
        None if counts_unit is None else sum(row.counts or 0 for row in rows),
        quality,
        interpolated=any(row.interpolated for row in rows),
    )
    return CountedRow(together, counts_unit, counts_scale)


def newest_edge(moment: datetime, every: Every, zone: ZoneInfo) -> datetime:
    """Return the end of the hour, day or month of a moment: rows after it are the future."""
    if every is Every.READ:
        return moment + timedelta(microseconds=1)
    return following(floor(moment, every.resolution, zone), every.resolution, zone)

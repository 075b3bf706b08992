"""Usage of a service point: hours, days and months that sum exactly to what the dials turned.

Every boundary between two intervals has one integer count per register (`domain.usage.count_at`), whoever asks and
however finely. A volume in a unit is the difference of the two boundary readings, each rounded to that unit's places:
so rows of any resolution also sum exactly after rounding, and a chart, its table and a bill show the same numbers.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from domain.reading import ReadQuality
from domain.units import Unit, counts_to, rounded_ratio
from domain.usage import CountPoint, count_at, unrolled, worse
from portal.core.clock import now
from portal.core.services import utility_zone
from portal.customers.services import Span, visible_spans
from portal.metering.calendar import Resolution, boundaries
from portal.metering.models import Installation
from portal.metering.points import added_to, points_of
from portal.metering.reads import to_us
from portal.metering.spans import CLOCK_AHEAD, Hung, counters_of, hung_at, points_beside, roll_over, written_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from fractions import Fraction
    from zoneinfo import ZoneInfo

    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.customers.permissions import Viewer
    from portal.metering.models import MeterRegister

PLACES = {
    Unit.LITRE: 3,
    Unit.CUBIC_METRE: 6,
    Unit.GALLON: 3,
    Unit.CUBIC_FOOT: 4,
    Unit.CCF: 6,
    Unit.KILOGALLON: 6,
}
"""Decimals of a volume in each unit: finer than any register counts."""

_EDGES_MANY = 400
"""Edges by which it is quicker to follow all reads of a window than to look up those beside each edge."""
_SECOND, _CHANGING_A_METER = timedelta(seconds=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One interval, labelled by its start.

    volume        in the series' unit; None where nothing is known: a gap, never a zero.
    counts        exact, in the series' counts_unit and counts_scale; None in a gap, or when registers are mixed.
    interpolated  a boundary lies between two reads, so the volume was split by time.
    shared        and there is no read inside: all of the volume is a share of a longer time.
    partial       several meters were added up, and of one of them nothing is known here.
    """

    start: datetime
    end: datetime
    volume: Decimal | None
    counts: int | None
    quality: ReadQuality
    interpolated: bool
    shared: bool = False
    partial: bool = False


@dataclass(frozen=True, slots=True)
class DialReading:
    """What a register's dial showed at a moment (as it shows it: rolled over, in its own unit and scale)."""

    at: datetime
    meter_id: str
    register_id: str
    raw_count: int
    unit: Unit
    scale: int
    quality: ReadQuality
    interpolated: bool

    @property
    def value(self) -> Decimal:
        """The reading in the register's own unit."""
        return Decimal(self.raw_count).scaleb(self.scale)


@dataclass(frozen=True, slots=True)
class UsageSeries:
    """The usage of one service point.

    counts_unit, counts_scale  what one count of the rows is worth; None when registers of several kinds are in it.
    as_of                      the newest read that it rests on; None when there is none.
    first, last                dial readings at the first and last moment that is known.
    whole                      from its start to its end there is no time of which nothing is known.
    """

    rows: tuple[UsageRow, ...]
    start: datetime
    end: datetime
    resolution: Resolution
    zone: str
    unit: Unit
    counts_unit: Unit | None
    counts_scale: int | None
    as_of: datetime | None
    first: DialReading | None
    last: DialReading | None
    whole: bool = True

    @property
    def total(self) -> Decimal | None:
        """The sum of the volumes; None when nothing is known."""
        known = [row.volume for row in self.rows if row.volume is not None]
        return sum(known, Decimal(0)) if known else None

    @property
    def total_counts(self) -> int | None:
        """The sum of the counts; None when nothing is known or registers are mixed."""
        known = [row.counts for row in self.rows if row.counts is not None]
        return sum(known) if known and self.counts_unit is not None else None


def usage(
    service_point: ServicePoint,
    *,
    start: datetime,
    end: datetime,
    resolution: Resolution,
    zone: ZoneInfo | None = None,
    unit: Unit = Unit.GALLON,
    spans: Sequence[Span] | None = None,
    counters: Sequence[Counter] | None = None,
    edges: Sequence[datetime] | None = None,
) -> UsageSeries:
    """Return the usage of a service point in [start, end), whoever lived there (staff, billing).

    zone      cuts hours, days and months; the utility's when not given.
    spans     when given, only what lies inside them is looked at: the rest is a gap.
    counters  when given, what these counted alone (`counters_at`).
    edges     when given, the rows lie between these moments instead: rising, the first `start`, the last `end`.
    raises Refused for an empty or much too long span.
    """
    zone = zone or utility_zone()
    cut = Cut(tuple(boundaries(start, end, resolution, zone) if edges is None else edges), resolution)
    return usages(service_point, [cut], zone=zone, unit=unit, spans=spans, counters=counters)[0]


class Cut(NamedTuple):
    """The moments (rising, aware, at least two) between which the rows of one series lie, and how they are called."""

    edges: tuple[datetime, ...]
    resolution: Resolution


def usages(
    service_point: ServicePoint,
    cuts: Sequence[Cut],
    *,
    zone: ZoneInfo | None = None,
    unit: Unit = Unit.GALLON,
    spans: Sequence[Span] | None = None,
    counters: Sequence[Counter] | None = None,
) -> list[UsageSeries]:
    """Return several series of one service point, each as `usage` gives it; what they rest on is looked up once.

    The number of queries does not grow with the cuts, nor with how long ago they are or how far they reach.
    """
    zone = zone or utility_zone()
    parts: list[list[_Part]] = [[] for _ in cuts]
    if counters is None:
        counters = counters_at(service_point, Span(min(c.edges[0] for c in cuts), max(c.edges[-1] for c in cuts)))
    for number, part in _parts(counters, cuts, spans, zone):
        parts[number].append(part)
    return [_series(cut, of_cut, unit, str(zone)) for cut, of_cut in zip(cuts, parts, strict=True)]


def _series(cut: Cut, parts: Sequence[_Part], unit: Unit, zone: str) -> UsageSeries:
    edges, rows = cut.edges, [_Row() for _ in cut.edges[1:]]
    for part in parts:
        part.add_to(rows, edges, unit)
    kinds = {(part.register.unit, part.register.scale) for part in parts}
    counts_unit, counts_scale = kinds.pop() if len(kinds) == 1 else (None, None)
    known = sorted(parts, key=lambda part: part.window.start)
    return UsageSeries(
        rows=tuple(
            row.finished(a, b, exact=counts_unit is not None)
            for row, a, b in zip(rows, edges[:-1], edges[1:], strict=True)
        ),
        start=edges[0],
        end=edges[-1],
        resolution=cut.resolution,
        zone=zone,
        unit=unit,
        counts_unit=None if counts_unit is None else Unit(counts_unit),
        counts_scale=counts_scale,
        as_of=max((part.as_of for part in parts if part.as_of), default=None),
        first=known[0].dial_at(known[0].window.start) if known else None,
        last=max(known, key=lambda part: part.window.end).dial_at(None) if known else None,
        whole=_cover([part.window for part in known], edges[0], edges[-1]),
    )


def _cover(windows: Sequence[Span], start: datetime, end: datetime) -> bool:
    """Whether windows, in order of their starts, leave nothing out but the time that changing a meter takes."""
    reached, slack = start, min(_CHANGING_A_METER, (end - start) / 24)
    for window in windows:
        if window.start - reached > slack:
            return False
        reached = max(reached, window.end)
    return bool(windows) and end - reached <= slack


def viewer_usage(
    who: User | Viewer,
    service_point: ServicePoint,
    *,
    start: datetime,
    end: datetime,
    resolution: Resolution,
    zone: ZoneInfo | None = None,
    unit: Unit = Unit.GALLON,
) -> UsageSeries:
    """Return the usage that a resident may see: only inside the occupancies of their own accounts."""
    spans = visible_spans(who, service_point)
    return usage(service_point, start=start, end=end, resolution=resolution, zone=zone, unit=unit, spans=spans)


def count_points(registers: Sequence[MeterRegister], installation: Installation, window: Span) -> list[CountPoint]:
    """Return the unrolled points of a counter that say what happened in a window of one installation.

    registers  its definitions, see `spans.counters_of`.
    The reads around the window belong to it too, as far as the meter was installed then: they give the counts at the
    window's ends. So do the dial readings that were written down when the meter was hung up and taken off. Reads from
    later than now (a collector's clock ran ahead) are kept, but no usage is stretched to them.
    The office's own reads are among them, and the reads that it excluded are not (`points`).
    """
    low_us, high_us = to_us(installation.start), to_us(now() + CLOCK_AHEAD)
    if installation.end is not None:
        high_us = min(high_us, to_us(installation.end))
    start_us, end_us = to_us(window.start), min(to_us(window.end), high_us)
    added = added_to(register.pk for register in registers)
    points = [
        point
        for register in registers
        for point in points_of(register.pk, start_us, end_us, added[register.pk], low_us=low_us, high_us=high_us)
    ]
    if installation.register_id in {register.pk for register in registers}:
        taken = {point.at for point in points}
        points = [*(point for point in written_down(installation) if point.at not in taken), *points]
    return unrolled(points, roll_over(registers))


@dataclass(slots=True)
class _Row:
    """One interval while parts are added to it."""

    volume: Decimal | None = None
    counts: int = 0
    quality: ReadQuality = ReadQuality.MEASURED
    interpolated: bool = False
    read_inside: bool = False

    def add(self, volume: Decimal, counts: int, quality: ReadQuality, *, interpolated: bool, read_inside: bool) -> None:
        self.volume = volume if self.volume is None else self.volume + volume
        self.counts += counts
        self.quality = worse(self.quality, quality)
        self.interpolated = self.interpolated or interpolated
        self.read_inside = self.read_inside or read_inside

    def finished(self, start: datetime, end: datetime, *, exact: bool) -> UsageRow:
        if self.volume is None:
            return UsageRow(start, end, None, None, ReadQuality.MISSING, interpolated=False)
        counts = self.counts if exact else None
        shared = self.interpolated and not self.read_inside
        return UsageRow(start, end, self.volume, counts, self.quality, self.interpolated, shared)


@dataclass(frozen=True)
class _Part:
    """What one counter of one installation says about one window, cut to the moments that its points reach."""

    register: MeterRegister
    modulus: int | None
    window: Span
    points: list[CountPoint]
    as_of: datetime | None = field(default=None)

    def add_to(self, rows: list[_Row], edges: Sequence[datetime], unit: Unit) -> None:
        """Add this part's volumes to the rows between the edges."""
        first = bisect_right(edges, self.window.start) - 1
        moment, reading = self.window.start, self._reading_in(unit)
        low = count_at(self.points, moment)
        low_reading = reading(low[0]) if low is not None else None
        for index in range(first, len(rows)):
            if moment >= self.window.end:
                return
            before, moment = moment, min(edges[index + 1], self.window.end)
            high = count_at(self.points, moment)
            high_reading = reading(high[0]) if high is not None else None
            if low is not None and high is not None and low_reading is not None and high_reading is not None:
                rows[index].add(
                    high_reading - low_reading,
                    high[0] - low[0],
                    worse(low[1], high[1]),
                    interpolated=low[2] or high[2],
                    read_inside=self._read_between(before - _SECOND, moment),
                )
            low, low_reading = high, high_reading

    def _read_between(self, start: datetime, end: datetime) -> bool:
        place = bisect_left(self.points, start, key=_at)
        return place < len(self.points) and self.points[place].at <= end

    def dial_at(self, moment: datetime | None) -> DialReading:
        """Return what the dial showed at a moment of the window; None is its end."""
        at = self.window.end if moment is None else moment
        found = count_at(self.points, at)
        assert found is not None  # the window was cut to the points
        count, quality, interpolated = found
        register = self.register
        raw = count if self.modulus is None else count % self.modulus
        unit = Unit(register.unit)
        return DialReading(
            at, register.meter.meter_id, register.register_id, raw, unit, register.scale, quality, interpolated
        )

    def _reading_in(self, unit: Unit) -> Callable[[int], Decimal]:
        """Return what makes of an unrolled count a reading in a unit, rounded to its places.

        The dial's own count is rounded, and each full turn of it is worth the same rounded volume: so it does not
        matter from which turn a series happens to count, and two series that meet at a moment agree about it.
        """
        modulus, places = self.modulus, PLACES[unit]
        numerator, denominator = _worth(self.register.unit, self.register.scale, unit).as_integer_ratio()

        def rounded(count: int) -> Decimal:
            return rounded_ratio(count * numerator, denominator, places)

        if modulus is None:
            return rounded
        turn = rounded(modulus)

        def reading(count: int) -> Decimal:
            turns, shown = divmod(count, modulus)
            return rounded(shown) + turns * turn

        return reading


@lru_cache(maxsize=256)
def _worth(unit: str, scale: int, to: Unit) -> Fraction:
    """Return what one count is worth in another unit."""
    return counts_to(1, unit=Unit(unit), scale=scale, to=to)


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter of one meter while that hung at a service point; a compound meter has two.

    registers  its definitions: they differ in nothing but where the dial rolls over.
    """

    installation: Installation
    registers: tuple[MeterRegister, ...]


def counters_at(service_point: ServicePoint, span: Span) -> list[Counter]:
    """Return what counted the usage of a service point in a span, in the order in which the meters hung there."""
    rows = [
        row for row in hung_at(service_point.pk) if row.start < span.end and (row.end is None or row.end > span.start)
    ]
    of_meters = counters_of({row.meter_id for row in rows}) if rows else {}
    return [Counter(row, tuple(registers)) for row in rows for registers in of_meters.get(row.meter_id, ())]


_at: Callable[[CountPoint], datetime] = attrgetter("at")


def _parts(
    counters: Sequence[Counter], cuts: Sequence[Cut], spans: Sequence[Span] | None, zone: ZoneInfo
) -> Iterator[tuple[int, _Part]]:
    """Yield (index of the cut, part) for each counter in each span of each cut."""
    whole = [Span(cut.edges[0], cut.edges[-1]) for cut in cuts]
    asked = [
        (number, inside)
        for number, span in enumerate(whole)
        for seen in ([span] if spans is None else spans)
        if (inside := seen.intersection(span)) is not None
    ]
    jobs, windows = [], []
    for counter in counters:
        hung = Span(counter.installation.start, counter.installation.end)
        for number, span in asked:
            if (window := hung.intersection(span)) is not None:
                jobs.append((Hung(counter.installation, _inside(window, cuts[number])), [*counter.registers]))
                windows.append((number, window))
    for (_, registers), (number, window), points in zip(jobs, windows, _points(jobs, zone), strict=True):
        known = window.intersection(Span(points[0].at, points[-1].at)) if len(points) > 1 else None
        if known is not None:
            newest = points[bisect_right(points, known.end, key=_at) - 1].at
            as_of = newest if newest >= known.start else None
            yield number, _Part(registers[0], roll_over(registers), known, points, as_of)


def _inside(window: Span, cut: Cut) -> tuple[datetime, ...]:
    """Return the moments of a window at which its counts are wanted."""
    return (window.start, *(edge for edge in cut.edges if window.start < edge < window.end), window.end)


def _points(jobs: Sequence[tuple[Hung, list[MeterRegister]]], zone: ZoneInfo) -> list[list[CountPoint]]:
    """Return the points beside each job's moments; all of the points between them where the moments are many."""
    if sum(len(one.moments) for one, _ in jobs) <= _EDGES_MANY:
        return points_beside(jobs, zone) if jobs else []
    return [count_points(counter, one.row, Span(one.moments[0], one.moments[-1])) for one, counter in jobs]

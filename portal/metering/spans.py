"""What the registers of many service points showed at given moments: the boundary counts that bills rest on, in bulk.

The same points as `usage` sees, and the same `count_at`: a bill's boundary and a chart's boundary are one number.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from domain.reading import ReadQuality
from domain.units import rollover_difference
from domain.usage import CountPoint, count_at
from portal.core.clock import now
from portal.core.prepared import Prepared
from portal.core.remembering import remembered
from portal.core.services import utility_zone
from portal.metering.looks import clusters, keep_look, seen_before
from portal.metering.models import Installation, MeterRegister
from portal.metering.nearest import Beside, Probe, counted_between, look_beside, moments_between
from portal.metering.packed import DAY_US
from portal.metering.points import judged_and_extra
from portal.metering.reads import from_us, to_us

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.db.models import QuerySet

    from portal.metering.nearest import Found, SeenDay
    from portal.metering.points import Judged

CLOCK_AHEAD = timedelta(days=1)
_DAY, _LONG_US = timedelta(days=1), 2 * DAY_US
_DAYS_WITHOUT_ROLL_UP = 2  # the days that are not folded yet when a bill is made
_DAYS_FEW = 7  # to follow the reads of so few is no work, and what is not rolled up would weigh much
_DAYS_OF_DOUBT = 12  # parts of days at both ends and days without roll-up, each of up to three times the usual use
_NO_SLACK = timedelta(0)
_METERS_FEW = 16  # of a home; more are a job's
_FAR_APART = timedelta(days=100)  # what lies between is nobody's question then


@dataclass(frozen=True, slots=True)
class BoundaryCount:
    """What a counter stood at at a moment.

    count    unrolled: differences within one part are what was used; shown: as the dial shows it.
    read_us  the reads that it rests on: one, or the one before and the one after when it was interpolated.
    """

    at: datetime
    count: int
    shown: int
    quality: ReadQuality
    interpolated: bool
    read_us: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MeteredPart:
    """One counter of one installation between the first and the last moment that is known of it.

    register     the definition that speaks for the counter; modulus: where it rolls over.
    start, end   when the meter hung there, within the edges asked for; the counts may reach less far.
    counts       at every edge inside, at the start and end of its time there, and at the first and last known moment;
                 none at all for a meter that hung there and was not heard of.
    """

    service_point_id: int
    installation_id: int
    register: MeterRegister
    start: datetime
    end: datetime
    counts: tuple[BoundaryCount, ...]
    modulus: int | None = None

    def at(self, moment: datetime) -> BoundaryCount | None:
        """Return the count at a moment that was asked for, None when it is not known."""
        return next((count for count in self.counts if count.at == moment), None)


def metered(
    service_point_ids: Sequence[int], edges: Sequence[datetime], *, slack: timedelta = _NO_SLACK
) -> dict[int, list[MeteredPart]]:
    """Return what was metered at service points, with a count at each of the edges (rising, aware)."""
    return metered_at(dict.fromkeys(service_point_ids, edges), slack=slack)


def metered_at(
    edges: Mapping[int, Sequence[datetime]], *, slack: timedelta = _NO_SLACK
) -> dict[int, list[MeteredPart]]:
    """Return the same with edges of each service point's own.

    slack  how far beyond its first or last read a counter is taken to have stood still: no time at all on a chart.
    The number of queries does not grow with the service points.
    """
    hung = [Hung(row, _inside(row, edges[row.service_point_id])) for row in _installations(edges)]
    hung = [one for one in hung if one.moments]
    counters = counters_of({one.row.meter_id for one in hung})
    jobs = [(one, counter) for one in hung for counter in counters.get(one.row.meter_id, ())]
    points = points_beside(jobs)
    result: dict[int, list[MeteredPart]] = {point: [] for point in edges}
    for (one, counter), chosen in zip(jobs, points, strict=True):
        row, register, modulus = one.row, counter[0], roll_over(counter)
        counts = tuple(_counts(one.moments, chosen, modulus, slack))
        part = MeteredPart(row.service_point_id, row.pk, register, one.moments[0], one.moments[-1], counts, modulus)
        result[row.service_point_id].append(part)
    return result


class Hung(NamedTuple):
    """An installation, and the moments of its time there at which counts are wanted."""

    row: Installation
    moments: tuple[datetime, ...]


def hung_at(service_point_id: int) -> list[Installation]:
    """Return every installation of one service point with its meter, in the order of time; asked once for a page."""
    return remembered(("hung", service_point_id), lambda: HUNG(service_point_id))


HUNG: Prepared[Installation] = Prepared(
    lambda point: (
        Installation.objects.filter(service_point=point)
        .select_related("meter", "service_point")
        .order_by("start", "pk")
    )
)


def _installations(edges: Mapping[int, Sequence[datetime]]) -> Iterable[Installation]:
    if not edges:
        return ()
    first, last = min(e[0] for e in edges.values()), max(e[-1] for e in edges.values())
    if len(edges) == 1 or all(HUNG.known(point) is not None for point in edges):  # a page's: its chart asks the same
        hung = (row for point in sorted(edges) for row in hung_at(point))
        return [row for row in hung if row.start < last and (row.end is None or row.end > first)]
    rows = Installation.objects.filter(service_point__in=edges, start__lt=last)
    return rows.filter(Q(end__isnull=True) | Q(end__gt=first)).order_by("service_point", "start")


def _inside(row: Installation, edges: Sequence[datetime]) -> tuple[datetime, ...]:
    start, end = max(edges[0], row.start), edges[-1] if row.end is None else min(edges[-1], row.end)
    if start >= end:
        return ()
    return tuple(sorted({start, end, *(edge for edge in edges if start < edge < end)}))


def counters_of(meters: Iterable[int]) -> dict[int, list[list[MeterRegister]]]:
    """Return the claimed counters of meters, each as its definitions (they differ in the roll-over alone)."""
    ids = frozenset(meters)
    known = remembered("counters of meters", dict[int, list[list[MeterRegister]]])
    if new := ids - known.keys():
        found = _counters_of(new)
        known.update((meter, found.get(meter, [])) for meter in new)
    return {meter: known[meter] for meter in sorted(ids) if known[meter]}


def _counters_of(meters: Collection[int]) -> dict[int, list[list[MeterRegister]]]:
    found: dict[int, dict[tuple[str, str, int], list[MeterRegister]]] = defaultdict(dict)
    few = len(meters) <= _METERS_FEW
    for row in REGISTERS(tuple(sorted(meters))) if few else _registers(meters):
        found[row.meter_id].setdefault((row.register_id, row.unit, row.scale), []).append(row)
    return {meter: list(counters.values()) for meter, counters in found.items()}


def _registers(meters: Collection[int]) -> QuerySet[MeterRegister]:
    rows = MeterRegister.objects.filter(meter__in=meters, in_usage=True, claimed=True)
    return rows.select_related("meter", "state").order_by("pk")


REGISTERS: Prepared[MeterRegister] = Prepared(_registers)


def roll_over(registers: Sequence[MeterRegister]) -> int | None:
    """Return where a counter rolls over: the least of its definitions that were ever read, else of all."""
    read = [register for register in registers if hasattr(register, "state")] or registers
    return min((register.modulus for register in read if register.modulus is not None), default=None)


Job = tuple[Hung, list[MeterRegister]]


def points_beside(jobs: Sequence[Job], zone: ZoneInfo | None = None) -> list[list[CountPoint]]:
    """Return the points next to each job's moments, unrolled; the zone cuts roll-ups, the utility's when not given.

    Where the page has looked at all of them before, there may be more points than those.
    """
    before = [seen_before(one.row, counter, one.moments) for one, counter in jobs]
    found = iter(_points_beside([job for job, seen in zip(jobs, before, strict=True) if seen is None], zone))
    return [next(found) if seen is None else seen for seen in before]


def look_together(moments: Mapping[int, Iterable[datetime]], zone: ZoneInfo) -> None:
    """Look at all counters of service points, each at these moments, as those will who ask for some of them later."""
    jobs = []
    for point, wanted in moments.items():
        for near in clusters(wanted, _FAR_APART):
            hung = [Hung(row, _inside(row, near)) for row in hung_at(point)]
            counters = counters_of({one.row.meter_id for one in hung if one.moments})
            jobs += [(one, counter) for one in hung if one.moments for counter in counters.get(one.row.meter_id, ())]
    for (one, counter), points in zip(jobs, _points_beside(jobs, zone), strict=True):
        keep_look(one.row, counter, one.moments, points)


def _points_beside(jobs: Sequence[Job], zone: ZoneInfo | None) -> list[list[CountPoint]]:
    if not jobs:
        return []
    latest_us = to_us(now() + CLOCK_AHEAD)
    probes, owners = [], []
    for number, (one, counter) in enumerate(jobs):
        low_us = to_us(one.row.start)
        high_us = latest_us if one.row.end is None else min(latest_us, to_us(one.row.end))
        for register in counter:
            probes.append(Probe(register.pk, low_us, high_us, tuple(map(to_us, one.moments))))
            owners.append(number)
    raw: list[list[_Raw]] = [[] for _ in jobs]
    judged, extra = judged_and_extra(probe.register for probe in probes)
    beside = look_beside(probes, excluded=_left_out(judged), known=_known_days())
    for number, probe, found in zip(owners, probes, beside.found, strict=True):
        raw[number] += _stored(beside, probe.register, found, judged[probe.register])
        # Behind the stored ones: of two points of one moment the last one counts.
        raw[number] += [
            (point.read_us, point.raw_count, point.quality)
            for point in extra[probe.register]
            if probe.low_us <= point.read_us <= probe.high_us
        ]
    for points, (one, counter) in zip(raw, jobs, strict=True):
        if one.row.register_id in {register.pk for register in counter}:
            taken = {read_us for read_us, _, _ in points}
            written = [(to_us(point.at), point.count, point.quality) for point in written_down(one.row)]
            points[:0] = [point for point in written if point[0] not in taken]
        points.sort(key=_read_us)
    likely = _likely(jobs, raw, beside, zone)
    return [
        _unrolled(points, roll_over(counter), steps)
        for points, (_, counter), steps in zip(raw, jobs, likely, strict=True)
    ]


_Raw = tuple[int, int, ReadQuality]
"""A point that is not unrolled yet: its moment in microseconds since 1970, raw count and quality."""
_read_us: Callable[[_Raw], int] = itemgetter(0)
_QUALITIES = {int(quality): quality for quality in ReadQuality}


def _stored(beside: Beside, register: int, found: Iterable[Found], verdicts: Judged) -> list[_Raw]:
    """Return the stored reads that were found, with the qualities that they have in the usage."""
    points = []
    for day, place in found:
        moments, counts, qualities, _ = beside.day(register, day)
        read_us, quality = moments[place], _QUALITIES[qualities[place]]
        if verdicts.segments:
            quality = verdicts.quality(read_us, quality)
        points.append((read_us, counts[place], quality))
    return points


def moments_read(registers: Collection[int], start: datetime, end: datetime) -> list[int]:
    """Return when each of these registers was read in [start, end], in microseconds since 1970: what counts of it."""
    judged, _ = judged_and_extra(registers)
    span = to_us(start), to_us(end)
    found = moments_between([(one, *span) for one in registers], excluded=_left_out(judged), known=_known_days())
    return [moment for of_register in found for moment in of_register]


def _left_out(judged: Mapping[int, Judged]) -> dict[int, Judged]:
    return {register: verdicts for register, verdicts in judged.items() if verdicts.segments}


def _known_days() -> dict[tuple[int, int], SeenDay]:
    """Return the days that this page has looked at: what is left out of them is the same for every look."""
    return remembered("days of registers", dict[tuple[int, int], "SeenDay"])


def written_down(row: Installation) -> list[CountPoint]:
    """Return the counts that were written down when a meter was hung up and taken off: they count where no read is."""
    found = []
    if row.first_count is not None:
        found.append(CountPoint(row.start, row.first_count))
    if row.last_count is not None and row.end is not None:
        found.append(CountPoint(row.end, row.last_count))
    return found


class _Gap(NamedTuple):
    """Two neighbouring points of a job, between which there may be reads that were not taken along."""

    job: int
    register: int
    left_us: int
    right_us: int

    def whole_days(self, zone: ZoneInfo) -> tuple[date, date]:
        """Return the first and the last calendar day wholly between them; the first may be the later one."""
        left, right = from_us(self.left_us), from_us(self.right_us)
        return left.astimezone(zone).date() + _DAY, right.astimezone(zone).date() - _DAY


_Likely = dict[tuple[int, int], int]
"""Between the moments of two neighbouring points."""


def _likely(
    jobs: Sequence[Job],
    raw: Sequence[Sequence[_Raw]],
    beside: Beside,
    zone: ZoneInfo | None,
) -> list[_Likely]:
    """Return what counters that roll over counted between neighbouring points, as the reads between them say.

    Step by step a dial never turns half round; from one edge to the next it might. Of days that were looked at the
    reads are at hand. From one month's end to the next the roll-ups know it; where they do not know most of the days,
    or the dial is a small one, the reads themselves are followed.
    """
    result: list[_Likely] = [defaultdict(int) for _ in jobs]
    far = []
    for number, (points, (_, counter)) in enumerate(zip(raw, jobs, strict=True)):
        modulus, registers = roll_over(counter), [register.pk for register in counter]
        for (left_us, _, _), (right_us, _, _) in pairwise(points) if modulus is not None else ():
            for register in registers:
                counts = beside.counts_between(register, left_us, right_us)
                if counts is None:
                    far.append(_Gap(number, register, left_us, right_us))
                else:
                    result[number][left_us, right_us] += _stepwise(counts, modulus)
    if far:
        _add_far(result, far, jobs, beside, zone or utility_zone())
    return result


def _add_far(result: list[_Likely], far: Sequence[_Gap], jobs: Sequence[Job], beside: Beside, zone: ZoneInfo) -> None:
    days = {gap: gap.whole_days(zone) for gap in far if gap.right_us - gap.left_us >= _LONG_US}
    known = counted_between({(gap.register, *span) for gap, span in days.items() if span[0] <= span[1]})
    followed = []
    for gap in far:
        modulus = roll_over(jobs[gap.job][1])
        first, last = days.get(gap, (None, None))
        counts, rolled_up = known.get((gap.register, first, last), (0, 0)) if first and last else (0, 0)
        missing = (last - first).days + 1 - rolled_up if first and last else 0
        if rolled_up < _DAYS_FEW or missing > _DAYS_WITHOUT_ROLL_UP or _turns_fast(counts, rolled_up, modulus):
            followed.append(gap)
        else:
            result[gap.job][gap.left_us, gap.right_us] += counts
    beside.look_between((gap.register, gap.left_us, gap.right_us) for gap in followed)
    for gap in followed:
        passed = beside.counts_between(gap.register, gap.left_us, gap.right_us) or ()
        result[gap.job][gap.left_us, gap.right_us] += _stepwise(passed, roll_over(jobs[gap.job][1]))


def _turns_fast(counts: int, days: int, modulus: int | None) -> bool:
    """Whether a few days without roll-up might be half a turn of the dial: then what is likely says too little."""
    return modulus is not None and abs(counts) * _DAYS_OF_DOUBT * 2 > modulus * days


def _stepwise(counts: Sequence[int], modulus: int | None) -> int:
    """Return what a dial counted, as `rollover_difference` says it of each step."""
    if modulus is None:
        return counts[-1] - counts[0] if counts else 0
    half, rose = modulus // 2, counts[-1] - counts[0] if counts else 0
    if 0 <= rose <= half and sorted(counts) == list(counts):
        return rose  # by no step of more than half a turn
    passed = [(b - a) % modulus for a, b in pairwise(counts)]
    turned_back: int = modulus * sum(1 for step in passed if step > half)
    return sum(passed) - turned_back


def _unrolled(points: Sequence[_Raw], modulus: int | None, likely: _Likely) -> list[CountPoint]:
    """Return the points unrolled; between those far apart, by as many turns as come nearest to what is likely."""
    if modulus is None or not points:
        return [CountPoint(from_us(read_us), count, quality) for read_us, count, quality in points]
    count = points[0][1]
    result = [CountPoint(from_us(points[0][0]), count, points[0][2])]
    for (left_us, left, _), (right_us, right, quality) in pairwise(points):
        step = rollover_difference(left % modulus, right, modulus)
        if (expected := likely.get((left_us, right_us), step)) != step:
            step += round((expected - step) / modulus) * modulus
        count += step
        result.append(CountPoint(from_us(right_us), count, quality))
    return result


def _counts(
    moments: Sequence[datetime], points: Sequence[CountPoint], modulus: int | None, slack: timedelta
) -> Iterable[BoundaryCount]:
    """Yield the count at each moment that the points reach, and at their ends."""
    if not points or (len(points) == 1 and not slack):
        return
    ends = {at for at in (points[0].at, points[-1].at) if moments[0] <= at <= moments[-1]}
    for moment in sorted({*moments, *ends}):
        found = count_at(points, moment)
        if found is None:
            near = [point for point in (points[0], points[-1]) if abs(point.at - moment) <= slack]
            if not near:
                continue
            found = near[0].count, near[0].quality, True
        count, quality, interpolated = found
        around = _around(points, moment) if interpolated else (to_us(moment),)
        shown = count if modulus is None else count % modulus
        yield BoundaryCount(moment, count, shown, quality, interpolated, around)


def _around(points: Sequence[CountPoint], moment: datetime) -> tuple[int, ...]:
    after = bisect_right(points, moment, key=_at)
    return tuple(to_us(point.at) for point in points[max(after - 1, 0) : after + 1])


_at: Callable[[CountPoint], datetime] = attrgetter("at")

"""What the registers of many service points showed at given moments: the boundary counts that bills rest on, in bulk.

The same points as `usage` sees, and the same `count_at`: a bill's boundary and a chart's boundary are one number.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from domain.reading import ReadQuality
from domain.units import rollover_difference
from domain.usage import CountPoint, count_at
from portal.core.clock import now
from portal.core.prepared import Prepared, ask_ahead
from portal.core.remembering import remembered
from portal.core.services import utility_zone
from portal.metering.models import Installation, MeterRegister
from portal.metering.nearest import Beside, Probe, counted_between, look_beside
from portal.metering.points import judged_and_extra, will_judge
from portal.metering.reads import from_us, to_us

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.db.models import QuerySet

    from portal.metering.nearest import SeenDay

CLOCK_AHEAD = timedelta(days=1)
_DAY, _LONG = timedelta(days=1), timedelta(days=2)
_DAYS_WITHOUT_ROLL_UP = 2  # the days that are not folded yet when a bill is made
_DAYS_FEW = 7  # to follow the reads of so few is no work, and what is not rolled up would weigh much
_DAYS_OF_DOUBT = 12  # parts of days at both ends and days without roll-up, each of up to three times the usual use
_NO_SLACK = timedelta(0)
_METERS_FEW = 16  # of a home; more are a job's


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
    if len(edges) == 1:  # a page's: its chart asks for the same
        return [row for row in hung_at(*edges) if row.start < last and (row.end is None or row.end > first)]
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
    return remembered(("counters", ids), lambda: _counters_of(ids))


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
    """Return the points next to each job's moments, unrolled; the zone cuts roll-ups, the utility's when not given."""
    latest_us = to_us(now() + CLOCK_AHEAD)
    probes, owners = [], []
    for number, (one, counter) in enumerate(jobs):
        low_us = to_us(one.row.start)
        high_us = latest_us if one.row.end is None else min(latest_us, to_us(one.row.end))
        for register in counter:
            probes.append(Probe(register.pk, low_us, high_us, tuple(map(to_us, one.moments))))
            owners.append(number)
    raw: list[list[CountPoint]] = [[] for _ in jobs]
    registers = frozenset(probe.register for probe in probes)
    judged, extra = judged_and_extra(registers)
    left_out = {register: verdicts for register, verdicts in judged.items() if verdicts.segments}
    # What is left out of a register's day is the same for every look of a page, whatever other registers it is at.
    known = remembered("days of registers", dict[tuple[int, int], "SeenDay"])
    beside = look_beside(probes, excluded=left_out, known=known, also_us=_later())
    for number, probe, reads in zip(owners, probes, beside.reads, strict=True):
        verdicts = judged[probe.register]
        raw[number] += [
            CountPoint(from_us(read.read_us), read.raw_count, verdicts.quality(read.read_us, ReadQuality(read.quality)))
            for read in reads
        ]
        # Behind the stored ones: of two points of one moment the last one counts.
        raw[number] += [
            CountPoint(from_us(point.read_us), point.raw_count, point.quality)
            for point in extra[probe.register]
            if probe.low_us <= point.read_us <= probe.high_us
        ]
    for points, (one, counter) in zip(raw, jobs, strict=True):
        points.sort(key=lambda point: point.at)
        if one.row.register_id in {register.pk for register in counter}:
            points[:0] = written_down(one.row, points)
            points.sort(key=lambda point: point.at)
    likely = _likely(jobs, raw, beside, zone)
    return [
        _unrolled(points, roll_over(counter), steps)
        for points, (_, counter), steps in zip(raw, jobs, likely, strict=True)
    ]


def will_look_at_all(service_point_ids: Collection[int]) -> None:
    """Ask in three messages what each of the looks at several service points begins with."""
    ask_ahead(*((HUNG, point) for point in service_point_ids))
    meters = [frozenset(row.meter_id for row in hung_at(point)) for point in service_point_ids]
    ask_ahead(*((REGISTERS, tuple(sorted(ids))) for ids in meters))
    counters = [[counter for of_meter in counters_of(ids).values() for counter in of_meter] for ids in meters]
    will_judge([[register.pk for counter in of_point for register in counter] for of_point in counters])


def will_look_at(moments: Sequence[datetime]) -> None:
    """Say at which moments this page will want counts later: its first look takes their days along."""
    remembered("looked at later", lambda: tuple(map(to_us, moments)))


def _later() -> tuple[int, ...]:
    return remembered("looked at later", tuple[int, ...])


def written_down(row: Installation, points: Sequence[CountPoint]) -> list[CountPoint]:
    """Return the counts that were written down when a meter was hung up and taken off, where no read is."""
    taken = {point.at for point in points}
    found = []
    if row.first_count is not None and row.start not in taken:
        found.append(CountPoint(row.start, row.first_count))
    if row.last_count is not None and row.end is not None and row.end not in taken:
        found.append(CountPoint(row.end, row.last_count))
    return found


class _Gap(NamedTuple):
    """Two neighbouring points of a job, between which there may be reads that were not taken along."""

    job: int
    register: int
    left: datetime
    right: datetime

    def whole_days(self, zone: ZoneInfo) -> tuple[date, date]:
        """Return the first and the last calendar day wholly between them; the first may be the later one."""
        return self.left.astimezone(zone).date() + _DAY, self.right.astimezone(zone).date() - _DAY


_Likely = dict[tuple["datetime", "datetime"], int]


def _likely(
    jobs: Sequence[Job],
    raw: Sequence[Sequence[CountPoint]],
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
        modulus = roll_over(counter)
        for left, right in pairwise(points) if modulus is not None else ():
            for register in counter:
                counts = beside.counts_between(register.pk, to_us(left.at), to_us(right.at))
                if counts is None:
                    far.append(_Gap(number, register.pk, left.at, right.at))
                else:
                    result[number][left.at, right.at] += _stepwise(counts, modulus)
    if far:
        _add_far(result, far, jobs, beside, zone or utility_zone())
    return result


def _add_far(result: list[_Likely], far: Sequence[_Gap], jobs: Sequence[Job], beside: Beside, zone: ZoneInfo) -> None:
    days = {gap: gap.whole_days(zone) for gap in far if gap.right - gap.left >= _LONG}
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
            result[gap.job][gap.left, gap.right] += counts
    beside.look_between((gap.register, to_us(gap.left), to_us(gap.right)) for gap in followed)
    for gap in followed:
        passed = beside.counts_between(gap.register, to_us(gap.left), to_us(gap.right)) or ()
        result[gap.job][gap.left, gap.right] += _stepwise(passed, roll_over(jobs[gap.job][1]))


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


def _unrolled(points: Sequence[CountPoint], modulus: int | None, likely: _Likely) -> list[CountPoint]:
    """Return the points unrolled; between those far apart, by as many turns as come nearest to what is likely."""
    if modulus is None or not points:
        return list(points)
    result = [points[0]]
    for left, right in pairwise(points):
        step = rollover_difference(left.count % modulus, right.count, modulus)
        if (expected := likely.get((left.at, right.at))) is not None:
            step += round((expected - step) / modulus) * modulus
        result.append(CountPoint(right.at, result[-1].count + step, right.quality))
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
    before = [point.at for point in points if point.at <= moment][-1:]
    after = [point.at for point in points if point.at > moment][:1]
    return tuple(to_us(at) for at in (*before, *after))

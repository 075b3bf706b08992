"""What the office added to the reads of collectors: its own reads, and which stored reads it keeps out of the usage.

Charts, roll-ups and bills all pass through here (`usage.count_points` one counter at a time, `spans` in bulk), so that
they rest on the same points.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from domain.reading import ReadQuality
from domain.usage import CountPoint
from portal.core.prepared import Prepared, ask_ahead
from portal.core.remembering import remembered
from portal.metering.models import Installation, MeterRegister, OfficeRead, ReadVerdict, RegisterState
from portal.metering.reads import first_after, from_us, last_before, reads_of, to_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.core.prepared import Ask
    from portal.metering.packed import KeptRead

_EVER_US, _NEVER_US = -(2**63), 2**63 - 1
_AT_ONCE = 10_000
_FEW = 16  # registers of a home; more are a job's


class ExtraPoint(NamedTuple):
    """An office read in force, as a point of its register. office_read: OfficeRead's row id."""

    read_us: int
    raw_count: int
    quality: ReadQuality
    office_read: int


class _Segment(NamedTuple):
    start_us: int
    end_us: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts in force over one register, as spans that do not overlap. `read_us in judged`: it is excluded."""

    segments: tuple[_Segment, ...] = ()

    def __contains__(self, read_us: object) -> bool:
        """Tell whether a read of this moment (microseconds) is kept out of the usage."""
        return isinstance(read_us, int) and self.excluding(read_us) is not None

    def excluding(self, read_us: int) -> tuple[int, int] | None:
        """Return the span, both ends inclusive, that keeps a read of this moment out; None when it counts."""
        found = self._at(read_us)
        if found is None or found.verdict != ReadVerdict.Verdict.EXCLUDED:
            return None
        return found.start_us, found.end_us

    def quality(self, read_us: int, own: ReadQuality) -> ReadQuality:
        """Return the quality that a stored read has in the usage; `own` is what the collector said."""
        found = self._at(read_us)
        if found is None:
            return own
        if found.verdict == ReadVerdict.Verdict.SUSPECT:
            return ReadQuality.SUSPECT
        return ReadQuality.MEASURED if found.verdict == ReadVerdict.Verdict.ACCEPTED else own

    def _at(self, read_us: int) -> _Segment | None:
        place = bisect_right(self.segments, read_us, key=lambda segment: segment.start_us)
        found = self.segments[place - 1] if place else None
        return found if found is not None and read_us <= found.end_us else None


NOT_JUDGED = Judged()


def excluded(
    register_ids: Iterable[int], start_us: int = _EVER_US, end_us: int = _NEVER_US
) -> defaultdict[int, Judged]:
    """Return what was decided about the stored reads of registers in [start_us, end_us]; one query per 10,000.

    Every register may be asked for: `read_us in excluded(ids)[register]`, `excluded(ids)[register].quality(...)`.
    """
    ids = frozenset(register_ids)
    return remembered(("excluded", ids, start_us, end_us), lambda: _excluded(ids, start_us, end_us))


def _excluded(register_ids: Iterable[int], start_us: int, end_us: int) -> defaultdict[int, Judged]:
    found: dict[int, list[_Segment]] = defaultdict(list)
    for ids in _chunks(register_ids):
        few = len(ids) <= _FEW
        rows = VERDICTS(tuple(ids), start_us, end_us) if few else _verdicts(ids, start_us, end_us)
        for register, first, last, verdict in rows:
            found[register].append(_Segment(first, _NEVER_US if last is None else last, verdict))
    return defaultdict(Judged, {register: Judged(_disjoint(spans)) for register, spans in found.items()})


def _verdicts(
    register_ids: Sequence[int], start_us: int, end_us: int
) -> QuerySet[ReadVerdict, tuple[int, int, int | None, str]]:
    rows = ReadVerdict.objects.filter(
        Q(until_us__isnull=True) | Q(until_us__gte=start_us),
        register__in=register_ids,
        read_us__lte=end_us,
        superseded_by__isnull=True,
    ).exclude(verdict=ReadVerdict.Verdict.WITHDRAWN)
    return rows.order_by("pk").values_list("register_id", "read_us", "until_us", "verdict")


VERDICTS: Prepared[tuple[int, int, int | None, str]] = Prepared(_verdicts)


def _disjoint(spans: Sequence[_Segment]) -> tuple[_Segment, ...]:
    """Return spans, given oldest first, cut so that the newest counts wherever some overlap."""
    result: list[_Segment] = []
    for span in spans:
        kept: list[_Segment] = []
        for other in result:
            if other.end_us < span.start_us or other.start_us > span.end_us:
                kept.append(other)
                continue
            if other.start_us < span.start_us:
                kept.append(other._replace(end_us=span.start_us - 1))
            if other.end_us > span.end_us:
                kept.append(other._replace(start_us=span.end_us + 1))
        result = [*kept, span]
    return tuple(sorted(result))


def extra_points(
    register_ids: Iterable[int], start_us: int = _EVER_US, end_us: int = _NEVER_US
) -> defaultdict[int, list[ExtraPoint]]:
    """Return the office reads in force of registers in [start_us, end_us], each register's in time order.

    An estimate is in force only until an actual read of a later moment is here. A constant number of queries per 10,000
    registers, and a few more for a register whose estimate stands beside excluded reads.
    """
    ids = frozenset(register_ids)
    return remembered(("extra", ids, start_us, end_us), lambda: _extra_points(ids, start_us, end_us))


def _extra_points(register_ids: Iterable[int], start_us: int, end_us: int) -> defaultdict[int, list[ExtraPoint]]:
    found: defaultdict[int, list[ExtraPoint]] = defaultdict(list)
    for ids in _chunks(register_ids):
        if len(ids) <= _FEW and start_us <= _EVER_US:
            rows: Iterable[tuple[int, int, datetime, int, int]] = OFFICE_READS(tuple(ids))
        else:
            rows = _office_reads(ids, None if start_us <= _EVER_US else from_us(start_us))
        here: dict[int, list[ExtraPoint]] = defaultdict(list)
        for pk, register, read_at, count, quality in rows:
            here[register].append(ExtraPoint(to_us(read_at), count, ReadQuality(quality), pk))
        overtaken = _overtaken(here)
        for register, points in here.items():
            if inside := [p for p in points if p.read_us <= end_us and p.office_read not in overtaken]:
                found[register] = inside
    return found


def _office_reads(
    register_ids: Sequence[int], since: datetime | None = None
) -> QuerySet[OfficeRead, tuple[int, int, datetime, int, int]]:
    rows = OfficeRead.objects.filter(register__in=register_ids, superseded_by__isnull=True, withdrawn=False)
    if since is not None:
        rows = rows.filter(read_at__gte=since)
    return rows.order_by("read_at", "pk").values_list("pk", "register_id", "read_at", "raw_count", "quality")


OFFICE_READS: Prepared[tuple[int, int, datetime, int, int]] = Prepared(_office_reads)


def _overtaken(points: dict[int, list[ExtraPoint]]) -> set[int]:
    """Return the row ids of the estimates after which there is an actual read, while the meter hung where it did."""
    estimates = {
        register: estimated
        for register, of_register in points.items()
        if (estimated := [point for point in of_register if point.quality == ReadQuality.ESTIMATED])
    }
    if not estimates:
        return set()
    ends = _ended(estimates)
    judged = excluded(estimates)
    states = RegisterState.objects.filter(register__in=estimates).values_list("register_id", "last_read_at")
    newest_us = {register: to_us(moment) for register, moment in states}
    result = set()
    for register, estimated in estimates.items():
        last_us = newest_us.get(register, _EVER_US)
        by_hand = [p.read_us for p in points[register] if p.quality != ReadQuality.ESTIMATED]
        for point in estimated:
            until_us = min((end for start, end in ends[register] if start <= point.read_us <= end), default=_NEVER_US)
            if any(point.read_us < moment <= until_us for moment in by_hand):
                result.add(point.office_read)
            elif point.read_us < last_us:
                simple = last_us <= until_us and not judged[register].segments
                later = None if simple else actual_after(register, point.read_us, judged[register])
                if simple or (later is not None and later.read_us <= until_us):
                    result.add(point.office_read)
    return result


def _ended(registers: Iterable[int]) -> defaultdict[int, list[tuple[int, int]]]:
    """Return the ended installations of the registers' meters, as (start, end) in microseconds."""
    meters: dict[int, list[int]] = defaultdict(list)
    for register, meter in MeterRegister.objects.filter(pk__in=registers).values_list("pk", "meter_id"):
        meters[meter].append(register)
    result: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    ended = Installation.objects.filter(meter__in=meters, end__isnull=False)
    for meter, start, end in ended.values_list("meter_id", "start", "end"):
        for register in meters[meter]:
            if end is not None:
                result[register].append((to_us(start), to_us(end)))
    return result


def actual_before(register: int, moment_us: int, judged: Judged = NOT_JUDGED) -> KeptRead | None:
    """Return the newest stored read before a moment that counts in the usage."""
    found = last_before(register, moment_us)
    while found is not None:
        if (span := judged.excluding(found.read_us)) is not None:
            found = last_before(register, span[0])
        elif found.quality == ReadQuality.MISSING:
            found = last_before(register, found.read_us)
        else:
            return found
    return None


def actual_after(register: int, moment_us: int, judged: Judged = NOT_JUDGED) -> KeptRead | None:
    """Return the oldest stored read after a moment that counts in the usage."""
    found = first_after(register, moment_us)
    while found is not None:
        if (span := judged.excluding(found.read_us)) is not None:
            found = None if span[1] == _NEVER_US else first_after(register, span[1])
        elif found.quality == ReadQuality.MISSING:
            found = first_after(register, found.read_us)
        else:
            return found
    return None


@dataclass(frozen=True, slots=True)
class Added:
    """What the office added to one register: its own reads in force, and what it decided about the stored ones."""

    judged: Judged = NOT_JUDGED
    extra: Sequence[ExtraPoint] = ()


def added_to(register_ids: Iterable[int]) -> defaultdict[int, Added]:
    """Return what the office added to registers; every register may be asked for."""
    judged, extra = judged_and_extra(register_ids)
    known = {register: Added(judged[register], extra[register]) for register in {*judged, *extra}}
    return defaultdict(Added, known)


def asks_of(register_ids: Iterable[int]) -> list[Ask]:
    """Return what `judged_and_extra` of these registers is going to ask, to be asked ahead with more; few alone."""
    ids = tuple(sorted(set(register_ids)))
    return [(VERDICTS, ids, _EVER_US, _NEVER_US), (OFFICE_READS, ids)] if len(ids) <= _FEW else []


def judged_and_extra(
    register_ids: Iterable[int],
) -> tuple[defaultdict[int, Judged], defaultdict[int, list[ExtraPoint]]]:
    """Return `excluded` and `extra_points` of registers; a page asks for both at once, and once of a register."""
    wanted = frozenset(register_ids)
    known = remembered("judged and extra", dict[int, tuple[Judged, list[ExtraPoint]]])
    if new := wanted - known.keys():
        ask_ahead(*asks_of(new))
        judged, extra = excluded(new), extra_points(new)
        known.update((register, (judged[register], extra[register])) for register in new)
    return (
        defaultdict(Judged, {register: known[register][0] for register in wanted}),
        defaultdict(list, {register: known[register][1] for register in wanted}),
    )


def actual_reach(register: int, low_us: int, high_us: int, added: Added) -> tuple[int, int]:
    """Return the moments of the actual points next to [low_us, high_us]: a change inside bears on nothing beyond.

    Estimates do not end the reach: a change may put one that lies before it in force again, or out of it.
    """
    by_hand = [point.read_us for point in added.extra if point.quality != ReadQuality.ESTIMATED]
    before = actual_before(register, low_us, added.judged)
    after = actual_after(register, high_us, added.judged)
    lows = [us for us in by_hand if us < low_us] + ([before.read_us] if before else [])
    highs = [us for us in by_hand if us > high_us] + ([after.read_us] if after else [])
    return max(lows, default=low_us), min(highs, default=high_us)


def points_of(
    register: int, start_us: int, end_us: int, added: Added, *, low_us: int = _EVER_US, high_us: int = _NEVER_US
) -> list[CountPoint]:
    """Return what a register is known to have counted in [start_us, end_us] and next to it, in time order.

    low_us, high_us  nothing outside of these is looked at, both inclusive.
    Counts are raw. Where an office read is of the very moment of a stored one, it comes last, so that it counts.
    """
    judged, extra = added.judged, added.extra
    around = (actual_before(register, start_us, judged), actual_after(register, end_us, judged))
    points = [
        (read.read_us, 0, read.raw_count, judged.quality(read.read_us, ReadQuality(read.quality)))
        for read in sorted([*reads_of(register, start_us, end_us), *(read for read in around if read is not None)])
        if read.read_us not in judged and read.quality != ReadQuality.MISSING
    ]
    before = [point for point in extra if low_us <= point.read_us < start_us][-1:]
    after = [point for point in extra if end_us < point.read_us <= high_us][:1]
    inside = [point for point in extra if start_us <= point.read_us <= end_us]
    points += [(point.read_us, 1, point.raw_count, point.quality) for point in (*before, *inside, *after)]
    points.sort(key=lambda point: point[:2])
    return [CountPoint(from_us(at), count, quality) for at, _, count, quality in points if low_us <= at <= high_us]


def _chunks(register_ids: Iterable[int]) -> Iterable[list[int]]:
    ids = sorted(set(register_ids))
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))

"""The reads next to given moments, of many registers at once: what a boundary of a bill rests on.

A month of quarter-hourly reads is 3,000 rows a meter and a bill needs the few around its two ends: so days are looked
up by key, further ones only where a day has nothing on one side. The number of queries does not grow with registers.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection

from domain.reading import ReadQuality
from portal.metering.packed import DAY_US, KeptRead, unpack_day

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence
    from datetime import date

_BEFORE, _AFTER = -1, 1
_MISSING = int(ReadQuality.MISSING)
ReadsOfDays = dict[tuple[int, int], list[KeptRead]]
"""By register and storage day: the reads that count, in time order."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Moments (microseconds since 1970) at which a register is looked at; only reads in [low_us, high_us] count."""

    register: int
    low_us: int
    high_us: int
    moments: tuple[int, ...]


class _Search(NamedTuple):
    """A place where one side of one moment is still looked for."""

    probe: int
    moment: int
    side: int
    day: int


@dataclass
class _Days:
    """Storage days of registers as they were loaded: their trusted reads in time order."""

    excluded: Mapping[int, Container[int]]
    reads: ReadsOfDays = field(default_factory=dict)

    def load(self, wanted: Iterable[tuple[int, int]]) -> None:
        pairs = sorted(set(wanted) - self.reads.keys())
        recent: dict[tuple[int, int], set[KeptRead]] = defaultdict(set)
        found: dict[tuple[int, int], list[KeptRead]] = {}
        if pairs:
            # Recent reads first: a fold that commits in between shows a read twice, it never hides one.
            for register, *read in _joined(_RECENT_OF, pairs):
                recent[register, read[0] // DAY_US].add(KeptRead(*read))
            found = {
                (register, day): unpack_day(day, bytes(packed)) for register, day, packed in _joined(_DAYS_OF, pairs)
            }
        for key in pairs:
            reads = found.get(key, [])
            if key in recent:
                reads = sorted(recent[key].union(reads))
            reads = [read for read in reads if read.quality != _MISSING]
            if left_out := self.excluded.get(key[0], ()):
                reads = [read for read in reads if read.read_us not in left_out]
            self.reads[key] = reads


@dataclass(frozen=True)
class Beside:
    """The reads on both sides of each probe's moments, in time order, each once; and what else was seen on the way."""

    reads: list[list[KeptRead]]
    days: _Days

    def look_between(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Look at every day of these (register, start_us, end_us), in two queries."""
        self.days.load(
            (register, day)
            for register, start_us, end_us in spans
            for day in range(start_us // DAY_US, end_us // DAY_US + 1)
        )

    def counts_between(self, register: int, start_us: int, end_us: int) -> list[int] | None:
        """Return the raw counts of a register in [start_us, end_us]; None where a day in it was not looked at."""
        counts: list[int] = []
        for day in range(start_us // DAY_US, end_us // DAY_US + 1):
            reads = self.days.reads.get((register, day))
            if reads is None:
                return None
            low = bisect_left(reads, start_us, key=_moment)
            counts += [read.raw_count for read in reads[low : bisect_right(reads, end_us, key=_moment)]]
        return counts


def nearest_reads(
    probes: Sequence[Probe], *, excluded: Mapping[int, Container[int]] | None = None
) -> list[list[KeptRead]]:
    """Return for each probe the reads on both sides of each of its moments, in time order, each once.

    excluded  by register the read_us that do not count.
    """
    return look_beside(probes, excluded=excluded).reads


def look_beside(
    probes: Sequence[Probe],
    *,
    excluded: Mapping[int, Container[int]] | None = None,
    known: ReadsOfDays | None = None,
) -> Beside:
    """Return what `nearest_reads` does, with the days that were looked at.

    known  days that were looked at before, with the same reads left out: those of this look are added.

    Of a moment's sides, one is the newest read at or before it and the other the oldest after it. Of several reads at
    one moment the last one counts.
    """
    days, found = _Days(excluded or {}, {} if known is None else known), [set[KeptRead]() for _ in probes]
    searches = [
        _Search(index, moment, side, (moment + (side == _AFTER)) // DAY_US)
        for index, probe in enumerate(probes)
        for moment in probe.moments
        for side in (_BEFORE, _AFTER)
    ]
    while searches:
        days.load((probes[search.probe].register, search.day) for search in searches)
        further = []
        for search in searches:
            read = _beside(days.reads[probes[search.probe].register, search.day], search, probes[search.probe])
            if read is None:
                further.append(search)
            else:
                found[search.probe].add(read)
        searches = list(_moved(further, probes))
    return Beside([sorted(reads) for reads in found], days)


def _beside(reads: list[KeptRead], search: _Search, probe: Probe) -> KeptRead | None:
    if search.side == _BEFORE:
        place = bisect_right(reads, min(search.moment, probe.high_us), key=_moment) - 1
    else:
        place = bisect_left(reads, max(search.moment + 1, probe.low_us), key=_moment)
    if not 0 <= place < len(reads) or not probe.low_us <= reads[place].read_us <= probe.high_us:
        return None
    return reads[place]


def _moment(read: KeptRead) -> int:
    return read.read_us


def _moved(searches: Sequence[_Search], probes: Sequence[Probe]) -> Iterable[_Search]:
    """Yield the searches again, each on the next day that has any read; those that are at their end not any more."""
    if not searches:
        return
    wanted = sorted({(probes[search.probe].register, search.day, search.side) for search in searches})
    next_day: dict[tuple[int, int, int], int] = {}
    for register, day, side, folded, recent_us in _joined(_NEXT_DAY, wanted):
        days = [d for d in (folded, None if recent_us is None else recent_us // DAY_US) if d is not None]
        if days:
            next_day[register, day, side] = max(days) if side == _BEFORE else min(days)
    for search in searches:
        probe = probes[search.probe]
        day = next_day.get((probe.register, search.day, search.side))
        if day is not None and probe.low_us // DAY_US <= day <= probe.high_us // DAY_US:
            yield search._replace(day=day)


def counted_between(spans: Collection[tuple[int, date, date]]) -> dict[tuple[int, date, date], tuple[int, int]]:
    """Return what the roll-ups say that registers counted on the days from the first to the last of a span.

    Beside the counts stands on how many of these calendar days they rest.
    """
    rows = sorted(spans)
    texts = [(register, first.isoformat(), last.isoformat()) for register, first, last in rows]
    keys = dict(zip(texts, rows, strict=True))
    bounds = ("w.b::date", "w.c::date") if connection.vendor == "postgresql" else ("w.b", "w.c")
    sql = _VOLUMES.replace("{from}", bounds[0]).replace("{to}", bounds[1])
    sums = _joined(sql, texts, types=("bigint", "text", "text")) if rows else []
    return {keys[register, first, last]: (int(counts), days) for register, first, last, counts, days in sums}


def _joined(sql: str, rows: Sequence[Sequence[Any]], types: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """Run a statement over given rows, which it sees as w(a, b, c)."""
    width = len(rows[0])
    names = "abc"[:width]
    if connection.vendor == "postgresql":
        casts = types or ("bigint",) * width
        given = f"unnest({', '.join(f'%s::{cast}[]' for cast in casts)}) AS w({', '.join(names)})"
        parameters = ["{" + ",".join(map(str, column)) + "}" for column in zip(*rows, strict=True)]
    else:
        columns = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(names))
        given = f"(SELECT {columns} FROM json_each(%s)) AS w"  # noqa: S608  # places and letters alone
        parameters = [json.dumps(rows)]
    with connection.cursor() as cursor:
        cursor.execute(sql.replace("{given}", given).replace("{day_us}", str(DAY_US)), parameters)
        return list(cursor.fetchall())


_DAYS_OF = (
    "SELECT d.register, d.day, d.packed FROM {given} "
    "CROSS JOIN metering_registerday d WHERE d.register = w.a AND d.day = w.b"
)
_RECENT_OF = (
    "SELECT r.register, r.read_us, r.epoch, r.append_seq, r.raw_count, r.quality, r.reason, r.flags FROM {given} "
    "CROSS JOIN metering_recentread r "
    "WHERE r.register = w.a AND r.read_us >= w.b * {day_us} AND r.read_us < (w.b + 1) * {day_us}"
)
_NEXT_DAY = (
    "SELECT w.a, w.b, w.c, CASE WHEN w.c < 0 "
    "THEN (SELECT max(d.day) FROM metering_registerday d WHERE d.register = w.a AND d.day < w.b) "
    "ELSE (SELECT min(d.day) FROM metering_registerday d WHERE d.register = w.a AND d.day > w.b) END, "
    "CASE WHEN w.c < 0 "
    "THEN (SELECT max(r.read_us) FROM metering_recentread r WHERE r.register = w.a AND r.read_us < w.b * {day_us}) "
    "ELSE (SELECT min(r.read_us) FROM metering_recentread r WHERE r.register = w.a "
    "AND r.read_us >= (w.b + 1) * {day_us}) END "
    "FROM {given}"
)
_VOLUMES = (
    "SELECT w.a, w.b, w.c, sum(v.counts), count(*) FROM {given} CROSS JOIN metering_dailyvolume v "
    "WHERE v.register = w.a AND v.day >= {from} AND v.day <= {to} GROUP BY w.a, w.b, w.c"
)

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
from portal.core.statements import ask_together
from portal.metering.packed import DAY_US, KeptRead, unpack_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
    from datetime import date

    from portal.core.statements import Statement

_BEFORE, _AFTER = -1, 1
_MISSING = int(ReadQuality.MISSING)
_PROBES_FEW = 16
"""So many are a page's: for them a day or two more at once cost less than to ask again. A job has thousands."""
_DAYS_ALONG = 2


class SeenDay(NamedTuple):
    """The reads of one register on one storage day that count, in time order.

    read  gives the whole one at a place; what usage needs of all of them is at hand.
    """

    moments: Sequence[int]
    counts: Sequence[int]
    qualities: Sequence[int]
    read: Callable[[int], KeptRead]

    @classmethod
    def of(cls, reads: list[KeptRead]) -> SeenDay:
        """Return a day of these reads."""
        qualities = [read.quality for read in reads]
        return cls([read.read_us for read in reads], [read.raw_count for read in reads], qualities, reads.__getitem__)

    @classmethod
    def unpacked(cls, day: int, packed: bytes, left_out: Container[int]) -> SeenDay:
        """Return a day as it is packed, without the moments that are left out."""
        columns = unpack_columns(day, packed)
        qualities = columns.qualities()
        if not left_out and _MISSING not in qualities:
            return cls(columns.moments, columns.counts, qualities, columns.read)
        return cls.of(_counting(columns.reads(), left_out))


def _counting(reads: Iterable[KeptRead], left_out: Container[int]) -> list[KeptRead]:
    reads = (read for read in reads if read.quality != _MISSING)
    return [read for read in reads if read.read_us not in left_out] if left_out else list(reads)


ReadsOfDays = dict[tuple[int, int], SeenDay]
"""By register and storage day."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Moments (microseconds since 1970) at which a register is looked at; only reads in [low_us, high_us] count."""

    register: int
    low_us: int
    high_us: int
    moments: tuple[int, ...]


Found = tuple[int, int]
"""Where a read was found: its storage day, and its place among that day's. Sorts as the reads of a register do."""


class _Search(NamedTuple):
    """A place where one side of one moment is still looked for."""

    probe: int
    moment: int
    side: int
    day: int


_NOTHING = SeenDay.of([])


@dataclass
class _Days:
    """Storage days of registers as they were loaded."""

    excluded: Mapping[int, Container[int]]
    reads: ReadsOfDays = field(default_factory=dict)

    def load(self, wanted: Iterable[tuple[int, int]]) -> None:
        pairs = sorted(set(wanted) - self.reads.keys())
        recent: dict[tuple[int, int], set[KeptRead]] = defaultdict(set)
        found: dict[tuple[int, int], bytes] = {}
        if pairs:
            # Recent reads first: a fold that commits in between shows a read twice, it never hides one.
            of_recent, of_days = ask_together([_over(_RECENT_OF, pairs), _over(_DAYS_OF, pairs)])
            for register, *read in of_recent:
                recent[register, read[0] // DAY_US].add(KeptRead(*read))
            found = {(register, day): bytes(packed) for register, day, packed in of_days}
        for key in pairs:
            left_out = self.excluded.get(key[0], ())
            if key in recent:
                folded = unpack_columns(key[1], found[key]).reads() if key in found else []
                self.reads[key] = SeenDay.of(_counting(sorted(recent[key].union(folded)), left_out))
            elif key in found:
                self.reads[key] = SeenDay.unpacked(key[1], found[key], left_out)
            else:
                self.reads[key] = _NOTHING


@dataclass(frozen=True)
class Beside:
    """The reads on both sides of each probe's moments, in time order, each once; and what else was seen on the way."""

    found: list[list[Found]]
    days: _Days

    def day(self, register: int, day: int) -> SeenDay:
        """Return a day on which a read was found."""
        return self.days.reads[register, day]

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
        reads, first, last = self.days.reads, start_us // DAY_US, end_us // DAY_US
        for day in range(first, last + 1):
            if (seen := reads.get((register, day))) is None:
                return None
            low = bisect_left(seen.moments, start_us) if day == first else 0
            high = bisect_right(seen.moments, end_us) if day == last else None
            counts += seen.counts[low:high]
        return counts


def nearest_reads(
    probes: Sequence[Probe], *, excluded: Mapping[int, Container[int]] | None = None
) -> list[list[KeptRead]]:
    """Return for each probe the reads on both sides of each of its moments, in time order, each once.

    excluded  by register the read_us that do not count.
    """
    beside = look_beside(probes, excluded=excluded)
    return [
        [beside.day(probe.register, day).read(place) for day, place in found]
        for probe, found in zip(probes, beside.found, strict=True)
    ]


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
    days, found = _Days(excluded or {}, {} if known is None else known), [set[Found]() for _ in probes]
    along = _DAYS_ALONG if len(probes) <= _PROBES_FEW else 0
    days.load((probe.register, day) for probe in probes for day in _first_days(probe, along))
    searches = list[_Search]()
    for index, probe in enumerate(probes):
        for moment in probe.moments:
            if (place := _between_two(days.reads, probe, moment)) is not None:
                found[index].update(((moment // DAY_US, place - 1), (moment // DAY_US, place)))
            else:
                searches += _searches(index, probe, moment)
    while searches:
        days.load((probes[search.probe].register, search.day) for search in searches)
        further = []
        for search in searches:
            where, last = _walked(days.reads, search, probes[search.probe])
            if where is not None:
                found[search.probe].add(where)
            elif last is not None:
                further.append(last)
        searches = list(_moved(further, probes))
    return Beside([sorted(of_probe) for of_probe in found], days)


def _first_days(probe: Probe, along: int) -> set[int]:
    """Return the days of a probe's moments, and those about now with any of them: of these not all is read yet."""
    low, high = probe.low_us // DAY_US, probe.high_us // DAY_US
    days = {at // DAY_US for moment in probe.moments for at in (moment, moment + 1)}
    days = {min(max(day, low), high) for day in days}
    if days and max(days) >= high - along:
        days.update(range(max(low, high - along), high + 1))
    return days


def _between_two(days: ReadsOfDays, probe: Probe, moment: int) -> int | None:
    """Return the place behind a moment where the reads on both sides are of its own day, as they nearly always are."""
    if (seen := days.get((probe.register, moment // DAY_US))) is None:
        return None
    place = bisect_right(seen.moments, moment)
    if (
        0 < place < len(seen.moments)
        and probe.low_us <= seen.moments[place - 1]
        and seen.moments[place] <= probe.high_us
    ):
        return place
    return None


def _searches(index: int, probe: Probe, moment: int) -> Iterable[_Search]:
    """Yield both searches of a moment, from the first day on which they may find anything."""
    low, high = probe.low_us // DAY_US, probe.high_us // DAY_US
    if moment // DAY_US >= low:
        yield _Search(index, moment, _BEFORE, min(moment // DAY_US, high))
    if (moment + 1) // DAY_US <= high:
        yield _Search(index, moment, _AFTER, max((moment + 1) // DAY_US, low))


def _walked(days: ReadsOfDays, search: _Search, probe: Probe) -> tuple[Found | None, _Search | None]:
    """Return what a search finds on its day and the days behind it that were loaded; else where it is to go on."""
    day = last = search.day
    while (seen := days.get((probe.register, day))) is not None:
        if (place := _beside(seen, search, probe)) is not None:
            return (day, place), None
        last, day = day, day + search.side
        if not probe.low_us // DAY_US <= day <= probe.high_us // DAY_US:
            return None, None
    return None, search._replace(day=last)


def _beside(seen: SeenDay, search: _Search, probe: Probe) -> int | None:
    """Return the place of what a search finds on a day."""
    if search.side == _BEFORE:
        place = bisect_right(seen.moments, min(search.moment, probe.high_us)) - 1
    else:
        place = bisect_left(seen.moments, max(search.moment + 1, probe.low_us))
    if not 0 <= place < len(seen.moments) or not probe.low_us <= seen.moments[place] <= probe.high_us:
        return None
    return place


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


def moments_between(
    spans: Sequence[tuple[int, int, int]], *, excluded: Mapping[int, Container[int]], known: ReadsOfDays
) -> list[list[int]]:
    """Return the moments of the reads that count in each (register, start_us, end_us), both ends inclusive."""
    seen = Beside([], _Days(excluded, known))
    seen.look_between(spans)
    result = []
    for register, start_us, end_us in spans:
        days = [known[register, day] for day in range(start_us // DAY_US, end_us // DAY_US + 1)]
        result.append([at for day in days for at in day.moments if start_us <= at <= end_us])
    return result


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
    return ask_together([_over(sql, rows, types)])[0]


def _over(sql: str, rows: Sequence[Sequence[Any]], types: Sequence[str] = ()) -> Statement:
    """Return a statement with the rows that it goes over."""
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
    return sql.replace("{given}", given).replace("{day_us}", str(DAY_US)), parameters


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

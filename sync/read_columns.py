"""The reads of a batch as the columns that they travel in: checked whole, made into objects only where somebody asks.

A portal takes thousands of reads a second and needs of each one but a few integers. `ReadColumns` is what decoding
gives: a sequence of StoredRead that compares and iterates like a tuple of them, with the columns as attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from operator import add, ge
from typing import TYPE_CHECKING, Any, overload

from domain.clock import ClockState
from domain.reading import ReadFlag, ReadQuality, Reason, Register, RegisterRead, StoredRead
from sync import columns as col
from sync.errors import BadBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

MAX_READS = 100_000
ABSENT: dict[int, Any] = {1: 0, 3: 1, 6: [], 7: 0, 8: 1, 9: 0, 10: 0, 11: 0, 12: 0, 13: 0}
"""What a column holds that is left out."""

_REQUIRED, _OPTIONAL = frozenset({0, 2, 4, 5, 14}), frozenset(ABSENT)
_EVERY_FLAG = int(~ReadFlag.NONE)
ClockContext = tuple[bytes, bool, "datetime | None", int]
"""Boot id, synchronised, since when, and wall minus monotonic time in microseconds."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadColumns(Sequence[StoredRead]):
    """Reads in the order of their append_seq, column by column; all columns are of one length.

    registers  each register once; indices: which of them a read is of.
    at_us      microseconds since 1970 UTC; qualities, reasons and flags are the numbers of domain.reading.
    clocks     the clock contexts; clock_indices, drifts_us, below_us: each read's own part
               (docs/reference/wire-format.md).
    """

    registers: tuple[Register, ...]
    indices: list[int]
    append_seqs: list[int]
    counts: list[int]
    at_us: list[int]
    qualities: list[int]
    reasons: list[int]
    flags: list[int]
    clocks: tuple[ClockContext, ...]
    clock_indices: list[int]
    drifts_us: list[int]
    below_us: list[int]

    def __len__(self) -> int:
        return len(self.append_seqs)

    def __iter__(self) -> Iterator[StoredRead]:
        qualities = {number: ReadQuality(number) for number in set(self.qualities)}
        reasons = {number: Reason(number) for number in set(self.reasons)}
        flags = {number: ReadFlag(number) for number in set(self.flags)}
        for seq, index, count, us, clock, drift, ns, quality, reason, flag in zip(
            self.append_seqs,
            self.indices,
            self.counts,
            self.at_us,
            self.clock_indices,
            self.drifts_us,
            self.below_us,
            self.qualities,
            self.reasons,
            self.flags,
            strict=True,
        ):
            state = clock_state(self.clocks[clock], us, drift, ns)
            register, at = self.registers[index], col.moment_at(us)
            marks = qualities[quality], reasons[reason], flags[flag]
            yield StoredRead(seq, RegisterRead(register, count, at, state, *marks))

    @overload
    def __getitem__(self, index: int) -> StoredRead: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[StoredRead, ...]: ...

    def __getitem__(self, index: int | slice) -> StoredRead | tuple[StoredRead, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReadColumns | tuple):
            return NotImplemented
        return len(self) == len(other) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def clock_state(clock: ClockContext, at_us: int, drift_us: int, ns: int) -> ClockState:
    """Return what a collector knew of its clock at a moment; raises BadBatch beyond 63 bits after a boot."""
    boot_id, synchronised, since, offset = clock
    monotonic_ns = (at_us - offset + drift_us) * 1000 + ns
    return ClockState(boot_id, col.integer(monotonic_ns, 0, col.LIMIT), synchronised, since)


def columns_of(reads: Iterable[StoredRead]) -> ReadColumns:
    """Return reads as columns, as decoding gives them."""
    if isinstance(reads, ReadColumns):
        return reads
    stored = list(reads)
    registers: dict[Register, int] = {}
    clocks: dict[ClockContext, int] = {}
    columns: list[tuple[int, ...]] = []
    for item in stored:
        read, at_us = item.read, col.microseconds(item.read.read_at)
        us, ns = divmod(read.clock.monotonic_ns, 1000)
        clock = (read.clock.boot_id, read.clock.synchronised, read.clock.synced_since, 0)
        columns.append(
            (
                registers.setdefault(read.register, len(registers)),
                item.append_seq,
                read.raw_count,
                at_us,
                int(read.quality),
                int(read.reason),
                int(read.flags),
                clocks.setdefault(clock, len(clocks)),
                us - at_us,
                ns,
            )
        )
    lists = [list(column) for column in zip(*columns, strict=True)] or [[] for _ in range(10)]
    indices, seqs, counts, moments, qualities, reasons, flags, contexts, drifts, below_us = lists
    return ReadColumns(
        tuple(registers),
        indices,
        seqs,
        counts,
        moments,
        qualities,
        reasons,
        flags,
        tuple(clocks),
        contexts,
        drifts,
        below_us,
    )


def read_columns(value: Any, registers: Sequence[Register], clocks: Sequence[ClockContext]) -> ReadColumns:
    """Return the reads of a decoded batch; raises BadBatch for whatever no collector would have written."""
    written = ABSENT | col.fields(value, required=_REQUIRED, optional=_OPTIONAL)
    count = size_of(written[14])
    indices = _untwist(col.unpack(written[1], count), len(registers))
    first_at = col.integer(written[2], -col.LIMIT, col.LIMIT)
    at_us = col.sums(_unstepped(written[4], written[3], count), first_at)
    clock_indices = col.within(col.unpack(written[7], count), 0, len(clocks))
    columns = ReadColumns(
        tuple(registers),
        indices,
        append_seqs=col.within(col.sums(col.unpack(written[0], count)), 1, col.LIMIT),
        counts=_join_counts(indices, written[5], written[6], registers),
        at_us=at_us,
        qualities=_numbered(written[11], count, ReadQuality),
        reasons=_numbered(written[12], count, Reason),
        flags=col.within(col.unpack(written[13], count), 0, _EVERY_FLAG + 1),
        clocks=tuple(clocks),
        clock_indices=clock_indices,
        drifts_us=_sums_by_key(clock_indices, _unstepped(written[9], written[8], count), len(clocks)),
        below_us=col.within(col.unpack(written[10], count), 0, 1000),
    )
    _check_times(columns)
    return columns


def rising(append_seqs: Sequence[int]) -> bool:
    """Return whether numbers of the append order rise, from above zero and within 63 bits."""
    if not append_seqs:
        return True
    in_order = not any(map(ge, append_seqs, islice(append_seqs, 1, None)))
    return in_order and append_seqs[0] > 0 and append_seqs[-1] < col.LIMIT


def size_of(value: Any) -> int:
    """Return how long the columns of a table are; it stands apart, as a constant column does not say."""
    if col.integer(value, 1) > MAX_READS:
        raise BadBatch("oversized", f"{value} rows")
    return int(value)


def _check_times(columns: ReadColumns) -> None:
    """Check that every moment is in the calendar and none is before its collector's boot."""
    col.moment_at(min(columns.at_us))
    col.moment_at(max(columns.at_us))
    boots = [clock[3] for clock in columns.clocks]
    since_boot = list(map(add, columns.at_us, columns.drifts_us))
    if len(boots) > 1:
        since_boot = [us - boots[clock] for us, clock in zip(since_boot, columns.clock_indices, strict=True)]
        low, high = min(since_boot), max(since_boot)
    else:
        low, high = min(since_boot) - boots[0], max(since_boot) - boots[0]
    if low < 0 or high >= col.LIMIT // 1000:
        tuple(columns)  # each one by itself, with its nanoseconds


def _untwist(turns: list[int], registers: int) -> list[int]:
    if not registers:
        raise BadBatch("format", "reads without a register")
    if not any(turns):  # polled in turn
        rounds, rest = divmod(len(turns), registers)
        return [*range(registers)] * rounds + [*range(rest)]
    col.within(turns, 0, registers)
    return [place % registers for place in accumulate((turn + 1 for turn in turns), initial=-1)][1:]


def _unstepped(column: Any, step: Any, count: int) -> list[int]:
    size = col.integer(step, 1, col.LIMIT)
    differences = col.unpack(column, count)
    return differences if size == 1 else [difference * size for difference in differences]


def _sums_by_key(keys: Sequence[int], differences: list[int], size: int) -> list[int]:
    if not any(differences):
        return differences
    if size == 1:
        return list(accumulate(differences))
    last = [0] * size
    result = []
    for key, difference in zip(keys, differences, strict=True):
        last[key] += difference
        result.append(last[key])
    return result


def _join_counts(
    indices: Sequence[int], first_column: Any, later_column: Any, registers: Sequence[Register]
) -> list[int]:
    """Return the counts: the first of each register, later ones added to the register's count before."""
    size = len(registers)
    if len(set(indices)) != size:
        raise BadBatch("format", "a register without a read")
    first = col.unpack(first_column, size)
    later = col.unpack(later_column, len(indices) - size)
    counts = _joined_in_turn(indices, first, later) or _joined(indices, first, later)
    _check_dials(indices, counts, registers)
    return col.within(counts, -col.LIMIT, col.LIMIT)


def _joined_in_turn(indices: Sequence[int], first: list[int], later: list[int]) -> list[int]:
    """Return the counts of registers that were read in whole rounds; nothing when they were not."""
    size = len(first)
    if len(indices) % size or indices != [*range(size)] * (len(indices) // size):
        return []
    counts, last = list(first), first
    for start in range(0, len(later), size):
        last = list(map(add, last, later[start : start + size]))
        counts += last
    return counts


def _joined(indices: Sequence[int], first: list[int], later: list[int]) -> list[int]:
    firsts, laters = iter(first), iter(later)
    last: list[int | None] = [None] * len(first)
    counts = []
    for index in indices:
        before = last[index]
        last[index] = count = next(firsts) if before is None else before + next(laters)
        counts.append(count)
    return counts


def _check_dials(indices: Sequence[int], counts: Sequence[int], registers: Sequence[Register]) -> None:
    """Check that no count is beyond the dial that shows it."""
    dials = [register.modulus for register in registers]
    low, high = min(counts), max(counts)
    if low >= 0 and all(dial is None or high < dial for dial in set(dials)):
        return
    for index, count in zip(indices, counts, strict=True):
        dial = dials[index]
        if dial is not None and not 0 <= count < dial:
            raise BadBatch("range", f"count {count} is outside the register's 0 to {dial - 1}")


def _numbered(column: Any, count: int, kind: type[Any]) -> list[int]:
    values = col.unpack(column, count)
    for value in set(values):
        kind(value)  # raises ValueError for a number without a meaning
    return values

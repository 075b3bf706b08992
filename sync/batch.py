"""The versioned wire format of a batch: deterministic CBOR, reads in columns of deltas, compressed. No I/O.

A payload is the CBOR list [version, compression, compressed bytes]; inside is one CBOR map. docs/reference/batch.cddl
is its schema and docs/reference/wire-format.md says what each column means. Whatever arrives, decode_payload returns a
Batch or raises BadBatch; decoding what was encoded gives an equal Batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import cbor2

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, PreviousEpoch, RegisterId, Stream
from domain.reading import (
    Event,
    EventKind,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.units import Unit
from sync import columns as col
from sync.compression import compress, decompress
from sync.errors import BadBatch
from sync.read_columns import ABSENT, MAX_READS, ReadColumns, clock_state, read_columns, rising, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

VERSION = 1
MAX_PLAIN_BYTES = 4 * 1024 * 1024
MAX_EVENTS = 10_000
NO_PREVIOUS = bytes(32)
"""previous_hash of the first batch of a stream within an epoch."""

_LONGEST_TEXT, _LONGEST_ID, _MOST_DETAILS, _MOST_IN_LIST = 65_536, 200, 256, 10_000
_DEPTH = 8
_HEAD = frozenset(range(6))
_OPTIONAL = frozenset({6, 7, 8, 9, 10, 11})
_ClockKey = tuple[bytes, bool, "datetime | None"]
_TABLES_REMEMBERED, _TABLE_REMEMBERED_MAX = 256, 500
_TABLES: dict[bytes, tuple[Register, ...]] = {}
"""Tables of registers that were read before, at most 25 MB of them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Reads and events that travel, are signed and are acknowledged together.

    previous_hash   sha256 of the signed bytes of the batch before it in this stream; NO_PREVIOUS for the first.
    reads, events   in rising append_seq. Decoding gives the reads as ReadColumns.
    previous_epoch  only in the first batch of each stream of an epoch, and only when there was an epoch before.
    beside          last sealed sequence of the epoch's other stream when this was sealed; 0 when there was none, and
                    in every batch of a collector from before this was written down.
    """

    id: BatchId
    previous_hash: bytes
    sealed_at: datetime
    reads: Sequence[StoredRead] = ()
    events: tuple[StoredEvent, ...] = ()
    previous_epoch: PreviousEpoch | None = None
    beside: int = 0


def encode_payload(batch: Batch) -> bytes:
    """Return a batch as its payload: the bytes that are signed.

    raises  BadBatch when the batch breaks the bounds that every decoder checks.
    """
    _check_order(batch)
    clocks = _Clocks()
    plain: dict[int, Any] = {
        0: str(batch.id.collector),
        1: batch.id.epoch,
        2: int(batch.id.stream),
        3: batch.id.sequence,
        4: col.octets(batch.previous_hash, 32),
        5: col.microseconds(batch.sealed_at),
    }
    if batch.previous_epoch is not None:
        plain[6] = [batch.previous_epoch.epoch, *batch.previous_epoch.last_sequences]
    if batch.reads:
        plain[8], plain[9] = _pack_reads([stored.read for stored in batch.reads], clocks)
        plain[9][0] = col.pack(col.deltas([stored.append_seq for stored in batch.reads]))
    if batch.events:
        plain[10] = [_event_row(stored, clocks) for stored in batch.events]
    if clocks.table:
        plain[7] = clocks.rows()
    if batch.beside:
        plain[11] = col.integer(batch.beside, 1, col.LIMIT)
    tag, data = compress(cbor2.dumps(plain, canonical=True))
    return cbor2.dumps([VERSION, tag, data], canonical=True)


def decode_payload(payload: bytes, *, max_plain_bytes: int = MAX_PLAIN_BYTES) -> Batch:
    """Return the batch of a payload.

    raises  BadBatch(reason_code) for anything that encode_payload would not have written.
    """
    version, tag, data = col.items(_decode_cbor(payload), 3)
    if version != VERSION or type(version) is not int:
        raise BadBatch("version")
    if type(tag) is not int or type(data) is not bytes:
        raise BadBatch("format", "compression")
    plain = _decode_cbor(decompress(tag, data, max_plain_bytes=max_plain_bytes))
    try:
        batch = _read_plain(col.fields(plain, required=_HEAD, optional=_OPTIONAL))
    except ValueError as error:  # an id, a register or an enumeration refused its value
        raise BadBatch("range", str(error)[:200]) from None
    _check_order(batch)
    return batch


def _decode_cbor(data: bytes) -> Any:
    """Return what the bytes say, if they are the one deterministic way to say it.

    cbor2's canonical form sorts shorter keys first; with keys of one type in every map that is RFC 8949 4.2.1 too.
    """
    try:
        value = cbor2.loads(data, max_depth=_DEPTH, allow_indefinite=False, allow_duplicate_keys=False)
        again = cbor2.dumps(value, canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise BadBatch("format", f"CBOR: {error}"[:200]) from None
    if again != data:
        raise BadBatch("not-deterministic")
    return value


def _check_order(batch: Batch) -> None:
    if len(batch.reads) > MAX_READS or len(batch.events) > MAX_EVENTS:
        raise BadBatch("oversized", f"{len(batch.reads)} reads, {len(batch.events)} events")
    reads, events = append_seqs(batch.reads), append_seqs(batch.events)
    if not rising(reads) or not rising(events):
        raise BadBatch("order", "append_seq does not rise")
    if reads and events and not set(reads).isdisjoint(events):
        raise BadBatch("order", "a read and an event share an append_seq")


def append_seqs(stored: Sequence[StoredRead] | Sequence[StoredEvent]) -> list[int]:
    """Return the append_seq of each read or event; nothing is made of reads that are still columns."""
    return stored.append_seqs if isinstance(stored, ReadColumns) else [item.append_seq for item in stored]


class _Clocks:
    """The clock contexts of a batch, in order of first use, each with its first wall-minus-monotonic offset."""

    def __init__(self) -> None:
        self.table: dict[_ClockKey, tuple[int, int]] = {}
        self._before: ClockState | None = None
        self._place = (0, 0)

    def place(self, clock: ClockState, at_us: int) -> tuple[int, int, int]:
        """Return (index, microseconds beyond the context's offset, nanoseconds below the microsecond)."""
        monotonic_ns, before = clock.monotonic_ns, self._before
        us, ns = divmod(
            monotonic_ns if 0 <= monotonic_ns < col.LIMIT else col.integer(monotonic_ns, 0, col.LIMIT), 1000
        )
        # The context is that of the read before nearly always.
        if (
            before is None
            or clock.boot_id != before.boot_id
            or clock.synchronised is not before.synchronised
            or (clock.synced_since is not before.synced_since and clock.synced_since != before.synced_since)
        ):
            key = (col.octets(clock.boot_id, 16), clock.synchronised, clock.synced_since)
            self._place, self._before = self.table.setdefault(key, (len(self.table), at_us - us)), clock
        index, offset = self._place
        return index, us - at_us + offset, ns

    def rows(self) -> list[list[Any]]:
        """Return the contexts as they are written: [boot id, synchronised, since or null, offset]."""
        return [
            [boot_id, synchronised, None if since is None else col.microseconds(since), offset]
            for (boot_id, synchronised, since), (_, offset) in self.table.items()
        ]


def _pack_reads(reads: Sequence[RegisterRead], clocks: _Clocks) -> tuple[list[Any], dict[int, Any]]:
    """Return the table of registers and the columns of the reads, all but append_seq."""
    registers, indices = _table_of([read.register for read in reads])
    first_counts, count_deltas = _split_counts(indices, [read.raw_count for read in reads])
    at_us = [col.microseconds(read.read_at) for read in reads]
    places = [clocks.place(read.clock, us) for read, us in zip(reads, at_us, strict=True)]
    clock_indices = [index for index, _, _ in places]
    at_deltas, at_step = _stepped(col.deltas(at_us, at_us[0]))
    drift, drift_step = _stepped(_deltas_by_key(clock_indices, [us for _, us, _ in places]))
    written = {
        14: len(reads),
        1: col.pack(_turns(indices, len(registers))),
        2: at_us[0],
        3: at_step,
        4: col.pack(at_deltas),
        5: col.pack(first_counts),
        6: col.pack(count_deltas),
        7: col.pack(clock_indices),
        8: drift_step,
        9: col.pack(drift),
        10: col.pack([ns for _, _, ns in places]),
        11: col.pack([int(read.quality) for read in reads]),
        12: col.pack([int(read.reason) for read in reads]),
        13: col.pack([int(read.flags) for read in reads]),
    }
    # What is zero throughout is left out: most batches have plain measured reads of one clock context.
    return _pack_registers(registers), {k: v for k, v in written.items() if v != ABSENT.get(k, ...)}


def _table_of(registers: Sequence[Register]) -> tuple[list[Register], list[int]]:
    """Return the different registers in order of first use, and the place of each; one object is looked up once."""
    table: dict[Register, int] = {}
    seen: dict[int, int] = {}
    indices = []
    for register in registers:
        index = seen.get(id(register))
        if index is None:
            index = seen[id(register)] = table.setdefault(register, len(table))
        indices.append(index)
    return list(table), indices


def _turns(indices: Sequence[int], registers: int) -> list[int]:
    """Return how many registers each read skips after the one before it; polled in turn, that is 0 throughout."""
    return [(index - before - 1) % registers for index, before in zip(indices, [-1, *indices], strict=False)]


def _stepped(differences: list[int]) -> tuple[list[int], int]:
    """Return the differences divided by their greatest common divisor, and it: clocks often tick in whole ms."""
    step = gcd(*differences) or 1
    return [difference // step for difference in differences], step


def _deltas_by_key(keys: Sequence[int], values: Sequence[int]) -> list[int]:
    """Return each value minus the one before it with the same key, the first of a key as it is."""
    last: dict[int, int] = {}
    result = []
    for key, value in zip(keys, values, strict=True):
        result.append(value - last.get(key, 0))
        last[key] = value
    return result


def _split_counts(indices: Sequence[int], counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return (first count of each register, later counts as differences to the register's count before)."""
    first: list[int] = []
    later: list[int] = []
    last: dict[int, int] = {}
    col.within([*counts], -col.LIMIT, col.LIMIT)
    for index, count in zip(indices, counts, strict=True):
        if index in last:
            later.append(count - last[index])
        else:
            first.append(count)
        last[index] = count
    return first, later


def _pack_registers(registers: Sequence[Register]) -> list[Any]:
    """Return [size, kinds, prefixes, kind, prefix and number columns]: meter ids mostly end in a number."""
    kinds: dict[tuple[Any, ...], int] = {}
    prefixes: dict[tuple[str, int], int] = {}
    kind_column, prefix_column, numbers = [], [], []
    for register in registers:
        kind = (str(register.register_id), register.unit.value, register.scale, register.modulus)
        kind_column.append(kinds.setdefault(kind, len(kinds)))
        prefix, digits = _split_meter_id(register.meter_id)
        prefix_column.append(prefixes.setdefault((prefix, len(digits)), len(prefixes)))
        numbers.append(int(digits or "0"))
    return [
        len(registers),
        [list(kind) for kind in kinds],
        [list(prefix) for prefix in prefixes],
        col.pack(kind_column),
        col.pack(prefix_column),
        col.pack(col.deltas(numbers)),
    ]


def _split_meter_id(meter_id: str) -> tuple[str, str]:
    """Return a meter id as (what comes before, its last digits, at most 15 of them)."""
    cut = len(meter_id)
    while cut > 0 and len(meter_id) - cut < 15 and meter_id[cut - 1] in "0123456789":
        cut -= 1
    return meter_id[:cut], meter_id[cut:]


def _event_row(stored: StoredEvent, clocks: _Clocks) -> list[Any]:
    event = stored.event
    at_us = col.microseconds(event.at)
    index, drift, ns = clocks.place(event.clock, at_us)
    meter_id = None if event.meter_id is None else str(event.meter_id)
    detail = _check_detail({key: list(v) if isinstance(v, list) else v for key, v in event.detail.items()})
    event_id = col.text(event.event_id, _LONGEST_ID)
    return [stored.append_seq, event_id, event.kind.value, at_us, index, drift, ns, meter_id, detail]


def _check_detail(detail: Any) -> dict[str, Any]:
    """Return an event's detail when it holds text, integers and lists of one of them; else raise BadBatch."""
    if type(detail) is not dict or len(detail) > _MOST_DETAILS:
        raise BadBatch("format", "an event's detail")
    for key, value in detail.items():
        col.text(key, _LONGEST_ID)
        parts = col.items(value, most=_MOST_IN_LIST) if type(value) is list else [value]
        for part in parts:
            col.integer(part) if type(part) is int else col.text(part, _LONGEST_TEXT)
        if len({type(part) for part in parts}) > 1:
            raise BadBatch("format", "a list of text and integers")
    return detail


def _read_plain(plain: dict[int, Any]) -> Batch:
    """Return the batch of a decoded map; raises BadBatch, or ValueError from the domain's own checks."""
    collector = CollectorId(col.text(plain[0], 32))
    epoch, stream = col.octets(plain[1], 16), Stream(col.integer(plain[2], 0, len(Stream)))
    batch_id = BatchId(collector, epoch, stream, col.integer(plain[3], 1, col.LIMIT))
    clocks = [_read_clock(row) for row in col.items(plain.get(7, []), most=MAX_READS)]
    if (8 in plain) != (9 in plain):
        raise BadBatch("format", "registers and reads come together")
    reads = read_columns(plain[9], _registers_of(plain[8]), clocks) if 9 in plain else ()
    events = tuple(_read_event(row, clocks) for row in col.items(plain.get(10, []), most=MAX_EVENTS))
    previous = _read_previous(plain[6]) if 6 in plain else None
    beside = col.integer(plain[11], 1, col.LIMIT) if 11 in plain else 0
    return Batch(batch_id, col.octets(plain[4], 32), _moment(plain[5]), reads, events, previous, beside)


def _moment(value: Any) -> datetime:
    return col.moment_at(col.integer(value, -col.LIMIT, col.LIMIT))


def _read_previous(value: Any) -> PreviousEpoch:
    epoch, bulk, urgent = col.items(value, 3)
    return PreviousEpoch(col.octets(epoch, 16), (col.integer(bulk, 0, col.LIMIT), col.integer(urgent, 0, col.LIMIT)))


def _read_clock(row: Any) -> tuple[bytes, bool, datetime | None, int]:
    boot_id, synchronised, since, offset = col.items(row, 4)
    if type(synchronised) is not bool:
        raise BadBatch("format", "a clock is synchronised or not")
    return col.octets(boot_id, 16), synchronised, None if since is None else _moment(since), col.integer(offset)


def _registers_of(table: Any) -> tuple[Register, ...]:
    """Return the registers of a table. A collector sends the same one again and again: what was read is remembered."""
    written = cbor2.dumps(table, canonical=True)
    if (found := _TABLES.get(written)) is None:
        if len(_TABLES) >= _TABLES_REMEMBERED:
            _TABLES.clear()
        found = _read_registers(table)
        if len(found) <= _TABLE_REMEMBERED_MAX:
            _TABLES[written] = found
    return found


def _read_registers(table: Any) -> tuple[Register, ...]:
    size, kinds, prefixes, kind_column, prefix_column, number_column = col.items(table, 6)
    count = size_of(size)
    kinds = [_read_kind(row) for row in col.items(kinds, most=MAX_READS)]
    prefixes = [_read_prefix(row) for row in col.items(prefixes, most=MAX_READS)]
    kind_indices = col.within(col.unpack(kind_column, count), 0, len(kinds))
    prefix_indices = col.within(col.unpack(prefix_column, count), 0, len(prefixes))
    numbers = col.sums(col.unpack(number_column, count))
    registers = []
    for kind, index, number in zip(kind_indices, prefix_indices, numbers, strict=True):
        prefix, width = prefixes[index]
        col.integer(number, 0, 10**width)
        digits = f"{number:0{width}d}" if width else ""
        register_id, unit, scale, modulus = kinds[kind]
        registers.append(Register(MeterId(prefix + digits), register_id, unit, scale, modulus))
    if len(set(registers)) != len(registers):
        raise BadBatch("format", "a register stands twice in the table")
    return tuple(registers)


def _read_kind(row: Any) -> tuple[RegisterId, Unit, int, int | None]:
    register_id, unit, scale, modulus = col.items(row, 4)
    modulus = None if modulus is None else col.integer(modulus, 2, 2 * col.LIMIT)
    return RegisterId(col.text(register_id, 32)), Unit(col.text(unit, 8)), col.integer(scale, -9, 10), modulus


def _read_prefix(row: Any) -> tuple[str, int]:
    prefix, width = col.items(row, 2)
    return col.text(prefix, 40), col.integer(width, 0, 16)


def _read_event(row: Any, clocks: list[Any]) -> StoredEvent:
    append_seq, event_id, kind, at, clock, drift, ns, meter_id, detail = col.items(row, 9)
    at_us = col.integer(at, -col.LIMIT, col.LIMIT)
    state = clock_state(clocks[col.integer(clock, 0, len(clocks))], at_us, col.integer(drift), col.integer(ns, 0, 1000))
    event = Event(
        col.text(event_id, _LONGEST_ID),
        EventKind(col.text(kind, 40)),
        col.moment_at(at_us),
        state,
        None if meter_id is None else MeterId(col.text(meter_id, 40)),
        MappingProxyType(_check_detail(detail)),
    )
    return StoredEvent(col.integer(append_seq, 1, col.LIMIT), event)

"""Between the domain's reads and events and the rows of the store, with what repeats written once."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from domain.clock import ClockState
from domain.ids import MeterId, RegisterId
from domain.reading import (
    Event,
    EventKind,
    ReadFlag,
    ReadQuality,
    Reason,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.units import Unit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LIMIT = 2**63
_MOST_IDENTITIES = 20_000
_LONGEST_DETAIL = 65_536
_LONGEST_EVENT_ID = 200

READ_COLUMNS = "append_seq, register, raw_count, read_at_us, boot, monotonic_ns, clock, quality, reason, flags"
EVENT_COLUMNS = "append_seq, event_id, kind, urgent, at_us, monotonic_ns, clock, meter_id, detail"


def to_us(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the UTC moment `us` microseconds after 1970."""
    return EPOCH + timedelta(microseconds=us)


class Registry:
    """Registers, boots and clock contexts of a store by reference, cached both ways.

    A reference that was inserted in a transaction which was rolled back must be forgotten: call `reload`.
    """

    def __init__(self, db: sqlite3.Connection, *, skip_bad: bool = False) -> None:
        """Read the references; skip_bad leaves out rows that make no sense (salvage) instead of raising."""
        self._db, self._skipped = db, (KeyError, ValueError, TypeError, OverflowError) if skip_bad else ()
        self.reload()

    def reload(self) -> None:
        """Read every reference anew from the database."""
        db = self._db
        self.registers: dict[int, Register] = {}
        for ref, meter, register, unit, scale, modulus in db.execute("SELECT * FROM register"):
            with contextlib.suppress(*self._skipped):
                whole = None if modulus is None else int(modulus)
                self.registers[ref] = Register(MeterId(meter), RegisterId(register), Unit(unit), scale, whole)
        self.boots: dict[bytes, int] = {boot_id: ref for ref, boot_id in db.execute("SELECT ref, boot_id FROM boot")}
        boot_ids = {ref: boot_id for boot_id, ref in self.boots.items()}
        self.clocks: dict[int, tuple[bytes, bool, datetime | None]] = {}
        for ref, boot, synchronised, since_us in db.execute("SELECT * FROM clock"):
            with contextlib.suppress(*self._skipped):
                since = None if since_us is None else from_us(since_us)
                self.clocks[ref] = boot_ids[boot], bool(synchronised), since
        # Objects in refs_by_identity are kept alive in _known: else another object might come to have their identity.
        self.refs_by_identity: dict[int, int] = {}
        self._known: list[Register] = []
        self._register_refs = {register: ref for ref, register in self.registers.items()}
        self._clock_refs = {clock: ref for ref, clock in self.clocks.items()}

    def register_ref(self, register: Register) -> int:
        """Return the reference of a register, made inside the running transaction when it is new."""
        ref = self._register_refs.get(register)
        if ref is None:
            if register.modulus is not None and register.modulus >= 2**64:
                raise ValueError(f"a register rolls over within 64 bits: {register}")
            modulus = None if register.modulus is None else str(register.modulus)
            row = (register.meter_id, register.register_id, register.unit.value, register.scale, modulus)
            ref = _inserted(self._db, "INSERT INTO register VALUES (NULL, ?, ?, ?, ?, ?)", row)
            self._register_refs[register] = ref
            self.registers[ref] = register
        if len(self._known) >= _MOST_IDENTITIES:
            self.refs_by_identity.clear()
            self._known.clear()
        self._known.append(register)
        self.refs_by_identity[id(register)] = ref
        return ref

    def boot_ref(self, boot_id: bytes) -> int:
        """Return the reference of a boot, made inside the running transaction when it is new."""
        ref = self.boots.get(boot_id)
        if ref is None:
            if len(boot_id) != 16:
                raise ValueError(f"a boot id has 16 bytes, not {len(boot_id)}")
            ref = self.boots[boot_id] = _inserted(self._db, "INSERT INTO boot VALUES (NULL, ?)", (boot_id,))
        return ref

    def clock_ref(self, clock: ClockState) -> int:
        """Return the reference of a clock context, made inside the running transaction when it is new."""
        key = clock.boot_id, clock.synchronised, clock.synced_since
        ref = self._clock_refs.get(key)
        if ref is None:
            since_us = None if clock.synced_since is None else to_us(clock.synced_since)
            row = (self.boot_ref(clock.boot_id), int(clock.synchronised), since_us)
            ref = self._clock_refs[key] = _inserted(self._db, "INSERT INTO clock VALUES (NULL, ?, ?, ?)", row)
            self.clocks[ref] = key
        return ref

    def clock_state(self, ref: int, monotonic_ns: int) -> ClockState:
        """Return the clock state of a row."""
        boot_id, synchronised, since = self.clocks[ref]
        return ClockState(boot_id, monotonic_ns, synchronised, since)


def _inserted(db: sqlite3.Connection, statement: str, row: tuple[Any, ...]) -> int:
    ref = db.execute(statement, row).lastrowid
    assert ref is not None
    return ref


def read_rows(first_seq: int, reads: Sequence[RegisterRead], registry: Registry) -> Iterator[tuple[Any, ...]]:
    """Yield reads as rows of `read`, numbered from first_seq; raises ValueError for what no batch could carry.

    The hot path: the same Register object comes with every poll, so it is looked up by identity first, and the clock
    context is that of the read before nearly always.
    """
    refs, epoch, microsecond = registry.refs_by_identity, EPOCH, _MICROSECOND
    before: ClockState | None = None
    boot_ref = clock_ref = 0
    for append_seq, read in enumerate(reads, first_seq):
        clock, register, raw_count = read.clock, read.register, read.raw_count
        monotonic_ns = clock.monotonic_ns
        if not 0 <= monotonic_ns < _LIMIT or not -_LIMIT <= raw_count < _LIMIT:
            raise ValueError(f"a count or monotonic time beyond 64 bits: {read}")
        if (
            before is None
            or clock.boot_id != before.boot_id
            or clock.synchronised != before.synchronised
            or (clock.synced_since is not before.synced_since and clock.synced_since != before.synced_since)
        ):
            boot_ref, clock_ref, before = registry.boot_ref(clock.boot_id), registry.clock_ref(clock), clock
        yield (
            append_seq,
            refs.get(id(register)) or registry.register_ref(register),
            raw_count,
            (read.read_at - epoch) // microsecond,
            boot_ref,
            monotonic_ns,
            clock_ref,
            read.quality._value_,
            read.reason._value_,
            read.flags._value_,
        )


_QUALITIES = {int(quality): quality for quality in ReadQuality}
_REASONS = {int(reason): reason for reason in Reason}
_FLAGS: dict[int, ReadFlag] = {}


def stored_read(row: tuple[Any, ...], registry: Registry) -> StoredRead:
    """Return a row of `read` as it was appended; raises KeyError or ValueError when it was not written by us."""
    append_seq, register, raw_count, at_us, _, monotonic_ns, clock, quality, reason, flags = row
    flag = _FLAGS.get(flags)
    if flag is None:
        flag = _FLAGS[flags] = ReadFlag(flags)
    read = RegisterRead(
        registry.registers[register],
        raw_count,
        EPOCH + timedelta(microseconds=at_us),
        registry.clock_state(clock, monotonic_ns),
        _QUALITIES[quality],
        _REASONS[reason],
        flag,
    )
    return StoredRead(append_seq, read)


def event_row(append_seq: int, event: Event, registry: Registry) -> tuple[Any, ...]:
    """Return an event as a row of `event`; raises ValueError for what no batch could carry."""
    detail = _detail_text(event)
    if len(detail) > _LONGEST_DETAIL or not 0 < len(event.event_id) <= _LONGEST_EVENT_ID:
        raise ValueError(f"event {event.event_id[:60]!r} is too long: {len(detail)} characters of detail")
    if not 0 <= event.clock.monotonic_ns < 2**63:
        raise ValueError(f"a monotonic time beyond 64 bits: {event}")
    return (
        append_seq,
        event.event_id,
        event.kind.value,
        int(event.kind.urgent),
        to_us(event.at),
        event.clock.monotonic_ns,
        registry.clock_ref(event.clock),
        event.meter_id,
        detail,
    )


def _detail_text(event: Event) -> str:
    """Return an event's detail as JSON; raises ValueError unless it is text, integers and lists of one of them."""
    for value in event.detail.values():
        kinds = {type(part) for part in value} if isinstance(value, list) else {type(value)}
        if len(kinds) > 1 or not kinds <= {str, int}:
            raise ValueError(f"event {event.event_id[:60]!r}: a detail is text, integers or a list of one of them")
    detail = json.dumps(dict(event.detail), ensure_ascii=False, separators=(",", ":"))
    detail.encode()  # half a surrogate pair fits on no wire
    return detail


def stored_event(row: tuple[Any, ...], registry: Registry) -> StoredEvent:
    """Return a row of `event` as it was appended; raises KeyError or ValueError when it was not written by us."""
    append_seq, event_id, kind, _, at_us, monotonic_ns, clock, meter_id, detail = row
    event = Event(
        event_id,
        EventKind(kind),
        from_us(at_us),
        registry.clock_state(clock, monotonic_ns),
        None if meter_id is None else MeterId(meter_id),
        MappingProxyType(json.loads(detail)),
    )
    return StoredEvent(append_seq, event)

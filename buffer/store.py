"""The store on the collector: append, seal, acknowledge. Every call is one durable transaction.

An item is in exactly one of these places, and only ever moves down:
    unsealed   a row beyond its stream's cursor
    sealed     inside signed bytes that are committed and will never change; published and republished from there
    settled    acknowledged by the portal with the batch's identity and hash, or rejected and set aside
Retention (buffer/retention.py) touches nothing but what is acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from buffer import retention, salvage, streams
from buffer.database import PAGE_BYTES, Database, Lock, sidecar
from buffer.errors import StoreDamaged, StoreFull
from buffer.model import SealedBatch, SealRequest, StoreStatus
from buffer.opening import open_sound, start_epoch
from buffer.rows import (
    EVENT_COLUMNS,
    READ_COLUMNS,
    Registry,
    event_row,
    from_us,
    read_rows,
    stored_event,
    stored_read,
    to_us,
)
from buffer.thinning import Thinned, Thinning
from buffer.witness import Witness
from domain.clock import ClockState, machine_boot_id
from domain.ids import BatchId, Stream
from domain.reading import Event, EventKind, ReadFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Self

    from buffer.model import RejectedBatch
    from domain.clock import Clock
    from domain.ids import CollectorId
    from domain.reading import Register, RegisterRead, StoredEvent, StoredRead

_log = logging.getLogger(__name__)

MAX_BYTES = 4 * 1024 * 1024 * 1024
"""Bound of database and log: about 45 million reads waiting."""
SEALED_AHEAD = 32
"""Batches of one stream that may wait for their ack; the portal accepts that far ahead and no further."""
_SETTLED = {True: 1, False: 2}
_READ_BYTES, _EVENT_BYTES = 150, 300
_INSERT_READ = f"INSERT INTO read ({READ_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_INSERT_EVENT = f"INSERT INTO event ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


class Store:
    """Store and forward in one SQLite file; any thread may call it, one process at a time may open it."""

    def __init__(self, database: Database, lock: Lock, *, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        """Use `Store.open`."""
        self._database, self._process_lock, self._clock, self._entropy = database, lock, clock, entropy
        self._sealing = threading.Lock()
        self._thinning = Thinning(database, self._note_thinned)
        self.before_thinning: Callable[[], object] = _nothing
        """Called when old reads are about to be thinned; reads beyond a snapshot's place are not, so move it now."""
        self.sealed_ahead = SEALED_AHEAD
        self._registry = Registry(database.connection)
        self._last_reads: dict[int, tuple[Any, ...]] | None = None
        self._next_seq = streams.last_append_seq(database.connection) + 1
        self.epoch = streams.newest_epoch(database.connection).epoch

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes] = os.urandom,
        max_bytes: int = MAX_BYTES,
        sync_delay_s: float = 0.0,
        busy_s: float = 10.0,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> Self:
        """Return the store at a path, made or migrated as needed.

        A damaged file is set aside under a name of its own, what can be read of it is carried over into a new epoch,
        and an event says so. A file that was put back from a copy is noticed by its witness and begins a new epoch.

        entropy       draws an epoch's 16 bytes.
        max_bytes     bound of database and log together.
        sync_delay_s  waits after each commit, as a slow card would (for benchmarks).
        connection    class of every connection that writes: a simulation's own fails at a statement of its choice.
        raises        StoreError when another process has it, or the folder cannot be written.
        """
        lock = Lock(path)
        try:
            for last_try in (False, True):
                opened, salvaged = open_sound(path, clock=clock, connection=connection, busy_s=busy_s)
                try:
                    database = Database(path, opened, max_bytes=max_bytes, sync_delay_s=sync_delay_s)
                    return cls._started(database, lock, clock=clock, entropy=entropy, salvaged=salvaged)
                except BaseException as error:
                    opened.close()
                    # Damage that the check did not see is marked by now, and the next look is at every row.
                    if last_try or not isinstance(error, StoreDamaged):
                        raise
        except BaseException:
            lock.release()
            raise
        raise AssertionError("unreachable: the last try returns or raises")

    @classmethod
    def _started(
        cls,
        database: Database,
        lock: Lock,
        *,
        clock: Clock,
        entropy: Callable[[int], bytes],
        salvaged: salvage.Salvaged | None,
    ) -> Self:
        start_epoch(database, clock=clock, entropy=entropy, salvaged=salvaged)
        with database.read():
            store = cls(database, lock, clock=clock, entropy=entropy)
        if salvaged is not None:
            store._report(EventKind.STORE_SALVAGED, f"store-salvaged:{salvaged.aside}", salvaged.as_detail())
            salvage.reported(database.path)
        return store

    def close(self) -> None:
        """Close the store; everything appended is already safe. A second call does nothing."""
        self._database.close()
        self._process_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Appending

    def append(self, reads: Sequence[RegisterRead], events: Sequence[Event] = ()) -> list[int | None]:
        """Store reads and events in one durable transaction.

        Returns one entry for each read, then one for each event: its append_seq, or None when it was there already
        (same register, boot and monotonic time; same event_id; for history same register and read_at).
        raises  StoreFull, StoreError: then nothing of this call is stored and it may be repeated.
                ValueError for a read or event that no batch could carry.
        """
        try:
            return self._append(reads, events)
        except StoreFull:
            self._database.fold_log()
        while True:
            try:
                return self._append(reads, events)
            except StoreFull:
                if not self._make_room(_pages_of(reads, events)):
                    raise

    def _make_room(self, pages: int) -> bool:
        """Make room for an append of so many pages, the cheapest way that is left; returns False when there is none."""
        if self._database.grow():
            return True
        # Acknowledged batches are kept as long as the disk allows; here it no longer does.
        if self.sweep(pressure=True).freed_anything:
            return True
        if not self._database.is_full_of_ours:
            return False  # somebody else's files fill the disk: history is not given up for them
        wanted = pages + (0 if self._database.reserve_kept else self._database.sizes.reserve_pages + 1)
        if self._database.free_pages() >= wanted:
            return False  # it is not pages that it lacks
        with self._sealing:
            self.before_thinning()
            # A little more than needed: each look for what can go costs time.
            return self._thinning.make_room(pages=wanted + self._database.sizes.most_pages // 64) > 0

    def _note_thinned(self, db: sqlite3.Connection, what: Thinned) -> None:
        _log.info("no room: %d reads thinned, %s", what.reads, what.as_detail())
        event = self._event(
            EventKind.READS_THINNED, f"reads-thinned:{self.epoch.hex()}:{self._next_seq}", what.as_detail()
        )
        self._registry.reload()  # a try before this one may have been rolled back
        self._insert_once(db, _INSERT_EVENT, event_row(self._next_seq, event, self._registry))

    def _append(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None]:
        try:
            try:
                return self._append_new(reads, events)
            except sqlite3.IntegrityError:
                self._registry.reload()
                return self._append_checked(reads, events)
        except BaseException:
            self._registry.reload()  # it may know references that were rolled back
            raise

    def _append_new(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None]:
        """Append as if nothing were a duplicate; raises IntegrityError when something is."""
        with self._database.write() as db:
            first, registry = self._next_seq, self._registry
            rows = list(read_rows(first, reads, registry))
            db.executemany(_INSERT_READ, rows)
            after_reads = first + len(reads)
            if events:
                db.executemany(
                    _INSERT_EVENT, [event_row(seq, event, registry) for seq, event in enumerate(events, after_reads)]
                )
            self._next_seq = after_reads + len(events)
            if self._last_reads is not None:
                self._remember(rows)
        return [*range(first, after_reads + len(events))]

    def _append_checked(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None]:
        """Append item by item, leaving out duplicates of what is stored or came before in the same call."""
        result: list[int | None] = []
        kept: list[tuple[Any, ...]] = []
        with self._database.write() as db:
            for read in reads:
                (row,) = read_rows(self._next_seq, (read,), self._registry)
                result.append(self._insert_once(db, _INSERT_READ, row))
                if result[-1] is not None:
                    kept.append(row)
            for event in events:
                result.append(self._insert_once(db, _INSERT_EVENT, event_row(self._next_seq, event, self._registry)))
        self._remember(kept)
        return result

    def _insert_once(self, db: sqlite3.Connection, statement: str, row: tuple[Any, ...]) -> int | None:
        if db.execute(statement.replace("INSERT", "INSERT OR IGNORE", 1), row).rowcount == 0:
            return None
        self._next_seq += 1
        return int(row[0])

    def _remember(self, rows: Iterable[tuple[Any, ...]]) -> None:
        if self._last_reads is not None:
            history = int(ReadFlag.FROM_HISTORY)
            self._last_reads.update({row[1]: row for row in rows if not row[9] & history})

    # Reading back

    def items_since(self, append_seq: int, *, limit: int) -> list[StoredRead | StoredEvent]:
        """Return up to `limit` items beyond an append_seq that are still rows, in append order."""
        with self._database.read() as db:
            reads: list[StoredRead | StoredEvent] = [
                stored_read(row, self._registry)
                for row in db.execute(f"{_SELECT_READ} WHERE append_seq > ? {_IN_ORDER}", (append_seq, limit))
            ]
            events = [
                stored_event(row, self._registry)
                for row in db.execute(f"{_SELECT_EVENT} WHERE append_seq > ? {_IN_ORDER}", (append_seq, limit))
            ]
        return sorted([*reads, *events], key=lambda item: item.append_seq)[:limit]

    def last_reads(self) -> dict[Register, StoredRead]:
        """Return the newest read of each register that is still a row, history fetched from a meter apart."""
        with self._database.read() as db:
            if self._last_reads is None:
                newest = f"SELECT MAX(append_seq) FROM read WHERE flags & {int(ReadFlag.FROM_HISTORY)} = 0"  # noqa: S608
                rows = db.execute(f"{_SELECT_READ} WHERE append_seq IN ({newest} GROUP BY register)")
                self._last_reads = {row[1]: row for row in rows}
            found = [stored_read(row, self._registry) for row in self._last_reads.values()]
        return {stored.read.register: stored for stored in found}

    def time_floor(self) -> datetime | None:
        """Return a moment before which it cannot be: the newest time on record, for collectors without a clock."""
        with self._database.read() as db:
            us = streams.newest_time_us(db)
        return None if us is None else from_us(us)

    # Sealing

    def seal(
        self,
        stream: Stream,
        collector: CollectorId,
        encode: Callable[[SealRequest], bytes],
        *,
        max_items: int,
    ) -> SealedBatch | None:
        """Make the next batch of a stream: its signed bytes are committed before anyone sees them.

        encode   makes the signed bytes; called with no lock held that an append would wait for.
        returns  None when there is nothing to send, or SEALED_AHEAD batches already wait for their ack.
        raises   StoreFull when there is no room even for a batch of a single item.
        """
        most = max_items
        while True:
            try:
                return self._seal(stream, collector, encode, most)
            except StoreFull:
                if not self.sweep(pressure=True).freed_anything:
                    if most <= 1:
                        raise
                    most = -(-most // 4)  # a small disk: smaller batches need less room

    def _seal(
        self, stream: Stream, collector: CollectorId, encode: Callable[[SealRequest], bytes], max_items: int
    ) -> SealedBatch | None:
        with self._sealing:
            with self._database.read() as db:
                if streams.waiting_batches(db, stream) >= self.sealed_ahead:
                    return None
                place = streams.place_of(db, stream)
                reads, events = streams.next_items(db, self._registry, stream, place.sealed_through, max_items)
                epoch = streams.newest_epoch(db)
                beside = streams.place_of(db, Stream(1 - stream)).last_sequence
            if not reads and not events:
                return None
            batch_id = BatchId(collector, epoch.epoch, stream, place.last_sequence + 1)
            previous = epoch.previous if batch_id.sequence == 1 else None
            # In whole microseconds, as the wire and the store have it.
            request = SealRequest(batch_id, place.last_hash, previous, self._clock.now(), reads, events, beside)
            data = encode(request)
            digest = hashlib.sha256(data).digest()
            self._database.change(lambda db: streams.insert_batch(db, epoch.ref, request, data, digest))
            self._witness()
        return SealedBatch(batch_id, digest, data, len(reads) + len(events), request.sealed_at)

    def unacked(self, stream: Stream, *, after: int = 0, limit: int = 32) -> list[SealedBatch]:
        """Return sealed batches that wait for their ack, oldest first, with the same bytes for ever.

        after  leaves out batches of the newest epoch up to this sequence; those of earlier epochs always come.
        """
        with self._database.read() as db:
            return streams.unacked(db, stream, after=after, limit=limit)

    def batches(self, epoch: bytes, stream: Stream, first: int, last: int, *, limit: int = 32) -> list[SealedBatch]:
        """Return the batches of an epoch's stream numbered first to last that are still here, in order, for a resend.

        Waiting, acknowledged or rejected: the bytes are those that were sealed. Left out are those that retention
        dropped and those whose items were sealed anew in a later epoch.
        """
        with self._database.read() as db:
            return streams.batches(db, epoch, stream, first, last, limit=limit)

    def last_sequence(self, epoch: bytes, stream: Stream) -> int | None:
        """Return the number of the last batch sealed in a stream of the newest epoch; None for any other epoch."""
        with self._database.read() as db:
            if streams.newest_epoch(db).epoch != epoch:
                return None
            return streams.place_of(db, stream).last_sequence

    def acked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Note the portal's ack; returns whether such a batch, with this hash, is here. Repeats are harmless."""
        return self._settle(batch_id, batch_hash, committed=True, reason="")

    def rejected(self, batch_id: BatchId, batch_hash: bytes, reason: str) -> bool:
        """Set a batch aside that the portal refused for good, and say so with an event; returns whether it is here.

        Its bytes are kept whatever happens. A batch that was acknowledged before stays acknowledged.
        """
        with self._database.read() as db:
            found = streams.find_batch(db, batch_id, batch_hash)
        if found is not None and found[1] == streams.SUPERSEDED:
            return True
        if not self._settle(batch_id, batch_hash, committed=False, reason=reason):
            return False
        detail: dict[str, str | int | list[int] | list[str]] = {
            "epoch": batch_id.epoch.hex(),
            "stream": batch_id.stream.name.lower(),
            "sequence": batch_id.sequence,
            "reason": reason[:200],
        }
        self._report(EventKind.BATCH_REJECTED, f"batch-rejected:{batch_id}:{batch_hash.hex()[:16]}", detail)
        return True

    def _settle(self, batch_id: BatchId, batch_hash: bytes, *, committed: bool, reason: str) -> bool:
        with self._database.read() as db:
            found = streams.find_batch(db, batch_id, batch_hash)
        if found is None:
            return False
        ref, state = found
        if state == 1:
            return committed
        if state != _SETTLED[committed]:
            now_us = to_us(self._clock.now())
            change = "UPDATE batch SET state = ?, settled_at_us = ?, reason = ? WHERE ref = ?"
            self._database.change(lambda db: db.execute(change, (_SETTLED[committed], now_us, reason or None, ref)))
        return True

    def rejected_batches(self) -> list[RejectedBatch]:
        """Return what the portal refused, oldest first."""
        with self._database.read() as db:
            return streams.rejected(db)

    def forked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Begin a new epoch: the portal holds another batch under this one's number, or before it.

        That happens when a whole disk was put back from a copy, witness and all. What this batch and those behind it
        carry is sealed anew in the new epoch. What a batch of an earlier epoch carries (the store was salvaged since)
        goes to the end of the append order and is sealed from there.
        returns  False when there is nothing to do: no such batch, it was acknowledged or superseded, its rows are gone.
        """
        with self._sealing:
            with self._database.read() as db:
                found = streams.find_batch(db, batch_id, batch_hash)
            if found is None or found[1] in (1, streams.SUPERSEDED):
                return False
            ref, now_us = found[0], to_us(self._clock.now())
            if batch_id.epoch != self.epoch:
                return self._database.change(lambda db: self._move_to_end(db, ref, now_us))

            def begin(db: sqlite3.Connection) -> None:
                streams.unseal(db, ref, now_us)
                streams.begin_epoch(db, self._entropy(16), "forked", now_us, None)

            self._database.change(begin)
            with self._database.read() as db:
                self.epoch = streams.newest_epoch(db).epoch
            self._witness()
        return True

    def _move_to_end(self, db: sqlite3.Connection, batch_ref: int, now_us: int) -> bool:
        moved = streams.move_to_end(db, batch_ref, self._next_seq, now_us)
        self._next_seq += moved
        self._last_reads = None
        return moved > 0

    # Beside the stream of reads

    def save_snapshot(self, name: str, append_seq: int, blob: bytes) -> None:
        """Keep a state with its watermark: everything up to `append_seq` is in it. Rows beyond it are kept for it."""
        row = (name, append_seq, blob)
        self._database.change(lambda db: db.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", row))

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        """Return (append_seq, blob) as saved, None when there is none."""
        with self._database.read() as db:
            row = db.execute("SELECT append_seq, blob FROM snapshot WHERE name = ?", (name,)).fetchone()
        return None if row is None else (row[0], row[1])

    def use_nonce(self, nonce: bytes, expires_at: datetime) -> bool:
        """Use up the number of a command; returns False when it was used before."""
        row = (nonce, to_us(expires_at))
        insert = "INSERT OR IGNORE INTO used_nonce VALUES (?, ?)"
        return self._database.change(lambda db: db.execute(insert, row).rowcount == 1)

    def sweep(self, *, policy: retention.Policy = retention.DEFAULT, pressure: bool = False) -> retention.SweepResult:
        """Delete what was acknowledged and is older than the policy keeps; under pressure, however young it is."""
        return retention.sweep(
            self._database, policy, now=self._clock.now(), append_floor=self._next_seq - 1, pressure=pressure
        )

    def status(self) -> StoreStatus:
        """Return what a technician wants to know."""
        with self._database.read() as db:
            return streams.status(db, self._database, last_append_seq=self._next_seq - 1)

    def _event(self, kind: EventKind, event_id: str, detail: dict[str, Any]) -> Event:
        monotonic_ns = max(0, int(self._clock.monotonic() * 1e9))
        clock = ClockState(machine_boot_id(), monotonic_ns, synchronised=False)
        return Event(event_id, kind, self._clock.now(), clock, None, detail)

    def _report(self, kind: EventKind, event_id: str, detail: dict[str, Any]) -> None:
        event = self._event(kind, event_id, detail)

        def note(db: sqlite3.Connection) -> None:
            self._registry.reload()  # a try before this one may have been rolled back
            self._insert_once(db, _INSERT_EVENT, event_row(self._next_seq, event, self._registry))

        try:
            self._database.change(note)
        except BaseException:
            self._registry.reload()
            raise

    def _witness(self) -> None:
        with self._database.read() as db:
            epoch = streams.newest_epoch(db).epoch
            bulk, urgent = (streams.place_of(db, stream) for stream in Stream)
        through = max(bulk.sealed_through, urgent.sealed_through)
        witness = Witness(epoch, (bulk.last_sequence, urgent.last_sequence), through)
        where = sidecar(self._database.path, "witness")
        # A hint that is a batch old is no reason to hold back what is committed.
        with contextlib.suppress(OSError):
            witness.save(where)


def _nothing() -> None:
    """Do nothing."""


def _pages_of(reads: Sequence[RegisterRead], events: Sequence[Event]) -> int:
    """Return how many pages these may take at most, with their index entries and pages that split."""
    text = sum(len(str(event.detail)) + _EVENT_BYTES for event in events)
    return 8 + (len(reads) * _READ_BYTES + 2 * text) // PAGE_BYTES


_SELECT_READ = f"SELECT {READ_COLUMNS} FROM read"  # noqa: S608
_SELECT_EVENT = f"SELECT {EVENT_COLUMNS} FROM event"  # noqa: S608
_IN_ORDER = "ORDER BY append_seq LIMIT ?"

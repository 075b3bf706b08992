"""The questions and changes behind sealing and acknowledging, each one statement or a few, inside a transaction."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buffer.model import RejectedBatch, SealedBatch, StoreStatus, StreamStatus
from buffer.rows import EVENT_COLUMNS, READ_COLUMNS, from_us, stored_event, stored_read, to_us
from domain.ids import BatchId, CollectorId, PreviousEpoch, Stream
from domain.reading import ReadFlag

if TYPE_CHECKING:
    import sqlite3

    from buffer.database import Database
    from buffer.model import SealRequest
    from buffer.rows import Registry
    from buffer.witness import Witness
    from domain.reading import StoredEvent, StoredRead

NO_PREVIOUS = bytes(32)
SUPERSEDED = 3
"""State of a batch whose items were sealed anew in a later epoch."""
_BATCH_DETAIL_CHARACTERS = 256 * 1024
_ON_DEMAND = int(ReadFlag.ON_DEMAND)
# Answers to a question someone is waiting for travel with the alarms.
_READ_OF = {Stream.BULK: f"flags & {_ON_DEMAND} = 0", Stream.URGENT: f"flags & {_ON_DEMAND}"}


@dataclass(frozen=True, slots=True)
class EpochRow:
    """An epoch of this store and what its first batches say of the one before."""

    ref: int
    epoch: bytes
    why: str
    previous: PreviousEpoch | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream of the newest epoch stands."""

    last_sequence: int
    last_hash: bytes
    sealed_through: int


def newest_epoch(db: sqlite3.Connection) -> EpochRow:
    """Return the epoch that batches are sealed in."""
    columns = "ref, epoch, why, previous_epoch, previous_bulk, previous_urgent"
    row = db.execute(f"SELECT {columns} FROM epoch ORDER BY ref DESC LIMIT 1").fetchone()  # noqa: S608
    previous = None if row[3] is None else PreviousEpoch(row[3], (row[4], row[5]))
    return EpochRow(row[0], row[1], row[2], previous)


def begin_epoch(db: sqlite3.Connection, epoch: bytes, why: str, now_us: int, witness: Witness | None) -> None:
    """Begin an epoch; cursors stay where they are, sequences and chains begin anew.

    witness  knows an epoch, or sequences of it, that this store has lost.
    """
    previous: tuple[bytes | None, int, int] = (None, 0, 0)
    if db.execute("SELECT 1 FROM epoch").fetchone():
        bulk, urgent = (_highest_sequence(db, stream) for stream in Stream)
        previous = (newest_epoch(db).epoch, bulk, urgent)
    if witness is not None:
        if witness.epoch == previous[0]:
            bulk, urgent = (max(pair) for pair in zip(witness.last_sequences, previous[1:], strict=True))
            previous = (witness.epoch, bulk, urgent)
        else:
            previous = (witness.epoch, *witness.last_sequences)
    db.execute("INSERT INTO epoch VALUES (NULL, ?, ?, ?, ?, ?, ?)", (epoch, why, now_us, *previous))
    for stream in Stream:
        db.execute("INSERT OR IGNORE INTO stream VALUES (?, 0, ?, 0)", (int(stream), NO_PREVIOUS))
    db.execute("UPDATE stream SET last_sequence = 0, last_hash = ?", (NO_PREVIOUS,))


def _highest_sequence(db: sqlite3.Connection, stream: Stream) -> int:
    """Return the last sequence of a stream in the newest epoch, by its place or by the batches that are here."""
    batches = "SELECT MAX(sequence) FROM batch WHERE stream = ? AND epoch = (SELECT MAX(ref) FROM epoch)"
    known = db.execute("SELECT last_sequence FROM stream WHERE stream = ?", (int(stream),)).fetchone()
    return max(known[0] if known else 0, db.execute(batches, (int(stream),)).fetchone()[0] or 0)


def place_of(db: sqlite3.Connection, stream: Stream) -> Place:
    """Return where a stream stands."""
    query = "SELECT last_sequence, last_hash, sealed_through FROM stream WHERE stream = ?"
    return Place(*db.execute(query, (int(stream),)).fetchone())


def waiting_batches(db: sqlite3.Connection, stream: Stream) -> int:
    """Return how many sealed batches of a stream wait for their ack."""
    query = "SELECT COUNT(*) FROM batch WHERE stream = ? AND state = 0"
    return int(db.execute(query, (int(stream),)).fetchone()[0])


def next_items(
    db: sqlite3.Connection, registry: Registry, stream: Stream, after: int, most: int
) -> tuple[tuple[StoredRead, ...], tuple[StoredEvent, ...]]:
    """Return the next items of a stream beyond its cursor: a whole run of its append order, at most `most`."""
    order = "append_seq > ? ORDER BY append_seq LIMIT ?"
    read_rows = db.execute(
        f"SELECT {READ_COLUMNS} FROM read WHERE {_READ_OF[stream]} AND {order}",  # noqa: S608
        (after, most),
    ).fetchall()
    event_rows = db.execute(
        f"SELECT {EVENT_COLUMNS} FROM event WHERE urgent = ? AND {order}",  # noqa: S608
        (int(stream), after, most),
    ).fetchall()
    last = _last_that_fits(read_rows, event_rows, most)
    return (
        tuple(stored_read(row, registry) for row in read_rows if row[0] <= last),
        tuple(stored_event(row, registry) for row in event_rows if row[0] <= last),
    )


def _last_that_fits(read_rows: list[Any], event_rows: list[Any], most: int) -> int:
    """Return the last append_seq of the batch, so that neither its number of items nor its text grows too large."""
    last = 0
    room = _BATCH_DETAIL_CHARACTERS
    sizes = [(row[0], 0) for row in read_rows] + [(row[0], len(row[8])) for row in event_rows]
    for append_seq, characters in sorted(sizes)[:most]:
        room -= characters
        if room < 0 and last:
            break
        last = append_seq
    return last


def insert_batch(db: sqlite3.Connection, epoch_ref: int, request: SealRequest, data: bytes, digest: bytes) -> None:
    """Commit a batch's signed bytes and move its stream's place past it."""
    seqs = [read.append_seq for read in request.reads] + [event.append_seq for event in request.events]
    batch_id = request.batch_id
    row = (
        epoch_ref,
        int(batch_id.stream),
        batch_id.sequence,
        str(batch_id.collector),
        digest,
        len(seqs),
        min(seqs),
        max(seqs),
        to_us(request.sealed_at),
    )
    columns = "epoch, stream, sequence, collector, hash, items, first_seq, last_seq, sealed_at_us"
    ref = db.execute(f"INSERT INTO batch ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid  # noqa: S608
    db.execute("INSERT INTO batch_bytes VALUES (?, ?)", (ref, data))
    db.execute(
        "UPDATE stream SET last_sequence = ?, last_hash = ?, sealed_through = ? WHERE stream = ?",
        (batch_id.sequence, digest, max(seqs), int(batch_id.stream)),
    )


_BATCH = "batch.collector, epoch.epoch, batch.stream, batch.sequence"


def _batch_id(row: tuple[Any, ...]) -> BatchId:
    return BatchId(CollectorId(row[0]), row[1], Stream(row[2]), row[3])


def unacked(db: sqlite3.Connection, stream: Stream, *, after: int, limit: int) -> list[SealedBatch]:
    """Return sealed batches that wait for their ack, oldest first."""
    query = f"""SELECT {_BATCH}, hash, data, items, sealed_at_us FROM batch
        JOIN epoch ON epoch.ref = batch.epoch JOIN batch_bytes ON batch_bytes.ref = batch.ref
        WHERE batch.stream = ? AND state = 0
          AND NOT (batch.epoch = (SELECT MAX(ref) FROM epoch) AND sequence <= ?)
        ORDER BY batch.ref LIMIT ?"""  # noqa: S608
    rows = db.execute(query, (int(stream), after, limit))
    return [SealedBatch(_batch_id(row), row[4], row[5], row[6], from_us(row[7])) for row in rows]


def batches(
    db: sqlite3.Connection, epoch: bytes, stream: Stream, first: int, last: int, *, limit: int
) -> list[SealedBatch]:
    """Return the batches of an epoch's stream from a first to a last sequence, whatever became of them."""
    query = f"""SELECT {_BATCH}, hash, data, items, sealed_at_us FROM batch
        JOIN epoch ON epoch.ref = batch.epoch JOIN batch_bytes ON batch_bytes.ref = batch.ref
        WHERE epoch.epoch = ? AND batch.stream = ? AND sequence BETWEEN ? AND ? AND state <> {SUPERSEDED}
        ORDER BY sequence LIMIT ?"""  # noqa: S608
    rows = db.execute(query, (epoch, int(stream), first, last, limit))
    return [SealedBatch(_batch_id(row), row[4], row[5], row[6], from_us(row[7])) for row in rows]


def find_batch(db: sqlite3.Connection, batch_id: BatchId, batch_hash: bytes) -> tuple[int, int] | None:
    """Return (ref, state) of the batch with this identity and hash."""
    query = """SELECT batch.ref, state FROM batch JOIN epoch ON epoch.ref = batch.epoch
        WHERE epoch.epoch = ? AND stream = ? AND sequence = ? AND collector = ? AND hash = ?"""
    values = (batch_id.epoch, int(batch_id.stream), batch_id.sequence, str(batch_id.collector), batch_hash)
    row = db.execute(query, values).fetchone()
    return None if row is None else (row[0], row[1])


def unseal(db: sqlite3.Connection, batch_ref: int, now_us: int) -> None:
    """Take this batch and all that wait in the newest epoch out of the way and put the cursors back before them.

    Their bytes stay, as superseded; their rows are still here, as only what is acknowledged goes.
    """
    which = "(ref = ? OR state = 0) AND epoch = (SELECT MAX(ref) FROM epoch)"
    for stream in Stream:
        first = db.execute(
            f"SELECT MIN(first_seq) FROM batch WHERE stream = ? AND {which}",  # noqa: S608
            (int(stream), batch_ref),
        ).fetchone()[0]
        if first is not None:
            db.execute("UPDATE stream SET sealed_through = ? WHERE stream = ?", (first - 1, int(stream)))
    db.execute(f"UPDATE batch SET state = 3, settled_at_us = ? WHERE {which}", (now_us, batch_ref))  # noqa: S608


def move_to_end(db: sqlite3.Connection, batch_ref: int, next_seq: int, now_us: int) -> int:
    """Give the rows behind a batch of an earlier epoch the next places in the append order, and supersede the batch.

    returns  how many rows; 0 when they are not all here: then nothing has changed.
    """
    query = "SELECT stream, first_seq, last_seq, items FROM batch WHERE ref = ?"
    stream, first, last, items = db.execute(query, (batch_ref,)).fetchone()
    where = {"read": _READ_OF[Stream(stream)], "event": f"urgent = {stream}"}
    rows = sorted(
        (seq, table)
        for table, mine in where.items()
        for (seq,) in db.execute(
            f"SELECT append_seq FROM {table} WHERE append_seq BETWEEN ? AND ? AND {mine}",  # noqa: S608
            (first, last),
        )
    )
    if len(rows) != items:
        return 0
    for place, (seq, table) in enumerate(rows, next_seq):
        db.execute(f"UPDATE {table} SET append_seq = ? WHERE append_seq = ?", (place, seq))  # noqa: S608
    db.execute("UPDATE batch SET state = ?, settled_at_us = ? WHERE ref = ?", (SUPERSEDED, now_us, batch_ref))
    return int(items)


def rejected(db: sqlite3.Connection) -> list[RejectedBatch]:
    """Return the batches that were refused."""
    query = f"""SELECT {_BATCH}, reason, items, settled_at_us FROM batch JOIN epoch ON epoch.ref = batch.epoch
        WHERE state = 2 ORDER BY batch.ref"""  # noqa: S608
    return [RejectedBatch(_batch_id(row), row[4] or "", row[5], from_us(row[6])) for row in db.execute(query)]


def last_append_seq(db: sqlite3.Connection) -> int:
    """Return the highest append_seq that was ever given out here, also when its row is gone."""
    query = """SELECT MAX(
        COALESCE((SELECT MAX(append_seq) FROM read), 0), COALESCE((SELECT MAX(append_seq) FROM event), 0),
        COALESCE((SELECT MAX(sealed_through) FROM stream), 0),
        COALESCE((SELECT value FROM fact WHERE name = 'append_floor'), 0))"""
    return int(db.execute(query).fetchone()[0])


def raise_append_floor(db: sqlite3.Connection, append_seq: int) -> None:
    """Make sure that no append_seq up to this one is given out again."""
    db.execute(
        """INSERT INTO fact VALUES ('append_floor', ?)
        ON CONFLICT (name) DO UPDATE SET value = MAX(value, excluded.value)""",
        (append_seq,),
    )


def newest_time_us(db: sqlite3.Connection) -> int | None:
    """Return the newest time on record among the last read, the last event and the last batch."""
    queries = (
        "SELECT read_at_us FROM read ORDER BY append_seq DESC LIMIT 1",
        "SELECT at_us FROM event ORDER BY append_seq DESC LIMIT 1",
        "SELECT sealed_at_us FROM batch ORDER BY ref DESC LIMIT 1",
    )
    found = [row[0] for query in queries for row in db.execute(query)]
    return max(found, default=None)


def status(db: sqlite3.Connection, database: Database, *, last_append_seq: int) -> StoreStatus:
    """Return the store's status."""
    epoch = newest_epoch(db)
    disk = os.statvfs(database.path.parent)
    counts = dict(db.execute("SELECT state, COUNT(*) FROM batch GROUP BY state").fetchall())
    stands = tuple(_stream_status(db, stream) for stream in Stream)
    reasons = "SELECT COALESCE(reason, ''), COUNT(*) FROM batch WHERE state = 2 GROUP BY 1 ORDER BY 2 DESC"
    room_bytes = database.room_bytes()
    per_day = _reads_per_day(db)
    return StoreStatus(
        database.path,
        epoch.epoch,
        epoch.why,
        last_append_seq,
        stands,
        counts.get(2, 0),
        counts.get(1, 0),
        database.bytes_used(),
        database.sizes.bound_bytes,
        disk.f_bavail * disk.f_frsize,
        database.reserve_kept,
        thinned_reads(db),
        dict(db.execute(reasons).fetchall()),
        _bytes_to_send(db, sum(stand.unsealed_items for stand in stands)),
        round(room_bytes / (per_day * _ROW_BYTES), 1) if per_day else None,
    )


_ROW_BYTES = 90
"""A read with its index entry, measured (tests/bench/buffering.py: bytes_kept_per_read without the batches)."""
_ITEM_BYTES = 6.0
"""A read in a batch, until a batch of this store tells (docs/reference/figures.md)."""


def _bytes_to_send(db: sqlite3.Connection, unsealed: int) -> int:
    lately = """SELECT SUM(length(data)), SUM(items) FROM (SELECT data, items FROM batch
        JOIN batch_bytes ON batch_bytes.ref = batch.ref ORDER BY batch.ref DESC LIMIT 20)"""
    size, items = db.execute(lately).fetchone()
    waiting = "SELECT SUM(length(data)) FROM batch JOIN batch_bytes ON batch_bytes.ref = batch.ref WHERE state = 0"
    sealed = db.execute(waiting).fetchone()[0] or 0
    return int(sealed) + round(unsealed * (size / items if items else _ITEM_BYTES))


def _reads_per_day(db: sqlite3.Connection) -> float | None:
    """Return the pace of the newest reads that are still rows: of ten thousand, or of as many as there are."""
    newest = "SELECT append_seq, read_at_us FROM read WHERE flags & 18 = 0 ORDER BY append_seq DESC LIMIT 1"
    last = db.execute(newest).fetchone()
    if last is None:
        return None
    before = (
        "SELECT append_seq, read_at_us FROM read WHERE flags & 18 = 0 AND append_seq >= ? ORDER BY append_seq LIMIT 1"
    )
    first = db.execute(before, (last[0] - 10_000,)).fetchone()
    passed_us = last[1] - first[1]
    return (last[0] - first[0]) / passed_us * 86_400e6 if passed_us > 0 else None


def thinned_reads(db: sqlite3.Connection) -> int:
    """Return how many reads were ever thinned in this store."""
    row = db.execute("SELECT value FROM fact WHERE name = 'thinned_reads'").fetchone()
    return int(row[0]) if row else 0


def _stream_status(db: sqlite3.Connection, stream: Stream) -> StreamStatus:
    place = place_of(db, stream)
    waiting = "SELECT COUNT(*), COALESCE(SUM(items), 0), MIN(first_seq), MIN(sealed_at_us) FROM batch"
    batches, items, _, sealed_us = db.execute(f"{waiting} WHERE stream = ? AND state = 0", (int(stream),)).fetchone()
    after = (place.sealed_through,)
    reads = f"FROM read WHERE {_READ_OF[stream]} AND append_seq > ?"
    events = f"FROM event WHERE urgent = {int(stream)} AND append_seq > ?"
    unsealed = (
        db.execute(f"SELECT COUNT(*) {reads}", after).fetchone()[0]  # noqa: S608
        + db.execute(f"SELECT COUNT(*) {events}", after).fetchone()[0]  # noqa: S608
    )
    oldest = [sealed_us] if sealed_us is not None else []
    oldest += [row[0] for row in db.execute(f"SELECT read_at_us {reads} ORDER BY append_seq LIMIT 1", after)]  # noqa: S608
    oldest += [row[0] for row in db.execute(f"SELECT at_us {events} ORDER BY append_seq LIMIT 1", after)]  # noqa: S608
    at = from_us(min(oldest)) if oldest else None
    return StreamStatus(stream, place.last_sequence, unsealed, batches, items, at)

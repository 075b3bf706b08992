"""What may go, and when: only ever what the portal has acknowledged.

Kept for 90 days by default, and as long as disk and bound allow: the signed bytes of acknowledged batches, so that a
portal restored from a backup can ask for what it misses. Kept for 14 days: the rows behind them, for the technician's
page; longer where a snapshot still has to be replayed from there. Unacknowledged and rejected batches never go.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from buffer import streams
from buffer.database import PAGE_BYTES
from buffer.errors import StoreFull
from buffer.rows import to_us
from domain.ids import Stream

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

    from buffer.database import Database

_BATCHES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Policy:
    """How long acknowledged things are kept.

    fullness       above this part of the store's bound, acknowledged batches go oldest first, whatever their age.
    disk_free      the same below this many free bytes on the disk, or an eighth of a small one.
    """

    batch_days: int = 90
    row_days: int = 14
    fullness: float = 0.9
    disk_free_bytes: int = 64 * 1024 * 1024


DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep deleted."""

    reads: int
    events: int
    batches: int

    @property
    def freed_anything(self) -> bool:
        """Whether there is more room than before."""
        return bool(self.reads or self.events or self.batches)


def sweep(database: Database, policy: Policy, *, now: datetime, append_floor: int, pressure: bool) -> SweepResult:
    """Delete acknowledged rows and batches that are older than the policy keeps.

    append_floor  the highest append_seq given out so far: stays known when its row goes.
    pressure      there is no room for an append: everything acknowledged may go, the oldest tenth of batches goes.
    """
    pressed = pressure or _is_pressed(database, policy)
    row_cut_us = to_us(now if pressed else now - timedelta(days=policy.row_days))
    batch_cut_us = to_us(now - timedelta(days=policy.batch_days))
    with database.read() as db:
        cut = _row_cut(db, row_cut_us)
    reads = _delete_rows(database, "read", cut, append_floor)
    events = _delete_rows(database, "event", cut, append_floor)
    batches = _delete_batches(database, f"settled_at_us <= {batch_cut_us}", None)
    if pressed:
        with database.read() as db:
            acked = db.execute("SELECT COUNT(*) FROM batch WHERE state = 1").fetchone()[0]
        batches += _delete_batches(database, "TRUE", -(-acked // 10))
    return SweepResult(reads, events, batches)


def _is_pressed(database: Database, policy: Policy) -> bool:
    with database.read() as db:
        pages, free = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    disk = os.statvfs(database.path.parent)
    full = pages - free > policy.fullness * database.sizes.most_pages
    wanted_bytes = min(policy.disk_free_bytes, 4 * database.sizes.keep_free_bytes)
    return full or (disk.f_bavail * disk.f_frsize < wanted_bytes and free * PAGE_BYTES < wanted_bytes)


def _row_cut(db: sqlite3.Connection, settled_before_us: int) -> int:
    """Return the append_seq up to which rows may go: acknowledged in both streams, and in every snapshot."""
    acked = """SELECT COALESCE(MAX(last_seq), 0) FROM batch WHERE state = 1 AND stream = 0 AND settled_at_us <= ?
        AND last_seq < COALESCE((SELECT MIN(first_seq) FROM batch WHERE stream = 0 AND state = 0), 1 << 62)"""
    bounds = [
        db.execute(acked, (settled_before_us,)).fetchone()[0],
        db.execute("SELECT COALESCE(MIN(first_seq), 1 << 62) - 1 FROM batch WHERE state = 0").fetchone()[0],
        db.execute("SELECT COALESCE(MIN(append_seq), 1 << 62) FROM snapshot").fetchone()[0],
        streams.place_of(db, Stream.BULK).sealed_through,
    ]
    urgent = (streams.place_of(db, Stream.URGENT).sealed_through,)
    for unsealed in (
        "SELECT MIN(append_seq) FROM event WHERE urgent = 1 AND append_seq > ?",
        "SELECT MIN(append_seq) FROM read WHERE flags & 16 AND append_seq > ?",
    ):
        first = db.execute(unsealed, urgent).fetchone()[0]
        bounds += [first - 1] if first is not None else []
    return int(min(bounds))


def _delete_rows(database: Database, table: str, cut: int, append_floor: int) -> int:
    """Delete the rows of a table up to an append_seq, in small transactions."""
    chunk = f"SELECT append_seq FROM {table} WHERE append_seq <= ? ORDER BY append_seq LIMIT ?"  # noqa: S608

    def delete(db: sqlite3.Connection, last: int) -> int:
        streams.raise_append_floor(db, append_floor)
        return db.execute(f"DELETE FROM {table} WHERE append_seq <= ?", (last,)).rowcount  # noqa: S608

    deleted, at_once = 0, database.sizes.rows_at_once
    while True:
        with database.read() as db:
            last = db.execute(f"SELECT MAX(append_seq) FROM ({chunk})", (cut, at_once)).fetchone()[0]  # noqa: S608
        if last is None:
            return deleted
        try:
            deleted += database.change(partial(delete, last=last))
        except StoreFull:
            if at_once == 1:
                raise
            at_once = -(-at_once // 4)  # long rows lie on more pages than a small log has room for


def _delete_batches(database: Database, which: str, most: int | None) -> int:
    """Delete acknowledged batches, oldest first, in small transactions."""

    def delete(db: sqlite3.Connection, refs: list[tuple[int]]) -> None:
        db.executemany("DELETE FROM batch_bytes WHERE ref = ?", refs)
        db.executemany("DELETE FROM batch WHERE ref = ? AND state = 1", refs)

    deleted, at_once = 0, _BATCHES_AT_ONCE
    while most is None or deleted < most:
        count = at_once if most is None else min(at_once, most - deleted)
        with database.read() as db:
            refs = db.execute(
                f"SELECT ref FROM batch WHERE state = 1 AND {which} ORDER BY ref LIMIT {count}"  # noqa: S608
            ).fetchall()
        if not refs:
            break
        try:
            database.change(partial(delete, refs=refs))
        except StoreFull:
            if at_once == 1:
                raise
            at_once = -(-at_once // 4)
        else:
            deleted += len(refs)
    return deleted

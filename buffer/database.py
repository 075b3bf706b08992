"""The SQLite file: durable settings, one transaction at a time, its bound, and room kept for acks and deletes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from buffer.errors import UNREADABLE, StoreDamaged, StoreError, StoreFull, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_T = TypeVar("_T")

PAGE_BYTES = 4096
WAL_PAGES = 1000
"""SQLite's own default between checkpoints; the log then stays near 4 MiB and is counted in the bound."""
RESERVE_BYTES = 8 * 1024 * 1024
"""Held in a file of its own and given up when the disk is full: acks and deletes need far less."""
SMALLEST_BOUND_BYTES = 32 * 1024 * 1024
BUSY_S = 10.0


def sidecar(path: Path, suffix: str) -> Path:
    """Return the path of a file that stands beside the store: `store.db` and `wal` give `store.db-wal`."""
    return path.with_name(f"{path.name}-{suffix}")


class Lock:
    """The one process that may write a store; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(sidecar(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the store's folder {path.parent} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreError(
                f"the store {path} is in use by process {owner or 'unknown'}: stop that gateway before starting another"
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process open the store; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class Database:
    """One connection that threads take turns on.

    sync_delay_s  waits this long after each commit: what an SD card would have taken (for benchmarks).
    connection    class of the connection: a simulation makes one that fails at a statement of its choice.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        sync_delay_s: float = 0.0,
        busy_s: float = BUSY_S,
        connection: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> None:
        if max_bytes < SMALLEST_BOUND_BYTES:
            raise ValueError(f"a store is bound to {SMALLEST_BOUND_BYTES} bytes or more, not {max_bytes}")
        self.path, self.max_bytes = path, max_bytes
        self._lock = threading.RLock()
        self._sync_delay_s = sync_delay_s
        # Counted: the pages, the log (which may double within one large transaction), and the reserve.
        self._most_pages = (max_bytes - RESERVE_BYTES - 2 * WAL_PAGES * PAGE_BYTES) // PAGE_BYTES
        self.connection = connect(path, busy_s=busy_s, factory=connection)
        self._bound(self._most_pages)
        self.keep_reserve()

    def _bound(self, pages: int) -> None:
        self.connection.execute(f"PRAGMA max_page_count={pages}")

    @contextlib.contextmanager
    def write(self, *, from_reserve: bool = False) -> Iterator[sqlite3.Connection]:
        """Run the body in one durable transaction: committed when it returns, undone when it raises.

        from_reserve  for acks and deletes: may use the part of the bound that appends may not.
        raises        StoreError and its branches instead of sqlite3.Error.
        """
        with self._lock:
            if from_reserve:
                self._bound(self._most_pages + RESERVE_BYTES // PAGE_BYTES)
            elif not self._has_room():
                raise StoreFull(f"the disk under {self.path} is full: it drains once the portal acknowledges")
            try:
                with self._transaction():
                    yield self.connection
            finally:
                if from_reserve:
                    self._bound(self._most_pages)

    def _has_room(self) -> bool:
        """Return whether an append leaves acks their room: the reserve, or as much inside the file."""
        if self.reserve_kept or self.keep_reserve():
            return True
        return int(self.connection.execute("PRAGMA freelist_count").fetchone()[0]) * PAGE_BYTES >= RESERVE_BYTES

    def change(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run what has to be possible on a full disk: acks, sealing, deletes; if need be in the room kept for it."""
        try:
            with self.write(from_reserve=True) as db:
                return work(db)
        except StoreFull:
            if not self.reserve_kept:
                raise
            # Only now: whatever is given back to a full disk, somebody else may take.
            self.release_reserve()
            with contextlib.suppress(StoreFull), self.read() as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with self.write(from_reserve=True) as db:
                return work(db)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            self._undo()
            raise
        except UNREADABLE as error:
            self._undo()
            raise self.failed(error) from error
        except BaseException:
            self._undo()
            raise
        if self._sync_delay_s:
            time.sleep(self._sync_delay_s)

    def _undo(self) -> None:
        # SQLite rolls back by itself on some errors (a full disk), and then a second roll-back would be one more error.
        if self.connection.in_transaction:
            with contextlib.suppress(*UNREADABLE):
                self.connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Run the body's queries while nobody writes; raises StoreError instead of sqlite3.Error."""
        with self._lock:
            try:
                yield self.connection
            except UNREADABLE as error:
                raise self.failed(error) from error

    def failed(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
        """Return the store's error for SQLite's; a damaged file is marked, so that the next start salvages it."""
        result = translated(error, self.path)
        if isinstance(result, StoreDamaged):
            with contextlib.suppress(OSError):
                sidecar(self.path, "suspect").touch()
        return result

    @property
    def reserve_kept(self) -> bool:
        """Whether the room for acks and deletes is still untouched."""
        return self._reserve_kept

    def keep_reserve(self) -> bool:
        """Fill the reserve file again; returns whether the disk had room for it."""
        reserve = sidecar(self.path, "reserve")
        try:
            descriptor = os.open(reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if os.fstat(descriptor).st_size < RESERVE_BYTES:
                    os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
                self._reserve_kept = True
            finally:
                os.close(descriptor)
        except OSError:
            self.release_reserve()
        return self._reserve_kept

    def release_reserve(self) -> None:
        """Give the reserved room back to the disk, for acks and deletes."""
        sidecar(self.path, "reserve").unlink(missing_ok=True)
        self._reserve_kept = False

    def bytes_used(self) -> int:
        """Return the size of the database and its log."""
        files = (self.path, sidecar(self.path, "wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the connection; the last one to do so folds the log into the database."""
        with self._lock:
            self.connection.close()


def connect(
    path: Path, *, busy_s: float = BUSY_S, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """Return a connection on which a committed transaction survives a power cut.

    raises  one of UNREADABLE when the file is no sound database.
    """
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False, factory=factory)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=MEMORY")
        # Debian's SQLite overwrites what it deletes, page by page: that is flash wear, and room that a full disk lacks.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    except UNREADABLE:
        connection.close()
        raise
    return connection

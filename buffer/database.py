"""The SQLite file: durable settings, one transaction at a time, its bound, and room kept for acks and deletes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from buffer.errors import NONSENSE, UNREADABLE, StoreDamaged, StoreError, StoreFull, translated
from buffer.folder import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

_T = TypeVar("_T")

PAGE_BYTES = 4096
WAL_PAGES = 1000
"""SQLite's own default between two checkpoints; a small store has fewer."""
_FRAME_BYTES = PAGE_BYTES + 24
SMALLEST_BOUND_BYTES = 512 * 1024
RESERVE_REF = -1
"""Key in `batch_bytes` of the blob that holds the reserve's pages; batches count from 1."""
_SMALL_FILES_BYTES = 48 * 1024
"""The log's index (shm), lock and witness."""
BUSY_S = 10.0


def sidecar(path: Path, suffix: str) -> Path:
    """Return the path of a file that stands beside the store: `store.db` and `wal` give `store.db-wal`."""
    return path.with_name(f"{path.name}-{suffix}")


class Lock:
    """The one process that may write a store; the kernel lets go of it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        try:
            make_folder(path.parent)
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
        with contextlib.suppress(OSError):  # on a full disk the lock holds without its owner's number
            os.pwrite(self._file, f"{os.getpid():<19}\n".encode(), 0)  # in place: it takes no new room

    def release(self) -> None:
        """Let another process open the store; a second call does nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a store of a given bound takes, all of it counted: the file's pages, the log, the reserve inside the file.

    most_pages       of the database file, the reserve's among them.
    log_frames       of the write-ahead log: their room is taken when the store is opened and kept.
    reserve_pages    held for acks, seals and deletes.
    step_pages       the file grows by so many at a time.
    keep_free_bytes  left to others on the disk: the store does not grow into them.
    """

    most_pages: int
    log_frames: int
    reserve_pages: int
    step_pages: int
    keep_free_bytes: int

    @property
    def checkpoint_frames(self) -> int:
        """After so many the log is folded into the database; what is left of it is for the transaction that follows."""
        return min(WAL_PAGES, self.log_frames // 2)

    @property
    def log_bytes(self) -> int:
        """Size of the log's file."""
        return 32 + self.log_frames * _FRAME_BYTES

    @property
    def bound_bytes(self) -> int:
        """What the database file and its log may grow to."""
        return self.most_pages * PAGE_BYTES + self.log_bytes

    @property
    def rows_at_once(self) -> int:
        """Rows to delete in one transaction: one that fits the log, and that no append waits long for."""
        return min(2000, 8 * self.log_frames)

    @classmethod
    def of(cls, max_bytes: int, disk_bytes: int) -> Self:
        """Return the sizes under a bound on a file system of `disk_bytes` (0 when it does not say)."""
        total = min(max_bytes, disk_bytes or max_bytes)
        pages = total // PAGE_BYTES
        keep_free = min(16 * 1024 * 1024, disk_bytes // 32)
        log_frames = _between(48, pages // 8, 1500)
        beside = _SMALL_FILES_BYTES + (keep_free if total == disk_bytes else 0)
        most = (total - beside) // PAGE_BYTES - log_frames - 1
        return cls(most, log_frames, _between(24, most // 16, 256), _between(8, most // 32, 256), keep_free)


def _between(least: int, wanted: int, most: int) -> int:
    return max(least, min(wanted, most))


class Database:
    """One connection that threads take turns on, with the room that it needs taken from the disk beforehand.

    Nobody can take from it what an ack, a seal or a delete needs, however full the disk is and whoever fills it: the
    log's file has its full size from the start, the database file is allocated before it grows, and the reserve is a
    blob inside it. (A file of its own, given up when the disk is full, would feed whoever filled the disk.)

    sync_delay_s  waits this long after each commit: what an SD card would have taken (for benchmarks).
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, *, max_bytes: int, sync_delay_s: float = 0.0
    ) -> None:
        if max_bytes < SMALLEST_BOUND_BYTES:
            raise ValueError(f"a store is bound to {SMALLEST_BOUND_BYTES} bytes or more, not {max_bytes}")
        disk = os.statvfs(path.parent)
        self.path, self.connection, self.max_bytes = path, connection, max_bytes
        self.sizes = Sizes.of(max_bytes, disk.f_blocks * disk.f_frsize)
        self._lock = threading.RLock()
        self._sync_delay_s = sync_delay_s
        # Closed after the connection only: closing it earlier would drop the connection's own locks on the file.
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._take_room()
        except UNREADABLE as error:
            raise self.failed(error) from error

    def _take_room(self) -> None:
        connection = self.connection
        connection.execute(f"PRAGMA wal_autocheckpoint={self.sizes.checkpoint_frames}")
        connection.execute(f"PRAGMA journal_size_limit={self.sizes.log_bytes}")
        self._hold_log()
        self._allow(self._pragma("page_count"))
        held = connection.execute("SELECT length(data) FROM batch_bytes WHERE ref = ?", (RESERVE_REF,)).fetchone()
        self._reserve_kept = held is not None
        if held is not None and held[0] != self.sizes.reserve_pages * PAGE_BYTES:
            self.release_reserve()
        self.keep_reserve()

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])

    # Room

    def _hold_log(self) -> None:
        """Give the log its full size on the disk; SQLite writes from its start and ignores what it did not write."""
        log = sidecar(self.path, "wal")
        with contextlib.suppress(OSError):
            if log.stat().st_size < self.sizes.log_bytes:
                file = os.open(log, os.O_RDWR | os.O_CLOEXEC)
                try:
                    os.posix_fallocate(file, 0, self.sizes.log_bytes)
                finally:
                    os.close(file)

    def _allow(self, pages: int) -> None:
        """Let the file grow to so many pages and no further."""
        self.connection.execute(f"PRAGMA max_page_count={pages}")
        self._allowed_pages = pages

    def _back(self) -> None:
        """See that the disk's room for every page that may be used is ours; each checkpoint gives back what is not."""
        if os.fstat(self._file).st_size >= self._allowed_pages * PAGE_BYTES:
            return
        try:
            os.posix_fallocate(self._file, 0, self._allowed_pages * PAGE_BYTES)
        except OSError:
            self._allow(self._pragma("page_count"))

    def grow(self) -> bool:
        """Let the file grow by one step, its room taken first; returns False at the bound, or when the disk is full."""
        with self._lock:
            disk = os.statvfs(self.path.parent)
            spare_bytes = disk.f_bavail * disk.f_frsize - self.sizes.keep_free_bytes
            held_pages = os.fstat(self._file).st_size // PAGE_BYTES
            pages = min(
                self._allowed_pages + self.sizes.step_pages,
                self.sizes.most_pages,
                held_pages + spare_bytes // PAGE_BYTES,
            )
            if pages <= self._allowed_pages:
                return False
            try:
                os.posix_fallocate(self._file, 0, pages * PAGE_BYTES)
            except OSError:
                return False
            self._allow(pages)
            return True

    def fold_log(self) -> None:
        """Fold the log into the database, so that the next transaction has all of the log's room."""
        with self._lock:
            self._hold_log()
            with contextlib.suppress(*UNREADABLE):
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def free_pages(self) -> int:
        """Return how many pages an append may still use without the file's growing."""
        with self.read():
            return self._pragma("freelist_count") + self._allowed_pages - self._pragma("page_count")

    def room_bytes(self) -> int:
        """Return how much more can be stored before appends stall, if nothing goes and nobody else takes it."""
        with self.read():
            free, pages = self._pragma("freelist_count"), self._pragma("page_count")
        disk = os.statvfs(self.path.parent)
        held = os.fstat(self._file).st_size // PAGE_BYTES
        spare = max(0, disk.f_bavail * disk.f_frsize - self.sizes.keep_free_bytes) // PAGE_BYTES
        return max(0, free + min(self.sizes.most_pages, held + spare) - pages) * PAGE_BYTES

    @property
    def is_full_of_ours(self) -> bool:
        """Whether it is the store's own size that leaves no room, and not somebody else's files alone."""
        with self.read():
            return 2 * self._pragma("page_count") > self.sizes.most_pages

    @property
    def reserve_kept(self) -> bool:
        """Whether the room for acks and deletes is still untouched."""
        return self._reserve_kept

    def keep_reserve(self) -> bool:
        """Take the reserve's pages again; returns whether there was room for them."""
        if not self._reserve_kept:
            wanted = self.sizes.reserve_pages
            while self.free_pages() <= wanted and self.grow():
                pass
            if self.free_pages() > wanted:
                row = (RESERVE_REF, wanted * PAGE_BYTES)
                self.fold_log()
                with contextlib.suppress(StoreFull):
                    with self.write(from_reserve=True) as db:
                        db.execute("INSERT OR REPLACE INTO batch_bytes VALUES (?, zeroblob(?))", row)
                    self._reserve_kept = True
        return self._reserve_kept

    def release_reserve(self) -> None:
        """Give the reserve's pages to acks, seals and deletes; appends wait until they are back."""
        with self.write(from_reserve=True) as db:
            db.execute("DELETE FROM batch_bytes WHERE ref = ?", (RESERVE_REF,))
        self._reserve_kept = False

    # Transactions

    @contextlib.contextmanager
    def write(self, *, from_reserve: bool = False) -> Iterator[sqlite3.Connection]:
        """Run the body in one durable transaction: committed when it returns, undone when it raises.

        from_reserve  also while the reserve's pages are given out, as appends may not.
        raises        StoreError and its branches instead of sqlite3.Error.
        """
        with self._lock:
            if not from_reserve and not self._reserve_kept and not self.keep_reserve():
                raise StoreFull(f"no room left for the store {self.path}: it drains once the portal acknowledges")
            self._back()
            with self._transaction():
                yield self.connection

    def change(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run what has to be possible on a full disk: acks, sealing, deletes; if need be in the room kept for it."""
        with self._lock:
            try:
                with self.write(from_reserve=True) as db:
                    return work(db)
            except StoreFull:
                self.fold_log()
            if not self.grow() and self._reserve_kept:
                self.release_reserve()
            try:
                with self.write(from_reserve=True) as db:
                    return work(db)
            except StoreFull:
                if not self._reserve_kept:
                    raise
                self.release_reserve()
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
        """Run the body's queries while nobody writes; raises StoreError instead of sqlite3.Error.

        A row that makes no sense is damage too: the next start looks at every row, and salvages if it finds it again.
        """
        with self._lock:
            try:
                yield self.connection
            except UNREADABLE as error:
                raise self.failed(error) from error
            except NONSENSE as error:
                self._suspect()
                raise StoreDamaged(
                    f"the store {self.path} holds what nobody wrote ({error!r}): restart the gateway and it salvages "
                    "what it can"
                ) from error

    def failed(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
        """Return the store's error for SQLite's; a damaged file is marked, so that the next start salvages it."""
        result = translated(error, self.path)
        if isinstance(result, StoreDamaged):
            self._suspect()
        return result

    def _suspect(self) -> None:
        with contextlib.suppress(OSError):
            sidecar(self.path, "suspect").touch()

    def bytes_used(self) -> int:
        """Return the size of the database and its log."""
        files = (self.path, sidecar(self.path, "wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Close the connection; the last one to do so folds the log into the database and removes it."""
        with self._lock:
            self.connection.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                hold_room(self.path, self.sizes.log_bytes + _SMALL_FILES_BYTES)


def hold_room(path: Path, size_bytes: int) -> None:
    """Keep the room of a closed store's log for its next start; a disk that was filled meanwhile stops no start."""
    with contextlib.suppress(OSError):
        file = os.open(sidecar(path, "reserve"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size_bytes)
        finally:
            os.close(file)


def free_held_room(path: Path) -> None:
    """Give a starting store the room that was kept for its log."""
    sidecar(path, "reserve").unlink(missing_ok=True)


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
    except UNREADABLE:
        connection.close()
        raise
    return connection

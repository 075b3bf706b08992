"""The collector's disk: a folder in memory that dies at any write, is full, is damaged or is put back from a copy."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.simulate.machine import replaced
from headwater.simulate.world import SimulatedCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headwater.simulate.world import World

STORE = "store.db"
_PAGE_BYTES = 4096
_STATEMENT_BYTES = 2 * _PAGE_BYTES
_WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
_POINTS = (*_WRITES, "BEGIN", "COMMIT", "PRAGMA WAL", "VACUUM")


class Life:
    """The disk from one start of the collector to its end. Once dead, nothing more is read or written."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk, self.dead = folder, disk, False
        self.connections: list[sqlite3.Connection] = []
        life = self

        class Connection(_Connection):
            """A connection of this life."""

        Connection.life = life
        self.connection = Connection

    def point(self, what: str) -> None:
        """Die here, if it is time to."""
        if self.dead:
            raise SimulatedCrash(what)
        if self.disk.crash_in is not None:
            self.disk.crash_in -= 1
            if self.disk.crash_in <= 0:
                self.disk.die(what)
                raise SimulatedCrash(what)


class _Connection(sqlite3.Connection):
    """A connection that may die or find the disk full at each statement."""

    life: Life

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.life.connections.append(self)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run one statement."""
        if not self._begin(sql):
            return super().execute(sql, *parameters)
        result = super().execute(sql, *parameters)
        self.life.point(f"after {sql[:30]}")
        return result

    def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run one statement for many rows."""
        self._begin(sql)
        result = super().executemany(sql, *parameters)
        self.life.point(f"after {sql[:30]}")
        return result

    def executescript(self, sql: str) -> sqlite3.Cursor:
        """Run a script."""
        self._begin("CREATE script")
        result = super().executescript(sql)
        self.life.point("after script")
        return result

    def _begin(self, sql: str) -> bool:
        """Return whether the statement is one that a crash may strike at."""
        if self.life.dead:
            raise SimulatedCrash(sql)
        head = sql.lstrip()[:10].upper()
        if not head.startswith(_POINTS):
            return False
        self.life.point(f"before {sql[:30]}")
        if head.startswith(_WRITES):
            self.life.disk.take_room(_STATEMENT_BYTES)
        elif head.startswith("PRAGMA WAL"):
            self.life.disk.gain_room(self.life.disk.log_bytes())
        return True


class Disk:
    """One collector's disk through all its lives.

    crash_in  points (statements and file operations, each before and after) until it dies; None for never.
    full      no room but `room_bytes`, which comes from what is given up.
    """

    def __init__(self, world: World, root: Path, name: str, lives: dict[str, Life]) -> None:
        self._world, self._root, self._name, self._all_lives = world, root, name, lives
        self.crash_in: int | None = None
        self.full, self.room_bytes = False, 0
        self.died_at = ""
        self._lives = 0
        self._dead: list[Life] = []
        self._imaged = 0
        self._images: list[tuple[float, Path]] = []
        self.life = self._new_life()
        self.life.folder.mkdir()

    def _new_life(self) -> Life:
        self._lives += 1
        life = Life(self._root / f"{self._name}-{self._lives}", self)
        self._all_lives[str(life.folder)] = life
        return life

    @property
    def folder(self) -> Path:
        """Where the files of this life are."""
        return self.life.folder

    @property
    def store(self) -> Path:
        """Where the store is."""
        return self.life.folder / STORE

    def die(self, what: str) -> None:
        """End this life as a kill does: the next one finds the files exactly as they are now."""
        old, self.life = self.life, self._new_life()
        self.crash_in, self.died_at, old.dead = None, what, True
        copy_folder(old.folder, self.life.folder)
        self._dead.append(old)

    def bury(self) -> None:
        """Let go of the files of lives that have ended, once no code of theirs runs any more."""
        for life in self._dead:
            for connection in life.connections:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
            shutil.rmtree(life.folder)
        self._dead.clear()

    # Room

    def take_room(self, size_bytes: int) -> None:
        """Use room of a full disk; raises what SQLite does when there is none."""
        if not self.full:
            return
        if self.room_bytes < size_bytes:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        self.room_bytes -= size_bytes

    def gain_room(self, size_bytes: int) -> None:
        """Give room back to a full disk."""
        if self.full:
            self.room_bytes += size_bytes

    def log_bytes(self) -> int:
        """Return the size of the write-ahead log."""
        log = self.folder / f"{STORE}-wal"
        return log.stat().st_size if log.exists() else 0

    # Disasters

    def take_image(self) -> None:
        """Copy the disk as it is now, for later."""
        self._imaged += 1
        image = self._root / f"{self._name}-image-{self._imaged}"
        copy_folder(self.folder, image)
        self._images.append((self._world.now_s, image))

    def put_back(self, *, witness: bool) -> float | None:
        """Put the oldest image back on a disk that nobody uses; returns when it was taken.

        witness  the file that remembers how far the store had come is put back with it; else it stays as it is.
        """
        if not self._images:
            return None
        taken_s, image = self._images.pop(0)
        for file in self.folder.iterdir():
            if witness or not file.name.endswith("-witness"):
                file.unlink()
        for file in image.iterdir():
            if witness or not file.name.endswith("-witness"):
                shutil.copyfile(file, self.folder / file.name)
        return taken_s

    def damage(self) -> str:
        """Overwrite one page of the database, where there are some, on a disk that nobody uses."""
        size = self.store.stat().st_size if self.store.exists() else 0
        pages = size // _PAGE_BYTES
        if pages < 2:
            return "nothing to damage"
        # Most of a young store is room for later: rather strike where something is.
        page = self._world.rng.randrange(min(pages, 60) if self._world.chance(0.8) else pages)
        with self.store.open("r+b") as file:
            file.seek(page * _PAGE_BYTES)
            file.write(self._world.entropy(_PAGE_BYTES))
        return f"page {page + 1} of {pages}"


def copy_folder(source: Path, target: Path) -> None:
    """Copy a disk's folder as a kill leaves it: without locks and shared memory."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        if file.name.endswith("-reserve"):
            os.link(file, target / file.name)  # eight mebibytes of nothing
        elif not file.name.endswith(("-lock", "-shm")):
            shutil.copyfile(file, target / file.name)


@contextlib.contextmanager
def simulated_files(lives: dict[str, Life]) -> Iterator[None]:
    """Let file operations in the folders of `lives` die, or find the disk full, while the body runs."""

    def life_of(path: Any) -> Life | None:
        text = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)
        return lives.get(os.path.dirname(text))  # noqa: PTH120  text, and often

    def wrapped(name: str, bytes_needed: Callable[[tuple[Any, ...]], int] = lambda _: 0) -> tuple[str, str, Any]:
        original = getattr(os, name)

        def operation(path: Any, *arguments: Any, **options: Any) -> Any:
            life = life_of(path)
            if life is None:
                return original(path, *arguments, **options)
            life.point(f"before {name}")
            _need(life.disk, bytes_needed(arguments))
            given_up = _size(path) if name == "unlink" else 0
            result = original(path, *arguments, **options)
            life.disk.gain_room(given_up)
            life.point(f"after {name}")
            return result

        return "os", name, operation

    real_statvfs = os.statvfs

    def statvfs(path: Any) -> os.statvfs_result:
        life, real = lives.get(os.fspath(path)), real_statvfs(path)
        if life is None or not life.disk.full:
            return real
        blocks = life.disk.room_bytes // real.f_frsize
        return os.statvfs_result((*real[:3], blocks, blocks, *real[5:]))

    sites = [
        wrapped("fsync", lambda _: _PAGE_BYTES),
        wrapped("replace"),
        wrapped("unlink"),
        wrapped("posix_fallocate", lambda arguments: int(arguments[1])),
        ("os", "statvfs", statvfs),
    ]
    with replaced(sites):
        yield


def _size(path: Any) -> int:
    file = Path(path)
    return file.stat().st_size if file.exists() else 0


def _need(disk: Disk, size_bytes: int) -> None:
    """Take room for a file; raises what the kernel does when there is none."""
    if not disk.full or not size_bytes:
        return
    if disk.room_bytes < size_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    disk.room_bytes -= size_bytes

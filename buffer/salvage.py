"""What can be saved of a damaged store: read around the damage, into a new file, and set the old one aside.

What no query reaches, because the first page or an inner one is gone, is looked for page by page (buffer/leaves.py).

Sealed batches carry their own proof: one whose bytes still have their hash is carried over as it is and keeps its
identity, whatever happened to the rows. Rows that are in no such batch are carried over as unsent, with their
append_seq and everything else as it was. The damaged file is renamed, never changed and never deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from buffer import leaves
from buffer.database import connect, sidecar
from buffer.errors import NONSENSE, UNREADABLE, StoreError
from buffer.folder import sync_folder
from buffer.migrate import migrate
from buffer.rows import EVENT_COLUMNS, READ_COLUMNS, Registry, from_us, stored_event, stored_read
from buffer.streams import NO_PREVIOUS, SUPERSEDED
from domain.ids import BatchId, CollectorId, Stream
from domain.reading import ReadFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from domain.clock import Clock

_TYPES: dict[str, tuple[type | tuple[type, ...], ...]] = {
    "epoch": (int, bytes, str, int, (bytes, type(None)), int, int),
    "snapshot": (str, int, bytes),
    "used_nonce": (bytes, int),
    "fact": (str, int),
}
_EPOCH_BYTES = 16
_ROWS_AT_ONCE = 2_000
_MOST_PROBES = 5_000
"""Failed queries, beyond one for each row that was read, after which a table's remaining ranges are given up: a lost
inner page hides millions of keys, and meanwhile no meter is read."""
_HIGHEST_KEY = 2**40
_KEYS_BY_PAGE = 64
"""A range of so many keys or fewer that a query fails in is taken from the pages instead of asked for row by row."""
_BATCH_PLACE = "ref, epoch, stream, sequence, collector, hash, items, first_seq, last_seq"
BATCH_COLUMNS = f"{_BATCH_PLACE}, sealed_at_us, state, settled_at_us, reason"
_COPIED = {
    "epoch": "ref, epoch, why, created_at_us, previous_epoch, previous_bulk, previous_urgent",
    "register": "ref, meter_id, register_id, unit, scale, modulus",
    "boot": "ref, boot_id",
    "clock": "ref, boot, synchronised, synced_since_us",
}


@dataclass(slots=True)
class Salvaged:
    """What became of a damaged store. `aside` is the name of the damaged file, `lost` counts what could not be read."""

    aside: str
    why: str
    reads: int = 0
    events: int = 0
    batches: int = 0
    lost: int = 0

    def as_detail(self) -> dict[str, str | int]:
        """Return it as the detail of an event."""
        return {
            "file": self.aside,
            "why": self.why[:500],
            "reads": self.reads,
            "events": self.events,
            "batches": self.batches,
            "unreadable": self.lost,
        }


def salvage(
    path: Path, *, clock: Clock, why: str, connection: type[sqlite3.Connection] = sqlite3.Connection, carry: bool = True
) -> Salvaged:
    """Put a sound store with whatever can be read at the path, and the damaged one beside it.

    carry  False for an empty store.

    The new store is complete before the old one is renamed, so a power cut in between repeats or finishes the work;
    the folder is synced between the renames, as a disk may otherwise keep the later one alone. What was done is written
    down first and stays until `reported`: a cut leaves nothing salvaged in silence.
    """
    result = Salvaged(_free_name(path, clock), why)
    half, whole = sidecar(path, "salvaging"), sidecar(path, "salvaged")
    _remove(half)
    try:
        if carry:
            _carry_over(path, half, result, connection)
        else:
            _make_empty(half, connection)
    except (*UNREADABLE, *NONSENSE, OSError) as error:
        # No room for a second copy, most likely. Reading meters goes on in an empty store; the data stay set aside.
        result.reads = result.events = result.batches = 0
        result.why = f"{why}; nothing carried over: {error}"
        _remove(half)
        try:
            _make_empty(half, connection)
        except (*UNREADABLE, OSError) as again:
            with contextlib.suppress(OSError):
                _remove(half)
            raise StoreError(
                f"the store {path} is damaged ({why}) and another cannot be begun ({again}): free some megabytes under "
                f"{path.parent} and start again; nothing was deleted"
            ) from again
    with contextlib.suppress(OSError):  # no room for a few words: reading meters goes on
        _write_down(result, sidecar(path, "salvage-report"))
    half.replace(whole)
    sync_folder(path.parent)
    _put_in_place(path, whole, path.with_name(result.aside))
    return result


def finish_interrupted(path: Path) -> None:
    """Finish a salvage that a power cut stopped among its renames: its new store is complete."""
    whole = sidecar(path, "salvaged")
    if whole.exists():
        report = _read_report(path)
        if path.exists() and (report is None or path.with_name(report.aside).exists()):
            whole.unlink()  # nobody knows what it was made from
        else:
            _put_in_place(path, whole, None if report is None else path.with_name(report.aside))


def unreported(path: Path) -> Salvaged | None:
    """Return what was salvaged by an earlier start that was cut off before an event could say so; None if nothing."""
    report = _read_report(path)
    return report if report is not None and path.with_name(report.aside).exists() else None


def reported(path: Path) -> None:
    """Forget what was salvaged: an event tells of it."""
    with contextlib.suppress(OSError):
        sidecar(path, "salvage-report").unlink(missing_ok=True)
        sync_folder(path.parent)


def _write_down(result: Salvaged, path: Path) -> None:
    half = path.with_name(path.name + ".part")
    with half.open("w", encoding="utf-8") as file:
        json.dump(asdict(result), file)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def _read_report(path: Path) -> Salvaged | None:
    try:
        return Salvaged(**json.loads(sidecar(path, "salvage-report").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _put_in_place(path: Path, whole: Path, aside: Path | None) -> None:
    if aside is not None:
        _set_aside(path, aside)
    whole.replace(path)
    sync_folder(path.parent)


def _free_name(path: Path, clock: Clock) -> str:
    stem = f"{path.name}.damaged-{clock.now():%Y%m%dT%H%M%SZ}"
    names = [stem, *(f"{stem}-{number}" for number in range(2, 1000))]
    return next(name for name in names if not path.with_name(name).exists())


def _set_aside(path: Path, aside: Path) -> None:
    # The log goes first: a store without its log is whole as of its last checkpoint, a log without its store is lost.
    for suffix in ("wal", "shm"):
        if sidecar(path, suffix).exists():
            sidecar(path, suffix).replace(sidecar(aside, suffix))
    sync_folder(path.parent)
    if path.exists():
        path.replace(aside)
        sync_folder(path.parent)


def _remove(path: Path) -> None:
    for file in (path, sidecar(path, "wal"), sidecar(path, "shm")):
        file.unlink(missing_ok=True)


def _make_empty(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> None:
    with contextlib.closing(connect(path, factory=factory)) as db:
        migrate(db, path)


def _carry_over(damaged: Path, half: Path, result: Salvaged, factory: type[sqlite3.Connection]) -> None:
    with contextlib.closing(connect(half, factory=factory)) as new:
        migrate(new, half)
        try:
            old = sqlite3.connect(f"{damaged.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        except UNREADABLE:
            return
        with contextlib.closing(old):
            # A damaged line of the schema then costs its own table alone, and not all of them.
            old.execute("PRAGMA writable_schema=ON")
            new.execute("BEGIN")
            carrier = _Carrier(damaged, old, new, result)
            with contextlib.closing(carrier):
                carrier.run()
            new.execute("COMMIT")
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class _Carrier:
    """Carries what is readable from one connection to another."""

    def __init__(self, path: Path, old: sqlite3.Connection, new: sqlite3.Connection, result: Salvaged) -> None:
        self.path, self.old, self.new, self.result = path, old, new, result
        self.covered: dict[int, list[tuple[int, int]]] = {int(stream): [] for stream in Stream}
        self._found: sqlite3.Connection | None = None
        self._looked = False

    def close(self) -> None:
        """Let go of what was found page by page."""
        if self._found is not None:
            self._found.close()

    def run(self) -> None:
        """Carry the small tables, the batches, then every row that is in none of them."""
        for table, columns in _COPIED.items():
            self._copy(table, columns, filter(self._is_sense(table), self._rows(table, columns)))
        registry = self._registry()
        cursors = self._carry_batches()
        bulk = self._carry_rows("read", READ_COLUMNS, lambda row: stored_read(row, registry), cursors)
        urgent = self._carry_rows("event", EVENT_COLUMNS, lambda row: stored_event(row, registry), cursors)
        for stream in Stream:
            first = min((rows[stream] for rows in (bulk, urgent) if stream in rows), default=None)
            through = max((last for _, last in self.covered[int(stream)]), default=0)
            cursor = cursors.get(int(stream))
            if cursor is None:
                cursor = through if first is None else first - 1
            self.new.execute("INSERT INTO stream VALUES (?, 0, ?, ?)", (int(stream), NO_PREVIOUS, cursor))
        self._copy_if_readable("snapshot", "name, append_seq, blob")
        self._copy_if_readable("used_nonce", "nonce, expires_at_us")
        self._copy_if_readable("fact", "name, value")

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table by its integer key, going round what cannot be read."""
        key = columns.split(",")[0]
        query = f"SELECT {columns} FROM {table} NOT INDEXED WHERE {key} BETWEEN ? AND ? ORDER BY {key} LIMIT ?"  # noqa: S608
        try:
            self.old.execute(f"EXPLAIN {query}", (0, 0, 0))
        except UNREADABLE:  # what cannot even be compiled has no table to read from
            self.result.lost += 1
            yield from self._by_page(table, columns, 0, _HIGHEST_KEY)
            return
        try:
            highest = self.old.execute(f"SELECT MAX({key}) FROM {table} NOT INDEXED").fetchone()[0] or 0  # noqa: S608
        except UNREADABLE as error:
            if _is_hopeless(error):
                self.result.lost += 1
                yield from self._by_page(table, columns, 0, _HIGHEST_KEY)
                return
            highest = _HIGHEST_KEY
        ranges, probes, most = [(0, highest)], 0, _MOST_PROBES
        while ranges:
            low, high = ranges.pop()
            try:
                rows = self.old.execute(query, (low, high, _ROWS_AT_ONCE)).fetchall()
            except UNREADABLE as error:
                if _is_hopeless(error):
                    self.result.lost += 1
                    yield from self._by_page(table, columns, low, _HIGHEST_KEY)
                    return
                probes += 1
                if high - low < (_KEYS_BY_PAGE if self._pages() else 1) or probes > most:
                    self.result.lost += 1
                    yield from self._by_page(table, columns, low, high)
                else:
                    middle = (low + high) // 2
                    ranges += [(middle + 1, high), (low, middle)]
                continue
            most += len(rows)
            yield from rows
            if len(rows) == _ROWS_AT_ONCE:
                ranges.append((rows[-1][0] + 1, high))

    def _by_page(self, table: str, columns: str, low: int, high: int) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a range of keys that no query reaches, from whatever leaf pages there are."""
        if pages := self._pages():
            key = columns.split(",")[0]
            yield from pages.execute(
                f"SELECT {columns} FROM {table} WHERE {key} BETWEEN ? AND ? ORDER BY {key}",  # noqa: S608
                (low, high),
            )

    def _pages(self) -> sqlite3.Connection | None:
        """Return what the pages show, looked through once; None when there is no room to note it down."""
        if not self._looked:
            self._looked = True
            with contextlib.suppress(*UNREADABLE, OSError):  # what queries reach is carried over all the same
                self._found = leaves.recovered(self.path)
        return self._found

    def _is_sense(self, table: str) -> Callable[[tuple[Any, ...]], bool]:
        """Return what tells whether a row of a small table has the types that are written there; others are lost."""
        types = _TYPES.get(table)

        def is_sense(row: tuple[Any, ...]) -> bool:
            good = types is None or all(isinstance(value, kind) for value, kind in zip(row, types, strict=True))
            if good and table == "epoch":
                good = len(row[1]) == _EPOCH_BYTES and (row[4] is None or len(row[4]) == _EPOCH_BYTES)
                good = good and min(row[5:]) >= 0
            self.result.lost += not good
            return good

        return is_sense

    def _copy(self, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns.split(",")))
        for row in rows:
            try:
                self.new.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608
            except sqlite3.IntegrityError:
                self.result.lost += 1

    def _copy_if_readable(self, table: str, columns: str) -> None:
        with contextlib.suppress(*UNREADABLE):
            rows = self.old.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608
            self._copy(table, columns, filter(self._is_sense(table), rows))

    def _registry(self) -> Registry:
        """Return the registers and clocks that make sense; rows referring to others cannot be told from noise."""
        registry = Registry(self.new, skip_bad=True)
        for table, good in (("register", registry.registers), ("clock", registry.clocks)):
            refs = [row[0] for row in self.new.execute(f"SELECT ref FROM {table}")]  # noqa: S608
            bad = [(ref,) for ref in refs if ref not in good]
            self.new.executemany(f"DELETE FROM {table} WHERE ref = ?", bad)  # noqa: S608
            self.result.lost += len(bad)
        return registry

    def _carry_batches(self) -> dict[int, int]:
        """Carry every batch whose bytes have their hash; returns the cursors when no batch is in doubt."""
        before, complete = self.result.lost, True
        epochs = dict(self.new.execute("SELECT ref, epoch FROM epoch").fetchall())
        for row in self._rows("batch", BATCH_COLUMNS):
            data = self._bytes_of(row[0])
            if data is not None and is_sound(row, data, epochs):
                self._copy("batch", BATCH_COLUMNS, iter([row]))
                self._copy("batch_bytes", "ref, data", iter([(row[0], data)]))
                if row[10] != SUPERSEDED:
                    self.covered[row[2]].append((row[7], row[8]))
                self.result.batches += 1
            else:
                complete = False
                self.result.lost += 1
        for ranges in self.covered.values():
            ranges.sort()
        if not complete or self.result.lost != before:
            return {}
        try:
            cursors = dict(self.old.execute("SELECT stream, sealed_through FROM stream").fetchall())
        except UNREADABLE:
            return {}
        return cursors if all(isinstance(cursor, int) for cursor in cursors.values()) else {}

    def _bytes_of(self, ref: int) -> bytes | None:
        try:
            row = self.old.execute("SELECT data FROM batch_bytes NOT INDEXED WHERE ref = ?", (ref,)).fetchone()
        except UNREADABLE:
            row = next(self._by_page("batch_bytes", "ref, data", ref, ref), (ref, None))[1:]
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def _carry_rows(
        self, table: str, columns: str, parse: Callable[[tuple[Any, ...]], object], cursors: dict[int, int]
    ) -> dict[Stream, int]:
        """Carry the rows of a table; returns the first append_seq of each stream that stands in no batch.

        With cursors everything is carried as it stood. Without, rows that are inside a carried batch stay behind, as
        everything beyond the first uncovered row will be sent.
        """
        first: dict[Stream, int] = {}
        for row in self._rows(table, columns):
            try:
                parse(row)
                stream = _stream_of(table, row)
            except NONSENSE:
                self.result.lost += 1
                continue
            if not cursors:
                if self._is_covered(stream, row[0]):
                    continue
                first.setdefault(stream, row[0])
            self._copy(table, columns, iter([row]))
            if table == "read":
                self.result.reads += 1
            else:
                self.result.events += 1
        return first

    def _is_covered(self, stream: Stream, append_seq: int) -> bool:
        ranges = self.covered[int(stream)]
        at = bisect_right(ranges, (append_seq, _HIGHEST_KEY))
        return at > 0 and ranges[at - 1][1] >= append_seq


def _is_hopeless(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """Return whether no other query can do better: no such table, or no database at all."""
    if isinstance(error, UnicodeDecodeError):  # quoted from a damaged schema, without which no query runs
        return True
    return getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB)


def _stream_of(table: str, row: tuple[Any, ...]) -> Stream:
    if table == "event":
        return Stream(row[3])
    return Stream.URGENT if row[9] & int(ReadFlag.ON_DEMAND) else Stream.BULK


def is_sound(row: tuple[Any, ...], data: object, epochs: dict[int, bytes]) -> bool:
    """Return whether a batch is what was sealed: its bytes by their hash, its identity by the domain's checks.

    row  the columns of BATCH_COLUMNS.
    """
    try:
        BatchId(CollectorId(row[4]), epochs[row[1]], Stream(row[2]), row[3])
        from_us(row[9])
    except NONSENSE:
        return False
    numbers = all(isinstance(row[column], int) for column in (6, 7, 8, 9, 10))
    known = numbers and row[7] <= row[8] and row[10] in (0, 1, 2, SUPERSEDED)
    return known and isinstance(data, bytes) and hashlib.sha256(data).digest() == row[5]

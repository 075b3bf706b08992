"""Rows of a damaged store found page by page, for what no query can reach: the first page or an inner one is gone.

Reads the file as SQLite's documentation has it (https://www.sqlite.org/fileformat2.html): a page whose first byte says
that it is a leaf lists its cells, and each cell is a record that carries the types of its columns. Our tables differ in
those types, so no schema is needed to tell them apart. Pages of the log count before those of the file. Rows that were
deleted may come back from pages that are free by now: they were delivered or reported before, and the portal drops
what it has. Damage can make anything of a page, so nothing that is read here is believed: see buffer/salvage.py.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buffer.database import PAGE_BYTES, sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_TABLE_LEAF = 13
_LOCAL_MOST = PAGE_BYTES - 35
_LOCAL_LEAST = (PAGE_BYTES - 12) * 32 // 255 - 23
_PAYLOAD_MOST = 64 * 1024 * 1024
_LOG_MAGIC = (0x377F0682, 0x377F0683)
_ROWS_AT_ONCE = 5_000

# One letter a column: N nothing, I integer, T text, B bytes, lower case for "or nothing". The first column of each is
# the table's key, which stands in the cell and not in the record.
_SHAPES = {
    "epoch": "NBTIbII",
    "stream": "NIBI",
    "register": "NTTTIt",
    "clock": "NIIi",
    "boot": "NB",
    "read": "NIIIIIIIII",
    "event": "NTTIIIItT",
    "batch": "NIIITBIIIIIit",
    "batch_bytes": "NB",
}
_BOOT_ID_BYTES = 16


def recovered(path: Path) -> sqlite3.Connection:
    """Return a database of the tables above, without keys, filled with whatever rows the pages of a store show.

    raises  OSError or sqlite3.Error when there is no room for it.
    """
    target = sidecar(path, "recovering")
    target.unlink(missing_ok=True)
    found = sqlite3.connect(target, isolation_level=None)
    target.unlink()  # it is gone with its connection, however that ends
    try:
        found.execute("PRAGMA journal_mode=OFF")
        found.execute("PRAGMA synchronous=OFF")
        _fill(found, path)
    except BaseException:
        found.close()
        raise
    return found


def _fill(found: sqlite3.Connection, path: Path) -> None:
    for table, columns in _COLUMNS.items():
        found.execute(f"CREATE TABLE {table} ({columns.replace(',', ' INTEGER PRIMARY KEY,', 1)})")
    waiting: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _SHAPES}
    found.execute("BEGIN")
    for table, row in rows_of(path):
        rows = waiting[table]
        rows.append(row)
        if len(rows) >= _ROWS_AT_ONCE:
            _insert(found, table, rows)
    for table, rows in waiting.items():
        _insert(found, table, rows)
    found.execute("COMMIT")


def _insert(found: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        # Of two copies of a batch's row the one that was settled is the newer one.
        better = "REPLACE" if table == "batch" else "IGNORE"
        if table == "batch":
            rows.sort(key=lambda row: row[10])
            rows = [row for row in rows if row[10] or not _known(found, row[0])]
        marks = ", ".join("?" * len(_SHAPES[table]))
        found.executemany(f"INSERT OR {better} INTO {table} VALUES ({marks})", rows)  # noqa: S608
        rows.clear()


def _known(found: sqlite3.Connection, ref: int) -> bool:
    return found.execute("SELECT 1 FROM batch WHERE ref = ?", (ref,)).fetchone() is not None


_COLUMNS = {
    "epoch": "ref, epoch, why, created_at_us, previous_epoch, previous_bulk, previous_urgent",
    "stream": "stream, last_sequence, last_hash, sealed_through",
    "register": "ref, meter_id, register_id, unit, scale, modulus",
    "clock": "ref, boot, synchronised, synced_since_us",
    "boot": "ref, boot_id",
    "read": "append_seq, register, raw_count, read_at_us, boot, monotonic_ns, clock, quality, reason, flags",
    "event": "append_seq, event_id, kind, urgent, at_us, monotonic_ns, clock, meter_id, detail",
    "batch": "ref, epoch, stream, sequence, collector, hash, items, first_seq, last_seq, sealed_at_us, state, "
    "settled_at_us, reason",
    "batch_bytes": "ref, data",
}


def rows_of(path: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield (table, row) for every cell of every leaf page that looks like one of ours."""
    with contextlib.ExitStack() as files:
        file, log = files.enter_context(path.open("rb")), sidecar(path, "wal")
        pages = _Pages(file, _log_pages(files.enter_context(log.open("rb"))) if log.exists() else {})
        for number in pages.numbers():
            for key, payload in pages.cells(number):
                try:
                    values = _values(payload)
                except (ValueError, IndexError, struct.error):
                    continue
                table = _table_of(values)
                if table is not None:
                    yield table, (key, *values[1:])


@dataclass(slots=True)
class _Pages:
    """The pages of a store: those of its log in place of those of its file. Numbers count from 1."""

    file: BinaryIO
    log: dict[int, tuple[BinaryIO, int]]

    def numbers(self) -> Iterator[int]:
        size = self.file.seek(0, 2) // PAGE_BYTES
        yield from range(1, max(size, max(self.log, default=0)) + 1)

    def page(self, number: int) -> bytes:
        file, offset = self.log.get(number, (self.file, (number - 1) * PAGE_BYTES))
        file.seek(offset)
        return file.read(PAGE_BYTES)

    def cells(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Yield (key, record) of a table's leaf page; nothing of any other page."""
        page = self.page(number)
        if len(page) < PAGE_BYTES or page[0] != _TABLE_LEAF:
            return
        count = int.from_bytes(page[3:5], "big")
        if 8 + 2 * count > PAGE_BYTES:
            return
        for at in struct.unpack_from(f">{count}H", page, 8):
            try:
                size, start = _varint(page, at)
                key, start = _varint(page, start)
                yield key - (1 << 64 if key >= 1 << 63 else 0), self._payload(page, start, size)
            except (ValueError, IndexError, struct.error):
                continue

    def _payload(self, page: bytes, start: int, size: int) -> bytes:
        """Return a cell's record, from its overflow pages too. raises ValueError when they do not hold it."""
        if not 0 < size <= _PAYLOAD_MOST:
            raise ValueError("no record is that long")
        if size <= _LOCAL_MOST:
            local = size
        else:
            local = _LOCAL_LEAST + (size - _LOCAL_LEAST) % (PAGE_BYTES - 4)
            local = local if local <= _LOCAL_MOST else _LOCAL_LEAST
        parts, left = [page[start : start + local]], size - local
        following = int.from_bytes(page[start + local : start + local + 4], "big") if left else 0
        while left > 0:
            more = self.page(following) if following else b""
            if len(more) < PAGE_BYTES:
                raise ValueError("its overflow pages are not there")
            parts.append(more[4 : 4 + min(left, PAGE_BYTES - 4)])
            left -= PAGE_BYTES - 4
            following = int.from_bytes(more[:4], "big")
        record = b"".join(parts)
        if len(record) != size:
            raise ValueError("the page ends before its cell does")
        return record


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and where the next byte is."""
    value = 0
    for step in range(8):
        byte = data[at + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + step + 1
    return value << 8 | data[at + 8], at + 9


_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}


def _values(record: bytes) -> list[Any]:
    """Return a record's columns. raises ValueError for types that none of our columns has."""
    header, at = _varint(record, 0)
    types = []
    while at < header:
        kind, at = _varint(record, at)
        types.append(kind)
    if at != header:
        raise ValueError("the types of a record end elsewhere")
    values: list[Any] = []
    for kind in types:
        if kind == 0:
            values.append(None)
        elif kind in _INTEGER_BYTES:
            size = _INTEGER_BYTES[kind]
            values.append(kind - 8 if size == 0 else int.from_bytes(record[at : at + size], "big", signed=True))
            at += size
        elif kind >= 12:
            size = (kind - 12) // 2
            value = record[at : at + size]
            values.append(value.decode() if kind % 2 else value)
            at += size
        else:
            raise ValueError("no column of ours has that type")
    if at != len(record):
        raise ValueError("a record has another length than its types say")
    return values


def _table_of(values: list[Any]) -> str | None:
    shape = "".join(
        "N" if v is None else "I" if isinstance(v, int) else "T" if isinstance(v, str) else "B" for v in values
    )
    for table, pattern in _SHAPES.items():
        if len(shape) == len(pattern) and all(
            have == want.upper() or (have == "N" and want.islower()) for have, want in zip(shape, pattern, strict=True)
        ):
            if pattern == "NB":
                return "boot" if len(values[1]) == _BOOT_ID_BYTES else "batch_bytes"
            return table
    return None


def _log_pages(file: BinaryIO) -> dict[int, tuple[BinaryIO, int]]:
    """Return where the newest committed copy of each page in a log is; nothing for a log that is unsound."""
    found: dict[int, tuple[BinaryIO, int]] = {}
    header = file.read(32)
    if len(header) < 32 or int.from_bytes(header[:4], "big") not in _LOG_MAGIC:
        return found
    order = ">" if header[3] & 1 else "<"
    sums = _checksum(order, header[:24], (0, 0))
    if sums != struct.unpack(">II", header[24:32]):
        return found
    waiting: dict[int, tuple[BinaryIO, int]] = {}
    while len(frame := file.read(24 + PAGE_BYTES)) == 24 + PAGE_BYTES:
        sums = _checksum(order, frame[24:], _checksum(order, frame[:8], sums))
        if frame[8:16] != header[16:24] or sums != struct.unpack(">II", frame[16:24]):
            break
        waiting[int.from_bytes(frame[:4], "big")] = (file, file.tell() - PAGE_BYTES)
        if frame[4:8] != bytes(4):  # the last frame of a transaction
            found.update(waiting)
            waiting.clear()
    return found


def _checksum(order: str, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
    one, two = before
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two

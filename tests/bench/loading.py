"""Fills big empty tables of the product quickly: COPY in binary, indexes and constraints made afterwards as they were.

Only for a throwaway server, whose settings are changed meanwhile. With `wal_level = minimal` (FAST_START) what goes
into a table that was emptied in the same transaction is not written to the log at all.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from tests.bench.measure import memory_bytes, rounded, say, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FAST_START = {"wal_level": "minimal", "max_wal_senders": "0", "shared_buffers": "512MB", "autovacuum": "off"}
"""Settings that a server needs from its start on to be filled quickly."""
_WHILE_LOADING = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "8GB", "checkpoint_timeout": "1h"}
_HEAD, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_OF_CONSTRAINTS = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'x') ORDER BY conname"
)
_OF_INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s "
    "ORDER BY indexname"
)

Definitions = tuple[dict[str, str], dict[str, str]]
"""A table's constraints that rest on an index, and all of its indexes: what defines each name."""


@contextmanager
def careless() -> Iterator[dict[str, str]]:
    """Make the server quick at the price of its durability until the block ends; yields the settings."""
    settings = {**_WHILE_LOADING, "maintenance_work_mem": f"{min(2048, memory_bytes() // 2**23)}MB"}
    with connection.cursor() as cursor:
        try:
            for name, value in settings.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            cursor.execute("SELECT pg_reload_conf()")
            yield settings
        finally:
            for name in settings:
                cursor.execute(f"ALTER SYSTEM RESET {name}")
            cursor.execute("SELECT pg_reload_conf()")


def definitions(table: str) -> Definitions:
    """Return what a table's indexes and constraints are."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_CONSTRAINTS, [table])
        constraints = dict(cursor.fetchall())
        cursor.execute(_OF_INDEXES, [table])
        return constraints, dict(cursor.fetchall())


def fill(table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    """Copy rows (any number of them in one piece, in COPY's binary format) into a table, whose rows go away first."""
    before = definitions(table)
    constraints, indexes = before
    with transaction.atomic(), connection.cursor() as cursor:
        for name in constraints:
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
        for name in indexes.keys() - constraints.keys():
            cursor.execute(f'DROP INDEX "{name}"')
        cursor.execute(f"TRUNCATE {table}")
        copy_s = seconds(lambda: _copy(cursor, table, columns, rows))
        statements = [f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {text}' for name, text in constraints.items()]
        statements += [text for name, text in indexes.items() if name not in constraints]
        index_s = seconds(lambda: [cursor.execute(statement) for statement in statements])
    if definitions(table) != before:
        raise RuntimeError(f"{table} does not have the indexes and constraints that it had")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size(%s), pg_indexes_size(%s)", [table, table])
        heap, of_indexes = (round(size / 2**20) for size in cursor.fetchone())
    say(f"{table}: {heap} MiB in {rounded(copy_s)} s, indexes {of_indexes} MiB in {rounded(index_s)} s")


def _copy(cursor: Any, table: str, columns: Sequence[str], rows: Iterable[bytes]) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY, FREEZE)") as copy:
        copy.write(_HEAD)
        for some in rows:
            copy.write(some)
        copy.write(_END)


def first_column(fields: int, value: int) -> bytes:
    """Return the start of a row of so many fields: the first one is a bigint."""
    return struct.pack(">hiq", fields, 8, value)


def field(code: str, value: int) -> bytes:
    """Return one more field of a row: `q` bigint, `i` integer (or date, see `struct`), `h` smallint, `b` boolean."""
    return struct.pack(f">i{code}", struct.calcsize(f">{code}"), value)


def bytes_field(value: bytes) -> bytes:
    """Return one more field of a row that is a bytea."""
    return struct.pack(">i", len(value)) + value


def crossed(
    starts: Sequence[bytes], kinds: Sequence[int], ends: Sequence[Sequence[bytes]], *, by_end: bool
) -> Iterator[bytes]:
    """Yield the rows that begin with each of `starts` and end with each of the ends of its kind.

    by_end  all rows of the first end of each, then of the second, ...; else all of the first start, then the second.
    A kind's rows cost one join for all ends, so that 60 million rows are no work for Python.
    """
    if not by_end:
        for start, kind in zip(starts, kinds, strict=True):
            yield start + start.join(ends[kind]) if ends[kind] else b""
        return
    for place in range(max(map(len, ends))):
        here = [of_kind[place] if place < len(of_kind) else b"" for of_kind in ends]
        present = [(start, here[kind]) for start, kind in zip(starts, kinds, strict=True) if here[kind]]
        yield b"".join(chain.from_iterable(present))

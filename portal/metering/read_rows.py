"""Writes read rows in bulk: binary COPY on PostgreSQL, executemany on SQLite."""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import chain, repeat
from typing import TYPE_CHECKING

from django.db import connection

from portal.core.services import CHANGE_NUMBER, bump_change_and
from portal.metering.models import RegisterState
from portal.metering.reads import from_us, to_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from portal.core.statements import Statement
    from sync.read_columns import ReadColumns

_COLUMNS = '"register", "read_us", "raw_count", "epoch", "append_seq", "quality", "reason", "flags"'
_INSERT = f"INSERT INTO metering_recentread ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_COPY = f"COPY metering_recentread ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_HEAD, _COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_UPSERT_DAY = (
    'INSERT INTO metering_registerday ("register", "day", "reads", "packed") VALUES (%s, %s, %s, %s) '
    'ON CONFLICT ("register", "day") DO UPDATE SET "reads" = excluded."reads", "packed" = excluded."packed"'
)
_UPSERT_VOLUME = (
    'INSERT INTO metering_dailyvolume ("register", "day", "counts", "quality", "interpolated") '
    'VALUES (%s, %s, %s, %s, %s) ON CONFLICT ("register", "day") DO UPDATE SET "counts" = excluded."counts", '
    '"quality" = excluded."quality", "interpolated" = excluded."interpolated"'
)

_STATE = "(register_id, last_read_at, last_count, last_quality, change_number)"
_FROM_ARRAYS = (
    f"SELECT r, timestamptz 'epoch' + us * interval '1 microsecond', c, q, {CHANGE_NUMBER} "  # noqa: S608
    "FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[]) AS t (r, us, c, q)"
)
_NEWER = "excluded.last_read_at >= metering_registerstate.last_read_at"
_KEEP_NEWEST = "ON CONFLICT (register_id) DO UPDATE SET change_number = excluded.change_number, " + ", ".join(
    f"{name} = CASE WHEN {_NEWER} THEN excluded.{name} ELSE metering_registerstate.{name} END"
    for name in ("last_count", "last_quality", "last_read_at")
)
_STATES = f"INSERT INTO metering_registerstate {_STATE} VALUES (%s, %s, %s, %s, {CHANGE_NUMBER}) {_KEEP_NEWEST}"  # noqa: S608


def insert_recent(reads: ReadColumns, rows: Sequence[int], *, epoch: int, chosen: Sequence[int] | None = None) -> None:
    """Insert the reads of one batch, or those with the chosen indexes, register by register.

    rows  the MeterRegister id of each of the batch's registers; epoch: the Epoch's row id.
    A register's reads then lie together, in the table as in its index, which makes both quicker to write and to read.
    """
    places: list[list[int]] = [[] for _ in rows]
    for place in range(len(reads)) if chosen is None else chosen:
        places[reads.indices[place]].append(place)
    by_row = sorted(range(len(rows)), key=rows.__getitem__)
    order = list(chain.from_iterable(places[index] for index in by_row))
    if not order:
        return
    columns: list[list[int] | int] = [
        [rows[index] for index in by_row for _ in places[index]],
        _picked(reads.at_us, order),
        _picked(reads.counts, order),
        epoch,
        _picked(reads.append_seqs, order),
        _picked(reads.qualities, order),
        _picked(reads.reasons, order),
        _picked(reads.flags, order),
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A batch is applied once or not at all, so nothing has to be merged and COPY goes straight into the table.
            with cursor.copy(_COPY) as copy:
                copy.write(b"".join((_COPY_HEAD, _binary_rows(len(order), columns), _COPY_END)))
        else:
            values = zip(
                *(repeat(part, len(order)) if isinstance(part, int) else part for part in columns), strict=True
            )
            cursor.executemany(_INSERT, list(values))


def _picked(column: list[int], order: Sequence[int]) -> list[int] | int:
    """Return a column's values in another order, or its one value when all are equal."""
    first = column[0]
    return first if column.count(first) == len(column) else [column[place] for place in order]


_WIDTHS = (8, 8, 8, 8, 8, 2, 2, 2)
_CODES = {8: "q", 2: "h"}


def _binary_rows(count: int, columns: Sequence[list[int] | int]) -> bytearray:
    """Return rows in PostgreSQL's binary COPY format: field count, then each field's length and big-endian bytes.

    Every row is of one length, so the rows are laid out once and each byte of a column is set in all of them at a time.
    raises  OverflowError for what its column cannot hold.
    """
    row, starts = bytearray(struct.pack(">h", len(columns))), []
    for width, column in zip(_WIDTHS, columns, strict=True):
        row += struct.pack(">i", width)
        starts.append(len(row))
        row += (column if isinstance(column, int) else 0).to_bytes(width, "big", signed=True)
    rows = bytearray(bytes(row) * count)
    for start, width, column in zip(starts, _WIDTHS, columns, strict=True):
        if isinstance(column, int):
            continue
        values = array(_CODES[width], column)
        if sys.byteorder == "little":
            values.byteswap()
        written = values.tobytes()
        for place in range(width):
            rows[start + place :: len(row)] = written[place::width]
    return rows


def upsert_days(rows: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Write packed days: (register, day, reads, packed)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_DAY, rows)


def upsert_volumes(rows: Sequence[tuple[int, str, int, int, bool]]) -> None:
    """Write daily volumes: (register, ISO date, counts, quality, interpolated)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_VOLUME, rows)


def newest_reads(
    reads: ReadColumns, rows: Sequence[int], *, latest: datetime, chosen: Sequence[int] | None = None
) -> dict[int, int | None]:
    """Return where each register's newest read stands in a batch; None when all of its reads are later than `latest`.

    rows  the MeterRegister id of each of the batch's registers.
    """
    latest_us = to_us(latest)
    at_us, indices = reads.at_us, reads.indices
    places = range(len(reads)) if chosen is None else chosen
    newest: dict[int, int | None]
    if chosen is None and at_us == sorted(at_us) and (not at_us or at_us[-1] <= latest_us):
        newest = dict(zip(indices, places, strict=True))  # each place overwrites the one before
    else:
        newest = {}
        for place in places:
            best = newest.setdefault(indices[place], None)
            if at_us[place] <= latest_us and (best is None or at_us[place] >= at_us[best]):
                newest[indices[place]] = place
    return {rows[index]: place for index, place in newest.items()}


def save_states(reads: ReadColumns, newest: Mapping[int, int | None], *, first: Sequence[Statement] = ()) -> int:
    """Bring the registers' states up to date and count the change; return its number.

    first  statements that run before, in one message with the others.
    A late read moves its register's change number alone. The counter's row is locked from here to the commit, so this
    comes as late as can be.
    """
    rows = [
        (row, reads.at_us[place], reads.counts[place], reads.qualities[place])
        for row, place in sorted(newest.items())
        if place is not None
    ]
    if connection.vendor == "postgresql" and rows:
        change_number = bump_change_and([_states_from_arrays(rows)], first=first)
    else:
        change_number = bump_change_and((), first=first)
        adapt = connection.ops.adapt_datetimefield_value
        with connection.cursor() as cursor:
            cursor.executemany(_STATES, [(row, adapt(from_us(us)), count, quality) for row, us, count, quality in rows])
    if only_late := [row for row, place in newest.items() if place is None]:
        RegisterState.objects.filter(register__in=only_late).update(change_number=change_number)
    return change_number


def _states_from_arrays(rows: Sequence[tuple[int, int, int, int]]) -> Statement:
    # Whole numbers in one text each: a list of moments would be written out and quoted one by one.
    columns = ["{" + ",".join(map(str, column)) + "}" for column in zip(*rows, strict=True)]
    return f"INSERT INTO metering_registerstate {_STATE} {_FROM_ARRAYS} {_KEEP_NEWEST}", columns

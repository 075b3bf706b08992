"""Writes read rows in bulk: COPY on PostgreSQL, executemany on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from portal.metering.models import RegisterState
from portal.metering.reads import to_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.reading import RegisterRead, StoredRead

_COLUMNS = '"register", "read_us", "raw_count", "epoch", "append_seq", "quality", "reason", "flags"'
_INSERT = f"INSERT INTO metering_recentread ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
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
_FROM_ARRAYS = "SELECT * FROM unnest(%s::bigint[], %s::timestamptz[], %s::bigint[], %s::smallint[], %s::bigint[])"
_NEWER = "excluded.last_read_at >= metering_registerstate.last_read_at"
_KEEP_NEWEST = "ON CONFLICT (register_id) DO UPDATE SET change_number = excluded.change_number, " + ", ".join(
    f"{name} = CASE WHEN {_NEWER} THEN excluded.{name} ELSE metering_registerstate.{name} END"
    for name in ("last_count", "last_quality", "last_read_at")
)


def insert_recent(reads: Sequence[StoredRead], rows: Sequence[int], *, epoch: int) -> None:
    """Insert the reads of one batch; rows are their MeterRegister ids in that order, epoch is the Epoch's row id."""
    values = (
        (
            row,
            to_us(stored.read.read_at),
            stored.read.raw_count,
            epoch,
            stored.append_seq,
            int(stored.read.quality),
            int(stored.read.reason),
            int(stored.read.flags),
        )
        for row, stored in zip(rows, reads, strict=True)
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A batch is applied once or not at all, so nothing has to be merged and COPY goes straight into the table.
            with cursor.copy(f"COPY metering_recentread ({_COLUMNS}) FROM STDIN") as copy:
                copy.write("".join("\t".join(map(str, row)) + "\n" for row in values))
        else:
            cursor.executemany(_INSERT, list(values))


def upsert_days(rows: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Write packed days: (register, day, reads, packed)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_DAY, rows)


def upsert_volumes(rows: Sequence[tuple[int, str, int, int, bool]]) -> None:
    """Write daily volumes: (register, ISO date, counts, quality, interpolated)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_VOLUME, rows)


def newest_reads(
    reads: Sequence[StoredRead], rows: Sequence[int], *, latest: datetime
) -> dict[int, RegisterRead | None]:
    """Return each register's newest read of a batch; None when all of its reads are later than `latest`."""
    newest: dict[int, RegisterRead | None] = {}
    for row, stored in zip(rows, reads, strict=True):
        read = stored.read
        best = newest.setdefault(row, None)
        if read.read_at <= latest and (best is None or read.read_at >= best.read_at):
            newest[row] = read
    return newest


def save_states(newest: Mapping[int, RegisterRead | None], *, change_number: int) -> None:
    """Bring the registers' states up to date; a late read moves the change number alone."""
    adapt = connection.ops.adapt_datetimefield_value
    rows = [
        (row, adapt(read.read_at), read.raw_count, int(read.quality), change_number)
        for row, read in sorted(newest.items())
        if read is not None
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
            cursor.execute(f"INSERT INTO metering_registerstate {_STATE} {_FROM_ARRAYS} {_KEEP_NEWEST}", columns)
        else:
            cursor.executemany(
                f"INSERT INTO metering_registerstate {_STATE} VALUES (%s, %s, %s, %s, %s) {_KEEP_NEWEST}",  # noqa: S608
                rows,
            )
    only_late = [row for row, read in newest.items() if read is None]
    RegisterState.objects.filter(register__in=only_late).update(change_number=change_number)

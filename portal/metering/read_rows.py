"""Writes read rows in bulk: COPY on PostgreSQL, executemany on SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from portal.metering.models import RegisterState
from portal.metering.reads import to_us

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.reading import Register, RegisterRead, StoredRead

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


def insert_recent(reads: Sequence[StoredRead], *, registers: Mapping[Register, int], epoch: int) -> None:
    """Insert the reads of one batch; registers maps to MeterRegister ids, epoch is the Epoch's row id."""
    rows = (
        (
            registers[stored.read.register],
            to_us(stored.read.read_at),
            stored.read.raw_count,
            epoch,
            stored.append_seq,
            int(stored.read.quality),
            int(stored.read.reason),
            int(stored.read.flags),
        )
        for stored in reads
    )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A batch is applied once or not at all, so nothing has to be merged and COPY goes straight into the table.
            with cursor.copy(f"COPY metering_recentread ({_COLUMNS}) FROM STDIN") as copy:
                copy.write("".join("\t".join(map(str, row)) + "\n" for row in rows))
        else:
            cursor.executemany(_INSERT, list(rows))


def upsert_days(rows: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Write packed days: (register, day, reads, packed)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_DAY, rows)


def upsert_volumes(rows: Sequence[tuple[int, str, int, int, bool]]) -> None:
    """Write daily volumes: (register, ISO date, counts, quality, interpolated)."""
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT_VOLUME, rows)


def lock_states(register_ids: Sequence[int]) -> dict[int, RegisterState]:
    """Return the states of these registers, locked until the transaction ends."""
    ordered = sorted(register_ids)
    found: dict[int, RegisterState] = {}
    for start in range(0, len(ordered), 500):
        chunk = RegisterState.objects.select_for_update().filter(register__in=ordered[start : start + 500])
        found.update((state.pk, state) for state in chunk.order_by("pk"))
    return found


def newest_reads(
    reads: Sequence[StoredRead], *, registers: Mapping[Register, int], latest: datetime
) -> dict[int, RegisterRead | None]:
    """Return each register's newest read of a batch; None when all of its reads are later than `latest`."""
    newest: dict[int, RegisterRead | None] = {}
    for stored in reads:
        row, read = registers[stored.read.register], stored.read
        best = newest.setdefault(row, None)
        if read.read_at <= latest and (best is None or read.read_at >= best.read_at):
            newest[row] = read
    return newest


def save_states(
    newest: Mapping[int, RegisterRead | None], states: Mapping[int, RegisterState], *, change_number: int
) -> None:
    """Bring the registers' states up to date; a late read moves the change number alone."""
    changed = []
    for row, read in newest.items():
        state = states.get(row)
        if state is None:
            if read is None:
                continue
            state = RegisterState(register_id=row, last_read_at=read.read_at)
        if read is not None and read.read_at >= state.last_read_at:
            state.last_read_at, state.last_count, state.last_quality = read.read_at, read.raw_count, int(read.quality)
        state.change_number = change_number
        changed.append(state)
    RegisterState.objects.bulk_create(
        changed,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["register"],
        update_fields=["last_read_at", "last_count", "last_quality", "change_number"],
    )

"""Reads per second through the portal's apply_batch, beside the rawest load of the same rows into the same database.

`run` starts this module as a program of its own for each database.
"""

from __future__ import annotations

import itertools
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.bench.measure import median, rounded, seconds
from tests.bench.portals import new_portal, on_both_databases, print_figures

if TYPE_CHECKING:
    from pathlib import Path

    from domain.reading import RegisterRead
    from tests.portal.building import Box

METERS, EVERY_S = 250, 900
READS_EACH = (4, 96)
"""15-minute reads of each meter in a batch: an hour, and a day that waited for the link."""


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure both databases."""
    return {
        "what": "signed batches through apply_batch (verify, decode, store verbatim, reads, states, sign the ack), one "
        "after the other in one process; raw is COPY on PostgreSQL and executemany on SQLite of the very same rows, "
        "made before, into a copy of the reads' table with its index and key, one commit a batch; medians, raw and "
        "ours in turn",
        **on_both_databases(__name__, folder, quick=quick),
    }


def measure(*, quick: bool) -> dict[str, Any]:
    """Return this portal's figures by batch size."""
    new_portal()
    from tests.portal.building import enrolled

    figures = {}
    for reads_each, repeats in zip(READS_EACH, (2, 1) if quick else (25, 7), strict=True):
        meters = METERS // 25 if quick else METERS
        box = enrolled(f"hw-bench-{reads_each}")
        box.epoch = bytes([reads_each]) * 16
        figures[f"batches_of_{METERS * reads_each}"] = _shape(box, meters, reads_each, repeats=repeats)
    return figures


def _shape(box: Box, meters: int, reads_each: int, *, repeats: int) -> dict[str, float]:
    from tests.bench.homes import START, Homes

    rounds = Homes(meters, seed=reads_each).rounds(reads_each * (repeats + 1), every_s=EVERY_S)
    made = [[*itertools.chain(*itertools.islice(rounds, reads_each))] for _ in range(repeats + 1)]
    results = []
    for number, reads in enumerate(made):
        received_at = reads[-1].read_at + timedelta(seconds=2)
        sealed = box.sign(box.batch(reads, sealed_at=received_at))
        results.append(_one(box, sealed, reads, number, received_at - START))
    count = meters * reads_each
    # The first batch meets registers that nobody has seen; after that it is what every batch meets.
    steady = results[1:]
    applied, raw, opened = ([row[n] for row in steady] for n in range(3))
    return {
        "runs": repeats,
        "reads": count,
        "reads_per_s": rounded(count / median(applied, 6)),
        "batches_per_s": rounded(1 / median(applied, 6)),
        "raw_reads_per_s": rounded(count / median(raw, 6)),
        "over_raw": median([r / a for a, r in zip(applied, raw, strict=True)]),
        "verify_and_decode_share": median([o / a for a, o in zip(applied, opened, strict=True)]),
        "first_sight_ms_per_register": rounded((results[0][0] - median(applied, 6)) * 1000 / meters),
    }


def _one(box: Box, sealed: bytes, reads: list[RegisterRead], number: int, age: timedelta) -> tuple[float, float, float]:
    """Return the seconds of apply_batch, of the raw load of its rows, and of verifying and decoding alone."""
    from portal.ingest.apply import apply_batch
    from sync.signing import open_batch
    from tests.bench.homes import START

    rows = _rows(reads, number)
    applied_s = seconds(lambda: _taken(apply_batch(sealed, box.name, START + age)))
    raw_s = seconds(_raw_load(rows))
    opened_s = seconds(lambda: open_batch(sealed, collector=box.name, keys=lambda _kid: box.key.verify_key))
    return applied_s, raw_s, opened_s


def _taken(answer: Any) -> None:
    assert answer is not None, "nobody was answered"
    assert answer.committed, "rejected"


def _rows(reads: list[RegisterRead], number: int) -> list[tuple[int, ...]]:
    """Return rows as the portal writes them."""
    numbers: dict[object, int] = {}
    return [
        (
            numbers.setdefault(read.register, len(numbers)),
            int(read.read_at.timestamp() * 1e6),
            read.raw_count,
            1,
            number * len(reads) + n,
            int(read.quality),
            0,
            0,
        )
        for n, read in enumerate(reads)
    ]


def _raw_load(rows: list[tuple[int, ...]]) -> Any:
    """Return a function that loads rows into a table like the portal's own, as fast as the database takes them."""
    from django.db import connection, transaction

    columns = "register, read_us, raw_count, epoch, append_seq, quality, reason, flags"
    postgres = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        for statement in _like_recent_read(postgres):
            cursor.execute(statement)
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)

    def load() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            if postgres:
                with cursor.copy(f"COPY raw_read ({columns}) FROM STDIN") as copy:
                    copy.write(text)
            else:
                marks = ", ".join(["%s"] * 8)
                cursor.executemany(f"INSERT INTO raw_read ({columns}) VALUES ({marks})", rows)

    return load


def _like_recent_read(postgres: bool) -> list[str]:
    """Return what makes `raw_read` with the columns, key and index of the portal's table, unless it is there."""
    if postgres:
        return ["CREATE TABLE IF NOT EXISTS raw_read (LIKE metering_recentread INCLUDING ALL)"]
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'metering_recentread' AND sql IS NOT NULL")
        made = [row[0] for row in cursor.fetchall()]
    return [
        text.replace("metering_recent_read", "raw_read_index")
        .replace("metering_recentread", "raw_read")
        .replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
        .replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1)
        for text in made
    ]


if __name__ == "__main__":
    print_figures(measure(quick="--quick" in sys.argv))

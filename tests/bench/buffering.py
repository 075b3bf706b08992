"""The collector's store: appends per second by group and by how long a sync takes, and what a day writes to flash."""

from __future__ import annotations

import sqlite3
import time
from datetime import timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from buffer.database import connect
from buffer.store import Store
from domain.clock import ManualClock, SystemClock
from domain.ids import Stream
from sync.signing import SigningKey, batch_encoder
from tests.bench.homes import COLLECTOR, START, Homes
from tests.bench.measure import disk_bytes_written, median, rounded, say, seconds

if TYPE_CHECKING:
    from pathlib import Path

    from domain.reading import RegisterRead

GROUPS = (1, 100, 1000)
SYNC_DELAY_S = 0.02
METERS, EVERY_S, SEAL_S = 250, 900, 900
DAY_S = 86_400
_PLAIN_TABLE = """CREATE TABLE plain (append_seq INTEGER PRIMARY KEY, register INTEGER, raw_count INTEGER,
  read_at_us INTEGER, boot INTEGER, monotonic_ns INTEGER, clock INTEGER, quality INTEGER, reason INTEGER, flags INTEGER)
"""


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure appends in each group, with this machine's disk and with 20 ms more a sync, then a day's writing."""
    commits = {1: 50, 100: 5, 1000: 2} if quick else {1: 200, 100: 60, 1000: 15}
    slow_commits = {1: 3, 100: 3, 1000: 2} if quick else {1: 25, 100: 25, 1000: 10}
    waiting = _reads(max(group * number for group, number in commits.items()))
    return {
        "what": "Store.append at synchronous=FULL, reads a second, medians of 7 runs in turn; `over_raw` is the share "
        "of what executemany into a table of the same columns, without indexes and checks, does in the same run",
        "appends": {f"groups_of_{group}": _group(folder, waiting, group, commits[group]) for group in GROUPS},
        "appends_with_20_ms_sync": {
            f"groups_of_{group}": {
                "reads_per_s": median(
                    [_append_s(folder, waiting, group, slow_commits[group], SYNC_DELAY_S) for _ in range(3)]
                )
            }
            for group in GROUPS
        },
        "flash": {
            "what": "bytes that one day of 250 meters at 15 minutes writes (24,000 reads, 96 batches sealed and "
            "acknowledged, scaled up from measured_hours): write_bytes of /proc/self/io, in whole pages, without what "
            "the file system adds for itself; 1 read a commit is a slow line, 250 a round within a second",
            **{
                f"commits_of_{group}_reads": flash_wear(folder, group, hours=2 if quick else hours)
                for group, hours in ((1, 8), (14, 24), (METERS, 24))
            },
        },
    }


def _reads(number: int) -> list[RegisterRead]:
    rounds = Homes(1000).rounds(-(-number // 1000), every_s=300)
    return list(islice(chain.from_iterable(rounds), number))


def _group(folder: Path, waiting: list[RegisterRead], group: int, commits: int) -> dict[str, float]:
    say(f"buffer: groups of {group}")
    ours, raw = [], []
    for _ in range(7):
        ours.append(_append_s(folder, waiting, group, commits, 0.0))
        raw.append(_raw_s(folder, waiting, group, commits))
    ratios = [mine / plain for mine, plain in zip(ours, raw, strict=True)]
    return {"reads_per_s": median(ours), "raw_reads_per_s": median(raw), "over_raw": median(ratios)}


def _append_s(folder: Path, waiting: list[RegisterRead], group: int, commits: int, delay_s: float) -> float:
    """Return reads per second through the store."""
    path = folder / f"store-{time.monotonic_ns()}.db"
    reads = waiting[: group * commits]
    with Store.open(path, clock=SystemClock(), sync_delay_s=delay_s) as store:

        def append() -> None:
            for first in range(0, len(reads), group):
                store.append(reads[first : first + group])

        return len(reads) / seconds(append)


def _raw_s(folder: Path, waiting: list[RegisterRead], group: int, commits: int) -> float:
    """Return rows per second straight into SQLite with the store's own durability."""
    database = connect(folder / f"plain-{time.monotonic_ns()}.db")
    database.execute(_PLAIN_TABLE)
    count = group * commits
    rows = [
        (n, n % 1000, read.raw_count, int(read.read_at.timestamp() * 1e6), 1, read.clock.monotonic_ns, 1, 0, 0, 0)
        for n, read in enumerate(waiting[:count], 1)
    ]
    took_s = seconds(lambda: _insert(database, rows, group))
    database.close()
    return count / took_s


def _insert(database: sqlite3.Connection, rows: list[tuple[int, ...]], group: int) -> None:
    for first in range(0, len(rows), group):
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO plain VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows[first : first + group])
        database.execute("COMMIT")


def flash_wear(folder: Path, group: int, *, hours: int) -> dict[str, float]:
    """Return what `hours` of reading write when `group` reads are committed together, scaled to a day.

    group  1 is a slow line (the commit window is a second), 250 a whole round within a second.
    """
    say(f"buffer: a day's writing in commits of {group}")
    homes, clock, encode = Homes(METERS), ManualClock(START), batch_encoder(SigningKey.generate())
    rounds = hours * 3600 // EVERY_S
    path = folder / f"flash-{group}.db"
    with Store.open(path, clock=clock) as store:
        before = disk_bytes_written()
        for turn, reads in enumerate(homes.rounds(rounds, every_s=EVERY_S), 1):
            for first in range(0, len(reads), group):
                store.append(reads[first : first + group])
            clock.advance((START + timedelta(seconds=turn * SEAL_S) - clock.now()).total_seconds())
            sealed = store.seal(Stream.BULK, COLLECTOR, encode, max_items=5000)
            assert sealed is not None
            store.acked(sealed.id, sealed.hash)
        written = disk_bytes_written() - before
        kept = store.status().bytes_used
    reads_made = rounds * METERS
    return {
        "measured_hours": hours,
        "bytes_written_per_read": rounded(written / reads_made),
        "mb_written_per_day": rounded(written / 1e6 * DAY_S / (hours * 3600)),
        "bytes_kept_per_read": rounded(kept / reads_made),
    }

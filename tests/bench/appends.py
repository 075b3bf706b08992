"""Appends per second of the store, in groups as a gateway commits them, with an optional slow card underneath."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path

from buffer.database import connect
from buffer.store import Store
from domain.clock import SystemClock
from tests.bench.batches import street_batch


def appends_per_s(*, group: int = 1000, sync_delay_s: float = 0.0, reads: int = 100_000, folder: Path) -> float:
    """Return reads per second through Store.append at synchronous=FULL, `group` reads in each transaction."""
    waiting = [stored.read for stored in street_batch(1000, -(-reads // 1000)).reads][:reads]
    store = Store.open(folder / f"bench-{group}-{sync_delay_s}.db", clock=SystemClock(), sync_delay_s=sync_delay_s)
    with store:
        began = time.perf_counter()
        for first in range(0, reads, group):
            store.append(waiting[first : first + group])
        return reads / (time.perf_counter() - began)


def raw_rows_per_s(*, group: int = 1000, rows: int = 100_000, folder: Path) -> float:
    """Return rows per second of the same shape through bare sqlite3, no index and no checks: what the disk allows."""
    made = [(n, n % 1000, n, n, 1, n, 1, 0, 0, 0) for n in range(1, rows + 1)]
    with contextlib.closing(connect(folder / "raw.db")) as db:
        db.execute("CREATE TABLE read (append_seq INTEGER PRIMARY KEY, b, c, d, e, f, g, h, i, j)")
        began = time.perf_counter()
        for first in range(0, rows, group):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO read VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", made[first : first + group])
            db.execute("COMMIT")
        return rows / (time.perf_counter() - began)


def bench(folder: Path | None = None) -> dict[str, float]:
    """Return appends per second in groups of 1,000 and 250, and of 1,000 with a card that takes 20 ms to sync."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        where = Path(name)
        return {
            "raw_rows_per_s_groups_of_1000": round(raw_rows_per_s(folder=where)),
            "appends_per_s_groups_of_1000": round(appends_per_s(folder=where)),
            "appends_per_s_groups_of_250": round(appends_per_s(group=250, folder=where)),
            "appends_per_s_groups_of_1000_sync_20_ms": round(appends_per_s(sync_delay_s=0.02, folder=where)),
        }


if __name__ == "__main__":
    json.dump(bench(), sys.stdout, indent=2)

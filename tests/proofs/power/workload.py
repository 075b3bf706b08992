"""The recorded process: `python -m tests.proofs.power.workload SCENE FOLDER MARKS [--plant FAULT]`.

A plant is a fault that the proof has to find; it is made here, around production code, never by a switch in it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buffer import folder, migrate, salvage
from buffer.errors import StoreFull
from buffer.retention import Policy
from domain.ids import Stream
from domain.reading import EventKind, ReadFlag
from tests.proofs.power.telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable

    from buffer.model import SealedBatch

PLANTS = {"normal": "restored", "publish-early": "restored", "witness-early": "restored", "no-folder-sync": "salvaged"}
"""Faults, and a scene in which each shows soon: commits without a sync; a batch published, or its witness written,
before its commit; names that are never synced."""


class NormalConnection(sqlite3.Connection):
    """Commits without a sync: the log is synced at checkpoints alone."""

    def execute(self, sql: str, /, *values: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous=FULL", "synchronous=NORMAL"), *values)


def some_reads(first: int, count: int, flags: ReadFlag = ReadFlag.NONE) -> list[tuple[Any, ...]]:
    return [("r", first + n, (first + n) % 40, int(flags)) for n in range(count)]


def an_event(name: str, kind: EventKind = EventKind.METER_RETURNED) -> tuple[Any, ...]:
    return ("e", name, kind.value)


def fresh(teller: Teller) -> None:
    """A collector's first minutes: no folder yet, then a store, a restart, and on."""
    teller.open(1)
    teller.append(*some_reads(0, 12))
    batch = teller.seal(Stream.BULK, 8)
    assert batch is not None
    teller.append(an_event("first leak", EventKind.LEAK_OPENED))
    teller.seal(Stream.URGENT, 8)
    teller.settle(batch, committed=True)
    teller.snapshot(3, b"state")
    teller.close()
    teller.open(2)
    teller.append(*some_reads(12, 5))
    teller.seal(Stream.BULK, 50)
    teller.close()


def daily(teller: Teller) -> None:
    """Everything a store does in its life, with checkpoints all along: seeded, so that every recording is the same."""
    rng, number = random.Random(20260801), 0
    waiting: list[SealedBatch] = []
    teller.open(1)
    for turn in range(52):
        count = rng.choice((1, 3, 8, 20, 60))
        keys = some_reads(number, count)
        if turn % 7 == 2:
            keys += some_reads(number + count, 1, ReadFlag.ON_DEMAND)
        if turn % 6 == 1:
            keys.append(an_event(f"turn {turn}", rng.choice((EventKind.METER_RETURNED, EventKind.LEAK_OPENED))))
        seqs = teller.append(*keys)
        number += count + 1
        if turn % 2:
            waiting += [batch] if (batch := teller.seal(Stream.BULK, rng.choice((15, 40, 200)))) else []
        if turn % 6 == 3:
            waiting += [batch] if (batch := teller.seal(Stream.URGENT, 20)) else []
        if turn % 3 == 2 and waiting:
            teller.settle(waiting.pop(0), committed=turn % 12 != 8)
        if turn % 10 == 4:
            teller.snapshot(max(seq or 0 for seq in seqs), rng.randbytes(rng.choice((40, 6000))))
        if turn % 13 == 5:
            teller.nonce(turn)
        if turn % 12 == 11:
            teller.sweep(Policy(batch_days=0, row_days=0), pressure=turn > 30)
        if turn == 26:
            fill_up(teller)
        if turn == 40:
            teller.close()
            teller.open(2)
    teller.close()


def fill_up(teller: Teller) -> None:
    """Let the store meet its bound: the log is folded, the reserve given up; then there is room again."""
    teller.append(*(("e", f"fat {n}", EventKind.METER_RETURNED.value, 40_000) for n in range(3)))
    base = teller.store._database
    sizes = base.sizes
    base.sizes = replace(sizes, most_pages=base._allowed_pages)
    with contextlib.suppress(StoreFull):
        while base.reserve_kept and teller.seal(Stream.BULK, 200):
            pass
    assert not base.reserve_kept
    base.sizes = sizes


def killed(teller: Teller) -> None:
    """Processes that end in the middle, so that each opening finds a log to recover; the last closes properly."""
    for generation in (1, 2, 3):
        process = os.fork()
        if process == 0:
            try:
                teller.open(generation)
                teller.append(*some_reads(1000 * generation, 30))
                batch = teller.seal(Stream.BULK, 20)
                teller.append(*some_reads(1000 * generation + 30, 4), an_event(f"alarm {generation}", EventKind.TAMPER))
                teller.seal(Stream.URGENT, 20)
                assert batch is not None
                teller.settle(batch, committed=True)
                teller.append(*some_reads(1000 * generation + 34, 40))
            finally:
                os._exit(0 if teller._store is not None else 1)
        _, status = os.waitpid(process, 0)
        assert status == 0
    teller.open(4)
    teller.append(*some_reads(9000, 3))
    teller.close()


def old(teller: Teller) -> None:
    """What is found is old, damaged or put back from a copy: opened, used, and opened once more."""
    teller.open(1)
    teller.append(*some_reads(50_000, 25), an_event("after", EventKind.TAMPER))
    for stream in Stream:
        batch = teller.seal(stream, 15)
        assert batch is not None
        teller.settle(batch, committed=True)
    teller.close()
    teller.open(2)
    teller.append(*some_reads(50_100, 10))
    teller.seal(Stream.BULK, 100)
    teller.close()


def forked(teller: Teller) -> None:
    """The portal holds another batch under a number: a new epoch, and the items sealed anew."""
    teller.open(1)
    teller.append(*some_reads(0, 60), *(an_event(f"leak {n}", EventKind.LEAK_OPENED) for n in range(4)))
    batches = [batch for _ in range(3) if (batch := teller.seal(Stream.BULK, 15))]
    urgent = teller.seal(Stream.URGENT, 2)
    assert urgent is not None
    teller.settle(batches[0], committed=True)
    teller.fork(batches[1])
    teller.append(*some_reads(100, 7))
    for stream in Stream:
        batch = teller.seal(stream, 30)
        assert batch is not None
        teller.settle(batch, committed=True)
    teller.seal(Stream.BULK, 100)
    teller.close()


WORK: dict[str, Callable[[Teller], None]] = {
    "fresh": fresh,
    "daily": daily,
    "killed": killed,
    "migrated": old,
    "salvaged": old,
    "restored": old,
    "forked": forked,
}


def main() -> None:
    """Run one scene."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scene", choices=WORK)
    parser.add_argument("folder", type=Path)
    parser.add_argument("marks", type=Path)
    parser.add_argument("--plant", default="")
    given = parser.parse_args()
    marks = os.open(given.marks, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    if given.plant == "no-folder-sync":
        folder.sync_folder = salvage.sync_folder = migrate.sync_folder = lambda _: None  # type: ignore[attr-defined]
    connection = NormalConnection if given.plant == "normal" else sqlite3.Connection
    teller = Teller(given.folder / "data" / "store.db", marks, plant=given.plant, connection=connection)
    WORK[given.scene](teller)


if __name__ == "__main__":
    main()

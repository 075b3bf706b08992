"""Run on a small file system of its own: fill the store, let somebody else fill the rest, drain it, say how it went.

Each act is a process of its own and prints one JSON line for whatever a call returned, and only then.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from buffer.errors import StoreFull
from buffer.store import Store
from domain.clock import SystemClock
from domain.ids import Stream
from domain.reading import ReadQuality, Reason, StoredEvent
from tests.buffer.conftest import COLLECTOR, encode, read

ROUND = 40


def say(**words: Any) -> None:
    """Print what is now certain."""
    print(json.dumps(words), flush=True)


def fill(where: Path, first: int, *, thinning: bool) -> None:
    """Append rounds until one finds no room, again and again until the process is killed.

    thinning  reads that may be thinned, and full means that many were; else reads that may not.
    """
    store = Store.open(where / "store.db", clock=SystemClock())
    store.before_thinning = lambda: say(thinning=True)
    told = False
    while True:
        try:
            group = [read(first + n, meter=n % 10) for n in range(ROUND)]
            if not thinning:
                group = [one.marked(ReadQuality.SUSPECT, Reason.IMPLAUSIBLE_STEP) for one in group]
            seqs = store.append(group)
            say(appended=[[first + n, seq] for n, seq in enumerate(seqs)])
            first += ROUND
            if thinning and store.status().thinned_reads > 3_000 * (1 + told):
                say(full="no room left but by thinning")
                told = True
        except StoreFull as error:
            if not told:
                say(full=str(error), used=store.status().bytes_used)
            told = True


def occupy(where: Path) -> None:
    """Fill the disk to its last byte."""
    with contextlib.suppress(OSError), (where / "somebody-elses").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(512))


def keep_occupying(where: Path, ends: threading.Event) -> None:
    """Take whatever room comes free, as a log does whose writer tries again and again."""
    while not ends.is_set():
        occupy(where)


def drain(where: Path) -> None:
    """Seal and acknowledge everything on a disk that somebody else keeps full; then go on."""
    ends = threading.Event()
    occupy(where)
    other = threading.Thread(target=keep_occupying, args=(where, ends))
    try:
        store = Store.open(where / "store.db", clock=SystemClock())
        other.start()
        disk = os.statvfs(where)
        say(opened=True, free=disk.f_bavail * disk.f_frsize)
        events = [item.event for item in store.items_since(0, limit=10**6) if isinstance(item, StoredEvent)]
        say(reported=sum(int(str(event.detail["reads"])) for event in events))
        while batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=500):
            say(sealed=json.loads(batch.data)["reads"])
            assert store.acked(batch.id, batch.hash)
        say(drained=True)
        first = 5 * 10**7
        say(appended=[[first, store.append([read(first)])[0]]])
        # Between closing and opening the log's index has no room of its own for a moment: nobody may take it just then.
        ends.set()
        other.join()
        store.close()
        store = Store.open(where / "store.db", clock=SystemClock())
        say(backlog=store.status().backlog_items, reserve=store.status().reserve_kept)
        store.close()
    finally:
        ends.set()


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(Path(sys.argv[2]), int(sys.argv[3]), thinning=sys.argv[4:] == ["thinning"])
    else:
        drain(Path(sys.argv[2]))

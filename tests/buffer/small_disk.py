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
from tests.buffer.conftest import COLLECTOR, encode, read

ROUND = 40


def say(**words: Any) -> None:
    """Print what is now certain."""
    print(json.dumps(words), flush=True)


def fill(where: Path, first: int) -> None:
    """Append rounds until one finds no room, again and again until the process is killed."""
    store = Store.open(where / "store.db", clock=SystemClock())
    store.before_thinning = lambda: say(thinning=True)
    told = False
    while True:
        try:
            # A hundred reads on one day and none of them alike: nothing may be thinned but by hours.
            seqs = store.append([read(first + n, meter=n % 10) for n in range(ROUND)])
            say(appended=[[first + n, seq] for n, seq in enumerate(seqs)])
            first += ROUND
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
    other.start()
    try:
        store = Store.open(where / "store.db", clock=SystemClock())
        disk = os.statvfs(where)
        say(opened=True, free=disk.f_bavail * disk.f_frsize)
        while batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=500):
            say(sealed=json.loads(batch.data)["reads"])
            assert store.acked(batch.id, batch.hash)
        say(drained=True)
        first = 5 * 10**7
        say(appended=[[first, store.append([read(first)])[0]]])
        store.close()
        store = Store.open(where / "store.db", clock=SystemClock())
        say(backlog=store.status().backlog_items, reserve=store.status().reserve_kept)
        store.close()
    finally:
        ends.set()
        other.join()


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        drain(Path(sys.argv[2]))

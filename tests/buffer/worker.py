"""Run in a process of its own and killed at any moment: says on standard output what a call returned, and only then."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from buffer.store import Store
from domain.clock import SystemClock
from domain.ids import Stream
from tests.buffer.conftest import COLLECTOR, encode, reads


def main(path: Path, first: int) -> None:
    """Append groups of reads from number `first` on; now and then seal a batch and acknowledge the oldest one."""
    store = Store.open(path, clock=SystemClock())
    print(json.dumps({"epoch": store.epoch.hex()}), flush=True)
    for turn in range(100_000):
        group = 1 + turn % 40
        seqs = store.append(reads(first, group))
        print(json.dumps({"appended": [[first + n, seq] for n, seq in enumerate(seqs)]}), flush=True)
        first += group
        if turn % 3 == 0 and (batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=70)):
            print(json.dumps({"sealed": [batch.id.sequence, batch.hash.hex(), batch.data.decode()]}), flush=True)
        if turn % 7 == 0 and (waiting := store.unacked(Stream.BULK, limit=1)):
            assert store.acked(waiting[0].id, waiting[0].hash)
            print(json.dumps({"acked": waiting[0].id.sequence}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

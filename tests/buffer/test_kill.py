"""SIGKILL at random moments: what a call returned for is there, once; what was sealed never changes."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.clock import SystemClock
from domain.ids import Stream
from domain.reading import StoredRead
from tests.buffer.conftest import COLLECTOR, encode

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 8


@dataclass
class Told:
    """What the killed processes said before they died."""

    appended: dict[int, int] = field(default_factory=dict)
    sealed: dict[int, tuple[str, str]] = field(default_factory=dict)
    acked: set[int] = field(default_factory=set)
    epochs: set[str] = field(default_factory=set)

    def take(self, said: dict[str, Any]) -> None:
        self.appended.update({n: seq for n, seq in said.get("appended", ())})
        if "sealed" in said:
            sequence, digest, data = said["sealed"]
            assert self.sealed.setdefault(sequence, (digest, data)) == (digest, data), f"{sequence} was sealed twice"
        if "acked" in said:
            self.acked.add(said["acked"])
        if "epoch" in said:
            self.epochs.add(said["epoch"])


def run_and_kill(path: Path, first: int, after_s: float, told: Told) -> None:
    """Start the worker, let it run for a while after its first word, kill it, and take down what it said."""
    command = [sys.executable, "-m", "tests.buffer.worker", str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        head = worker.stdout.readline()
        assert head, worker.stderr.read().decode()
        time.sleep(after_s)
        worker.kill()
        for line in [head, *worker.stdout.read().splitlines(keepends=True)]:
            if line.endswith(b"\n"):  # a line that the kill cut off was not said
                told.take(json.loads(line))


def test_nothing_is_lost_repeated_or_changed_by_sigkill(path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, told = random.Random(seed), Told()
    for number in range(ROUNDS):
        run_and_kill(path, 100_000 * number, rng.uniform(0, 0.4), told)
        with Store.open(path, clock=SystemClock()) as store:
            check(store, told)
    assert len(told.epochs) == 1, "a kill is no reason for a new epoch"
    assert len(told.appended) > 100
    assert len(told.sealed) > 3


def check(store: Store, told: Told) -> None:
    stored = [item for item in store.items_since(0, limit=10**7) if isinstance(item, StoredRead)]
    by_number = {item.read.raw_count: item.append_seq for item in stored}
    assert len(by_number) == len(stored), "a read is there twice"
    assert len({item.append_seq for item in stored}) == len(stored)
    missing = {n: seq for n, seq in told.appended.items() if by_number.get(n) != seq}
    assert not missing, f"append returned for {len(missing)} reads that are gone or renumbered"

    batches = {batch.id.sequence: batch for batch in store.unacked(Stream.BULK, limit=10**6)}
    for sequence, (digest, data) in told.sealed.items():
        if sequence in batches:
            assert batches[sequence].data == data.encode()
            assert batches[sequence].hash.hex() == digest
            assert sequence not in told.acked
    # Sealed bytes that nobody was told of yet may be there too; from now on they are told.
    for sequence, batch in batches.items():
        told.take({"sealed": [sequence, batch.hash.hex(), batch.data.decode()]})
    last = store.status().streams[0].last_sequence
    lost = {sequence for sequence in told.sealed if sequence > last}
    assert not lost, f"sealed batches {lost} are gone"
    check_chain(told)


def check_chain(told: Told) -> None:
    """Every append_seq is in at most one batch, batches follow each other without a hole, and each names the last."""
    known = sorted(told.sealed)
    seen: set[int] = set()
    for sequence in known:
        digest, data = told.sealed[sequence]
        body = json.loads(data)
        assert hashlib.sha256(data.encode()).hexdigest() == digest
        assert seen.isdisjoint(body["reads"]), f"batch {sequence} repeats reads"
        seen.update(body["reads"])
        if sequence - 1 in told.sealed:
            assert body["previous"] == told.sealed[sequence - 1][0]


def test_sealing_again_after_a_crash_continues_the_chain(path: Path) -> None:
    told = Told()
    run_and_kill(path, 0, 0.3, told)
    with Store.open(path, clock=SystemClock()) as store:
        check(store, told)
        store.sealed_ahead = 10**6
        while batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=500):
            told.take({"sealed": [batch.id.sequence, batch.hash.hex(), batch.data.decode()]})
        check(store, told)
        in_batches = {seq for _, data in told.sealed.values() for seq in json.loads(data)["reads"]}
        acked_unseen = told.acked - set(told.sealed)
        assert acked_unseen or in_batches == {item.append_seq for item in store.items_since(0, limit=10**7)}

"""Batches as a real street fills them, from a seed, and how many bytes each read of them costs on the wire."""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, RegisterId, Stream
from domain.reading import Register, RegisterRead, StoredRead
from domain.units import Unit
from sync.batch import Batch
from sync.signing import SigningKey, sign_batch

SHAPES = ((1000, 24), (250, 1), (20, 1), (20, 15))
"""(meters, reads of each): a day's hourly reads of a big building, one round of two sizes, 15 rounds."""

_SYNCED_SINCE = datetime(2026, 11, 2, 4, 17, 9, 250_000, tzinfo=UTC)
_BOOTED = datetime(2026, 11, 2, 4, 16, 2, tzinfo=UTC)


def street_batch(meters: int, rounds: int, *, seed: int = 1, every_s: int = 3600, step_us: int = 1000) -> Batch:
    """Return a batch of `rounds` reads of each meter, polled in turn on one bus.

    Counts are litres of an 8-digit dial. A home draws water in one hour of three, with a long tail. A poll takes 60 to
    75 ms and read_at is stamped in steps of `step_us`; monotonic time follows with the same step and 40 us of jitter.
    """
    rng = random.Random(seed)  # noqa: S311
    registers = [_register(rng, index) for index in range(meters)]
    counts = [rng.randrange(10**7) for _ in registers]
    start = datetime(2026, 11, 22, 0, 0, 0, tzinfo=UTC)
    reads: list[StoredRead] = []
    for turn in range(rounds):
        at = start + timedelta(seconds=turn * every_s, microseconds=rng.randrange(20_000))
        for index, register in enumerate(registers):
            at += timedelta(microseconds=rng.randrange(60_000, 75_000))
            counts[index] = (counts[index] + _litres(rng, every_s)) % 10**8
            stamped = at - timedelta(microseconds=at.microsecond % step_us)
            monotonic_us = (at - _BOOTED) // timedelta(microseconds=1) + rng.randrange(40)
            clock = ClockState(bytes(range(16)), monotonic_us // step_us * step_us * 1000, True, _SYNCED_SINCE)
            reads.append(StoredRead(len(reads) + 40_001, RegisterRead(register, counts[index], stamped, clock)))
    batch_id = BatchId(CollectorId("elm-street-3"), rng.randbytes(16), Stream.BULK, 1207)
    return Batch(batch_id, rng.randbytes(32), at + timedelta(seconds=1), tuple(reads))


def _register(rng: random.Random, index: int) -> Register:
    number = rng.randrange(10**8) if index % 4 == 0 else 40_120_000 + index * 7 + rng.randrange(7)
    return Register(MeterId(f"EFE-{number:08d}"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)


def _litres(rng: random.Random, every_s: int) -> int:
    if rng.random() > min(1.0, 0.34 * every_s / 3600 + 0.05):
        return 0
    return int(rng.lognormvariate(2.8, 1.1))


def bytes_per_read(meters: int, rounds: int, *, step_us: int = 1000, seed: int = 1) -> float:
    """Return the signed bytes of a batch divided by its reads."""
    batch = street_batch(meters, rounds, seed=seed, step_us=step_us)
    return len(sign_batch(batch, SigningKey.generate())) / len(batch.reads)


def bench() -> dict[str, float]:
    """Return bytes per read, signature included, by shape, clocks stamped in whole ms and in us."""
    return {
        f"bytes_per_read_{meters}x{rounds}{'' if step_us == 1000 else '_us_stamps'}": round(
            bytes_per_read(meters, rounds, step_us=step_us), 2
        )
        for step_us in (1000, 1)
        for meters, rounds in SHAPES
    }


if __name__ == "__main__":
    json.dump(bench(), sys.stdout, indent=2)

"""Reads of generated households, stamped as a gateway stamps them: what every section of the benchmark measures with.

Counts are litres of an 8-digit dial behind which firmware_sim's households use water in June. Meters are polled in turn
on one bus, 60 to 75 ms each. read_at is in whole milliseconds and monotonic time keeps its distance to it, as
the bus owner stamps it; the clock is synchronised.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from domain.clock import ClockState
from domain.ids import BatchId, CollectorId, MeterId, RegisterId, Stream
from domain.reading import Register, RegisterRead, StoredRead
from domain.units import Unit
from firmware_sim.household import Household
from sync.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLLECTOR = CollectorId("elm-street-3")
START = datetime(2026, 6, 17, 0, 0, tzinfo=UTC)
MODULUS = 10**8
_ORIGIN = date(2026, 6, 15)
_BOOTED = START - timedelta(days=20)
_SYNCED_SINCE = _BOOTED + timedelta(seconds=67, microseconds=250_000)
_MICROSECOND = timedelta(microseconds=1)


class Homes:
    """Meters on one bus, each with a household behind it; the same seed gives the same reads."""

    def __init__(self, meters: int, *, seed: int = 1) -> None:
        self._rng = random.Random(seed)
        self.registers = [_register(self._rng, index) for index in range(meters)]
        self._households = [Household(f"{seed}/{index}", origin=_ORIGIN) for index in range(meters)]
        self._first_counts = [self._rng.randrange(10**7) for _ in range(meters)]

    def poll(self, at: datetime) -> list[RegisterRead]:
        """Return one read of each meter, the first one shortly after `at`."""
        reads = []
        for register, household, first in zip(self.registers, self._households, self._first_counts, strict=True):
            at += timedelta(milliseconds=self._rng.randrange(60, 75))
            count = (first + household.volume_ml(at) // 1000) % MODULUS
            reads.append(RegisterRead(register, count, at, _clock(at)))
        return reads

    def rounds(self, number: int, *, every_s: int, start: datetime = START) -> Iterator[list[RegisterRead]]:
        """Yield that many rounds of reads, one each `every_s`, each begun up to 20 ms late."""
        for turn in range(number):
            late = timedelta(milliseconds=self._rng.randrange(20))
            yield self.poll(start + timedelta(seconds=turn * every_s) + late)


def _register(rng: random.Random, index: int) -> Register:
    """Three of four meters were delivered in one go, with serial numbers close together."""
    number = rng.randrange(10**8) if index % 4 == 0 else 40_120_000 + index * 7 + rng.randrange(7)
    return Register(MeterId(f"EFE-{number:08d}"), RegisterId("total"), Unit.CUBIC_METRE, -3, MODULUS)


def _clock(at: datetime) -> ClockState:
    return ClockState(bytes(range(16)), (at - _BOOTED) // _MICROSECOND * 1000, True, _SYNCED_SINCE)


def batch_of(reads: Sequence[RegisterRead], *, seed: int = 1) -> Batch:
    """Return a batch in the middle of a stream, with these reads in order."""
    rng = random.Random(seed)
    identity = BatchId(COLLECTOR, rng.randbytes(16), Stream.BULK, 1207)
    stored = tuple(StoredRead(40_001 + n, read) for n, read in enumerate(reads))
    return Batch(identity, rng.randbytes(32), reads[-1].read_at + timedelta(seconds=1), stored)

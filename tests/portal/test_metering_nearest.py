"""The reads beside moments are those that a search of all reads finds, at the ends of days and among equals too."""

from __future__ import annotations

import random

import pytest

from portal.metering.nearest import Probe, SeenDay, look_beside
from portal.metering.packed import DAY_US, KeptRead

DAY, DAYS, REGISTER = 20_621, 4, 7


def _reads(rng: random.Random) -> list[KeptRead]:
    """Make reads of four days, some of one moment, some at the very ends of a day; a day may have none."""
    days = [day for day in range(DAY, DAY + DAYS) if rng.random() < 0.8]
    past = [0, 1, DAY_US // 2, DAY_US - 2, DAY_US - 1]
    return sorted(
        KeptRead(
            day * DAY_US + rng.choice(past), epoch, rng.randrange(1, 99), rng.randrange(500), rng.randrange(4), 0, 0
        )
        for day in days
        for epoch in range(rng.randrange(1, 7))
    )


@pytest.mark.parametrize("seed", range(150))
def test_the_reads_beside_a_moment(seed: int) -> None:
    rng = random.Random(seed)
    reads = _reads(rng)
    known = {
        (REGISTER, day): SeenDay.of([read for read in reads if read.read_us // DAY_US == day])
        for day in range(DAY, DAY + DAYS)
    }
    edges = [DAY * DAY_US, (DAY + DAYS) * DAY_US - 1, *(read.read_us for read in reads)]
    low, high = sorted(min(max(rng.choice(edges) + rng.randrange(-1, 2), edges[0]), edges[1]) for _ in range(2))
    moments = sorted({rng.choice(edges) + rng.randrange(-1, 2) for _ in range(5)})
    beside = look_beside([Probe(REGISTER, low, high, tuple(moments))], known=known)
    expected = set[KeptRead]()
    for moment in moments:
        before = [read for read in reads if low <= read.read_us <= min(moment, high)]
        after = [read for read in reads if max(moment + 1, low) <= read.read_us <= high]
        expected.update(before[-1:] + after[:1])
    assert [beside.day(REGISTER, day).read(place) for day, place in beside.found[0]] == sorted(expected)

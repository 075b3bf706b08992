"""Packed register days: lossless, canonical, small, and damage is noticed."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.metering.errors import PackedReadsDamaged
from portal.metering.packed import DAY_US, KeptRead, pack_day, unpack_day

DAY = 20_621
LIMIT = 2**63
reads = st.builds(
    KeptRead,
    st.integers(DAY * DAY_US, (DAY + 1) * DAY_US - 1),
    st.integers(1, 2**40),
    st.integers(1, LIMIT - 1),
    st.integers(-LIMIT, LIMIT - 1),
    st.integers(0, 4),
    st.integers(0, 6),
    st.integers(0, 31),
)


@given(st.lists(reads, max_size=40))
def test_unpacking_undoes_packing(kept: list[KeptRead]) -> None:
    assert unpack_day(DAY, pack_day(DAY, kept)) == sorted(kept)


@given(st.lists(reads, max_size=10), st.randoms())
def test_the_order_of_arrival_leaves_no_trace(kept: list[KeptRead], order: random.Random) -> None:
    shuffled = list(kept)
    order.shuffle(shuffled)
    assert pack_day(DAY, shuffled) == pack_day(DAY, kept)


def test_a_read_applied_twice_is_kept_twice() -> None:
    twice = [KeptRead(DAY * DAY_US, 1, 5, 100, 0, 0, 0)] * 2
    assert unpack_day(DAY, pack_day(DAY, twice)) == twice


@pytest.mark.parametrize(("every_s", "at_most"), [(60, 4.0), (300, 4.5), (900, 5.0)])
def test_a_read_costs_five_bytes_at_most(every_s: int, at_most: float) -> None:
    """A household's day with microsecond stamps that jitter by 20 ms, 250 meters on the bus, events in between."""
    rng = random.Random(7)
    kept, count, append = [], 123_456, 10_000_000
    for n in range(86_400 // every_s):
        count += rng.choice((0, 0, 0, 0, 1, 3, 12))
        append += 250 + rng.choice((0, 0, 0, 1))
        kept.append(KeptRead(DAY * DAY_US + n * every_s * 1_000_000 + rng.randrange(20_000), 3, append, count, 0, 0, 0))
    assert len(pack_day(DAY, kept)) / len(kept) < at_most


def test_clocks_that_tick_in_milliseconds_cost_less_still() -> None:
    """A poll every 15 minutes, its moment in whole milliseconds and jittering by 100 of them."""
    rng = random.Random(7)
    reads_at = [n * 900_000_000 + rng.randrange(100) * 1000 for n in range(96)]
    kept = [KeptRead(DAY * DAY_US + us, 3, 250 * n + 1, 123_456 + n, 0, 0, 0) for n, us in enumerate(reads_at)]
    assert len(pack_day(DAY, kept)) / len(kept) < 1.7


def test_what_an_earlier_release_packed_is_read() -> None:
    packed = "010178dae364b8b079f92d360610589fbb2177821f131b179f9098941c2b330bcb0946880c0303230433e2a4810400e1eb0798"
    kept = [
        KeptRead(DAY * DAY_US + n * 900_000_000 + n % 7 * 1000, 3 + n // 5, 100 + 3 * n, 5000 + n * n, n // 8, 0, n % 2)
        for n in range(9)
    ]
    assert unpack_day(DAY, bytes.fromhex(packed)) == kept


def test_another_day_is_refused() -> None:
    with pytest.raises(ValueError, match="another day"):
        pack_day(DAY + 1, [KeptRead(DAY * DAY_US, 1, 1, 1, 0, 0, 0)])


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x01",
        b"\x03\x00\x00",
        b"\x02\x00\x05\x01",
        b"\x02\x01junk",
        b"\x01\x00\x05\x01",
        b"\x01\x01junk",
        b"\x01\x00\x00\x00",
    ],
)
def test_damage_is_named(packed: bytes) -> None:
    with pytest.raises(PackedReadsDamaged, match="portal rebuild"):
        unpack_day(DAY, packed)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_a_day_of_other_length_than_its_columns_is_damage(n: int) -> None:
    packed = pack_day(
        DAY, [KeptRead(DAY * DAY_US + 900_003 * place, 300, 7 + place, 200 * place, 0, 0, 0) for place in range(n)]
    )
    columns = zlib.decompress(packed[2:], -15) if packed[1] else packed[2:]
    for other in (*(columns[:length] for length in range(len(columns))), columns + b"\0", columns + b"\x80"):
        with pytest.raises(PackedReadsDamaged):
            unpack_day(DAY, b"\x02\x00" + other)
    assert len(unpack_day(DAY, b"\x02\x00" + columns)) == n

"""Faults: each damages an answer so that its check must find it, and strikes the same answers for the same seed."""

from __future__ import annotations

import random

import pytest

from firmware_sim.faults import BY_CHANCE, SLOW_S, Faults, damaged
from firmware_sim.meters.modbus import crc16
from firmware_sim.wire import Answer

BODY = bytes.fromhex("0805727856341 22d2c010717000000 0c1345230100".replace(" ", ""))
FRAME = bytes((0x68, len(BODY), len(BODY), 0x68)) + BODY + bytes((sum(BODY) % 256, 0x16))
RTU = bytes.fromhex("1103080000000700000001")
RTU += crc16(RTU)
ANSWER = Answer("KAM-1", FRAME, 0.02, (("total", 12_345),))


def mbus_accepts(data: bytes) -> bool:
    size = len(data) - 6
    return (
        size >= 3
        and data[:4] == bytes((0x68, size, size, 0x68))
        and data[-1] == 0x16
        and sum(data[4:-2]) % 256 == data[-2]
    )


@pytest.mark.parametrize("kind", ["noise", "flip", "truncate"])
def test_a_damaged_answer_never_passes_its_check(kind: str) -> None:
    assert mbus_accepts(FRAME)
    for seed in range(3000):
        rng = random.Random(seed)
        assert not mbus_accepts(damaged(FRAME, kind, rng)), seed
        other = damaged(RTU, kind, rng)
        assert len(other) < 4 or crc16(other[:-2]) != other[-2:], seed


def test_switched_faults() -> None:
    faults = Faults("s")
    assert faults.struck(ANSWER) is ANSWER
    faults.on.add("slow")
    slow = faults.struck(ANSWER)
    assert slow is not None
    assert (slow.data, slow.delay_s, slow.damaged, slow.fault) == (FRAME, 0.02 + SLOW_S, False, "slow")
    faults.on.add("truncate")
    cut = faults.struck(ANSWER)
    assert cut is not None
    assert cut.damaged
    assert FRAME.startswith(cut.data)
    assert 0 < len(cut.data) < len(FRAME)
    faults.on.add("silence")
    assert faults.struck(ANSWER) is None
    faults.on.clear()
    assert faults.struck(ANSWER) is ANSWER


def test_a_babbler_talks_into_every_request() -> None:
    faults = Faults("s")
    assert faults.babble("KAM-1") is None
    faults.on.add("babble")
    first, second = faults.babble("KAM-1"), faults.babble("KAM-1")
    assert first is not None
    assert second is not None
    assert first.data != second.data
    assert first.counts == ()


def test_a_rate_strikes_its_share_the_same_way_for_the_same_seed() -> None:
    def struck(seed: str) -> list[str | None]:
        faults = Faults(seed, rate=0.2)
        answers = [faults.struck(ANSWER) for _ in range(1000)]
        return ["silence" if answer is None else answer.fault for answer in answers]

    first = struck("a")
    assert first == struck("a") != struck("b")
    hit = [kind for kind in first if kind]
    assert 150 < len(hit) < 250
    assert set(hit) == set(BY_CHANCE)


def test_tcp_tears_its_connection_instead_of_delivering_wrong_bytes() -> None:
    faults = Faults("s")
    faults.on.add("flip")
    torn = faults.struck(ANSWER, checked=False)
    assert torn is not None
    assert torn.closes
    assert FRAME.startswith(torn.data)
    assert torn.damaged

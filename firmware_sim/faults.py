"""What goes wrong on a line: each kind can be switched for a meter, or strike at a rate from a seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_sim.demand import seeded
from firmware_sim.wire import Answer

if TYPE_CHECKING:
    import random

KINDS = {
    "silence": "no answer at all",
    "noise": "a burst of noise over part of the answer",
    "flip": "one bit of the answer turned over",
    "truncate": "the answer stops half way",
    "slow": "the whole answer, but three seconds late",
    "babble": "the meter talks into everything that is said on its line",
    "swap": "another meter sits at that address, with another identity and dial",
    "low-battery": "the meter reports a low battery",
    "alarm": "the meter reports a permanent fault",
}
BY_CHANCE = ("silence", "noise", "flip", "truncate")
SLOW_S = 3.0
BABBLE_BYTES = 48


class Faults:
    """The faults of one meter.

    rate  the share of answers that one of BY_CHANCE strikes; which and where follows from the seed and the number of
          the answer.
    """

    def __init__(self, seed: object, *, rate: float = 0.0) -> None:
        self._seed, self._rate, self._answers = seed, rate, 0
        self.on: set[str] = set()

    def struck(self, answer: Answer, *, checked: bool = True) -> Answer | None:
        """Return the answer as it leaves the meter: whole, damaged, late, or None.

        checked  False on TCP, which repairs or ends a connection rather than deliver wrong bytes: noise and a flipped
                 bit become a torn connection there.
        """
        self._answers += 1
        rng = seeded("fault", self._seed, self._answers)
        kind = self._kind(rng)
        if kind is None:
            return answer
        if kind == "silence":
            return None
        if kind == "slow":
            return replace(answer, delay_s=answer.delay_s + SLOW_S, fault="slow")
        if not checked:
            return replace(answer, data=answer.data[: len(answer.data) // 2], damaged=True, fault=kind, closes=True)
        return replace(answer, data=damaged(answer.data, kind, rng), damaged=True, fault=kind)

    def babble(self, meter_id: str) -> Answer | None:
        """Return what a babbling meter says to somebody else's request."""
        if "babble" not in self.on:
            return None
        self._answers += 1
        data = seeded("babble", self._seed, self._answers).randbytes(BABBLE_BYTES)
        return Answer(meter_id, data, 0.005, damaged=True, fault="babble")

    def _kind(self, rng: random.Random) -> str | None:
        for kind in ("silence", "truncate", "noise", "flip", "slow"):
            if kind in self.on:
                return kind
        return rng.choice(BY_CHANCE) if rng.random() < self._rate else None


def damaged(data: bytes, kind: str, rng: random.Random) -> bytes:
    """Return an answer's bytes damaged so that its check must find it.

    A single flipped bit changes any sum or CRC. Noise is a burst of at most 16 bits, which a CRC-16 always finds, is
    drawn again until the sum of the bytes differs, and leaves the last two bytes (checksum and stop, or CRC) alone.
    """
    if len(data) < 2:
        return b""
    if kind == "truncate":
        return data[: rng.randint(1, len(data) - 1)]
    changed = bytearray(data)
    if kind == "flip":
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    first = rng.randrange(max(1, len(data) - 3))
    while sum(changed) % 256 == sum(data) % 256:
        changed[first : first + 2] = rng.randbytes(2)
    return bytes(changed)

"""Totalisers: what their dials really did is known at every moment, and so is what each read of them must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.ids import MeterId, RegisterId
from domain.reading import Register
from domain.units import Unit

if TYPE_CHECKING:
    import random

MODULUS = 10**6


class Totaliser:
    """A meter whose count only grows and rolls over at 10**6; at most 12 counts a second, so half a turn takes hours.

    The flow changes every five minutes by a rule of the meter's own, so that the count at any second is a function.
    """

    def __init__(self, name: str, rng: random.Random) -> None:
        self.register = Register(MeterId(name), RegisterId("total"), Unit.LITRE, 0, MODULUS)
        # Near the end of the dial: many seeds see it roll over.
        self._start = rng.randrange(MODULUS - 3000, MODULUS) if rng.random() < 0.5 else rng.randrange(MODULUS)
        self._flows = [rng.choice((0, 0, 0, 1, 2, 5, 12)) for _ in range(12)]

    def unrolled(self, second: float) -> int:
        """Return what the dial would show after `second` if it had digits enough."""
        spans, rest_s = divmod(second, 300.0)
        turns, left = divmod(int(spans), len(self._flows))
        whole = 300 * (turns * sum(self._flows) + sum(self._flows[:left]))
        return self._start + whole + int(rest_s * self._flows[left])

    def count(self, second: float) -> int:
        """Return what the dial shows."""
        return self.unrolled(second) % MODULUS

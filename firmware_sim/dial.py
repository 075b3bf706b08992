"""A meter's dial: what has flowed through it, as the counts that its register shows."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from domain.units import count_value
from firmware_sim.household import LEAK_PATTERNS, Leak

if TYPE_CHECKING:
    from domain.clock import Clock
    from domain.units import Unit

HIGHEST_LEAK_L_PER_H = 100_000


class Demand(Protocol):
    """Anything that uses water: a generated household, a recorded home."""

    def volume_ml(self, moment: datetime) -> int:
        """Return the millilitres used since the demand's origin; never falls."""
        ...

    def describe(self) -> str:
        """Return who it is in a few words."""
        ...


class Mains:
    """The street's mains: the one source of moments for all dials, so that closing it stops them all at once.

    Moments never go back, whatever the clock does: no dial turns backwards because a clock was set.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._latest = clock.now()
        self._closed = False

    def now(self) -> datetime:
        """Return the moment up to which water has flowed."""
        with self._lock:
            if not self._closed:
                self._latest = max(self._latest, self._clock.now())
            return self._latest

    def close(self) -> datetime:
        """Stop all water and return the moment at which it stopped."""
        moment = self.now()
        with self._lock:
            self._closed = True
            return max(moment, self._latest)


@dataclass(frozen=True, slots=True)
class RegisterShape:
    """What one count of the register is worth, and where it returns to zero (None: never)."""

    unit: Unit
    scale: int
    modulus: int | None


class Dial:
    """One register turned by a demand, by leaks and by hand.

    base_count  what the dial showed at the demand's origin.
    """

    def __init__(self, demand: Demand, shape: RegisterShape, base_count: int, mains: Mains) -> None:
        self.demand, self.shape, self.mains = demand, shape, mains
        self._base_count = base_count
        value_l = count_value(shape.unit, shape.scale)
        self._counts_per_ml = (value_l.denominator, value_l.numerator * 1000)
        self._lock = threading.Lock()
        self._pulses: list[tuple[datetime, int]] = []
        self._leaks: list[Leak] = []
        self._told: Leak | None = None
        self._removed_at: int | None = None
        self._skipped = 0

    def unrolled(self, moment: datetime) -> int:
        """Return the count at a moment as if the register had endless digits; 0 before it was put in."""
        with self._lock:
            return max(0, self._unrolled(moment))

    def count(self, moment: datetime | None = None) -> int:
        """Return the count shown at a moment, by default now."""
        shown = self.unrolled(self.mains.now() if moment is None else moment)
        return shown % self.shape.modulus if self.shape.modulus is not None else shown

    def pulse(self, counts: int) -> int:
        """Turn the dial by some counts at once and return what it shows."""
        if counts < 0:
            raise ValueError(f"a dial is turned forwards, not by {counts} counts")
        moment = self.mains.now()
        with self._lock:
            self._pulses.append((moment, counts))
        return self.count(moment)

    def leak(self, litres_per_h: float, *, pattern: str = "steady", onset: datetime | None = None) -> None:
        """Let the home lose water from now (or `onset`) on; 0 repairs it, another rate replaces it.

        pattern  one of LEAK_PATTERNS: whether it flows without end or comes and goes.
        """
        if not 0 <= litres_per_h <= HIGHEST_LEAK_L_PER_H:
            raise ValueError(f"a leak of {litres_per_h} litres an hour is not between 0 and {HIGHEST_LEAK_L_PER_H}")
        if pattern not in LEAK_PATTERNS:
            raise ValueError(f"{pattern!r} is not a leak's pattern; choose one of {', '.join(LEAK_PATTERNS)}")
        moment = onset or self.mains.now()
        on_s, period_s = LEAK_PATTERNS[pattern]
        with self._lock:
            if self._told is not None:
                self._leaks.remove(self._told)
                self._leaks.append(replace(self._told, until=moment))
                self._told = None
            if litres_per_h:
                self._told = Leak(round(litres_per_h * 1000), moment, on_s=on_s, period_s=period_s)
                self._leaks.append(self._told)

    def start_from(self, count: int) -> None:
        """Let the dial show a count now, as a new meter shows 0 when it is put in."""
        moment = self.mains.now()
        with self._lock:
            self._skipped += self._unrolled(moment) - count

    def remove(self) -> None:
        """Take the meter out of the pipe: its dial stands still until `install`."""
        moment = self.mains.now()
        with self._lock:
            if self._removed_at is None:
                self._removed_at = self._unrolled(moment)

    def install(self) -> None:
        """Put the meter back into the pipe; what flowed meanwhile is not on its dial."""
        moment = self.mains.now()
        with self._lock:
            if self._removed_at is not None:
                shown, self._removed_at = self._removed_at, None
                self._skipped += self._unrolled(moment) - shown

    def litres_per_h(self, moment: datetime) -> int:
        """Return the flow at a moment: the millilitres of one virtual second before it, as litres an hour."""
        before = moment - timedelta(seconds=1)
        return max(0, self._volume_ml(moment) - self._volume_ml(before)) * 3600 // 1000

    def _unrolled(self, moment: datetime) -> int:
        if self._removed_at is not None:
            return self._removed_at
        counts, per_ml = self._counts_per_ml
        pulses = sum(n for at, n in self._pulses if at <= moment)
        return self._base_count - self._skipped + pulses + self._volume_ml(moment) * counts // per_ml

    def _volume_ml(self, moment: datetime) -> int:
        return self.demand.volume_ml(moment) + sum(leak.volume_ml(moment) for leak in self._leaks)

"""Time as an argument: the real clock, a clock that runs faster, and one turned by hand.

Everything that waits or stamps takes a Clock, so that a simulation of days runs in minutes with production code and a
test needs no sleep. A scaled clock is a pure function of the machine's own clock, so several processes that are given
the same specification agree without talking to each other.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is known about a clock at one moment: kept with every read, so that it can be corrected later.

    boot_id         16 bytes, one for each start of the machine.
    monotonic_ns    nanoseconds since that boot; never steps.
    synchronised    whether the wall clock was set from a time source when the moment was stamped.
    synced_since    when it became so, None while it is not.
    """

    boot_id: bytes
    monotonic_ns: int
    synchronised: bool
    synced_since: datetime | None = None


class Clock(Protocol):
    """Wall time, monotonic time and sleep, all in the same (perhaps virtual) seconds."""

    def now(self) -> datetime:
        """Return the wall time: an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment; never steps."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock; zero and less return at once."""
        ...

    def real_seconds(self, seconds: float) -> float:
        """Return how many of the machine's own seconds `seconds` of this clock take (for socket time-outs)."""
        ...


class SystemClock:
    """The machine's own clock. `monotonic` is CLOCK_MONOTONIC in seconds."""

    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        """Return the wall time."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        if seconds > 0:
            time.sleep(seconds)

    def real_seconds(self, seconds: float) -> float:
        """Return `seconds`."""
        return seconds


def _wall_minus_monotonic_s(tries: int = 9) -> float:
    """Return the machine's wall time less its monotonic time, from the try in which the two were read closest together.

    A process that loses its processor between the two readings would otherwise disagree with the others by that time,
    multiplied by the speed of the clock.
    """
    best = (math.inf, 0.0)
    for _ in range(tries):
        before = time.monotonic()
        wall = time.time()
        after = time.monotonic()
        best = min(best, (after - before, wall - (before + after) / 2))
    return best[1]


class ScaledClock:
    """A virtual clock `speed` times as fast as the machine's, starting at `start` when the machine's showed `anchor_s`.

    anchor_s  machine wall time in seconds since 1970 at which virtual time is `start`.
    """

    def __init__(self, *, speed: float, anchor_s: float, start: datetime) -> None:
        if not 0 < speed < math.inf:
            raise ValueError(f"a clock's speed is above 0, not {speed}")
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware datetime")
        self.speed, self.anchor_s, self.start = speed, anchor_s, start.astimezone(UTC)
        # Wall time is read once; then the monotonic clock carries on, so a step of the machine's clock is not felt.
        self._monotonic_at_anchor = anchor_s - _wall_minus_monotonic_s()

    def now(self) -> datetime:
        """Return the virtual wall time."""
        return self.start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Return virtual seconds since the anchor."""
        return (time.monotonic() - self._monotonic_at_anchor) * self.speed

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of virtual time."""
        if seconds > 0:
            time.sleep(seconds / self.speed)

    def real_seconds(self, seconds: float) -> float:
        """Return the machine's seconds in `seconds` of virtual time."""
        return seconds / self.speed

    def spec(self) -> str:
        """Return the text from which `clock_from_spec` makes the same clock in another process."""
        return f"scaled:{self.speed!r}:{self.anchor_s!r}:{self.start.timestamp()!r}"


class ManualClock:
    """A clock turned by hand: `advance` and `sleep` move it, `step` moves the wall time alone (a clock being set)."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware datetime")
        self._now, self._monotonic = start.astimezone(UTC), 0.0

    def now(self) -> datetime:
        """Return the wall time."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds advanced since the start."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Advance by `seconds`."""
        self.advance(seconds)

    def real_seconds(self, seconds: float) -> float:
        """Return 0: nobody waits for a hand-turned clock."""
        return 0.0

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if seconds > 0:
            self._monotonic += seconds
            self._now += timedelta(seconds=seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock forwards or backwards; monotonic time does not notice."""
        self._now += timedelta(seconds=seconds)


def clock_from_spec(spec: str) -> SystemClock | ScaledClock:
    """Return the clock that a configuration names: `system`, or `scaled:SPEED:ANCHOR_S:START_S`.

    raises  ValueError when the text is neither.
    """
    if spec == "system":
        return SystemClock()
    kind, _, rest = spec.partition(":")
    fields = rest.split(":")
    if kind != "scaled" or len(fields) != 3:
        raise ValueError(f"{spec!r} is not a clock; expected system or scaled:SPEED:ANCHOR_S:START_S")
    try:
        speed, anchor_s, start_s = (float(field) for field in fields)
        return ScaledClock(speed=speed, anchor_s=anchor_s, start=datetime.fromtimestamp(start_s, UTC))
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"{spec!r} is not a clock: {error}") from error


@functools.cache
def machine_boot_id() -> bytes:
    """Return the 16 bytes the kernel drew at this boot (Linux: random/boot_id), zeros where there is no such file."""
    try:
        return bytes.fromhex(
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
        )
    except OSError:
        return bytes(16)

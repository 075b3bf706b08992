"""Simulated time: one queue of events, one source of chance, one trace. Nothing waits here or reads a clock."""

from __future__ import annotations

import contextlib
import heapq
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START = datetime(2026, 6, 17, 20, 30, tzinfo=UTC)
"""Half past eight in the evening: a storage day closes while most seeds run, so that folding has something to fold."""


class SimulatedCrash(BaseException):
    """A machine died here. No handler of production code may survive it, so it is no Exception."""


class Violation(Exception):
    """An invariant does not hold; the message says which, `step` after how many events."""

    def __init__(self, message: str, step: int = 0) -> None:
        self.message, self.step = message, step
        super().__init__(message)


class Machine(Protocol):
    """What production code asks of the machine it runs on."""

    boot_id: bytes

    def sleep(self, seconds: float) -> None:
        """Wait: other events of the simulation happen meanwhile."""
        ...


class World:
    """The event queue of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)  # noqa: S311  replayable chance, no secret
        self.now_s = 0.0
        self.steps = 0
        self.trace: list[str] = []
        self.on_step: list[Callable[[], None]] = []
        self._queue: list[tuple[float, int, str, Callable[[], None]]] = []
        self._numbered = 0
        self._machines: list[Machine] = []

    def true_time(self) -> datetime:
        """Return the time that a perfect clock shows."""
        return START + timedelta(microseconds=round(self.now_s * 1e6))

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now_s:12.3f} {self.steps:6d} {text}")

    def fail(self, message: str) -> Violation:
        """Return a violation at this step, and note it."""
        self.note(f"VIOLATION {message}")
        return Violation(message, self.steps)

    def at(self, when_s: float, name: str, action: Callable[[], None]) -> None:
        """Have something happen at a simulated second; in the past means now."""
        self._numbered += 1
        heapq.heappush(self._queue, (max(when_s, self.now_s), self._numbered, name, action))

    def after(self, delay_s: float, name: str, action: Callable[[], None]) -> None:
        """Have something happen `delay_s` from now."""
        self.at(self.now_s + delay_s, name, action)

    def run_until(self, end_s: float) -> None:
        """Let everything happen up to a simulated second. May be called from inside an event: a sleep."""
        while self._queue and self._queue[0][0] <= end_s:
            when_s, _, _, action = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, when_s)
            self.steps += 1
            action()
            for check in self.on_step:
                check()
        self.now_s = max(self.now_s, end_s)

    @contextlib.contextmanager
    def running(self, machine: Machine) -> Iterator[None]:
        """Run the body on a machine: its boot id, its sleep."""
        self._machines.append(machine)
        try:
            yield
        finally:
            self._machines.pop()

    @property
    def machine(self) -> Machine:
        """The machine whose code runs now."""
        return self._machines[-1]

    def entropy(self, size: int) -> bytes:
        """Return bytes by chance."""
        return self.rng.randbytes(size)

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

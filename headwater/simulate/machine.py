"""The collector's machine: its clocks, and the names under which production code finds time, sleep and boot id."""

from __future__ import annotations

import contextlib
import pkgutil
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from headwater.simulate.world import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.simulate.world import World

_UNSET = datetime(2024, 1, 1, tzinfo=START.tzinfo) - START
"""What a machine without a battery believes after a power cut, as a distance to the true time at its start."""


class MachineClock:
    """A Clock: wall time that may be wrong by `wrong_by`, monotonic seconds since the boot."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.boot_s = 0.0
        self.wrong_by = timedelta(0)
        self.synchronised = True

    def boot(self, *, battery: bool) -> None:
        """Begin a boot; without a battery the wall clock falls back to a day long gone."""
        self.boot_s = self._world.now_s - 12.0
        if not battery:
            self.wrong_by, self.synchronised = _UNSET - timedelta(seconds=self._world.now_s), False

    def now(self) -> datetime:
        """Return the wall time."""
        return self._world.true_time() + self.wrong_by

    def monotonic(self) -> float:
        """Return seconds since the boot."""
        return self._world.now_s - self.boot_s

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._world.machine.sleep(seconds)

    def real_seconds(self, seconds: float) -> float:
        """Return `seconds`: simulated seconds are this machine's own."""
        return seconds


class _SimulatedTime:
    """Stands in for the module `time`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.now_s

    def time(self) -> float:
        return self._world.true_time().timestamp()

    def perf_counter(self) -> float:
        return self._world.now_s

    def monotonic_ns(self) -> int:
        return round(self._world.now_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self._world.machine.sleep(seconds)


class _SimulatedUuid:
    """Stands in for the module `uuid`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(bytes=self._world.entropy(16), version=4)


class _PortalClock:
    """The portal's clock: right, always."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        return self._world.true_time()


def _sites(world: World) -> list[tuple[str, str, Any]]:
    """Return (module, name, stand-in) for every place where production code would meet the real machine."""
    time, portal_clock = _SimulatedTime(world), _PortalClock(world)
    sites: list[tuple[str, str, Any]] = [
        ("gateway.timekeeping", "uuid", _SimulatedUuid(world)),
        ("portal.core.clock", "clock", lambda: portal_clock),
    ]
    sites += [(module, "time", time) for module in ("gateway.commit", "gateway.timekeeping", "buffer.database")]
    for module in ("gateway.timekeeping", "buffer.store"):
        sites.append((module, "machine_boot_id", lambda: world.machine.boot_id))
    return sites


@contextlib.contextmanager
def simulated_machine(world: World) -> Iterator[None]:
    """Put simulated time, sleep, boot id and chance in the place of the real ones while the body runs."""
    with replaced(_sites(world)):
        yield


@contextlib.contextmanager
def replaced(sites: list[tuple[str, str, Any]]) -> Iterator[None]:
    """Set (dotted name of a module or class, name) to something else while the body runs."""
    kept = [(module, name, getattr(module, name)) for module, name in _resolved(sites)]
    for (module, name, _), (_, _, stand_in) in zip(kept, sites, strict=True):
        setattr(module, name, stand_in)
    try:
        yield
    finally:
        for module, name, before in kept:
            setattr(module, name, before)


def _resolved(sites: list[tuple[str, str, Any]]) -> list[tuple[Any, str]]:
    return [(pkgutil.resolve_name(module), name) for module, name, _ in sites]

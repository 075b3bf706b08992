"""Whether this machine can hold a virtual clock's speed: measured before the street starts.

The rule. In every poll interval each serial line must carry one exchange with each of its meters. At speed S an
interval lasts interval/S real seconds; an exchange takes its wire time divided by S plus what the machine itself needs
(measured here: bytes through a pseudo-terminal, two wake-ups, the meter's own work). A line holds while that stays
under four fifths of the interval; the machine holds while the work of all meters stays under half of one core.
"""

from __future__ import annotations

import math
import os
import select
import time
import tty
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.clock import ScaledClock
from domain.units import Unit
from firmware_sim.dial import Dial, Mains, RegisterShape
from firmware_sim.errors import SpeedTooHigh
from firmware_sim.faults import Faults
from firmware_sim.household import Household
from firmware_sim.meters.mbus import Identity, MBusLine, MBusMeter
from firmware_sim.serial_line import SerialLine

if TYPE_CHECKING:
    from collections.abc import Sequence

EXCHANGES = 24
LINE_SHARE, CORE_SHARE = 0.8, 0.5


@dataclass(frozen=True, slots=True)
class Ability:
    """What one exchange costs this machine in real seconds: until it is over, and of a core's time."""

    exchange_s: float
    core_s: float


@dataclass(frozen=True, slots=True)
class LineLoad:
    """A serial line's load: meters on it and the wire time of one round over all of them, in virtual seconds."""

    name: str
    meters: int
    round_s: float


def measure() -> Ability:
    """Run exchanges with one meter on a clock so fast that the wire costs nothing; the slowest tenth counts."""
    stop_read, stop_write = os.pipe()
    clock = ScaledClock(speed=1e6, anchor_s=time.time(), start=datetime(2026, 1, 5, tzinfo=UTC))
    mains = Mains(clock)
    demand = Household("self-test", origin=mains.now().date().replace(day=1))
    dial = Dial(demand, RegisterShape(Unit.CUBIC_METRE, -3, 10**8), 0, mains)
    meter = MBusMeter(Identity("00000001", "EFE"), 1, dial, "bcd-litres", Faults("self-test"))
    mains.close()
    line = SerialLine("self-test", MBusLine([meter], 2400), clock=clock, mains=mains, journal=None, stop_fd=stop_read)
    line.start()
    master = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(master)
        taken = []
        core_before_s = time.process_time()
        for n in range(EXCHANGES):
            began_s = time.perf_counter()
            control = 0x7B if n % 2 else 0x5B
            os.write(master, bytes((0x10, control, 1, control + 1, 0x16)))
            received = b""
            while not received or len(received) < received[1] + 6:
                if not select.select([master], [], [], 2.0)[0]:
                    break
                received += os.read(master, 300)
            taken.append(time.perf_counter() - began_s)
        core_s = (time.process_time() - core_before_s) / EXCHANGES
    finally:
        os.close(master)
        os.write(stop_write, b"x")
        line.close()
        os.close(stop_read)
        os.close(stop_write)
    return Ability(sorted(taken)[EXCHANGES * 9 // 10], core_s)


def highest_speed(ability: Ability, lines: Sequence[LineLoad], *, meters: int, poll_every_s: float) -> tuple[int, str]:
    """Return the highest whole speed that holds, at least 1, and what limits it."""
    limits = [(CORE_SHARE * poll_every_s / (meters * ability.core_s), "the work of all meters")]
    for line in lines:
        free_s = LINE_SHARE * poll_every_s - line.round_s
        limits.append((free_s / (line.meters * ability.exchange_s), f"line {line.name} with {line.meters} meters"))
    speed, limit = min(limits)
    return max(1, math.floor(speed)), limit


def check_speed(speed: float, lines: Sequence[LineLoad], *, meters: int, poll_every_s: float) -> int:
    """Return the highest speed that holds; raises SpeedTooHigh when that is below the one asked for.

    speed  1 and less is never refused: the machine's own time needs no test.
    """
    if speed <= 1:
        return 1
    highest, limit = highest_speed(measure(), lines, meters=meters, poll_every_s=poll_every_s)
    if speed > highest:
        raise SpeedTooHigh(
            f"this machine cannot hold --speed {speed:g} with a read of every meter each {poll_every_s:g} s: "
            f"{limit} holds up to --speed {highest}; choose that or less, fewer meters, or a longer --poll-every",
            highest=highest,
        )
    return highest

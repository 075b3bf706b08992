"""Start a street, serve it until it is told to stop, leave nothing behind."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import ScaledClock, SystemClock, clock_from_spec
from domain.errors import ConfigError
from firmware_sim.control import Control
from firmware_sim.demand import PILOT_ZONE
from firmware_sim.dial import HIGHEST_LEAK_L_PER_H
from firmware_sim.plan import StreetPlan
from firmware_sim.replay import load_homes
from firmware_sim.speed import LineLoad, check_speed
from firmware_sim.street import Street, make_folder

if TYPE_CHECKING:
    from types import FrameType


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asked for.

    leaks         (index of the meter in street.json, litres an hour).
    logged_since  the meters logged every hour from this day on, see `logger.csv`.
    poll_every_s  how often (in virtual seconds) each meter will be read: what the speed is judged by.
    """

    plan: StreetPlan
    folder: Path
    usage: Path | None = None
    leaks: tuple[tuple[int, float], ...] = ()
    faults: tuple[tuple[int, str], ...] = ()
    fault_rate: float = 0.0
    clock_spec: str | None = None
    speed: float | None = None
    poll_every_s: float = 300.0
    zone: str = PILOT_ZONE
    logged_since: date | None = None


def chosen_clock(spec: str | None, speed: float | None) -> tuple[SystemClock | ScaledClock, str]:
    """Return the clock and the specification that gives other processes the same one; raises ConfigError."""
    if spec is not None and speed is not None:
        raise ConfigError("--clock and --speed   give one of them: a clock specification states its own speed")
    if spec is not None:
        try:
            return clock_from_spec(spec), spec
        except ValueError as error:
            raise ConfigError(f"--clock {spec}   {error}") from error
    if speed is None or speed == 1:
        return SystemClock(), "system"
    if not 1 <= speed < math.inf:
        raise ConfigError(f"--speed {speed:g}   a street runs at 1 or faster")
    clock = ScaledClock(speed=speed, anchor_s=time.time(), start=datetime.now(UTC))
    return clock, clock.spec()


def run_street(asked: Asked, ready: Callable[[Street], None]) -> None:
    """Start the street, call `ready` when street.json stands, serve until SIGTERM, SIGINT, `stop` or the parent's end.

    raises  ConfigError, SpeedTooHigh, ResourceUnavailable before anything is served.
    """
    clock, spec = chosen_clock(asked.clock_spec, asked.speed)
    demand_for = load_homes(asked.usage, seed=asked.plan.seed, zone=asked.zone) if asked.usage else None
    if asked.logged_since is not None and asked.usage is not None:
        raise ConfigError("--logged-since   recorded homes have no past to log; leave out --usage")
    if asked.logged_since is not None and not date(2000, 1, 1) <= asked.logged_since <= clock.now().date():
        raise ConfigError(f"--logged-since {asked.logged_since}   expected a day from 2000-01-01 to today")
    for index, _ in (*asked.leaks, *asked.faults):
        if not 0 <= index < asked.plan.meters:
            raise ConfigError(f"meter {index}   the street's meters are numbered 0 to {asked.plan.meters - 1}")
    for index, litres_per_h in asked.leaks:
        if not 0 <= litres_per_h <= HIGHEST_LEAK_L_PER_H:
            raise ConfigError(f"--leak {index}:{litres_per_h:g}   expected 0 to {HIGHEST_LEAK_L_PER_H} litres an hour")
    make_folder(asked.folder)
    street = Street(
        asked.plan, clock=clock, clock_spec=spec, folder=asked.folder, zone=asked.zone, demand_for=demand_for,
        fault_rate=asked.fault_rate, logged_since=asked.logged_since,
    )  # fmt: skip
    with closing(street):
        speed = clock.speed if isinstance(clock, ScaledClock) else 1.0
        loads = [LineLoad(line.name, line.bus.size, line.bus.round_s()) for line in street.lines]
        check_speed(speed, loads, meters=asked.plan.meters, poll_every_s=asked.poll_every_s)
        for index, litres_per_h in asked.leaks:
            street.leak(street.homes[index].plan.meter_id, litres_per_h)
        for index, kind in asked.faults:
            street.fault(street.homes[index].plan.meter_id, kind, on=True)
        with closing(Control(street, asked.folder / "control.sock", speed=speed)) as control:
            before = {number: signal.signal(number, _stopper(street)) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                street.start()
                ready(street)
                control.run()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)


def _stopper(street: Street) -> Callable[[int, FrameType | None], None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        street.ask_stop()

    return stop

"""A street of simulated meters: homes, dials, lines, and the document that tells others where they are."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from domain.errors import ResourceUnavailable
from firmware_sim.demand import PILOT_ZONE, seeded
from firmware_sim.dial import Dial, Mains
from firmware_sim.errors import UnknownMeter
from firmware_sim.faults import KINDS, Faults
from firmware_sim.household import Household
from firmware_sim.journal import Journal
from firmware_sim.logger import first_logged, write_log
from firmware_sim.meters.mbus import Identity, MBusLine, MBusMeter
from firmware_sim.meters.modbus import ModbusMeter, RtuLine, TcpUnits
from firmware_sim.plan import RTU_BAUDRATE, PlannedMeter, StreetPlan, planned_meters
from firmware_sim.serial_line import SerialLine
from firmware_sim.tcp_server import TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import date, datetime

    from domain.clock import Clock
    from firmware_sim.dial import Demand

Meter = MBusMeter | ModbusMeter


@dataclass(slots=True)
class Home:
    """One home of the street: its plan, its meter, and the dial that was swapped out, if any."""

    plan: PlannedMeter
    meter: Meter
    dial: Dial
    start_count: int
    replaced_by: Dial | None = None


class Street:
    """Builds the street's meters and serves them on their lines until it is closed.

    demand_for    who uses water in home number n; by default a generated household.
    logged_since  local day from which the meters logged their hours by themselves, before this street was started.
    """

    def __init__(
        self,
        plan: StreetPlan,
        *,
        clock: Clock,
        clock_spec: str,
        folder: Path,
        zone: str = PILOT_ZONE,
        demand_for: Callable[[int, date], Demand] | None = None,
        fault_rate: float = 0.0,
        logged_since: date | None = None,
    ) -> None:
        self.plan, self.clock, self.folder = plan, clock, folder
        self._clock_spec = clock_spec
        self.mains = Mains(clock)
        self.start_at = self.mains.now()
        self.logged_from = None if logged_since is None else first_logged(logged_since, zone)
        origin = (logged_since or self.start_at.astimezone(ZoneInfo(zone)).date()).replace(day=1)
        self._stop_read, self._stop_write = os.pipe()
        self.stop_fd = self._stop_read
        self.journal = Journal(folder / "replies.jsonl")
        self.homes: list[Home] = []
        for planned in planned_meters(plan):
            household = f"{plan.seed}/{planned.index}"
            demand = demand_for(planned.index, origin) if demand_for else Household(household, origin=origin, zone=zone)
            dial = Dial(demand, planned.shape, planned.base_count, self.mains)
            faults = Faults(f"{plan.seed}/{planned.meter_id}", rate=fault_rate)
            meter = self._meter(planned, dial, faults)
            self.homes.append(Home(planned, meter, dial, dial.count(self.start_at)))
        self.lines: list[SerialLine] = []
        self.tcp = TcpServer(clock=clock, mains=self.mains, journal=self.journal, stop_fd=self._stop_read)
        self._listed = self._make_lines()

    def start(self) -> None:
        """Serve every line, then write street.json: whoever sees it finds all meters ready."""
        for line in self.lines:
            line.start()
        self.tcp.start()
        if self.logged_from is not None:
            logged = ((home.plan.meter_id, home.dial) for home in self.homes)
            write_log(self.folder / "logger.csv", logged, start=self.logged_from, end=self.start_at)
        written = self.folder / "street.json.new"
        written.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        written.replace(self.folder / "street.json")

    def ask_stop(self) -> None:
        """Make `stop_fd` readable, which ends every thread of the street."""
        os.write(self._stop_write, b"x")

    def close(self) -> None:
        """Stop serving and free every pseudo-terminal, socket and file."""
        self.ask_stop()
        for line in self.lines:
            line.close()
        self.tcp.close()
        self.journal.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def document(self) -> dict[str, object]:
        """Return street.json: lines and meters as the office would have written them down."""
        return {
            "clock": self._clock_spec,
            "seed": self.plan.seed,
            "lines": self._listed,
            "meters": [self._listed_meter(home) for home in self.homes],
        }

    def home(self, meter_id: str) -> Home:
        """Return the home whose meter has, or had, an id; raises UnknownMeter."""
        for home in self.homes:
            if meter_id in (home.plan.meter_id, home.meter.meter_id):
                return home
        raise UnknownMeter(f"the street has no meter {meter_id!r}; ask it for its dials to see their ids")

    def dials(self) -> tuple[datetime, dict[str, dict[str, object]]]:
        """Return the moment and what every dial shows at it, by meter id; a meter swapped out keeps its last count."""
        moment = self.mains.now()
        shown: dict[str, dict[str, object]] = {}
        for home in self.homes:
            shown[home.plan.meter_id] = self._shown(home.dial, moment)
            if home.replaced_by is not None:
                shown[home.meter.meter_id] = self._shown(home.replaced_by, moment)
        return moment, shown

    def pulse(self, meter_id: str, counts: int) -> int:
        """Turn a dial at once and return what it shows."""
        return self._turning(self.home(meter_id)).pulse(counts)

    def leak(self, meter_id: str, litres_per_h: float, *, pattern: str = "steady") -> None:
        """Let a home lose water from now on; 0 repairs it."""
        self._turning(self.home(meter_id)).leak(litres_per_h, pattern=pattern)

    def fault(self, meter_id: str, kind: str, *, on: bool) -> str:
        """Switch a fault and return the id that now answers there; raises ValueError for an unknown kind."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a fault; choose one of {', '.join(KINDS)}")
        home = self.home(meter_id)
        if kind == "swap":
            self._swap(home, on=on)
        elif on:
            home.meter.faults.on.add(kind)
        else:
            home.meter.faults.on.discard(kind)
        return home.meter.meter_id

    def late(self) -> Mapping[str, tuple[int, float]]:
        """Return for each line how many answers it gave and how late they were altogether, in virtual seconds."""
        found = {line.name: (line.exchanges, line.late_s) for line in self.lines}
        if self.plan.tcp:
            found["tcp"] = (self.tcp.exchanges, self.tcp.late_s)
        return found

    def _meter(self, planned: PlannedMeter, dial: Dial, faults: Faults) -> Meter:
        if planned.protocol == "mbus":
            manufacturer, _, digits = planned.meter_id.partition("-")
            battery_low = seeded("battery", self.plan.seed, planned.index).random() < 0.02
            identity = Identity(digits, manufacturer)
            return MBusMeter(identity, planned.address, dial, planned.layout, faults, battery_low=battery_low)
        serial = planned.meter_id.partition("-")[2]
        return ModbusMeter(
            planned.meter_id, planned.address, dial, planned.layout, faults, clock=self.clock, serial=serial
        )

    def _make_lines(self) -> list[dict[str, object]]:
        listed: list[dict[str, object]] = []
        by_line: dict[str, list[Meter]] = {}
        for home in self.homes:
            by_line.setdefault(home.plan.line, []).append(home.meter)
        for name, meters in by_line.items():
            mbus = [meter for meter in meters if isinstance(meter, MBusMeter)]
            modbus = [meter for meter in meters if isinstance(meter, ModbusMeter)]
            if name.startswith("tcp"):
                port = self.tcp.listen(TcpUnits(modbus))
                listed.append({
                    "name": name, "kind": "tcp", "protocol": "modbus-tcp", "port": None, "baudrate": None,
                    "parity": None, "stop_bits": None, "host": "127.0.0.1", "tcp_port": port,
                })  # fmt: skip
                continue
            bus = MBusLine(mbus, self.plan.baudrate) if mbus else RtuLine(modbus, RTU_BAUDRATE)
            line = SerialLine(
                name, bus, clock=self.clock, mains=self.mains, journal=self.journal, stop_fd=self._stop_read
            )
            self.lines.append(line)
            listed.append({
                "name": name, "kind": "serial", "protocol": "mbus" if mbus else "modbus-rtu", "port": line.port,
                "baudrate": bus.baudrate, "parity": "even", "stop_bits": 1, "host": None, "tcp_port": None,
            })  # fmt: skip
        return listed

    def _listed_meter(self, home: Home) -> dict[str, object]:
        planned, mbus = home.plan, home.plan.protocol == "mbus"
        logged = {}
        if self.logged_from is not None:
            logged = {"logged_from": self.logged_from.isoformat(), "logged_count": home.dial.count(self.logged_from)}
        return {
            **logged,
            "meter_id": planned.meter_id,
            "line": planned.line,
            "driver": "mbus" if mbus else "modbus",
            "model": None if mbus else planned.layout,
            "address": str(planned.address),
            "identity": planned.identity,
            "register_id": "total",
            "unit": planned.shape.unit.value,
            "scale": planned.shape.scale,
            "modulus": planned.shape.modulus,
            "start_count": home.start_count,
            "start_at": self.start_at.isoformat(),
            "premise": planned.premise,
            "household": home.dial.demand.describe(),
        }

    @staticmethod
    def _shown(dial: Dial, moment: datetime) -> dict[str, object]:
        shape = dial.shape
        return {"count": dial.count(moment), "unit": shape.unit.value, "scale": shape.scale, "modulus": shape.modulus}

    @staticmethod
    def _turning(home: Home) -> Dial:
        return home.replaced_by or home.dial

    def _swap(self, home: Home, *, on: bool) -> None:
        """Put another meter of the same make into the pipe, or the first one back; each keeps its own dial."""
        if on == (home.replaced_by is not None):
            return
        if not on:
            home.dial.install()
            home.replaced_by = None
            self._put(home, home.plan.meter_id, home.dial)
            return
        prefix, _, digits = home.plan.meter_id.partition("-")
        other_id = f"{prefix}-{(int(digits) + 50_000_000) % 10**8:08d}"
        other = Dial(home.dial.demand, home.plan.shape, 0, self.mains)
        other.start_from(0)
        home.dial.remove()
        home.replaced_by = other
        self._put(home, other_id, other)

    @staticmethod
    def _put(home: Home, meter_id: str, dial: Dial) -> None:
        prefix, _, digits = meter_id.partition("-")
        if isinstance(home.meter, MBusMeter):
            home.meter.swap(Identity(digits, prefix), dial)
        elif home.plan.identity is None:
            # A meter that cannot state who it is: nobody but the dial can tell that it is another one.
            home.meter.swap(home.plan.meter_id, dial, digits)
        else:
            home.meter.swap(meter_id, dial, digits)


def make_folder(folder: Path) -> None:
    """Make a street's folder and clear what an earlier street left; raises ResourceUnavailable.

    A folder in which a street is running is refused.
    """
    with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(OSError):
        peer.connect(str(folder / "control.sock"))
        raise ResourceUnavailable(f"a street is already running in {folder}; stop it or choose another --dir")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("street.json", "street.json.new", "control.sock", "replies.jsonl"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ResourceUnavailable(
            f"cannot use {folder} for the street: {error.strerror}; choose another --dir"
        ) from error

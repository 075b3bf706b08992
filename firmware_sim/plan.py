"""Who lives on a simulated street, which meter each home has, and on which line it hangs: from a seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import ConfigError
from domain.units import Unit
from firmware_sim.demand import seeded
from firmware_sim.dial import RegisterShape
from firmware_sim.meters.mbus_records import LAYOUTS
from firmware_sim.meters.modbus_models import MODELS

if TYPE_CHECKING:
    import random

MOST_METERS = 2000
RTU_PER_LINE = 8
TCP_PER_ENDPOINT = 12
RTU_BAUDRATE = 9600
BAUDRATES = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400)
RTU_MODELS = ("arad-octave", "siemens-mag8000", "tuf2000m", "badger-m2000", "dynaflox-ultrad", "siemens-mag5000")
TCP_MODELS = ("arad-octave", "badger-m2000", "tuf2000m", "siemens-mag5000", "dynasonics-tfx-ultra")
PREFIXES = {
    "arad-octave": "ARA",
    "siemens-mag8000": "SMA",
    "siemens-mag5000": "SMF",
    "tuf2000m": "TUF",
    "badger-m2000": "BAD",
    "dynaflox-ultrad": "DYN",
    "dynasonics-tfx-ultra": "TFX",
}
STREETS = (
    "Elm Street",
    "Cottonwood Lane",
    "Pecan Drive",
    "Redbud Avenue",
    "Mockingbird Court",
    "Lindsey Street",
    "Windmill Road",
    "Persimmon Way",
    "Creekside Drive",
    "Homestead Avenue",
    "Prairie View Road",
    "Sycamore Street",
)


@dataclass(frozen=True, slots=True)
class StreetPlan:
    """What a street is asked to be. The three numbers of meters sum to at least 1."""

    seed: int
    mbus: int
    rtu: int
    tcp: int
    mbus_per_line: int = 12
    baudrate: int = 2400

    @property
    def meters(self) -> int:
        """All meters of the street."""
        return self.mbus + self.rtu + self.tcp


@dataclass(frozen=True, slots=True)
class PlannedMeter:
    """One home and its meter.

    layout      the telegram layout of an M-Bus meter, the model of a Modbus meter.
    base_count  what the dial shows at the midnight with which the month began.
    """

    index: int
    line: str
    protocol: str
    meter_id: str
    identity: str | None
    address: int
    layout: str
    shape: RegisterShape
    base_count: int
    premise: str


def shares(meters: int, *, mbus: int | None, rtu: int | None, tcp: int | None) -> tuple[int, int, int]:
    """Return how many meters speak M-Bus, Modbus RTU and Modbus TCP.

    Numbers not given share the rest: half M-Bus, up to 8 RTU, the remainder TCP.
    raises  ConfigError when the given numbers do not fit the total.
    """
    if not 1 <= meters <= MOST_METERS:
        raise ConfigError(f"--meters {meters}   a street has 1 to {MOST_METERS} meters")
    numbers = [mbus, rtu, tcp]
    known = sum(number for number in numbers if number is not None)
    rest = meters - known
    if rest < 0 or (rest and None not in numbers) or any(number is not None and number < 0 for number in numbers):
        raise ConfigError(
            f"--mbus, --rtu and --tcp add up to {known}, but the street has {meters} meters; leave one of them out"
        )
    if mbus is None:
        mbus = rest if rtu is not None and tcp is not None else (rest + 1) // 2
        rest -= mbus
    if rtu is None:
        rtu = rest if tcp is not None else min(RTU_PER_LINE, rest // 2)
        rest -= rtu
    return mbus, rtu, tcp if tcp is not None else rest


def planned_meters(plan: StreetPlan) -> list[PlannedMeter]:
    """Return the street's meters in order: the M-Bus lines, the RTU lines, the TCP endpoints."""
    rng = seeded("street", plan.seed)
    premises = _premises(plan.meters, rng)
    found: list[PlannedMeter] = []
    groups = (
        ("mbus", plan.mbus, plan.mbus_per_line),
        ("modbus-rtu", plan.rtu, RTU_PER_LINE),
        ("modbus-tcp", plan.tcp, TCP_PER_ENDPOINT),
    )
    for protocol, number, per_line in groups:
        lines = -(-number // per_line)
        for nth in range(lines):
            line = f"{protocol.removeprefix('modbus-')}-{nth + 1}"
            first, end = number * nth // lines, number * (nth + 1) // lines
            addresses = sorted(rng.sample(range(1, 248), end - first))
            for n, address in enumerate(addresses):
                index = len(found)
                found.append(_meter(plan, index, first + n, line, protocol, address, premises[index]))
    return found


def _meter(
    plan: StreetPlan, index: int, nth: int, line: str, protocol: str, address: int, premise: str
) -> PlannedMeter:
    rng = seeded("meter", plan.seed, index)
    # Eight digits of which the last four number the street's meters, so that no two are equal.
    digits = f"{rng.randrange(10_000):04d}{index:04d}"
    if protocol == "mbus":
        layout = list(LAYOUTS.values())[nth % len(LAYOUTS)]
        base_count = rng.randrange(40_000, 3_000_000)
        if layout.modulus == 10**8 and nth % 12 == 4:
            # One old meter in a dozen is about to go round.
            base_count = 10**8 - rng.randrange(2_000, 20_000)
        shape = RegisterShape(Unit.CUBIC_METRE, -3, layout.modulus)
        meter_id = f"{layout.manufacturer}-{digits}"
        return PlannedMeter(index, line, protocol, meter_id, digits, address, layout.name, shape, base_count, premise)
    names = RTU_MODELS if protocol == "modbus-rtu" else TCP_MODELS
    model = MODELS[names[nth % len(names)]]
    return PlannedMeter(
        index, line, protocol, f"{PREFIXES[model.name]}-{digits}", digits if model.states_serial else None, address,
        model.name, model.shape, rng.randrange(model.largest_start_count // 20, model.largest_start_count), premise,
    )  # fmt: skip


def _premises(number: int, rng: random.Random) -> list[str]:
    names = list(STREETS)
    rng.shuffle(names)
    found = []
    for n in range(number):
        street, nth = names[n // 25 % len(names)], n % 25 + 25 * (n // (25 * len(names)))
        found.append(f"{100 + nth * 4 + rng.choice((0, 2))} {street}")
    return found

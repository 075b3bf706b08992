"""From configuration to poll plans: every bus with its meters, their drivers, and what a round costs the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import ConfigError
from drivers.base import MeterTarget
from drivers.registry import load_driver
from gateway.schedule import Plan, PlannedMeter, phase_s

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drivers.base import MeterDriver
    from gateway.config import BusConfig, GatewayConfig, MeterConfig


@dataclass(frozen=True, slots=True)
class BusPlan:
    """One bus, ready to be read: the poll plan, and for each meter id its target, driver name and driver."""

    bus: BusConfig
    plan: Plan
    targets: Mapping[str, MeterTarget]
    drivers: Mapping[str, MeterDriver]
    attempts: int


def char_time_s(bus: BusConfig) -> float:
    """Return the seconds of one character on a bus: start bit, 8 data bits, parity, stop bits; 0.0 for TCP."""
    if bus.kind == "tcp":
        return 0.0
    return (9 + (bus.parity != "none") + bus.stop_bits) / bus.baudrate


def target_of(meter: MeterConfig) -> MeterTarget:
    """Return what a driver is told about a meter."""
    return MeterTarget(
        meter_id=meter.id,
        address=meter.address,
        model=meter.model,
        identity=meter.identity,
        unit=meter.unit,
        scale=meter.scale,
    )


def bus_plans(config: GatewayConfig) -> tuple[BusPlan, ...]:
    """Return the plans of all buses. raises ConfigError with every meter that its driver cannot make sense of."""
    faults: list[str] = []
    loaded: dict[str, MeterDriver] = {}
    index = {meter.id: i for i, meter in enumerate(config.meters)}
    plans = []
    for bus in config.buses:
        seed = f"{config.collector.id}/{bus.name}"
        planned: list[PlannedMeter] = []
        targets: dict[str, MeterTarget] = {}
        drivers: dict[str, MeterDriver] = {}
        for meter in config.on_bus(bus.name):
            driver = loaded.setdefault(meter.driver, load_driver(meter.driver))
            target = target_of(meter)
            try:
                exchange_s = driver.exchange_time_s(target, char_time_s=char_time_s(bus))
            except ConfigError as error:
                faults.extend(f"meter[{index[meter.id]}]   {fault}" for fault in error.faults)
                continue
            every_s = config.every_s(meter)
            planned.append(PlannedMeter(meter.id, every_s, phase_s(seed, every_s), exchange_s))
            targets[meter.id], drivers[meter.id] = target, driver
        plans.append(
            BusPlan(
                bus=bus,
                plan=Plan(tuple(planned), config.poll.silent_after, seed),
                targets=targets,
                drivers=drivers,
                attempts=config.poll.attempts,
            )
        )
    if faults:
        raise ConfigError(faults)
    return tuple(plans)


def line_name(bus: BusConfig) -> str:
    """Return what carries the meters, as the bus budget says it: `2400 Bd`, or the endpoint."""
    return bus.line if bus.kind == "tcp" else f"{bus.baudrate} Bd"

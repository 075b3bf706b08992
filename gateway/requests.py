"""What the running service answers on its socket: read a meter, look for meters, watch, status, stop."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError
from domain.ids import MeterId
from drivers.base import MeterTarget
from drivers.registry import load_driver
from gateway.bus_work import wait_for
from gateway.plans import target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drivers.base import MeterDriver, MeterReply, ScanResult
    from gateway.config import GatewayConfig
    from gateway.service import Service

READ_WAIT_REAL_S = 60.0


class Requests:
    """Makes the answers to one request after the other."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def answer(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answers to one request. raises ConfigError for one that makes no sense, and what the meter did."""
        match asked.get("do"):
            case "read":
                yield self._read(asked)
            case "scan":
                yield from self._scan(asked)
            case "watch":
                yield from self._service.live.watch()
            case "status":
                yield self._service.status()
            case other:
                raise ConfigError(f"do = {other!r}   expected one of read, scan, watch, status")

    def _read(self, asked: dict[str, Any]) -> dict[str, Any]:
        owner = self._service.owner(str(asked.get("bus", "")))
        target, driver = target_for(
            self._service.config,
            bus=owner.plan.bus.name,
            address=str(asked.get("address", "")),
            driver=str(asked.get("driver") or ""),
            model=asked.get("model"),
        )
        return describe_reply(wait_for(owner.read_now(target, driver), READ_WAIT_REAL_S))

    def _scan(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        owner = self._service.owner(str(asked.get("bus", "")))
        driver = load_driver(driver_for(self._service.config, owner.plan.bus.name, str(asked.get("driver") or "")))
        last = asked.get("last")
        search = owner.scan(driver, first=int(asked.get("first", 1)), last=None if last is None else int(last))
        with closing(search.results()) as results:
            for step in results:
                yield describe_step(step)


def driver_for(config: GatewayConfig, bus: str, name: str) -> str:
    """Return the driver to use on a bus: the named one, or that of its meters when they agree. raises ConfigError."""
    if name:
        return name
    names = sorted({meter.driver for meter in config.on_bus(bus)})
    if len(names) == 1:
        return names[0]
    told = f"its meters use {', '.join(names)}" if names else "it has no meters yet"
    raise ConfigError(f"say which --driver to use on bus {bus}: {told}")


def target_for(
    config: GatewayConfig, *, bus: str, address: str, driver: str, model: str | None
) -> tuple[MeterTarget, MeterDriver]:
    """Return the target at an address: the configured meter, or a stranger that is only looked at. raises ConfigError.

    address  an address on the bus, or the id of a configured meter.
    """
    for meter in config.on_bus(bus):
        if address in (meter.address, meter.id) and (driver or meter.driver) == meter.driver:
            return target_of(meter), load_driver(meter.driver)
    if not address:
        raise ConfigError("say which --address to read")
    loaded = load_driver(driver_for(config, bus, driver))
    return MeterTarget(meter_id=MeterId("unknown"), address=address, model=model), loaded


def describe_reply(reply: MeterReply) -> dict[str, Any]:
    """Return a meter's reply as the object that `read --json` prints."""
    return {
        "meter": str(reply.meter_id),
        "unexpected": reply.unexpected,
        "identity": reply.identity,
        "alarms": list(reply.alarms),
        "reply": reply.reply.hex(),
        "reads": [
            {
                "register": str(read.register.register_id),
                "count": read.raw_count,
                "unit": read.register.unit.value,
                "scale": read.register.scale,
                "modulus": read.register.modulus,
                "read_at": read.read_at.isoformat(),
                "quality": read.quality.name.lower(),
                "reason": read.reason.name.lower(),
            }
            for read in reply.reads
        ],
    }


def describe_step(step: ScanResult) -> dict[str, Any]:
    """Return a step of a scan as the object that `scan --json` prints."""
    return {
        "address": step.address,
        "found": step.found,
        "step": step.step,
        "steps": step.steps,
        "meter": str(step.meter_id) if step.meter_id else None,
        "identity": step.identity,
        "model": step.model,
        "detail": step.detail,
    }

"""headwater gateway read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import config_option, dial, echo_json, json_option, load

if TYPE_CHECKING:
    from drivers.base import MeterReply
    from gateway.config import BusConfig, GatewayConfig


@click.command()
@click.option("--bus", default="", help="Name of the bus; may be left out when there is only one.")
@click.option("--address", required=True, help="The meter's address on the bus, or the id of a configured meter.")
@click.option("--driver", default="", help="Protocol, for an address that is not configured.")
@click.option("--model", default=None, help="Meter model (register map), for an address that is not configured.")
@click.option("--attempts", default=3, show_default=True, type=click.IntRange(1, 20), help="Tries before giving up.")
@config_option
@json_option
def read(
    bus: str, address: str, driver: str, model: str | None, attempts: int, config_path: Path | None, as_json: bool
) -> None:
    """Read one meter now. While the gateway runs it goes through it and disturbs no poll."""
    from gateway import control
    from gateway.errors import GatewayNotRunning

    config = load(config_path)
    line = config.bus(bus)
    asked = {"do": "read", "bus": line.name, "address": address, "driver": driver, "model": model}
    try:
        answer = next(iter(control.ask(config.collector.data_dir, asked, timeout_s=90)))
    except GatewayNotRunning:
        answer = _read_here(config, line, asked, attempts)
    if as_json:
        echo_json(answer)
        return
    click.echo("\n".join(_lines(answer)))


def _lines(answer: dict[str, Any]) -> list[str]:
    identity = f", states {answer['identity']}" if answer["identity"] else ""
    lines = [f"meter {answer['meter']}{identity}"]
    if answer["unexpected"]:
        lines.append("  this is not the meter that the configuration expects here: correct its id, or ask the office")
    for row in answer["reads"]:
        value = dial(row["count"], row["scale"], row["unit"])
        trust = "" if row["quality"] == "measured" else f"  ({row['quality']}: {row['reason'].replace('_', ' ')})"
        lines.append(f"  {row['register']:16} {value:>20}  at {row['read_at'][:19]}Z{trust}")
    if answer["alarms"]:
        lines.append(f"  the meter complains: {', '.join(answer['alarms'])}")
    return lines


def _read_here(config: GatewayConfig, bus: BusConfig, asked: dict[str, Any], attempts: int) -> dict[str, Any]:
    """Open the line, which nobody owns, and read."""
    from drivers.base import Deadline
    from drivers.errors import LinkDown, MeterError
    from gateway.explain import explained
    from gateway.plans import char_time_s
    from gateway.requests import describe_reply, target_for
    from gateway.service import line_of
    from gateway.timekeeping import CollectorClock

    clock = CollectorClock(config.collector.make_clock())
    target, driver = target_for(
        config, bus=bus.name, address=asked["address"], driver=asked["driver"], model=asked["model"]
    )
    timeout_s = driver.timeout_s(target, char_time_s=char_time_s(bus))
    link = line_of(bus, clock)
    began_s = clock.monotonic()
    try:
        for attempt in range(1, attempts + 1):
            try:
                reply: MeterReply = driver.read(target, link, deadline=Deadline(clock, timeout_s), clock=clock)
                return describe_reply(reply)
            except LinkDown:
                raise
            except MeterError as error:
                if attempt == attempts:
                    took_s = clock.monotonic() - began_s
                    explained(error, asked["address"], bus=bus, driver=driver.name, attempts=attempts, took_s=took_s)
                    raise
    finally:
        link.close()
    raise AssertionError("unreachable: the last attempt returns or raises")

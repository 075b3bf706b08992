"""headwater gateway scan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import config_option, echo_json, json_option, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import BusConfig, GatewayConfig


@click.command()
@click.option("--bus", default="", help="Name of the bus; may be left out when there is only one.")
@click.option("--driver", default="", help="Protocol to try; may be left out when the bus's meters all use one.")
@click.option("--first", default=1, show_default=True, type=click.IntRange(0, 255), help="First address to try.")
@click.option("--last", default=None, type=click.IntRange(0, 255), help="Last address to try.  [default: all]")
@config_option
@json_option
def scan(bus: str, driver: str, first: int, last: int | None, config_path: Path | None, as_json: bool) -> None:
    """Look for meters on a bus, address by address. Ctrl-C ends it; what was found stands.

    While the gateway runs the search goes through it, in the time that the polls leave over.
    """
    from gateway import control
    from gateway.errors import GatewayNotRunning

    config = load(config_path)
    line = config.bus(bus)
    asked = {"do": "scan", "bus": line.name, "driver": driver, "first": first, "last": last}
    found: list[dict[str, Any]] = []
    interrupted = False
    try:
        try:
            _show(control.ask(config.collector.data_dir, asked, timeout_s=None), found, as_json)
        except GatewayNotRunning:
            _show(_scan_here(config, line, asked), found, as_json)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        echo_json({"done": not interrupted, "found": len(found)})
        return
    _clear_progress()
    how = "interrupted" if interrupted else "done"
    click.echo(f"{how}: {len(found)} meter{'s' if len(found) != 1 else ''} found on {line.name} ({line.where})")
    if not found and not interrupted:
        click.echo(
            f"  nobody answered at {line.line}. Check the wiring, the meters' power, baud rate and parity; "
            "or another --driver."
        )


def _show(steps: Iterator[dict[str, Any]], found: list[dict[str, Any]], as_json: bool) -> None:
    for step in steps:
        if step["found"]:
            found.append(step)
        if as_json:
            echo_json(step)
            continue
        if step["found"]:
            _clear_progress()
            click.echo(f"  {step['address']:>4}  {step['meter'] or 'unknown':20} {step['detail']}".rstrip())
        total = step["steps"]
        share = f"{step['step'] * 100 // total:3d} %" if total else f"step {step['step']}"
        _progress(f"\r{share}  address {step['address']}, {len(found)} found ")


def _clear_progress() -> None:
    _progress("\r" + " " * 60 + "\r")


def _progress(text: str) -> None:
    """Show progress to a person; a file or a pipe does without."""
    if sys.stderr.isatty():
        click.echo(text, nl=False, err=True)


def _scan_here(config: GatewayConfig, bus: BusConfig, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Open the line, which nobody owns, and search."""
    from drivers.registry import load_driver
    from gateway.requests import describe_step, driver_for
    from gateway.service import line_of
    from gateway.timekeeping import CollectorClock

    clock = CollectorClock(config.collector.make_clock())
    driver = load_driver(driver_for(config, bus.name, asked["driver"]))
    link = line_of(bus, clock)
    try:
        for step in driver.scan(link, clock=clock, first=asked["first"], last=asked["last"]):
            yield describe_step(step)
    finally:
        link.close()

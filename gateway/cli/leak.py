"""`headwater leak`: leak detection on recorded reads, for whoever wants to know why an alarm came or did not."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from domain.errors import ConfigError
from domain.ids import MeterId, RegisterId
from domain.leak import LeakDetector
from domain.leak_rules import LeakRules
from domain.reading import Register
from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.leak import LeakChange


@click.group()
def leak() -> None:
    """Try leak detection on recorded reads."""


@leak.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rules(as_json: bool) -> None:
    """Print the thresholds that a collector runs with."""
    in_force = asdict(LeakRules())
    if as_json:
        click.echo(json.dumps(in_force, indent=2))
        return
    head = list(in_force["rules"][0])
    click.echo("  ".join(f"{name:>{max(13, len(name))}}" for name in head))
    for rule in in_force.pop("rules"):
        click.echo("  ".join(f"{rule[name]:>{max(13, len(name))}}" for name in head))
    for name, value in in_force.items():
        click.echo(f"{name:<24}{value}")


@leak.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--unit", type=click.Choice([unit.value for unit in Unit]), default=Unit.LITRE.value, show_default=True)
@click.option("--scale", type=click.IntRange(-9, 9), default=0, show_default=True, help="One count is 10**SCALE units.")
@click.option("--modulus", type=click.IntRange(2), help="The count at which the register returns to zero.")
@click.option("--meter", default="REPLAYED", show_default=True, help="The meter's id, part of each alarm's id.")
@click.option("--interval-s", type=click.IntRange(1), help="Keep one read in so many seconds, as a slower plan would.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    file: Path, unit: str, scale: int, modulus: int | None, meter: str, interval_s: int | None, as_json: bool
) -> None:
    """Run detection over FILE: a CSV (or .csv.gz) of epoch seconds and cumulative counts, with or without a heading."""
    try:
        register = Register(MeterId(meter), RegisterId("total"), Unit(unit), scale, modulus)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    detector = LeakDetector(register)
    reads, skipped, first, last = 0, 0, None, None
    changes: list[LeakChange] = []
    for read_at, raw_count in _reads(file):
        if modulus is not None and not 0 <= raw_count < modulus:
            raise ConfigError(f"{file}: count {raw_count} is outside 0 to {modulus - 1}; give another --modulus")
        if interval_s is not None and last is not None and 0 < (read_at - last).total_seconds() < interval_s:
            skipped += 1
            continue
        reads, first, last = reads + 1, first or read_at, read_at
        changes += detector.feed(read_at, raw_count, seq=reads)
    if as_json:
        summary = {"reads": reads, "skipped": skipped, "first": _iso(first), "last": _iso(last)}
        click.echo(json.dumps({**summary, "changes": [_change_as_json(change) for change in changes]}, indent=2))
        return
    for change in changes:
        click.echo(_sentence(change))
    click.echo(f"{reads} reads from {_iso(first)} to {_iso(last)}, {sum(c.opened for c in changes)} alarms")


def _reads(file: Path) -> Iterator[tuple[datetime, int]]:
    """Yield (read_at, count) of a recording; a first row that is no numbers is a heading."""
    try:
        with gzip.open(file, "rt", newline="") if file.suffix == ".gz" else file.open(newline="") as lines:
            for number, row in enumerate(csv.reader(lines), start=1):
                read = _read(row)
                if read is not None:
                    yield read
                elif row and number > 1:
                    raise ConfigError(
                        f"{file}, line {number}: expected epoch seconds and a whole cumulative count, found {row}; "
                        "write a count with decimals as a whole number of smaller units and say so with --scale"
                    )
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file} cannot be read to its end: {error}") from error


def _read(row: list[str]) -> tuple[datetime, int] | None:
    """Return a row's moment and count; 12.0 is understood as 12, a fraction of a count is not."""
    try:
        count = Decimal(row[1])
        if count != int(count):
            return None
        return datetime.fromtimestamp(float(row[0]), UTC), int(count)
    except (ValueError, IndexError, ArithmeticError, OSError):
        return None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _change_as_json(change: LeakChange) -> dict[str, object]:
    return {**asdict(change), "since": change.since.isoformat(), "last": change.last.isoformat()}


def _sentence(change: LeakChange) -> str:
    """Return an alarm's opening or closing with its evidence, as one line."""
    what = "LEAK   " if change.opened else "stopped"
    return (
        f"{change.last:%Y-%m-%d %H:%M}  {what}  {change.rule}: about {change.litres_per_h} l/h without a stop since "
        f"{change.since:%Y-%m-%d %H:%M} (reads {change.first_seq} to {change.last_seq}), "
        f"{change.litres} l through the meter, alarm {change.alarm_id}"
    )

"""`headwater demo`: the whole chain on this machine, and `--check`, which proves it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from headwater.demo.reconcile import Reconciliation
from headwater.demo.sabotage import KINDS
from headwater.demo.system import Options, System
from headwater.demo.view import Lines, watch

TOILET = "1:60"
"""The second home's toilet runs at 60 litres an hour, so that there is something to find."""


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option("--meters", default=24, show_default=True, type=click.IntRange(1, 500), help="Meters in the street.")
@click.option("--collectors", default=2, show_default=True, type=click.IntRange(1, 8))
@click.option("--seed", default=1, show_default=True, help="Seed of street, households and kills.")
@click.option(
    "--speed",
    type=float,
    help="Virtual seconds a second; refused if it cannot be held.  [default: 60, so that an hour is a minute; "
    "with --check 1]",
)
@click.option(
    "--every", "every_s", type=float, help="Virtual seconds between two reads of a meter.  [default: 5 times the speed]"
)
@click.option("--usage", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Replay these real homes.")
@click.option(
    "--leak",
    "leaks",
    multiple=True,
    metavar="INDEX:LITRES_PER_H",
    help=f"Let a home leak, counted from 0.  [default: {TOILET}, a toilet that runs; with --check none]",
)
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path), help="Keep everything here (default: thrown away)."
)
@click.option("--check", is_flag=True, help="Run for a bounded time without a terminal, then reconcile.")
@click.option("--seconds", default=45.0, show_default=True, help="How long --check runs before the water stops.")
@click.option(
    "--kill",
    "kills",
    multiple=True,
    type=click.Choice(["gateway", "ingest", "broker", "serve", "worker"]),
    help="With --check: SIGKILL it at a random moment and start it again. May be repeated.",
)
@click.option("--sabotage", type=click.Choice(KINDS), help="With --check: plant a fault that must be found.")
@click.option("--json", "as_json", is_flag=True, help="Print the reconciliation as one JSON object.")
def demo(
    meters: int,
    collectors: int,
    seed: int,
    speed: float | None,
    every_s: float | None,
    usage: Path | None,
    leaks: Sequence[str],
    directory: Path | None,
    check: bool,
    seconds: float,
    kills: Sequence[str],
    sabotage: str | None,
    as_json: bool,
) -> None:
    """Run the whole system on this machine: simulated street, collectors, broker and portal. Ctrl-C stops it."""
    signal.signal(signal.SIGTERM, _interrupted)
    speed = speed or (1.0 if check else 60.0)
    where = directory or Path(tempfile.mkdtemp(prefix="headwater-demo-"))
    options = Options(
        directory=where,
        meters=meters,
        collectors=collectors,
        seed=seed,
        speed=speed,
        every_s=every_s or min(900.0, 5.0 * speed),
        usage=usage,
        leaks=leaks or (() if check else (TOILET,)),
        sabotage=sabotage,
    )
    progress = Lines()
    system = System(options)
    result = None
    try:
        system.start(progress)
        if check:
            from headwater.demo.check import run_check

            result = run_check(system, seconds=seconds, kills=kills, progress=progress)
        else:
            watch(system)
    except KeyboardInterrupt:
        click.echo("\nstopping", err=True)
    finally:
        system.stop()
        if directory is None:
            shutil.rmtree(where, ignore_errors=True)
    if result is not None:
        _print(result, as_json=as_json)
        sys.exit(0 if result.agrees else 9)
    if check:
        sys.exit(130)


def _print(result: Reconciliation, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=1))
        return
    click.echo("meter                 replies  appended  at portal  lost  duplicated  dial = portal = usage")
    for meter in result.meters:
        click.echo(
            f"{meter.meter:<20}{meter.replies:>9}{meter.appended:>10}{meter.at_portal:>11}{meter.lost:>6}"
            f"{meter.duplicated:>12}  {'yes' if meter.equal else 'NO'}"
        )
    for fault in result.faults:
        click.echo(f"fault: {fault}")
    click.echo(
        f"lost {result.total('lost')}, duplicated {result.total('duplicated')}, in flight at a kill "
        f"{result.total('in_flight_at_kill')}: {'all records agree' if result.agrees else 'THE RECORDS DIFFER'}"
    )

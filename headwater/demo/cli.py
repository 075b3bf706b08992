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

from domain.errors import ConfigError, ResourceUnavailable
from headwater.demo.check import run_check  # here: Python ends by SIGINT, not with 130, if one strikes an import
from headwater.demo.reconcile import Reconciliation
from headwater.demo.sabotage import KINDS
from headwater.demo.system import Options, System
from headwater.demo.view import Lines, watch

TOILET = "1:60"
"""The second home's toilet runs at 60 litres an hour, so that there is something to find."""

LONGEST_S = 2_678_400
"""As many seconds as the longest month has: no number of the command line is greater."""


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
    "--months",
    type=click.IntRange(0, 13),
    help="Calendar months that the meters logged before, and that are billed.  [default: 3; with --check or --usage 0]",
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
    months: int | None,
    directory: Path | None,
    check: bool,
    seconds: float,
    kills: Sequence[str],
    sabotage: str | None,
    as_json: bool,
) -> None:
    """Run the whole system on this machine: simulated street, collectors, broker and portal. Ctrl-C stops it."""
    speed = (1.0 if check else 60.0) if speed is None else speed
    every_s = min(900.0, 5.0 * speed) if every_s is None else every_s
    leaks = leaks or (() if check or meters == 1 else (TOILET,))
    if months and (check or usage):
        raise ConfigError("--months   nothing was logged before with --check or --usage; leave it out")
    months = (0 if check or usage else 3) if months is None else months
    _refuse_nonsense(speed=speed, every_s=every_s, seconds=seconds, leaks=leaks, meters=meters)
    # A shell starts its background jobs with SIGINT ignored; whoever sends it to us means it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupted)
    where = _folder(directory)
    system = System(
        Options(
            directory=where,
            meters=meters,
            collectors=collectors,
            seed=seed,
            speed=speed,
            every_s=every_s,
            usage=usage,
            leaks=leaks,
            sabotage=sabotage,
            months=months,
        )
    )
    progress = Lines()
    result, started = None, False
    try:
        system.start(progress)
        started = True
        if check:
            result = run_check(system, seconds=seconds, kills=kills, progress=progress)
        else:
            watch(system)
    except KeyboardInterrupt:
        click.echo("\nstopping; Ctrl-C once more kills what still runs", err=True)
    finally:
        _stop(system)
        if directory is None:
            shutil.rmtree(where, ignore_errors=True)
    if result is not None:
        _print(result, as_json=as_json)
        sys.exit(0 if result.agrees else 9)
    if check or not started:
        sys.exit(130)


def _refuse_nonsense(*, speed: float, every_s: float, seconds: float, leaks: Sequence[str], meters: int) -> None:
    """Say what is wrong before anything starts; raises ConfigError with every fault."""
    faults = []
    for name, value, lowest in (("--speed", speed, 1.0), ("--every", every_s, 1.0), ("--seconds", seconds, 0.0)):
        if not lowest <= value <= LONGEST_S:
            faults.append(f"{name} {value:g}   expected a number from {lowest:g} to {LONGEST_S}")
    for leak in leaks:
        index, _, litres = leak.partition(":")
        if not (index.isdecimal() and int(index) < meters and litres.replace(".", "", 1).isdecimal()):
            faults.append(f"--leak {leak}   expected INDEX:LITRES_PER_H with an index from 0 to {meters - 1}")
    if faults:
        raise ConfigError(faults)


def _folder(directory: Path | None) -> Path:
    """Return the demo's folder, made and empty; raises ResourceUnavailable.

    A folder that holds something is refused: a demo over the remains of another would read new meters into old stores.
    """
    try:
        if directory is None:
            return Path(tempfile.mkdtemp(prefix="headwater-demo-"))
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ResourceUnavailable(
                f"{directory}: not empty. Each demo begins anew: give another --dir, or delete this one first."
            )
        probe = directory / "logs"
        probe.mkdir()
    except OSError as error:
        where = directory or Path(tempfile.gettempdir())
        raise ResourceUnavailable(
            f"{where}: {error.strerror}. The demo needs a folder that it can write; give another --dir."
        ) from error
    return directory.resolve()


def _stop(system: System) -> None:
    try:
        system.stop()
    except KeyboardInterrupt:
        system.kill()


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

"""`headwater sim`: start a street of simulated meters, ask it and tell it things, print a household's water use."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from firmware_sim.street import Street

_FOLDER = click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="The street's folder."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Indexed(click.ParamType):  # type: ignore[type-arg]
    """`INDEX:SOMETHING`, where INDEX counts the meters of street.json from 0."""

    def __init__(self, name: str, *, number: bool) -> None:
        self.name, self._number = name, number

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, float | str]:
        """Return the index and the number or word behind it."""
        index, _, rest = str(value).partition(":")
        try:
            return int(index), float(rest) if self._number else rest
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def sim() -> None:
    """Start simulated meters."""


@sim.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The street's folder.  [default: a new temporary one, named when the street is ready]",
)
@click.option("--meters", default=50, show_default=True, help="How many homes.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same street and dials.")
@click.option("--usage", type=click.Path(path_type=Path, file_okay=False), help="Replay the real homes of this folder.")
@click.option(
    "--leak", "leaks", multiple=True, type=_Indexed("INDEX:LITRES_PER_H", number=True), help="Let a home leak."
)
@click.option(
    "--fault", "switched", multiple=True, type=_Indexed("INDEX:KIND", number=False), help="Switch a fault on."
)
@click.option("--faults", "fault_rate", default=0.0, type=click.FloatRange(0, 1), help="Share of answers to damage.")
@click.option("--mbus", type=int, help="How many M-Bus meters.")
@click.option("--rtu", type=int, help="How many Modbus RTU meters.")
@click.option("--tcp", type=int, help="How many Modbus TCP meters.")
@click.option("--tcp-only", is_flag=True, help="Modbus TCP meters alone.")
@click.option("--mbus-per-line", default=12, show_default=True, type=click.IntRange(1, 60), help="Meters on one line.")
@click.option("--baudrate", default=2400, show_default=True, help="Of the M-Bus lines.")
@click.option("--clock", "clock_spec", help="A clock specification shared with other processes.")
@click.option("--speed", type=float, help="Run the street's time this many times as fast.")
@click.option("--poll-every", "poll_every_s", default=300.0, show_default=True, help="Planned seconds between reads.")
@click.option("--zone", default="America/Chicago", show_default=True, help="Where the homes are.")
@click.option(
    "--logged-since",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    help="The meters logged every hour from this day on: DIR/logger.csv.",
)
@_JSON
def street(
    *,
    folder: Path | None,
    meters: int,
    seed: int,
    usage: Path | None,
    leaks: tuple[tuple[int, float], ...],
    switched: tuple[tuple[int, str], ...],
    fault_rate: float,
    mbus: int | None,
    rtu: int | None,
    tcp: int | None,
    tcp_only: bool,
    mbus_per_line: int,
    baudrate: int,
    clock_spec: str | None,
    speed: float | None,
    poll_every_s: float,
    zone: str,
    logged_since: datetime | None,
    as_json: bool,
) -> None:
    """Serve a street of meters until SIGTERM or Ctrl-C.

    DIR/street.json lists lines and meters once all are ready, DIR/replies.jsonl records every reply, DIR/logger.csv has
    what the meters logged before (with --logged-since), DIR/control.sock takes commands (`headwater sim dials`,
    `pulse`, `leak`, `fault`, `freeze`).
    """
    from domain.errors import ConfigError
    from firmware_sim.faults import KINDS
    from firmware_sim.plan import BAUDRATES, StreetPlan, shares
    from firmware_sim.run import Asked, run_street

    if tcp_only and (mbus or rtu or (tcp is not None and tcp != meters)):
        raise ConfigError("--tcp-only   contradicts --mbus, --rtu and another number of --tcp")
    if baudrate not in BAUDRATES:
        raise ConfigError(f"--baudrate {baudrate}   expected one of {', '.join(map(str, BAUDRATES))}")
    for _, kind in switched:
        if kind not in KINDS:
            raise ConfigError(f"--fault {kind}   expected one of {', '.join(KINDS)}")
    numbers = shares(meters, mbus=0 if tcp_only else mbus, rtu=0 if tcp_only else rtu, tcp=tcp)
    plan = StreetPlan(seed, *numbers, mbus_per_line=mbus_per_line, baudrate=baudrate)
    folder = folder or Path(tempfile.mkdtemp(prefix="headwater-street-"))
    asked = Asked(
        plan, folder.resolve(), usage=usage, leaks=leaks, faults=switched, fault_rate=fault_rate,
        clock_spec=clock_spec, speed=speed, poll_every_s=poll_every_s, zone=zone,
        logged_since=None if logged_since is None else logged_since.date(),
    )  # fmt: skip

    def ready(built: Street) -> None:
        listed = built.folder / "street.json"
        if as_json:
            click.echo(json.dumps({"ready": True, "street": str(listed), "meters": meters, "seed": seed}))
        else:
            mix = f"{plan.mbus} M-Bus, {plan.rtu} Modbus RTU, {plan.tcp} Modbus TCP"
            click.echo(f"{meters} meters are ready ({mix}; seed {seed}): {listed}")

    run_street(asked, ready)


@sim.command()
@_FOLDER
@_JSON
def dials(*, folder: Path, as_json: bool) -> None:
    """Print what every dial of a running street shows."""
    from firmware_sim.control import ask

    answer = ask(folder, {"do": "dials"})
    if as_json:
        click.echo(json.dumps(answer))
        return
    shown = answer["dials"]
    for meter_id, dial in shown.items() if isinstance(shown, dict) else ():
        click.echo(f"{meter_id:16} {dial['count']:>12} x 10^{dial['scale']} {dial['unit']}")


@sim.command()
@_FOLDER
@click.argument("meter")
@click.argument("counts", type=click.IntRange(1))
@_JSON
def pulse(*, folder: Path, meter: str, counts: int, as_json: bool) -> None:
    """Turn a meter's dial by some counts at once."""
    _tell(folder, {"do": "pulse", "meter": meter, "counts": counts}, as_json=as_json)


@sim.command()
@_FOLDER
@click.argument("meter")
@click.argument("litres_per_h", type=click.FloatRange(0))
@click.option("--pattern", type=click.Choice(["steady", "running-toilet"]), default="steady", show_default=True)
@_JSON
def leak(*, folder: Path, meter: str, litres_per_h: float, pattern: str, as_json: bool) -> None:
    """Let a home lose water from now on; 0 repairs it."""
    _tell(folder, {"do": "leak", "meter": meter, "litres_per_h": litres_per_h, "pattern": pattern}, as_json=as_json)


@sim.command()
@_FOLDER
@click.argument("meter")
@click.argument("kind")
@click.option("--off", is_flag=True, help="Switch it off again.")
@_JSON
def fault(*, folder: Path, meter: str, kind: str, off: bool, as_json: bool) -> None:
    """Switch a fault of a meter: silence, noise, flip, truncate, slow, babble, swap, low-battery, alarm."""
    _tell(folder, {"do": "fault", "meter": meter, "kind": kind, "on": not off}, as_json=as_json)


@sim.command()
@_FOLDER
@_JSON
def freeze(*, folder: Path, as_json: bool) -> None:
    """Stop all water of a street: from now on no dial moves but by hand."""
    _tell(folder, {"do": "freeze"}, as_json=as_json)


@sim.command()
@click.option("--seed", default="1", show_default=True, help="The household's seed.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 3660), help="How many local days.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="The first day; by default today.")
@click.option("--every", "every_s", default=3600, show_default=True, type=click.IntRange(60), help="Seconds a row.")
@click.option("--uses", is_flag=True, help="Print each use (start, duration, volume) instead of a series.")
@click.option("--zone", default="America/Chicago", show_default=True, help="Where the home is.")
@_JSON
def household(*, seed: str, days: int, first: object, every_s: int, uses: bool, zone: str, as_json: bool) -> None:
    """Print a generated household's water: cumulative millilitres, or every use."""
    from firmware_sim.show import household_rows

    described, rows = household_rows(seed, first=first, days=days, every_s=every_s, uses=uses, zone=zone)
    if as_json:
        click.echo(json.dumps({"seed": seed, "household": described, "rows": rows}))
        return
    click.echo(f"household {seed}: {described}")
    for row in rows:
        click.echo("  ".join(str(value) for value in row.values()))


def _tell(folder: Path, command: dict[str, object], *, as_json: bool) -> None:
    from firmware_sim.control import ask

    answer = ask(folder, command)
    click.echo(json.dumps(answer) if as_json else "done")

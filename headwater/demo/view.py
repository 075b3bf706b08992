"""The demo's one calm terminal view."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from headwater.demo.street_files import DEMO_PASSWORD, STAFF_EMAIL, resident_email

if TYPE_CHECKING:
    from headwater.demo.system import System

_CLEAR_BELOW = "\x1b[J"


class Lines:
    """Progress while starting: one line each, with the seconds since the start."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._started, self._quiet = time.monotonic(), quiet

    def __call__(self, text: str) -> None:
        """Print a line (on standard error, so that `--json` stays clean)."""
        if not self._quiet:
            click.echo(f"{time.monotonic() - self._started:6.1f} s  {text}", err=True)


def addresses(system: System) -> list[str]:
    """Return the lines that say where to look and how to get in."""
    return [
        "",
        f"  Open this URL:  {system.url}/",
        f"     resident     {resident_email(1)}   (up to resident{len(system.street['meters'])}@…)",
        *(f"     leaks at     {resident_email(int(leak.partition(':')[0]) + 1)}" for leak in system.options.leaks),
        f"     staff        {STAFF_EMAIL}",
        f"     password     {DEMO_PASSWORD}",
        f"     messages     {system.url}/outbox/   (every email and text that people would get)",
        "",
    ]


def state_lines(system: System, restarted: int) -> list[str]:
    """Return the lines of the moving part: what each collector says of itself."""
    lines = ["  collector      meters  silent      reads  backlog  batches acked  leaks"]
    for collector in system.collectors:
        status = collector.status()
        meters = [meter for bus in status.get("buses", ()) for meter in bus["meters"]]
        backlog, uplink = status.get("backlog", {}), status.get("uplink", {})
        waiting = backlog.get("unsent_items", 0) + backlog.get("unacked_items", 0)
        lines.append(
            f"  {collector.name:<13}{len(collector.meters):>8}{sum(bool(m['silent_since']) for m in meters):>8}"
            f"{status.get('store', {}).get('last_append_seq', 0):>11}{waiting:>9}"
            f"{uplink.get('committed', 0):>15}{len(status.get('leaks', ())):>7}"
        )
    clock = system.clock.now().strftime("%Y-%m-%d %H:%M:%S UTC")
    speed = f", {system.options.speed:g} times as fast" if system.options.speed != 1 else ""
    lines += ["", f"  {clock}{speed}; restarted processes: {restarted}.  Ctrl-C stops everything."]
    return lines


def watch(system: System) -> None:
    """Redraw the state every second on a terminal; print a line every ten seconds elsewhere. Until interrupted."""
    for line in addresses(system):
        click.echo(line)
    restarted, drawn, last_print = 0, 0, 0.0
    interactive = sys.stdout.isatty()
    while True:
        restarted += len(system.tend())
        lines = state_lines(system, restarted)
        if interactive:
            click.echo(f"\x1b[{drawn}F{_CLEAR_BELOW}" if drawn else "", nl=False)
            click.echo("\n".join(lines))
            drawn = len(lines)
        elif time.monotonic() - last_print >= 10:
            click.echo("\n".join(lines[1:]))
            last_print = time.monotonic()
        time.sleep(1)

"""headwater gateway watch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gateway.cli.options import config_option, dial, echo_json, json_option, load


@click.command()
@click.option("--count", default=0, help="End after this many lines.  [default: never]")
@config_option
@json_option
def watch(count: int, config_path: Path | None, as_json: bool) -> None:
    """Show reads and events as they become durable, until Ctrl-C."""
    from gateway import control

    config = load(config_path)
    shown = 0
    try:
        for line in control.ask(config.collector.data_dir, {"do": "watch"}, timeout_s=60):
            if "alive" in line:
                continue
            if as_json:
                echo_json(line)
            else:
                click.echo(_text(line))
            shown += 1
            if shown == count:
                return
    except KeyboardInterrupt:
        return


def _text(line: dict[str, Any]) -> str:
    if "event" in line:
        detail = ", ".join(f"{key} {value}" for key, value in line["detail"].items() if key != "reply")
        return f"{line['at'][11:19]}  {line['meter'] or '':20} {line['event'].upper()}  {detail}"
    value = dial(line["count"], line["scale"], line["unit"])
    trust = "" if line["quality"] == "measured" else f"  {line['quality']}"
    return f"{line['read_at'][11:19]}  {line['meter']:20} {line['register']:14} {value:>18}{trust}"

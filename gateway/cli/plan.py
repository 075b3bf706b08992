"""headwater gateway plan."""

from __future__ import annotations

import math
from pathlib import Path

import click

from gateway.cli.options import config_option, echo_json, json_option, load


@click.command()
@config_option
@json_option
def plan(config_path: Path | None, as_json: bool) -> None:
    """Show what each bus has to carry: the time of a round beside the time that was asked for."""
    from gateway import schedule
    from gateway.plans import bus_plans, line_name

    config = load(config_path)
    rows = []
    for bus_plan in bus_plans(config):
        cost = schedule.budget(bus_plan.plan.meters)
        sentence = schedule.budget_sentence(cost, line=line_name(bus_plan.bus))
        rows.append(
            {
                "bus": bus_plan.bus.name,
                "meters": cost.meters,
                "round_s": round(cost.round_s, 3),
                "asked_s": cost.asked_s,
                "load": round(cost.load, 4),
                "fits": cost.fits,
                "shortest_every_s": math.ceil(cost.round_s),
                "sentence": sentence,
            }
        )
    if as_json:
        echo_json({"buses": rows})
        return
    for row in rows:
        click.echo(f"{row['bus']}: {row['sentence']}")

"""headwater gateway check."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.cli.options import config_option, echo_json, json_option, load, table


@click.command()
@config_option
@json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Check the configuration and say everything that is wrong with it (exit code 3).

    It also says which devices are not there just now; that is no fault of the configuration.
    """
    from gateway import config as gateway_config
    from gateway import schedule
    from gateway.plans import bus_plans, line_name
    from gateway.sending import Sending

    path = gateway_config.find(config_path)
    config = load(path, key_files=True)
    plans = bus_plans(config)
    Sending.load(config)
    notes = []
    if config.portal is None:
        notes.append("not enrolled: reads are kept here until `headwater gateway enrol` was done")
    for plan in plans:
        if plan.bus.kind == "serial" and not Path(plan.bus.port).exists():
            notes.append(f"bus {plan.bus.name}: {plan.bus.port} is not there now; see `ls /dev/serial/by-id/`")
        cost = schedule.budget(plan.plan.meters)
        if not cost.fits:
            notes.append(f"bus {plan.bus.name}: {schedule.budget_sentence(cost, line=line_name(plan.bus))}")
        if not plan.plan.meters:
            notes.append(f"bus {plan.bus.name}: no meters; find them with `headwater gateway scan`")
    buses = [
        {
            "name": plan.bus.name,
            "where": plan.bus.where,
            "line": plan.bus.line,
            "meters": len(plan.plan.meters),
            "drivers": sorted({driver.name for driver in plan.drivers.values()}),
        }
        for plan in plans
    ]
    if as_json:
        echo_json({"config": str(path), "collector": str(config.collector.id), "buses": buses, "notes": notes})
        return
    click.echo(f"{path}: good. Collector {config.collector.id}, {len(config.meters)} meters.")
    rows = [["bus", "where", "line", "meters", "drivers"]]
    rows += [
        [
            bus.name,
            bus.where,
            bus.line,
            str(len(plan.plan.meters)),
            ", ".join(sorted({d.name for d in plan.drivers.values()})),
        ]
        for plan in plans
        for bus in (plan.bus,)
    ]
    click.echo(table(rows))
    for note in notes:
        click.echo(f"  note: {note}")

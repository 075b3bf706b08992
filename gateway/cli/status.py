"""headwater gateway status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import config_option, echo_json, json_option, load, table

if TYPE_CHECKING:
    from gateway.config import GatewayConfig


@click.command()
@click.option("--meters", is_flag=True, help="List every meter.")
@config_option
@json_option
def status(meters: bool, config_path: Path | None, as_json: bool) -> None:
    """Show how the collector is: lines, meters, backlog, connection, clock, disk."""
    from gateway import control
    from gateway.errors import GatewayNotRunning

    config = load(config_path)
    try:
        facts = {"running": True, **next(iter(control.ask(config.collector.data_dir, {"do": "status"}, timeout_s=15)))}
    except GatewayNotRunning:
        facts = {"running": False, **_last_known(config)}
    if as_json:
        echo_json(facts)
        return
    click.echo("\n".join(_lines(facts, meters=meters)))


def _last_known(config: GatewayConfig) -> dict[str, Any]:
    """Return what a stopped or killed service wrote last. Its store is left alone: a starting service wants it."""
    from gateway import health
    from gateway.errors import GatewayNotRunning

    facts = health.read_status(config.collector.data_dir)
    if facts is None:
        raise GatewayNotRunning(
            f"no gateway ever ran in {config.collector.data_dir}; start it with: headwater gateway run --config FILE"
        )
    return facts


def _lines(facts: dict[str, Any], *, meters: bool) -> list[str]:
    store, backlog, uplink, clock = facts["store"], facts["backlog"], facts["uplink"], facts["clock"]
    running = f"running as process {facts['pid']}" if facts["running"] else _not_running(facts)
    waiting = backlog["unsent_items"] + backlog["unacked_items"]
    lines = [
        f"collector {facts['collector']}  {running}",
        f"  portal   {uplink['state']}{'  ' + uplink['message'] if uplink.get('message') else ''}",
        f"  backlog  {waiting} reads and events, {backlog['unacked_batches']} batches wait for their ack"
        + (f", oldest from {backlog['oldest_at'][:19]}Z" if backlog["oldest_at"] else ""),
        f"  store    {_size(store['bytes_used'])} of {_size(store['bytes_bound'])}, "
        f"{_size(store['bytes_free'])} free on the disk, epoch {store['epoch'][:8]}",
        f"  clock    {clock['now'][:19]}Z, {'set' if clock['synchronised'] else 'NOT SET from a time source'}",
        "",
    ]
    rows = [["bus", "state", "where", "meters", "silent", "last round", "no reply", "damaged"]]
    for bus in facts["buses"]:
        silent = sum(1 for meter in bus["meters"] if meter["silent_since"])
        took = f"{bus['last_round_s']:.1f} s" if bus["last_round_s"] is not None else "-"
        state = f"{bus['state']} ({bus['busy_with']})" if bus["busy_with"] else bus["state"]
        counts = [str(len(bus["meters"])), str(silent), took, str(bus["no_replies"]), str(bus["bad_replies"])]
        rows.append([bus["name"], state, bus["where"], *counts])
    lines.append(table(rows))
    if meters:
        rows = [["meter", "bus", "address", "last read", "count", "state"]]
        rows += [_meter_row(bus["name"], meter) for bus in facts["buses"] for meter in bus["meters"]]
        lines += ["", table(rows)]
    lines += ["", *(f"  ! {fault}" for fault in facts["faults"])] if facts["faults"] else ["", "  no faults"]
    return lines


def _not_running(facts: dict[str, Any]) -> str:
    from gateway import health
    from gateway.schedule import spoken

    how = "stopped cleanly" if facts["state"] == "stopped" else "ended without a word"
    return f"NOT RUNNING: {how}, this is from {spoken(max(0.0, health.age_s(facts)))} ago"


def _meter_row(bus: str, meter: dict[str, Any]) -> list[str]:
    if meter["silent_since"]:
        state = f"silent since {meter['silent_since'][:19]}Z: {meter['last_error']}"
    elif meter["failures"]:
        state = f"{meter['failures']} failed: {meter['last_error']}"
    else:
        state = f"swapped: {meter['answered']} answers" if meter["answered"] else "ok"
    at = f"{meter['last_read_at'][:19]}Z" if meter["last_read_at"] else "never"
    count = "-" if meter["last_count"] is None else str(meter["last_count"])
    return [meter["id"], bus, meter["address"], at, count, state]


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"

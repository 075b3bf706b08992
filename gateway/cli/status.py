"""headwater gateway status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.options import config_option, echo_json, json_option, load, table

if TYPE_CHECKING:
    from gateway.config import GatewayConfig


_FAR_DAYS = 3_650


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
    lines = [
        f"collector {facts['collector']}  {running}",
        f"  portal   {uplink['state']}{'  ' + uplink['message'] if uplink.get('message') else ''}",
        f"  backlog  {_backlog(backlog, uplink)}",
        f"  store    {_size(store['bytes_used'])} of {_size(store['bytes_bound'])}, "
        f"{_size(store['bytes_free'])} free on the disk, epoch {store['epoch'][:8]}{_full(store)}",
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
    if facts["leaks"]:
        lines += ["", *(_leak(leak) for leak in facts["leaks"])]
    if meters:
        rows = [["meter", "bus", "address", "last read", "count", "state"]]
        rows += [_meter_row(bus["name"], meter) for bus in facts["buses"] for meter in bus["meters"]]
        lines += ["", table(rows)]
    lines += ["", *(f"  ! {fault}" for fault in facts["faults"])] if facts["faults"] else ["", "  no faults"]
    return lines


def _backlog(backlog: dict[str, Any], uplink: dict[str, Any]) -> str:
    """Return what waits, how long the link needs for it, and since when it waits."""
    waiting = backlog["unsent_items"] + backlog["unacked_items"]
    if not waiting:
        return "nothing waits"
    told = f"{waiting} reads and events wait, {_size(backlog.get('bytes_to_send', 0))} to send"
    minutes = uplink.get("link_minutes")
    if minutes is not None:
        told += f": {'under a minute' if minutes < 1 else f'{minutes:.0f} min'} of link"
    if backlog["oldest_at"]:
        told += f"; the oldest is of {backlog['oldest_at'][:19]}Z"
    if backlog["unacked_batches"]:
        count = backlog["unacked_batches"]
        told += f"; {count} batches wait for their ack" if count > 1 else "; 1 batch waits for its ack"
    return told


def _full(store: dict[str, Any]) -> str:
    days = store.get("days_to_full")
    if days is None or days > _FAR_DAYS:
        return ""
    return (
        f"; full in {days:.0f} days without the portal"
        if days >= 2
        else f"; full in {days * 24:.0f} h without the portal"
    )


def _leak(leak: dict[str, Any]) -> str:
    return (
        f"  leak     meter {leak['meter']} since {leak['since'][:19]}Z: {leak['litres']} l so far, "
        f"{leak['litres_per_h']} l/h ({leak['rule']})"
    )


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

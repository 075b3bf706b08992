"""`headwater demo --check`: run for a bounded time, break what was asked to be broken, then reconcile three records."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from domain.errors import HeadwaterError
from headwater.demo.processes import headwater_command, run_to_end
from headwater.demo.reconcile import KeptRead, Reconciliation, Reply, reconcile
from headwater.demo.street_files import resident_email
from headwater.demo.system import Progress, System, virtual_now_s
from portal_client.client import PortalClient

KILLABLE = ("gateway", "ingest", "broker", "serve", "worker")
COMMIT_WINDOW_S = 1.0
DRAIN_S = 45.0


class ReconciliationFailed(HeadwaterError):
    """The records differ: the exit code says so, the table says where."""

    exit_code = 9


def run_check(system: System, *, seconds: float, kills: Sequence[str], progress: Progress) -> Reconciliation:
    """Let a started system run for `seconds` (real), kill and restart as asked, stop the water, drain and reconcile."""
    progress(f"running for {seconds:.0f} s" + (f", killing {', '.join(kills)}" if kills else ""))
    _run_and_kill(system, seconds=seconds, kills=kills, progress=progress)
    progress("water stopped; waiting until every meter was read once more")
    system.ask_street(do="freeze")
    frozen_s = virtual_now_s(system)
    faults = []
    # A meter whose line was just interrupted may be backed off: a few rounds, not one.
    round_real_s = system.options.every_s / system.options.speed
    if not _wait(lambda: _read_since(system, frozen_s), seconds=max(30.0, 4 * round_real_s), system=system):
        faults.append(f"not read after the water stopped: {', '.join(_unread_since(system, frozen_s))}")
    dials = {meter: dial["count"] for meter, dial in system.ask_street(do="dials")["dials"].items()}
    progress("waiting until every batch was acknowledged")
    for collector in system.collectors:
        collector.child.stop(timeout_s=DRAIN_S)
    for collector in system.collectors:
        status = json.loads(
            run_to_end(
                headwater_command("gateway", "status", "--config", str(collector.config), "--json"), environment={}
            )
        )
        backlog = status["backlog"]
        if backlog["unsent_items"] or backlog["unacked_batches"]:
            faults.append(
                f"{collector.name} still holds {backlog['unsent_items']} unsent items and "
                f"{backlog['unacked_batches']} unacknowledged batches"
            )
    progress("reconciling the simulator's, the collectors' and the portal's records")
    result = _reconcile(system)
    result.faults += faults
    _compare_registers(system, result, dials)
    return result


def _run_and_kill(system: System, *, seconds: float, kills: Sequence[str], progress: Progress) -> None:
    """Spread the kills at random over the middle of the run and tend the rest of the time."""
    random_ = random.Random(system.options.seed)  # noqa: S311 (which moment, not which key)
    started = time.monotonic()
    due = sorted((started + seconds * random_.uniform(0.2, 0.85), name) for name in kills)
    while time.monotonic() < started + seconds:
        while due and time.monotonic() >= due[0][0]:
            _kill(system, due.pop(0)[1], random_, progress)
        system.tend()
        time.sleep(0.2)


def _kill(system: System, name: str, random_: random.Random, progress: Progress) -> None:
    victims = [child for child in system.children.values() if child.name.startswith(name)]
    if not victims:
        raise HeadwaterError(f"nothing named {name} runs; expected one of {', '.join(KILLABLE)}")
    victim = random_.choice(victims)
    for collector in system.collectors:
        if collector.child is victim:
            collector.kills_s.append(virtual_now_s(system))
    victim.kill()
    progress(f"killed {victim.name}")
    time.sleep(random_.uniform(0.0, 2.0))
    victim.start()
    progress(f"started {victim.name} again")


def _wait(condition: Callable[[], bool], *, seconds: float, system: System) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        system.tend()
        if condition():
            return True
        time.sleep(0.25)
    return condition()


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a log; a last line cut off by a kill is no record."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _kept(row: dict[str, Any]) -> KeptRead:
    return KeptRead(
        row["meter"], row["epoch"], row["append_seq"], row["register"], row["count"], _seconds(row["read_at"])
    )


def _appended(system: System) -> list[KeptRead]:
    return [_kept(row) for c in system.collectors for row in _json_lines(c.config.parent / "append.jsonl")]


def _unread_since(system: System, moment_s: float) -> list[str]:
    read = {read.meter for read in _appended(system) if read.read_at_s > moment_s}
    return sorted({meter["meter_id"] for meter in system.street["meters"]} - read)


def _read_since(system: System, moment_s: float) -> bool:
    return not _unread_since(system, moment_s)


def _portal_reads(system: System) -> list[KeptRead]:
    lines = system.portal("reads", "list", "--json").splitlines()
    return [_kept(json.loads(line)) for line in lines if line]


def _reconcile(system: System) -> Reconciliation:
    owner = {meter: collector for collector in system.collectors for meter in collector.meters}
    replies = [
        Reply(row["meter"], row["register"], row["count"], _seconds(row["at"]))
        for row in _json_lines(system.directory / "street" / "replies.jsonl")
        if not row["damaged"]
    ]
    # Replies and reads share the virtual clock; what lies between them is the machine's own delay, times the speed.
    speed = system.options.speed
    return reconcile(
        meters=sorted(owner),
        replies=replies,
        appended=_appended(system),
        at_portal=_portal_reads(system),
        kills_s={meter: collector.kills_s for meter, collector in owner.items()},
        commit_window_s=COMMIT_WINDOW_S * speed,
        tolerance_s=1.0 * speed,
    )


def _compare_registers(system: System, result: Reconciliation, dials: dict[str, int]) -> None:
    """Fill in what the dial shows, what the portal holds, and what the resident's usage sums to."""
    last: dict[tuple[str, str], KeptRead] = {}
    for read in _portal_reads(system):
        newest = last.get((read.meter, read.register))
        if newest is None or read.read_at_s >= newest.read_at_s:
            last[read.meter, read.register] = read
    tokens = json.loads(system.portal("token", "--all", "--json"))
    until = datetime.fromtimestamp(virtual_now_s(system)).astimezone() + timedelta(hours=1)
    by_meter = {meter.meter: meter for meter in result.meters}
    for number, row in enumerate(system.street["meters"], start=1):
        meter = by_meter[row["meter_id"]]
        meter.dial = dials[row["meter_id"]]
        newest = last.get((row["meter_id"], row["register_id"]))
        if newest is None:
            continue
        meter.portal_register = newest.count
        modulus = row["modulus"] or 10**18
        meter.register_difference = (meter.portal_register - row["start_count"]) % modulus
        client = PortalClient(system.url, token=tokens[resident_email(number)])
        point = client.me().service_points[0]
        usage = client.usage(point.id, start=datetime.fromisoformat(row["start_at"]), end=until, resolution="hour")
        meter.usage_sum = sum(interval.counts or 0 for interval in usage.intervals)

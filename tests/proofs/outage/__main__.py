"""The outage table by one command, Headwater's and beside it ThingsBoard Gateway's.

python -m tests.proofs.outage [--cells NAME,...] [--seconds-scale X] [--no-peer] [--all-storages] [--json] [--quick]
Exit 1 when Headwater lost a read, counted one twice, or a cell of it could not be run to its end. Where nobody may
mount a small disk, those cells are skipped, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.demo.processes import Child, tail
from headwater.demo.sabotage import KINDS
from tests.bench.measure import machine, rounded
from tests.proofs.outage import page, table
from tests.proofs.outage.cell import ROW
from tests.proofs.outage.ours import make_portal
from tests.proofs.outage.peer_environment import PeerMissing, python_of_peer
from tests.proofs.outage.plan import (
    BY_NAME,
    CELLS,
    COMMIT_SLACK_S,
    COMMIT_WINDOW_S,
    QUICK,
    STORAGES,
    WITH_STORAGES,
    Cell,
)
from tests.proofs.outage.rig import NO_DISK, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

MADE_PORTAL = "portal"
_LONGEST_S = 900.0
_QUICK_SCALE = 0.25


@dataclass(slots=True)
class Job:
    """A cell of one side, and its process once it runs."""

    cell: Cell
    side: str
    storage: str | None
    folder: Path
    child: Child
    started_s: float = 0.0

    @property
    def name(self) -> str:
        """What the person who waits is told."""
        return f"{self.side}{f' {self.storage}' if self.storage else ''} {self.cell.name}"


def say(message: str) -> None:
    """Tell the person who waits; stdout belongs to the tables."""
    sys.stderr.write(f"outage: {message}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Run the cells, print both tables, return the exit code."""
    asked = _parse(arguments)
    names = asked.cells or (QUICK if asked.quick else [cell.name for cell in CELLS])
    scale = asked.seconds_scale or (_QUICK_SCALE if asked.quick else 1.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_s = time.monotonic()
    folder = asked.dir or Path(tempfile.mkdtemp(prefix="headwater-outage-"))
    folder.mkdir(parents=True, exist_ok=True)
    peer, python = "not asked for", None
    if asked.peer if asked.peer is not None else not asked.quick:
        try:
            python, peer = python_of_peer(say), "ThingsBoard Gateway 3.8.5"
        except PeerMissing as missing:
            peer = f"not installed here: {missing}"
        say(f"peer: {peer}")
    jobs = [job for name in names for job in _jobs(BY_NAME[name], folder, asked, scale, python)]
    figures: dict[str, Any] = {
        "cells": list(names),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(folder),
        "seconds_scale": scale,
        "window_s": COMMIT_WINDOW_S,
        "slack_s": COMMIT_SLACK_S,
        "database": "PostgreSQL" if asked.postgres else "SQLite",
        "peer": peer,
    }
    if asked.headwater and not asked.postgres:
        make_portal(folder / MADE_PORTAL)
    rows = run(jobs, side_by_side=asked.jobs)
    figures |= {"rows": rows, "beside": table.beside(rows), "took_s": rounded(time.monotonic() - began_s)}
    ours = [row for row in rows if row["side"] == "headwater" and not row.get("skipped")]
    good = all(row.get("flawless") for row in ours) and bool(ours or not asked.headwater)
    figures["flawless"] = good
    _print(figures, as_json=asked.json)
    if asked.page:
        page.write(figures)
    if asked.dir is None and good:
        shutil.rmtree(folder, ignore_errors=True)
    elif not good:
        say(f"the records of cells that failed are in {folder}")
    return 0 if good else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    def cells(value: str) -> list[str]:
        wrong = [name for name in value.split(",") if name not in BY_NAME]
        if wrong:
            raise argparse.ArgumentTypeError(f"no cell {', '.join(wrong)}; there are {', '.join(BY_NAME)}")
        return value.split(",")

    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs.outage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=cells, metavar="NAME,...", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--seconds-scale", type=float, metavar="X", help="shorten (or stretch) every wait")
    parser.add_argument("--headwater", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, help="default: yes, but not with --quick")
    parser.add_argument("--all-storages", action="store_true", help="the peer's three storages, not SQLite alone")
    parser.add_argument(
        "--quick", action="store_true", help=f"{', '.join(QUICK)}, four times shorter, without the peer"
    )
    parser.add_argument("--postgres", action="store_true", help="the portal on a throwaway PostgreSQL")
    parser.add_argument("--sabotage", choices=KINDS, help="plant a fault, which the table must show")
    parser.add_argument("--jobs", type=int, default=6, help="cells side by side; those that measure CPU run alone")
    parser.add_argument("--dir", type=Path, help="keep all records there")
    parser.add_argument("--page", action="store_true", help="write docs/proofs/outage.md and .json")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def _jobs(cell: Cell, folder: Path, asked: argparse.Namespace, scale: float, python: Path | None) -> list[Job]:
    jobs = []
    if asked.headwater:
        extra = ["--postgres"] if asked.postgres else ["--made-portal", str(folder / MADE_PORTAL)]
        extra += ["--sabotage", asked.sabotage] if asked.sabotage else []
        jobs.append(_job(cell, "headwater", None, folder, scale, extra))
    if python is not None and cell.peer:
        storages = STORAGES if asked.all_storages and cell.name in WITH_STORAGES else STORAGES[:1]
        for storage in storages:
            extra = ["--storage", storage, "--python", str(python)]
            jobs.append(_job(cell, "peer", storage, folder, scale, extra))
    return jobs


def _job(cell: Cell, side: str, storage: str | None, parent: Path, scale: float, extra: list[str]) -> Job:
    folder = parent / "-".join(word for word in (cell.name, side, storage) if word)
    folder.mkdir()
    command = [sys.executable, "-m", "tests.proofs.outage.cell", cell.name, "--side", side, "--dir", str(folder)]
    command += ["--seconds-scale", f"{scale:g}", *extra]
    if cell.disk_mb:
        # A mount namespace of its own; who is not root becomes so within a user namespace, where that is allowed.
        command = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", *command]
    return Job(cell, side, storage, folder, Child(folder.name, command, folder / "cell.log", {"PYTHONPATH": str(ROOT)}))


def run(jobs: Sequence[Job], *, side_by_side: int) -> list[dict[str, Any]]:
    """Run the cells, those that measure processor time one at a time after the others; return rows in table order."""
    try:
        _pool([job for job in jobs if not job.cell.alone], side_by_side)
        _pool([job for job in jobs if job.cell.alone], 1)
    finally:
        for job in jobs:
            job.child.send(signal.SIGTERM)
        for job in jobs:
            job.child.stop()
    return [_row(job) for job in jobs]


def _pool(jobs: Sequence[Job], side_by_side: int) -> None:
    waiting = list(jobs)
    running: list[Job] = []
    while waiting or running:
        while waiting and len(running) < side_by_side:
            job = waiting.pop(0)
            job.started_s = time.monotonic()
            job.child.start()
            running.append(job)
            say(f"{job.name} begins")
        for job in list(running):
            if job.child.running and time.monotonic() - job.started_s < _LONGEST_S:
                continue
            job.child.stop()
            running.remove(job)
            row = _row(job)
            told = row.get("error") or f"served {row['served']}, lost {row['lost_by_count']}, twice {row['double']}"
            say(f"{job.name}: {told}")
        time.sleep(0.2)


def _row(job: Job) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads((job.folder / ROW).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = [line for line in tail(job.child.log).splitlines() if line.strip()] or ["it said nothing"]
        row = {"side": job.side, "storage": job.storage, "cell": job.cell.name, "error": said[-1][:200]}
        row["skipped"] = bool(job.cell.disk_mb) and ("unshare: " in said[-1] or NO_DISK in said[-1])
    return row


def _print(figures: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        json.dump(figures, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    rows, lines = figures["rows"], []
    if any(row["side"] == "headwater" for row in rows):
        lines += ["Headwater", table.text(rows, "headwater"), ""]
    if any(row["side"] == "peer" for row in rows):
        lines += [figures["peer"], table.text(rows, "peer"), ""]
    else:
        lines += [f"peer: {figures['peer']}", ""]
    lines += [
        f"{BY_NAME[cell].what}: CPU per read {ratios['cpu_ms_per_read']:g} of the peer's"
        for cell, ratios in figures["beside"].items()
    ]
    skipped = sum(bool(row.get("skipped")) for row in rows)
    lines += [f"skipped {skipped}: no small disk can be mounted here"] if skipped else []
    if any(row["side"] == "headwater" for row in rows):
        good = "lost 0 and counted twice 0 in every cell that ran"
        lines.append(f"Headwater: {good if figures['flawless'] else 'NOT as it must be'}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

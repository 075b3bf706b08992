"""Runs one cell to its end, in a process of its own; its row is row.json in the cell's folder.

A cell with a small disk is started in a mount namespace of its own, so that the disk is gone when the cell is.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.demo.sabotage import KINDS
from tests.bench.measure import rounded
from tests.postgres import throwaway_postgres
from tests.proofs.outage import bank
from tests.proofs.outage.ours import Headwater
from tests.proofs.outage.peer import ThingsBoard
from tests.proofs.outage.plan import BY_NAME, STORAGES, Cell
from tests.proofs.outage.rig import Filler, Rig, longest_gap_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIB = 1024 * 1024
ROW = "row.json"
_FIRST_READ_S = 120.0
_NEXT_MESSAGE_S = 30.0


def run(rig: Rig) -> dict[str, Any]:
    """Run the cell's course: warm, outage, kill, mended link, silence of the meters, drain; return its row."""
    cell = rig.cell
    try:
        rig.start()
        _wait_for_reads(rig)
        time.sleep(cell.warm_s)
        cpu_before_s, replies_before, began_s = rig.cpu_s(), rig.replies(), time.time()
        waiting = _outage(rig)
        time.sleep(cell.after_s)
        figures = _figures(rig, time.time() - began_s, rig.replies() - replies_before, cpu_before_s)
        rig.hush()
        drain_s = rig.drain(cell.drain_s)
        result = rig.account()
        payload = rig.payload()
    finally:
        rig.close()
    moments = list(bank.served(rig.served_file).values())
    return {
        "cell": cell.name,
        **asdict(result),
        "flawless": result.flawless,
        "waiting_at_end_of_outage": waiting,
        **figures,
        "drain_s": rounded(drain_s),
        "longest_gap_s": longest_gap_s(moments),
        **payload,
        "bytes_per_read": rounded(payload["payload_bytes"] / max(1, result.received)),
    }


def _wait_for_reads(rig: Rig) -> None:
    ends_s = time.monotonic() + _FIRST_READ_S
    while rig.replies() < rig.cell.meters:
        if not rig.gateway.running or time.monotonic() > ends_s:
            raise RuntimeError(f"the gateway did not read every meter once:\n{rig.gateway.log.read_text()[-2000:]}")
        time.sleep(0.1)


def _outage(rig: Rig) -> int | None:
    """Go through the outage, with what is killed and filled in it; return how many reads waited at its end."""
    cell = rig.cell
    filler = Filler(rig.data_dir)
    rig.break_link()
    began_s = time.monotonic()
    due = [(cell.kill_at_s, rig.kill_gateway), (cell.fill_at_s, filler.start), (cell.outage_s, lambda: None)]
    for at_s, what in sorted(((at_s, what) for at_s, what in due if at_s is not None), key=lambda pair: pair[0]):
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        what()
    waiting = rig.waiting_reads() if cell.mode else None
    rig.mend_link()
    if cell.kill_ingest:
        for _ in range(2):
            _wait_for_a_message(rig)
            rig.kill_ingest()
    if cell.fill_at_s is not None:
        # The disk stays full while the link is back: acks have to be noted all the same. Then reading has to go on.
        time.sleep(cell.after_s)
        filler.remove()
    return waiting


def _wait_for_a_message(rig: Rig) -> None:
    """Wait until the broker gets readings: whoever takes them in has work in hand."""
    before, ends_s = rig.payload()["messages"], time.monotonic() + _NEXT_MESSAGE_S
    while rig.payload()["messages"] == before and time.monotonic() < ends_s:
        time.sleep(0.01)


def _figures(rig: Rig, took_s: float, replies: int, cpu_before_s: float) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "reads_per_s": rounded(replies / took_s),
        "resident_mib": rounded(rig.resident_bytes() / MIB),
        "peak_resident_mib": rounded(rig.resident_bytes("VmHWM") / MIB),
    }
    if not rig.kills_s:
        cpu_s = rig.cpu_s() - cpu_before_s
        figures["cpu_percent"] = rounded(100 * cpu_s / took_s)
        figures["cpu_ms_per_read"] = rounded(1000 * cpu_s / max(1, replies))
    return figures


def main(arguments: Sequence[str]) -> int:
    """Run one cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=BY_NAME)
    parser.add_argument("--side", choices=("headwater", "peer"), required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--seconds-scale", type=float, default=1.0)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--made-portal", type=Path)
    parser.add_argument("--sabotage", choices=KINDS)
    parser.add_argument("--storage", choices=STORAGES, default="sqlite")
    parser.add_argument("--python", type=Path)
    asked = parser.parse_args(arguments)
    # So that a stopped proof leaves no broker frozen and no meter talking.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cell = BY_NAME[asked.name].scaled(asked.seconds_scale)
    with _rig(cell, asked) as rig:
        row = run(rig)
    storage = asked.storage if asked.side == "peer" else None
    (asked.dir / ROW).write_text(json.dumps({"side": asked.side, "storage": storage, **row}), encoding="utf-8")
    return 0


@contextlib.contextmanager
def _rig(cell: Cell, asked: argparse.Namespace) -> Iterator[Rig]:
    if asked.side == "peer":
        yield ThingsBoard(cell, asked.dir, python=asked.python, storage=asked.storage)
    elif asked.postgres:
        with throwaway_postgres() as url:
            yield Headwater(cell, asked.dir, database_url=url, sabotage=asked.sabotage)
    else:
        yield Headwater(cell, asked.dir, made_portal=asked.made_portal, sabotage=asked.sabotage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

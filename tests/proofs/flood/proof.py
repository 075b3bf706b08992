"""Steady collectors beside a flooder: how long each batch takes from its publication to the portal's signed ack."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sync.signing import VerifyKey, batch_hash, open_ack
from tests.portal.boxes import Box, enrol, name_in
from tests.portal.processes import Portal, until
from tests.proofs.flood.flooder import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEADY = 10
PACE_S = 0.5
"""Each steady collector publishes a batch of five reads so often."""

GOAL = 2.0
_SETTLE_S = 3.0
_LOST_S = 20.0
FLOODED, OTHER = range(8), range(8, 16)


def verify_key(folder: Path) -> VerifyKey:
    """Return the key that acks are signed with."""
    return VerifyKey.from_pem((folder / "portal_key.pem").read_bytes())


@dataclass
class Phase:
    """Seconds in which nothing changes: times in milliseconds from publication to ack, by worker; None for no ack."""

    flood: str | None
    flooded_ms: list[float | None] = field(default_factory=list)
    other_ms: list[float | None] = field(default_factory=list)
    flood_per_s: float = 0.0


@dataclass
class Street:
    """Ten steady collectors, one that floods, and the portal's processes."""

    portal: Portal
    boxes: list[Box]
    flooder: str
    seed: int
    flood_per_s: float = 0.0
    numbers: dict[str, int] = field(default_factory=dict)

    def steady(self, phase: Phase, seconds: float) -> None:
        """Publish at the steady pace for so long and write down what each batch took."""
        sealed: list[tuple[Box, bytes, float]] = []
        begin_s = time.monotonic()
        for turn in range(int(seconds / PACE_S)):
            for number, box in enumerate(self.boxes):
                at_s = begin_s + PACE_S * (turn + number / len(self.boxes))
                signed = box.seal(5 * self.numbers.get(box.name, 0))
                self.numbers[box.name] = self.numbers.get(box.name, 0) + 1
                time.sleep(max(0.0, at_s - time.monotonic()))
                sealed.append((box, signed, time.monotonic()))
                box.publish(signed)
        deadline_s = time.monotonic() + _LOST_S
        while time.monotonic() < deadline_s and sum(len(box.acks) for box in self.boxes) < len(sealed):
            time.sleep(0.05)
        self._note(phase, sealed)

    def _note(self, phase: Phase, sealed: list[tuple[Box, bytes, float]]) -> None:
        acked: dict[bytes, float] = {}
        for box in self.boxes:
            for at_s, data in box.acks:
                ack = open_ack(data, collector=box.name, keys=lambda _, key=box._key: key)  # type: ignore[misc]
                if ack.committed:
                    acked.setdefault(ack.batch_hash, at_s)
            box.acks.clear()
        for box, signed, published_s in sealed:
            answered_s = acked.get(batch_hash(signed))
            took_ms = None if answered_s is None else 1000 * (answered_s - published_s)
            (phase.flooded_ms if box.name.partition in FLOODED else phase.other_ms).append(took_ms)

    def flooded(self, kind: str, seconds: float) -> Phase:
        """Measure while the flooder floods."""
        command = [sys.executable, "-m", "tests.proofs.flood.flooder", kind, str(self.portal.folder), self.flooder]
        command += [str(self.seed), str(seconds + 1.5), str(self.flood_per_s)]
        with subprocess.Popen(
            command, env=self.portal.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as flooder:
            assert flooder.stdin is not None
            assert flooder.stdout is not None
            try:
                assert flooder.stdout.readline().strip() == "ready", "the flooder did not get ready"
                flooder.stdin.write("go\n")
                flooder.stdin.flush()
                time.sleep(1.0)
                phase = Phase(kind)
                self.steady(phase, seconds)
                told = json.loads(flooder.stdout.readline())
                phase.flood_per_s = told["published"] / told["seconds"]
            finally:
                if flooder.poll() is None:
                    flooder.kill()
        return phase


@contextlib.contextmanager
def street(folder: Path, *, broker: str, seed: int, flood_per_s: float) -> Iterator[Street]:
    """Bring everything up: portal on DATABASE_URL, broker, two ingest workers, ten connected collectors."""
    portal = Portal(folder)
    portal.command("init")
    os.environ.update(portal.environment)
    import portal.cli as portal_cli

    portal_cli._django()  # what builds a batch is of the portal's tests
    half = STEADY // 2
    names = [name_in(FLOODED, n) for n in range(half)] + [name_in(OTHER, n) for n in range(half)]
    flooder = name_in(FLOODED, half)
    boxes = enrol(portal, *names, flooder)[:-1]
    (folder / "portal_key.pem").write_bytes(boxes[0]._key.pem())
    portal.start_broker(broker)
    try:
        for partitions in ("0-7", "8-15"):
            portal.start("ingest", "--partitions", partitions, "--json", name=f"ingest-{partitions}")
            until(lambda p=partitions: "ingest ready" in portal.log(f"ingest-{p}"), "a worker is subscribed")  # type: ignore[misc]
        for box in boxes:
            box.connect()
        yield Street(portal, boxes, flooder, seed, flood_per_s)
        for box in boxes:
            box.close()
    finally:
        for process in portal.running[1:]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in portal.running[1:]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        portal.stop()


def run(street: Street, *, seconds: float, kinds: tuple[str, ...] = KINDS) -> dict[str, Any]:
    """Measure in turns, without and with each kind of flood; return the figures."""
    street.steady(Phase(None), 2.0)  # warm
    normal, floods = [], []
    for kind in kinds:
        quiet = Phase(None)
        street.steady(quiet, seconds)
        normal.append(quiet)
        floods.append(street.flooded(kind, seconds))
        _drained(street)
    return _figures(normal, floods)


def _drained(street: Street) -> None:
    """Wait until what the broker still holds of a flood is through."""
    deadline_s = time.monotonic() + _LOST_S
    while time.monotonic() < deadline_s:
        probe = Phase(None)
        street.steady(probe, PACE_S)
        if all(took is not None and took < 250.0 for took in probe.flooded_ms):
            return
    time.sleep(_SETTLE_S)


def _figures(normal: list[Phase], floods: list[Phase]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for quiet, flood in zip(normal, floods, strict=True):
        beside = _summary(quiet.flooded_ms), _summary(flood.flooded_ms)
        apart = _summary(quiet.other_ms), _summary(flood.other_ms)
        rows.append(
            {
                "flood": flood.flood,
                "flood_per_s": round(flood.flood_per_s),
                "same_worker": _compared(*beside),
                "other_worker": _compared(*apart),
            }
        )
    return {
        "cores": os.cpu_count(),
        "steady_collectors": STEADY,
        "pace_s": PACE_S,
        "goal": GOAL,
        "floods": rows,
        "lost": sum(row[where]["unacknowledged"] for row in rows for where in ("same_worker", "other_worker")),
        "worst": max(row[where]["median_ratio"] for row in rows for where in ("same_worker", "other_worker")),
    }


def _summary(times_ms: list[float | None]) -> dict[str, float]:
    known = sorted(took for took in times_ms if took is not None)
    cuts = statistics.quantiles(known, n=20, method="inclusive")
    return {
        "batches": len(times_ms),
        "unacknowledged": len(times_ms) - len(known),
        "median_ms": statistics.median(known),
        "p95_ms": cuts[-1],
    }


def _compared(quiet: dict[str, float], flood: dict[str, float]) -> dict[str, float]:
    return {
        "batches": flood["batches"],
        "unacknowledged": quiet["unacknowledged"] + flood["unacknowledged"],
        "median_ms": round(quiet["median_ms"], 1),
        "median_flooded_ms": round(flood["median_ms"], 1),
        "median_ratio": round(flood["median_ms"] / quiet["median_ms"], 2),
        "p95_ms": round(quiet["p95_ms"], 1),
        "p95_flooded_ms": round(flood["p95_ms"], 1),
        "p95_ratio": round(flood["p95_ms"] / quiet["p95_ms"], 2),
    }

"""Our leak detector behind the interface of the leak benchmark.

PYTHONPATH=<checkout> python3 run.py --detector tests.bench.leakbench:factory
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domain.ids import MeterId, RegisterId
from domain.leak import LeakDetector
from domain.reading import Register
from domain.units import Unit


class BenchDetector:
    """Feeds cumulative litres as the counts of a register with the series' resolution."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.litres_per_count = meta["resolution_l"]
        scale = {0.1: -1, 1.0: 0, 10.0: 1, 100.0: 2}[self.litres_per_count]
        modulus = round(meta["modulus_l"] / self.litres_per_count) if meta.get("modulus_l") else None
        self.register = Register(MeterId("BENCH-1"), RegisterId("total"), Unit.LITRE, scale, modulus)
        self.detector = LeakDetector(self.register)

    def feed(self, ts_epoch_s: int, cumulative_l: float) -> list[dict[str, Any]]:
        """Return the alarms that this reading opens or closes."""
        at = datetime.fromtimestamp(ts_epoch_s, UTC)
        changes = self.detector.feed(at, round(cumulative_l / self.litres_per_count))
        return [{"kind": f"leak_{c.rule}" if c.opened else f"clear_{c.rule}", "change": c} for c in changes]


def factory(meta: dict[str, Any]) -> BenchDetector:
    """Return a detector for one series of the benchmark."""
    return BenchDetector(meta)

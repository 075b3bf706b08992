"""The whole chain as its user starts it: three records, with and without kills, and with planted faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")


def check(tmp_path: Path, *arguments: str, program: str = "tests.fleet.ready") -> tuple[int, dict[str, Any]]:
    """Run `headwater demo --check --json` in a home of its own; return its exit code and its object."""
    done = subprocess.run(
        [sys.executable, "-m", program, "demo", "--check", "--json", "--dir", str(tmp_path / "demo"), *arguments],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout.strip(), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_nothing_is_lost_or_counted_twice(tmp_path: Path) -> None:
    """M-Bus, Modbus RTU and Modbus TCP: every reply is one read at the portal, every dial its register."""
    code, result = check(tmp_path, "--meters", "12", "--seconds", "15", "--every", "3", program="headwater")
    assert (result["lost"], result["duplicated"], result["in_flight_at_kill"], result["faults"]) == (0, 0, 0, [])
    assert len(result["meters"]) == 12
    assert all(meter["equal"] and meter["replies"] >= 3 for meter in result["meters"])
    assert code == 0


def test_a_kill_of_collector_ingest_and_broker_loses_nothing_that_was_stored(tmp_path: Path) -> None:
    """SIGKILL at random moments: what is missing was cut off on the wire, at most one commit window of it."""
    kills = [argument for name in ("gateway", "ingest", "broker") for argument in ("--kill", name)]
    code, result = check(tmp_path, "--meters", "12", "--seconds", "25", "--every", "3", "--seed", "5", *kills)
    assert (result["lost"], result["duplicated"], result["faults"]) == (0, 0, [])
    # One reply of one meter may be on its way into one commit; a reply holds at most two registers.
    assert all(meter["in_flight_at_kill"] <= 2 for meter in result["meters"])
    assert code == 0


@pytest.mark.parametrize("sabotage", ["drop-read", "double-batch", "skip-ack"])
def test_a_planted_fault_is_found(tmp_path: Path, sabotage: str) -> None:
    """The reconciliation is worth nothing if it cannot fail."""
    code, result = check(tmp_path, "--meters", "6", "--seconds", "10", "--every", "3", "--sabotage", sabotage)
    assert code == 9
    assert not result["agrees"]
    found = {"drop-read": result["lost"], "double-batch": result["duplicated"], "skip-ack": len(result["faults"])}
    assert found[sabotage] > 0

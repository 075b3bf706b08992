"""Faults that a real field produces, on the whole running system: it recovers by itself and the records agree."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwater.demo.check import run_check
from headwater.demo.system import Options, System
from tests.fleet.test_demo_stop import processes_about

pytestmark = pytest.mark.xdist_group("demo-faults")


def test_a_broker_that_forgot_everything_and_an_ingest_that_came_late(tmp_path: Path) -> None:
    """Batches published before ingest subscribed to the new broker are nowhere: they come again, and count once."""
    system = System(Options(directory=tmp_path, meters=4, every_s=2.0, street_arguments=("--tcp-only",)))
    try:
        system.start(lambda text: None)
        broker, ingest = system.children["broker"], system.children["ingest"]
        broker.kill()
        ingest.kill()
        shutil.rmtree(tmp_path / "portal" / "broker" / "state")
        broker.start()
        deadline = time.monotonic() + 90
        while any(c.status().get("uplink", {}).get("state") != "connected" for c in system.collectors):
            assert time.monotonic() < deadline, [collector.status() for collector in system.collectors]
            time.sleep(0.2)
        time.sleep(5)  # long enough for batches to go where nobody keeps them
        ingest.start()
        result = run_check(system, seconds=2, kills=(), progress=lambda text: None)
        assert result.agrees, result.as_json()
    finally:
        system.stop()


@pytest.mark.parametrize("stage", ["simulated street", "portal database", "enrolling", "collector hw-demo-1"])
def test_ctrl_c_while_it_starts_ends_cleanly(tmp_path: Path, stage: str) -> None:
    """At whatever step: no stack trace, nothing left running, and the exit code of an interrupted command."""
    folder, log = str(tmp_path / "demo"), tmp_path / "screen"
    program = "headwater" if stage == "portal database" else "tests.fleet.ready"  # there the tables are being made
    with log.open("wb") as screen:
        demo = subprocess.Popen(
            [sys.executable, "-m", program, "demo", "--check", "--meters", "2", "--dir", folder],
            stdout=screen,
            stderr=screen,
            env={**os.environ, "HOME": str(tmp_path)},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while stage not in log.read_text(encoding="utf-8"):
            assert demo.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to every process in the foreground
        assert demo.wait(timeout=60) == 130, log.read_text(encoding="utf-8")
        assert "Traceback" not in log.read_text(encoding="utf-8")
        deadline = time.monotonic() + 30
        while left := processes_about(folder):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)
    finally:
        demo.kill()

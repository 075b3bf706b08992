"""`headwater demo` as a person runs it: it says which URL to open, and Ctrl-C leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("demo")


def processes_about(text: str) -> list[str]:
    """Return the command lines of running processes that name a folder, this one's parents and itself left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in command or f"HEADWATER_PORTAL_DIR={text}" in environment:
            found.append(command)
    return found


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_the_demo_says_where_to_look_and_leaves_nothing_running(tmp_path: Path, how: signal.Signals) -> None:
    """However it ends, every process that it started ends with it."""
    folder = str(tmp_path / "demo")
    log = tmp_path / "screen"
    with log.open("wb") as screen:
        demo = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.ready", "demo", "--meters", "4", "--dir", folder],
            stdout=screen,
            stderr=screen,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    try:
        deadline = time.monotonic() + 90
        while not (shown := re.search(r"Open this URL:\s+(http://127\.0\.0\.1:\d+)/", log.read_text(encoding="utf-8"))):
            assert demo.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        assert urllib.request.urlopen(f"{shown[1]}/accounts/login/", timeout=10).status == 200
        assert len(processes_about(folder)) >= 6
        demo.send_signal(how)
        demo.wait(timeout=60)
        deadline = time.monotonic() + 30
        while left := processes_about(folder):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)
    finally:
        demo.kill()

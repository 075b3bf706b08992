"""A street of simulated meters and gateways reading it, as child processes, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from domain.clock import clock_from_spec
from domain.ids import CollectorId, MeterId
from domain.reading import StoredEvent, StoredRead
from firmware_sim.control import ask
from gateway.config import BusConfig, CollectorConfig, GatewayConfig, MeterConfig, PollConfig
from gateway.config_text import to_toml

READY_S = 120.0


def until(condition: Callable[[], Any], *, seconds: float = 120.0, what: str = "") -> Any:
    """Return the condition's first true value; fail when it takes longer than `seconds`."""
    ends = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < ends, f"waited {seconds} s for {what or condition}"
        time.sleep(0.05)
    return value


def lives(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def headwater(*arguments: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "headwater", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def process(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command; its output goes to a file."""
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, "-m", "headwater", *arguments], stdout=output, stderr=output)


def end(child: subprocess.Popen[bytes], *, number: int = signal.SIGTERM, seconds: float = 90) -> int:
    """Send a signal and return the exit code."""
    if child.poll() is None:
        child.send_signal(number)
    return child.wait(seconds)


class Street:
    """A running street."""

    def __init__(self, folder: Path, *, speed: float, mbus: int, rtu: int, tcp: int) -> None:
        self.folder, self.speed = folder, speed
        self._child = process(
            folder / "street.log", "sim", "street", "--dir", str(folder / "street"), "--seed", "7",
            "--baudrate", "9600",
            "--meters", str(mbus + rtu + tcp), "--mbus", str(mbus), "--rtu", str(rtu), "--tcp", str(tcp),
            "--speed", str(speed), "--poll-every", "30",
        )  # fmt: skip
        try:
            until(self._ready, seconds=READY_S, what="the street")
        except BaseException:
            self.close()
            raise
        self.plan = json.loads((folder / "street" / "street.json").read_text())

    def _ready(self) -> bool:
        assert self._child.poll() is None, (self.folder / "street.log").read_text()
        return (self.folder / "street" / "street.json").exists()

    def close(self) -> None:
        end(self._child)

    def tell(self, **command: object) -> dict[str, Any]:
        return ask(self.folder / "street", command)

    def meters(self, driver: str) -> list[dict[str, Any]]:
        return [meter for meter in self.plan["meters"] if meter["driver"] == driver]

    def replies(self) -> list[dict[str, Any]]:
        lines = (self.folder / "street" / "replies.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def config(self, folder: Path, *, every_s: float = 20, lines: set[str] | None = None) -> GatewayConfig:
        """Return a configuration that reads the street's lines."""
        chosen = [line for line in self.plan["lines"] if lines is None or line["name"] in lines]
        names = {line["name"] for line in chosen}
        return GatewayConfig(
            folder=folder,
            collector=CollectorConfig(
                CollectorId("hw-test-1"), folder / "data", self.plan["clock"], folder / "append.jsonl"
            ),
            poll=PollConfig(every_s=every_s),
            buses=tuple(
                BusConfig(line["name"], "tcp", host=line["host"], tcp_port=line["tcp_port"])
                if line["kind"] == "tcp"
                else BusConfig(line["name"], "serial", port=line["port"], baudrate=line["baudrate"])
                for line in chosen
            ),
            meters=tuple(
                MeterConfig(
                    MeterId(meter["meter_id"]), meter["line"], meter["driver"], meter["address"], meter["model"],
                    meter["identity"] or None,
                )
                for meter in self.plan["meters"]
                if meter["line"] in names
            ),
        )  # fmt: skip


class Gateway:
    """A gateway as a child process."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config, self.folder = config, config.folder
        self.path = config.folder / "collector.toml"
        self.path.write_text(to_toml(config))
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.child = process(self.folder / "gateway.log", "gateway", "run", "--config", str(self.path))

    def kill(self) -> None:
        assert self.child is not None
        os.kill(self.child.pid, signal.SIGKILL)
        self.child.wait(60)

    def stop(self) -> int:
        assert self.child is not None
        return end(self.child)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it for the length of a block and end it cleanly."""
        self.start()
        try:
            yield
        except BaseException:
            print(self.log())
            end(self.child, number=signal.SIGKILL)  # type: ignore[arg-type]
            raise
        code = self.stop()
        assert code == 0, self.log()

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a technician's command on this gateway's configuration."""
        return headwater("gateway", command, *arguments, "--config", str(self.path))

    def appended(self) -> list[dict[str, Any]]:
        """Return the append log; a last line that is cut off is no line."""
        path = self.folder / "append.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def stored(self) -> list[StoredRead | StoredEvent]:
        """Return everything in the store of a stopped gateway."""
        from buffer.store import Store

        clock = clock_from_spec(self.config.collector.clock)
        with Store.open(self.folder / "data" / "store.db", clock=clock) as store:
            items: list[StoredRead | StoredEvent] = []
            while page := store.items_since(items[-1].append_seq if items else 0, limit=1000):
                items += page
            return items

    def events(self) -> list[StoredEvent]:
        return [item for item in self.stored() if isinstance(item, StoredEvent)]

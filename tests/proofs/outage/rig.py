"""What both sides have in common: the bank, a Mosquitto broker, what the outage does to it, and what /proc tells."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.demo.processes import Child, free_port
from tests.bench.measure import cpu_s, proc_bytes
from tests.broker import mosquitto
from tests.proofs.outage import bank

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.proofs.outage.account import Account
    from tests.proofs.outage.plan import Cell

_PUBLISH = re.compile(rb"Received PUBLISH from (\S+) \(.*?'([^']+)', \.\.\. \((\d+) bytes\)\)")
FILLER = "filler"
_FILL_AGAIN_S = 0.05
NO_DISK = "a small disk cannot be mounted here"
ROOT = Path(__file__).resolve().parents[3]


class Rig(ABC):
    """One side of one cell: its processes under one folder, gone when the cell is over."""

    def __init__(self, cell: Cell, folder: Path) -> None:
        self.cell, self.folder = cell, folder
        self.broker_port = free_port()
        self.kills_s: list[float] = []
        self.children: list[Child] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.bank = self.program("bank", "--meters", str(cell.meters), "--dir", str(folder))
        self.broker: Child
        self.gateway: Child

    @abstractmethod
    def start(self) -> None:
        """Bring everything up, the gateway last."""

    @abstractmethod
    def drain(self, limit_s: float) -> float:
        """Wait until what waits has arrived, or no longer; return how long that took."""

    @abstractmethod
    def account(self) -> Account:
        """Stop everything and set the records against each other."""

    @property
    @abstractmethod
    def data_dir(self) -> Path:
        """Where the gateway keeps what it could not send."""

    @property
    @abstractmethod
    def readings_topic(self) -> re.Pattern[str]:
        """The topics that readings travel on."""

    def waiting_reads(self) -> int | None:
        """How many reads the gateway says it still has to send; None when it does not say."""
        return None

    def kill_ingest(self) -> None:
        """Kill and restart what takes the batches in."""
        raise NotImplementedError

    # -- processes ---------------------------------------------------------------------------------------------------

    def child(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Make (not start) a process with a log of its own."""
        child = Child(name, command, self.folder / f"{name}.log", environment or {})
        self.children.append(child)
        return child

    def program(self, name: str, *arguments: str) -> Child:
        """Make (not start) a process of one of this package's programs."""
        command = [sys.executable, "-m", f"{__package__}.{name}", *arguments]
        return self.child(name, command, {"PYTHONPATH": str(ROOT)})

    def start_bank(self) -> list[dict[str, int]]:
        """Start the meters; return the endpoints: port, number of the first meter, how many."""
        self.bank.start()
        described = self.folder / "bank.json"
        self.bank.wait_until(described.exists, what="the meters were not ready")
        endpoints: list[dict[str, int]] = json.loads(described.read_text(encoding="utf-8"))
        return endpoints

    def make_broker(self, configuration: Path) -> None:
        """Make the broker's process from a configuration; its log has a line for every message."""
        if os.geteuid() == 0:
            with configuration.open("a", encoding="utf-8") as lines:
                lines.write("user root\n")
        found = mosquitto()
        assert found is not None, "mosquitto is missing: apt-get install mosquitto"
        self.broker = self.child("broker", [found, "-v", "-c", str(configuration)])

    def start_broker(self) -> None:
        """Start the broker; returns once it accepts connections."""
        self.broker.start()
        self.broker.wait_until(self._broker_accepts, what="the broker did not listen")

    def _broker_accepts(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.broker_port), timeout=1):
            return True
        return False

    def forget_broker_state(self) -> None:
        """Make the next broker a fresh one; a side that needs the old one's subscriptions keeps them."""
        return

    def break_link(self) -> None:
        """Begin the outage."""
        if self.cell.mode == "stop":
            self.broker.stop()
        elif self.cell.mode in ("freeze", "cut"):
            self.broker.send(signal.SIGSTOP)

    def mend_link(self) -> None:
        """End the outage."""
        if self.cell.mode == "freeze":
            self.broker.send(signal.SIGCONT)
        elif self.cell.mode == "cut":
            self.broker.kill()
            self.forget_broker_state()
            self.start_broker()
        elif self.cell.mode == "stop":
            self.start_broker()

    def kill_gateway(self) -> None:
        """SIGKILL the gateway and start it again."""
        self.kills_s.append(time.time())
        self.gateway.kill()
        self.gateway.start()

    def hush(self) -> None:
        """Let the meters fall silent for good; every reply that they sent has been delivered."""
        self.bank.stop()

    def close(self) -> None:
        """Leave nothing running."""
        for child in reversed(self.children):
            child.send(signal.SIGCONT)
            child.kill()

    # -- figures -----------------------------------------------------------------------------------------------------

    @property
    def served_file(self) -> Path:
        """The bank's journal."""
        return self.folder / "served.bin"

    def replies(self) -> int:
        """How many replies left the meters until now."""
        return bank.replies_so_far(self.served_file)

    def cpu_s(self) -> float:
        """Processor time of the gateway so far."""
        return cpu_s(self.gateway.pid) if self.gateway.pid else 0.0

    def resident_bytes(self, key: str = "VmRSS") -> int:
        """Resident memory of the gateway now; VmHWM: at its highest."""
        return proc_bytes(self.gateway.pid, key) if self.gateway.pid else 0

    def payload(self) -> dict[str, int]:
        """Return how many messages with readings the broker received and their payload bytes (its own log)."""
        messages = size = 0
        for _, topic, length in _PUBLISH.findall(self.broker.log.read_bytes()):
            if self.readings_topic.fullmatch(topic.decode()):
                messages, size = messages + 1, size + int(length)
        return {"messages": messages, "payload_bytes": size}


class Filler:
    """A file of somebody else's that takes all that is left of a disk, and what is given back afterwards too."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILLER
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="filler", daemon=True)
        self.taken_bytes = 0

    def start(self) -> None:
        """Take the last byte, and go on taking."""
        self._thread.start()

    def _fill(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._done.is_set():
                for size in (4096, 1):
                    with contextlib.suppress(OSError):
                        while not self._done.is_set():
                            self.taken_bytes += file.write(bytes(size))
                self._done.wait(_FILL_AGAIN_S)

    def remove(self) -> None:
        """Give it all back."""
        self._done.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)


def mount_small_disk(folder: Path, megabytes: int) -> None:
    """Put a disk of so many MiB at a folder; it ends with the mount namespace of the cell's process."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{NO_DISK}: {done.stderr.strip()}")


def longest_gap_s(moments: Sequence[float]) -> float:
    """Return the longest time in which no reply left any meter."""
    ordered = sorted(moments)
    return round(max((b - a for a, b in zip(ordered, ordered[1:], strict=False)), default=0.0), 1)


def status_of(folder: Path) -> dict[str, Any]:
    """Return the JSON of a status file, empty when it is not there or half written."""
    with contextlib.suppress(OSError, ValueError):
        status: dict[str, Any] = json.loads((folder / "status.json").read_text(encoding="utf-8"))
        return status
    return {}

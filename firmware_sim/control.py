"""The street's control socket: one JSON object a line in, one out; and the client that asks it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import HeadwaterError, ResourceUnavailable
from firmware_sim.errors import NoStreet, SimError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from firmware_sim.street import Street

LONGEST_LINE = 65_536
REPORT_EVERY_REAL_S = 10.0
# A line that loses more than this share of its time to lateness cannot keep its pace.
LATE_SHARE = 0.2


class Control:
    """Runs a street's main loop: control connections, the parent's life, and lateness at high speed.

    watch_parent  end when the process that started this one ends.
    """

    def __init__(self, street: Street, path: Path, *, speed: float, watch_parent: bool = True) -> None:
        self._street, self._path, self._speed = street, path, speed
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._parent_fd = -1
        try:
            self._listener.bind(str(path))
        except OSError as error:
            self._listener.close()
            raise ResourceUnavailable(
                f"cannot make the control socket {path}: {error}; choose a --dir with a shorter path"
            ) from error
        self._listener.listen()
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(street.stop_fd, selectors.EVENT_READ)
        self._buffers: dict[int, bytearray] = {}
        self._behind: dict[str, float] = {}
        self._seen = dict(street.late())
        self._seen_at_s = time.monotonic()
        if watch_parent and os.getppid() > 1 and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._parent_fd = os.pidfd_open(os.getppid())
                self._selector.register(self._parent_fd, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the street is asked to stop or the parent process has ended."""
        timeout_s = REPORT_EVERY_REAL_S if self._speed > 1 else None
        while True:
            for key, _ in self._selector.select(timeout_s):
                if key.fd in (self._street.stop_fd, self._parent_fd):
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket):
                    self._talk(key.fileobj)
            if self._speed > 1:
                self._look_behind()

    def close(self) -> None:
        """Close every connection and remove the socket."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        if self._parent_fd >= 0:
            os.close(self._parent_fd)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            peer, _ = self._listener.accept()
            peer.settimeout(5.0)
            self._buffers[peer.fileno()] = bytearray()
            self._selector.register(peer, selectors.EVENT_READ)

    def _talk(self, peer: socket.socket) -> None:
        buffer = self._buffers[peer.fileno()]
        try:
            received = peer.recv(LONGEST_LINE)
            buffer += received
            while (end := buffer.find(b"\n")) >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                peer.sendall(json.dumps(self.obey(line)).encode() + b"\n")
        except OSError:
            received = b""
        if not received or len(buffer) > LONGEST_LINE:
            self._buffers.pop(peer.fileno())
            self._selector.unregister(peer)
            peer.close()

    def obey(self, line: bytes) -> dict[str, object]:
        """Return the answer to one command; a command that cannot be obeyed says why and changes nothing."""
        try:
            command = json.loads(line)
            do: Callable[[dict[str, object]], dict[str, object]] | None = {
                "dials": self._dials,
                "pulse": self._pulse,
                "leak": self._leak,
                "freeze": self._freeze,
                "fault": self._fault,
                "status": self._status,
                "stop": self._stop,
            }.get(command["do"])
            if do is None:
                return _refused(
                    f"unknown command {command['do']!r}; know dials, pulse, leak, freeze, fault, status, stop"
                )
            return {"ok": True, **do(command)}
        except HeadwaterError as error:
            return {"ok": False, **error.as_json()}
        except (ValueError, TypeError, KeyError) as error:
            return _refused(f"not a command: {error}" if not isinstance(error, KeyError) else f"{error} is missing")

    def _dials(self, _: dict[str, object]) -> dict[str, object]:
        moment, shown = self._street.dials()
        return {"dials": shown, "at": moment.isoformat()}

    def _pulse(self, command: dict[str, object]) -> dict[str, object]:
        counts = command["counts"]
        if not isinstance(counts, int):
            raise TypeError("counts is an integer")
        return {"count": self._street.pulse(str(command["meter"]), counts)}

    def _leak(self, command: dict[str, object]) -> dict[str, object]:
        rate = command["litres_per_h"]
        if not isinstance(rate, int | float):
            raise TypeError("litres_per_h is a number")
        self._street.leak(str(command["meter"]), rate, pattern=str(command.get("pattern", "steady")))
        return {"at": self._street.mains.now().isoformat()}

    def _freeze(self, _: dict[str, object]) -> dict[str, object]:
        self._street.mains.close()
        return self._dials({})

    def _fault(self, command: dict[str, object]) -> dict[str, object]:
        answers = self._street.fault(str(command["meter"]), str(command["kind"]), on=bool(command.get("on", True)))
        return {"meter": answers}

    def _status(self, _: dict[str, object]) -> dict[str, object]:
        lines = {name: {"answers": n, "late_s": round(late_s, 3)} for name, (n, late_s) in self._street.late().items()}
        return {
            "meters": self._street.plan.meters,
            "replies": self._street.journal.replies,
            "at": self._street.clock.now().isoformat(),
            "lines": lines,
            "behind": self._behind,
        }

    def _stop(self, _: dict[str, object]) -> dict[str, object]:
        self._street.ask_stop()
        return {}

    def _look_behind(self) -> None:
        """Report a line whose answers are late for more than a fifth of the time that passes."""
        passed_s = time.monotonic() - self._seen_at_s
        if passed_s < REPORT_EVERY_REAL_S:
            return
        latest = dict(self._street.late())
        before, self._seen, self._seen_at_s = self._seen, latest, time.monotonic()
        self._behind = falling_behind(before, latest, passed_s=passed_s * self._speed)
        for name, share in self._behind.items():
            print(  # the street has no other way to speak to a person
                f"line {name} falls behind: {share:.0%} of its time is lost to this machine; use a lower --speed",
                file=sys.stderr,
                flush=True,
            )


def falling_behind(
    before: Mapping[str, tuple[int, float]], latest: Mapping[str, tuple[int, float]], *, passed_s: float
) -> dict[str, float]:
    """Return the lines that lost more than LATE_SHARE of some virtual seconds to lateness, and which share.

    before, latest  for each line its answers and their whole lateness in virtual seconds, at the span's two ends.
    """
    shares = {name: round((late_s - before[name][1]) / passed_s, 2) for name, (_, late_s) in latest.items()}
    return {name: share for name, share in shares.items() if share > LATE_SHARE}


def _refused(message: str) -> dict[str, object]:
    return {"ok": False, "error": "SimError", "message": message}


def ask(folder: Path, command: dict[str, object], *, timeout_s: float = 10.0) -> dict[str, object]:
    """Send one command to the street in a folder and return its answer.

    raises  NoStreet when none runs there, SimError when it refuses.
    """
    path = folder / "control.sock"
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(timeout_s)
            peer.connect(str(path))
            peer.sendall(json.dumps(command).encode() + b"\n")
            with peer.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise NoStreet(f"no street answers at {path}: start one with `headwater sim street --dir {folder}`") from error
    answer: dict[str, object] = json.loads(line) if line else {}
    if not answer.get("ok"):
        raise SimError(str(answer.get("message", "the street closed before it answered")))
    return answer

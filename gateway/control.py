"""The running service's door for commands on the same machine: a unix socket, one JSON object a line.

A request is one line; the answer is one line or, for scans and watching, many. The socket lies in the data directory
and only the collector's own user and group reach it. Its path goes through /proc/self/fd, because a unix socket's path
may have 107 bytes only and a data directory's may have more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, HeadwaterError, ResourceUnavailable
from drivers.errors import BadReply, MeterError, NoReply
from gateway.errors import GatewayNotRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOCKET_NAME = "gateway.sock"
REQUEST_BYTES_MAX = 65_536

log = logging.getLogger(__name__)


@contextlib.contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Yield a short path of the socket in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Answers requests, each connection in a thread of its own.

    handle  makes the answers to one request; a HeadwaterError becomes an answer with its exit code.
    """

    def __init__(self, folder: Path, handle: Callable[[dict[str, Any]], Iterator[dict[str, Any]]]) -> None:
        self._folder, self._handle = folder, handle
        self._socket = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Bind the socket (one left over by a killed service is replaced: the caller holds the lock) and answer."""
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)
        with _short_path(self._folder) as path:
            self._socket.bind(path)
        (self._folder / SOCKET_NAME).chmod(0o660)
        self._socket.listen(8)
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more."""
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), name="control-answer", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
            for line in self._answers(stream.readline(REQUEST_BYTES_MAX)):
                stream.write(json.dumps(line).encode() + b"\n")
                stream.flush()

    def _answers(self, request: bytes) -> Iterator[dict[str, Any]]:
        try:
            yield from self._handle(dict(json.loads(request)))
        except HeadwaterError as error:
            yield {"failed": {**error.as_json(), "exit_code": error.exit_code}}
        except (ValueError, TypeError) as error:
            yield {"failed": {"error": "ConfigError", "message": f"not understood: {error}", "exit_code": 3}}
        except Exception as error:
            log.exception("a request of the control socket failed")
            yield {"failed": {"error": type(error).__name__, "message": repr(error), "exit_code": 1}}


def running(folder: Path) -> bool:
    """Tell whether a service answers in a data directory."""
    try:
        _connect(folder, 2.0).close()
    except GatewayNotRunning:
        return False
    return True


def ask(folder: Path, request: dict[str, Any], *, timeout_s: float | None = 30.0) -> Iterator[dict[str, Any]]:
    """Send one request to the running service and yield its answers.

    timeout_s  longest wait for one answer, None for ever.
    raises     GatewayNotRunning, or the error that the service met.
    """
    connection = _connect(folder, timeout_s)
    with connection, connection.makefile("rwb") as stream:
        try:
            stream.write(json.dumps(request).encode() + b"\n")
            stream.flush()
            for line in stream:
                answer: dict[str, Any] = json.loads(line)
                if "failed" in answer:
                    raise as_error(answer["failed"])
                yield answer
        except TimeoutError:
            raise ResourceUnavailable("the running gateway did not answer in time; see its log") from None
        except (ConnectionError, ValueError):
            raise GatewayNotRunning("the gateway stopped while it was asked; start it again") from None


def _connect(folder: Path, timeout_s: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    try:
        with _short_path(folder) as path:
            connection.connect(path)
    except PermissionError as error:
        connection.close()
        raise ResourceUnavailable(
            f"{folder / SOCKET_NAME}: permission denied. Run as the collector's user, or join its group."
        ) from error
    except OSError as error:
        connection.close()
        raise GatewayNotRunning(
            f"no gateway runs in {folder}; start it with: headwater gateway run --config FILE"
        ) from error
    return connection


def as_error(failed: dict[str, Any]) -> HeadwaterError:
    """Return an error that came over the socket as the class its exit code stands for."""
    message, code, meter_id = str(failed.get("message", "")), failed.get("exit_code"), failed.get("meter_id")
    if failed.get("error") == "NoReply":
        return NoReply(message, meter_id=meter_id, seen=bytes.fromhex(failed.get("seen", "")))
    if code == BadReply.exit_code:
        return BadReply(message, meter_id=meter_id, reply=bytes.fromhex(failed.get("reply", "")))
    if code == MeterError.exit_code:
        return MeterError(message, meter_id=meter_id)
    if code == ConfigError.exit_code:
        return ConfigError(message)
    if code == ResourceUnavailable.exit_code:
        return ResourceUnavailable(message)
    return HeadwaterError(message)

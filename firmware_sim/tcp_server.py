"""Modbus TCP endpoints: one thread serves all endpoints of the street and all their connections.

Requests may be pipelined; the answers of one connection leave in the order of their requests, each after its meter's
turnaround time in the clock's time. While nothing is said the thread sleeps in the selector.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.errors import ResourceUnavailable

if TYPE_CHECKING:
    from domain.clock import Clock
    from firmware_sim.dial import Mains
    from firmware_sim.journal import Journal
    from firmware_sim.meters.modbus import TcpUnits
    from firmware_sim.wire import Answer

# More than this unread means that the peer is gone or flooding: 250 of the largest answers.
MOST_PENDING_BYTES = 65_536


@dataclass
class _Connection:
    socket: socket.socket
    units: TcpUnits
    received: bytearray = field(default_factory=bytearray)
    due: deque[tuple[float, Answer]] = field(default_factory=deque)
    unsent: bytearray = field(default_factory=bytearray)


class TcpServer:
    """Serves Modbus TCP on loopback until `stop_fd` is readable."""

    def __init__(self, *, clock: Clock, mains: Mains, journal: Journal, stop_fd: int) -> None:
        self.exchanges, self.late_s = 0, 0.0
        self._clock, self._mains, self._journal, self._stop_fd = clock, mains, journal, stop_fd
        self._selector = selectors.DefaultSelector()
        self._selector.register(stop_fd, selectors.EVENT_READ)
        self._connections: dict[int, _Connection] = {}
        self._thread = threading.Thread(target=self._serve, name="modbus-tcp", daemon=True)

    def listen(self, units: TcpUnits, *, host: str = "127.0.0.1", port: int = 0) -> int:
        """Open one endpoint and return its port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise ResourceUnavailable(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
            ) from error
        listener.listen()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, units)
        return int(listener.getsockname()[1])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the thread and close every socket."""
        if self._thread.is_alive():
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            for key, events in self._selector.select(self._timeout_s()):
                if key.fd == self._stop_fd:
                    return
                if isinstance(key.data, _Connection):
                    self._talk(key.data, events)
                else:
                    self._accept(key)
            self._send_due()

    def _timeout_s(self) -> float | None:
        firsts = [connection.due[0][0] for connection in self._connections.values() if connection.due]
        if not firsts:
            return None
        return max(0.0, self._clock.real_seconds(min(firsts) - self._clock.monotonic()))

    def _accept(self, key: selectors.SelectorKey) -> None:
        listener = key.fileobj
        if not isinstance(listener, socket.socket):
            return
        with contextlib.suppress(BlockingIOError, ConnectionError):
            peer, _ = listener.accept()
            peer.setblocking(False)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._connections[peer.fileno()] = _Connection(peer, key.data)
            self._selector.register(peer, selectors.EVENT_READ, connection)

    def _talk(self, connection: _Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(connection)
        if not events & selectors.EVENT_READ or connection.socket.fileno() < 0:
            return
        try:
            received = connection.socket.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            received = b""
        if not received:
            self._drop(connection)
            return
        connection.received += received
        try:
            while (adu := connection.units.take(connection.received)) is not None:
                self._answer(connection, adu)
        except ValueError:
            self._drop(connection)

    def _answer(self, connection: _Connection, adu: bytes) -> None:
        answer = connection.units.answer(adu, self._mains.now())
        if answer is None:
            return
        due_s = self._clock.monotonic() + answer.delay_s
        if connection.due:
            due_s = max(due_s, connection.due[-1][0])
        connection.due.append((due_s, answer))

    def _send_due(self) -> None:
        now_s = self._clock.monotonic()
        for connection in list(self._connections.values()):
            while connection.due and connection.due[0][0] <= now_s + 1e-9:
                due_s, answer = connection.due.popleft()
                self.exchanges, self.late_s = self.exchanges + 1, self.late_s + now_s - due_s
                connection.unsent += answer.data
                self._flush(connection)
                self._journal.sent((answer,), self._clock.now())
                if answer.closes or len(connection.unsent) > MOST_PENDING_BYTES:
                    self._drop(connection)
                if connection.socket.fileno() < 0:
                    break

    def _flush(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            self._drop(connection)
            return
        del connection.unsent[:sent]
        writing = selectors.EVENT_WRITE if connection.unsent else 0
        self._selector.modify(connection.socket, selectors.EVENT_READ | writing, connection)

    def _drop(self, connection: _Connection) -> None:
        if connection.socket.fileno() < 0:
            return
        self._connections.pop(connection.socket.fileno(), None)
        self._selector.unregister(connection.socket)
        connection.socket.close()

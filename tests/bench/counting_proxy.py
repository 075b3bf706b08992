"""A loopback TCP proxy that counts what passes: payload bytes, and the segments that the kernel used for them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

MSS_BYTES = 1400
HEADER_BYTES = 40
"""IPv4 and TCP without options."""

_SEGS_OUT_AT = 136  # of struct tcp_info (linux/tcp.h): tcpi_segs_out, then tcpi_segs_in
_TCP_INFO_BYTES = 144


@dataclass(frozen=True, slots=True)
class Passed:
    """What passed so far, both ways together.

    chunks_up  how often the client's side had something to read.
    segments   TCP segments on the client's side: the kernel's own count (pure acknowledgements included), and one more
               for each 1,400 bytes that loopback, with its large frames, carries in one.
    """

    bytes_up: int = 0
    bytes_down: int = 0
    chunks_up: int = 0
    segments: int = 0

    @property
    def payload_bytes(self) -> int:
        """Bytes inside TCP: TLS, MQTT and what it carries."""
        return self.bytes_up + self.bytes_down

    @property
    def wire_bytes(self) -> int:
        """Payload and an estimate of the headers: 40 bytes a segment."""
        return self.payload_bytes + HEADER_BYTES * self.segments

    def __sub__(self, before: Passed) -> Passed:
        return Passed(
            self.bytes_up - before.bytes_up,
            self.bytes_down - before.bytes_down,
            self.chunks_up - before.chunks_up,
            self.segments - before.segments,
        )


class CountingProxy:
    """Listens on a free loopback port and passes every connection on to another one."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._up = self._down = self._chunks_up = self._extra_segments = self._ended_segments = 0
        self._clients: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._sockets):
            _shut(end)
        for thread in list(self._threads):
            thread.join(5)

    def passed(self) -> Passed:
        """Return what passed so far, over all connections."""
        with self._lock:
            live = sum(_segments(client) for client in self._clients)
            segments = self._ended_segments + self._extra_segments + live
            return Passed(self._up, self._down, self._chunks_up, segments)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                return
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._clients.append(client)
                self._sockets += [client, server]
            pumps = [
                threading.Thread(target=self._pump, args=(client, server, True), daemon=True),
                threading.Thread(target=self._pump, args=(server, client, False), daemon=True),
            ]
            self._threads += pumps
            for pump in pumps:
                pump.start()
            self._threads.append(threading.Thread(target=self._bury, args=(client, server, pumps), daemon=True))
            self._threads[-1].start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                self._count(len(data), up)
                sink.sendall(data)
        for end in (source, sink):
            _shut(end)

    def _count(self, size: int, up: bool) -> None:
        with self._lock:
            if up:
                self._up, self._chunks_up = self._up + size, self._chunks_up + 1
            else:
                self._down += size
            self._extra_segments += (size - 1) // MSS_BYTES

    def _bury(self, client: socket.socket, server: socket.socket, pumps: list[threading.Thread]) -> None:
        for pump in pumps:
            pump.join()
        with self._lock:
            self._ended_segments += _segments(client)
            self._clients.remove(client)
        for end in (client, server):
            end.close()


def _segments(end: socket.socket) -> int:
    """Return the segments of one connection as its kernel counts them, both ways."""
    info = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    return sum(struct.unpack_from("=II", info, _SEGS_OUT_AT)) if len(info) >= _TCP_INFO_BYTES else 0


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)

"""A loopback TCP proxy that passes upwards only so many bytes a second, holding as little as the kernel allows."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

CHUNK_BYTES = 256


class SlowLink:
    """Listens on a free loopback port and passes connections on to another one, slowly on the way up."""

    def __init__(self, target_port: int, *, bytes_per_s: float) -> None:
        self._target_port, self._pause_s = target_port, CHUNK_BYTES / bytes_per_s
        self._listener = socket.socket()
        # Inherited by what is accepted: as small as the kernel has it, so that nothing hides in the proxy.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        self.bytes_up = 0
        self._sockets: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for end in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [client, server]
                for pump in (self._up, self._down):
                    self._threads.append(threading.Thread(target=pump, args=(client, server), daemon=True))
                    self._threads[-1].start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(CHUNK_BYTES):
                self._stopping.wait(self._pause_s * len(data) / CHUNK_BYTES)
                self.bytes_up += len(data)
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

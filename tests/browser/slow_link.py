"""A slow link between browser and portal, to find tests that do not wait: `HEADWATER_SLOW_PAGES_MS=400 pytest ...`.

A page's head comes after that time, and its text after as long again. Between the two, the browser has left the old
page and has nothing of the new one: what asks for something there without waiting fails each time, not once in a month.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def slow_link(target_port: int, delay_s: float) -> Iterator[int]:
    """Pass connections on to a loopback port, pages slowly; yields the port where it listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=_accept, args=(listener, target_port, delay_s), daemon=True)
    accepting.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    accepting.join(60)
    listener.close()


def _accept(listener: socket.socket, target_port: int, delay_s: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            browser, _ = listener.accept()
            threading.Thread(target=_carry, args=(browser, target_port, delay_s), daemon=True).start()


def _carry(browser: socket.socket, target_port: int, delay_s: float) -> None:
    """Carry one connection, both ways, until both sides have ended it."""
    with browser, socket.create_connection(("127.0.0.1", target_port)) as portal:
        for end in (browser, portal):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = threading.Thread(target=_pump, args=(browser, portal, 0.0), daemon=True)
        asked.start()
        _pump(portal, browser, delay_s)
        asked.join()


def _pump(source: socket.socket, sink: socket.socket, pause_s: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 20):
            head, between, text = data.partition(b"\r\n\r\n")
            if pause_s and data.startswith(b"HTTP/1.1 ") and b"content-type: text/html" in head.lower():
                time.sleep(pause_s)
                sink.sendall(head + between)
                time.sleep(pause_s)
                data = text
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

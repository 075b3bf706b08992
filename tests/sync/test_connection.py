"""A connection to a broker that takes everything and confirms nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, BinaryIO

import pytest

from domain.ids import CollectorId
from sync.connection import UNSENT_MAX_BYTES, BrokerAddress, Connection
from sync.topics import batch_topic
from tests.sync.conftest import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTOR = CollectorId("elm-street-3")
CONNECT, PUBLISH, SUBSCRIBE = 1, 3, 8


class MuteBroker:
    """Accepts one client and its subscriptions; takes publishes, while `reading`, and sends no PUBACK."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.published: list[bytes] = []
        self.reading = threading.Event()
        self.reading.set()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._client, _ = self._listener.accept()
        with self._client.makefile("rb") as stream, contextlib.suppress(OSError, IndexError):
            self._answer(self._client, stream)

    def _answer(self, client: socket.socket, stream: BinaryIO) -> None:
        while head := stream.read(1):
            self.reading.wait(30)
            size = shift = 0
            while True:
                byte = stream.read(1)[0]
                size, shift = size | (byte & 0x7F) << shift, shift + 7
                if byte < 0x80:
                    break
            body = stream.read(size)
            if head[0] >> 4 == CONNECT:
                client.sendall(b"\x20\x02\x00\x00")
            elif head[0] >> 4 == SUBSCRIBE:
                client.sendall(b"\x90\x04" + body[:2] + b"\x01\x01")
            elif head[0] >> 4 == PUBLISH:
                topic_bytes = int.from_bytes(body[:2], "big")
                self.published.append(body[4 + topic_bytes :])

    def close(self) -> None:
        self.reading.set()
        self._listener.close()
        self._thread.join(5)
        if self._client is not None:
            self._client.close()


def has_room(connection: Connection) -> bool:
    connection.pump(0.01)
    return not connection.unsent


@pytest.fixture
def mute() -> Iterator[tuple[MuteBroker, Connection]]:
    broker = MuteBroker()
    address = BrokerAddress("127.0.0.1", broker.port, tls=False)
    connection = Connection(address, COLLECTOR, tls=None, on_message=lambda *_: None)
    connection.open()
    yield broker, connection
    connection.drop()
    broker.close()


def test_what_the_broker_does_not_confirm_holds_nothing_back(mute: tuple[MuteBroker, Connection]) -> None:
    broker, connection = mute
    wait_for(lambda: len(broker.published) == 1, what="the state")
    for n in range(100):
        connection.publish(batch_topic(COLLECTOR), b"batch %d" % n)
    connection.pump(0.0)
    wait_for(lambda: len(broker.published) == 101, what="all of them")
    assert broker.published[-1] == b"batch 99"


def test_what_the_other_side_has_not_taken_is_unsent(mute: tuple[MuteBroker, Connection]) -> None:
    broker, connection = mute
    assert 0 < UNSENT_MAX_BYTES < 8_192
    connection.publish(batch_topic(COLLECTOR), bytes(100_000))
    wait_for(lambda: has_room(connection), what="room again")
    broker.reading.clear()
    for _ in range(20):  # far more than the sockets' buffers hold
        connection.publish(batch_topic(COLLECTOR), bytes(1_000_000))
    connection.pump(0.0)
    assert connection.unsent
    broker.reading.set()
    wait_for(lambda: has_room(connection), what="all of it gone")
    wait_for(lambda: len(broker.published) == 22, what="all of it there")

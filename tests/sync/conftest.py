"""A portal that commits to memory and acks, and a collector's uplink, for tests against a real broker."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from domain.ids import BatchId, CollectorId
from sync.connection import TlsFiles
from sync.errors import BadMessage
from sync.signing import Ack, SigningKey, batch_hash, open_batch, sign_ack
from sync.topics import ack_topic, batch_filter, parse_batch_topic, state_filter
from tests.broker import Broker, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sync.batch import Batch
    from tests.broker import Pki


def wait_for(condition: Callable[[], Any], *, seconds: float = 120.0, what: str = "") -> None:
    """Poll until a condition holds; fail with its name when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


@dataclass
class FakePortal:
    """Takes batches, "commits" them, then acks.

    fault  decides what to do with a batch's n-th arrival: None acks it, "mute" commits without a word, "reject"
           and "conflict" refuse it, "wrong-key", "wrong-hash" and "noise" answer with what no collector may believe.
    """

    broker: Broker
    collector_key: SigningKey
    key: SigningKey = field(default_factory=SigningKey.generate)
    fault: Callable[[BatchId, int], str | None] = lambda _id, _n: None
    committed: dict[BatchId, tuple[bytes, Batch]] = field(default_factory=dict)
    arrivals: list[tuple[BatchId, bytes]] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def start(self, pki: Pki | None = None) -> FakePortal:
        """Connect with a persistent session and stay connected, as the portal's ingest does."""
        client = Client(CallbackAPIVersion.VERSION2, client_id="fake-portal", clean_session=False, protocol=MQTTv311)
        if pki is not None:
            client.tls_set_context(TlsFiles(pki.ca, pki.certificate("portal"), pki.key("portal")).context())
        client.on_connect = lambda c, *_: c.subscribe([(batch_filter(), 1), (state_filter(), 1)])
        self.ready = threading.Event()
        client.on_subscribe = lambda *_: self.ready.set()
        client.on_message = lambda c, _u, message: self._take(c, message.topic, message.payload)
        client.reconnect_delay_set(0.1, 0.5)
        client.connect_async("127.0.0.1", self.broker.port, keepalive=5)
        client.loop_start()
        self.client = client
        return self

    def stop(self) -> None:
        leave(self.client)

    def _take(self, client: Client, topic: str, payload: bytes) -> None:
        if topic.endswith("/state"):
            self.states.append(payload)
            return
        collector = parse_batch_topic(topic)
        try:
            batch = open_batch(payload, collector=collector, keys=lambda _kid: self.collector_key.verify_key)
        except BadMessage as error:
            self.faults.append(error.reason_code)
            return
        self.arrivals.append((batch.id, payload))
        fault = self.fault(batch.id, sum(1 for seen, _ in self.arrivals if seen == batch.id))
        if fault not in ("reject", "conflict"):
            before = self.committed.setdefault(batch.id, (payload, batch))
            assert before[0] == payload, f"{batch.id} came with other bytes"
        answer = self.answer(batch.id, payload, fault)
        if answer is not None:
            client.publish(ack_topic(collector), answer, qos=1)

    def answer(self, batch_id: BatchId, payload: bytes, fault: str | None) -> bytes | None:
        """Return the ack of a batch, spoilt as the fault says."""
        if fault == "mute":
            return None
        if fault == "noise":
            return b"\xd2\x84 not an ack"
        digest = bytes(32) if fault == "wrong-hash" else batch_hash(payload)
        reason = {"reject": "refused-here", "conflict": "conflict"}.get(fault or "", "")
        ack = Ack(batch_id, digest, not reason, reason, datetime.now(UTC))
        return sign_ack(ack, SigningKey.generate() if fault == "wrong-key" else self.key)

    def append_seqs(self) -> list[int]:
        """Return every append_seq that was committed, of reads and events, in order."""
        batches = [batch for _, batch in self.committed.values()]
        return sorted(item.append_seq for batch in batches for item in (*batch.reads, *batch.events))


@pytest.fixture
def collector() -> CollectorId:
    return CollectorId("elm-street-3")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running NATS broker in clear text on loopback."""
    with Broker.nats(tmp_path / "broker") as running:
        yield running

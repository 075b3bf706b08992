"""The ingest process against a real broker: killed between commit and ack, broker or database away."""

from __future__ import annotations

import signal
import sqlite3
import ssl
import sys
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from domain.ids import CollectorId
from sync import topics
from sync.signing import SigningKey, VerifyKey, batch_hash, open_ack
from tests.broker import nats_server
from tests.portal.processes import Portal, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(nats_server() is None, reason="required-nats: no nats-server found"),
    pytest.mark.xdist_group("portal-processes"),
]

_ENROL = """
import sys
from pathlib import Path
from tests.portal.building import enrolled
box = enrolled("hw-test-1", folder=Path(sys.argv[1]))
(Path(sys.argv[1]) / "signing.pem").write_bytes(box.key.pem())
"""
_KILLED_BEFORE_ITS_ACK = """
import os, signal
from portal.cli import portal
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
import portal.cli
portal.cli._django()
import portal.ingest.apply
portal.ingest.apply._ack = die
portal.cli.portal(["ingest"])
"""


class Box:
    """The collector's side: publishes signed bytes and keeps the acks that come."""

    def __init__(self, portal: Portal) -> None:
        from tests.portal import building

        portal.python(_ENROL, str(portal.folder))
        self.name = CollectorId("hw-test-1")
        self.box = building.Box(self.name, SigningKey.load(portal.folder / "signing.pem"))
        self.portal, self.acks = portal, []

    def connect(self) -> None:
        folder = self.portal.folder
        context = ssl.create_default_context(cafile=str(folder / "broker" / "ca.pem"))
        context.load_cert_chain(folder / "hw-test-1.pem", folder / "hw-test-1.key")
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self.name, clean_session=False)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda client, *_: client.subscribe(topics.ack_topic(self.name), qos=1)
        subscribed: list[bool] = []
        self.client.on_subscribe = lambda *_: subscribed.append(True)
        self.client.on_message = lambda c, d, message: self.acks.append(message.payload)
        until(self._connects, "the broker listens")
        self.client.loop_start()
        until(lambda: subscribed, "the collector is subscribed")

    def _connects(self) -> bool:
        try:
            self.client.connect("127.0.0.1", self.portal.broker_port)
        except OSError:
            return False
        return True

    def seal(self, first: int, count: int = 5) -> bytes:
        from datetime import timedelta

        from tests.portal.building import NOON, read, total

        return self.box.sealed([read(total(), first + n, NOON + timedelta(minutes=first + n)) for n in range(count)])

    def publish(self, signed: bytes) -> None:
        self.client.publish(topics.batch_topic(self.name), signed, qos=1)

    def committed(self, signed: bytes) -> int:
        """How many acks have come that say this very batch is committed."""
        key = VerifyKey.from_pem(self.portal.python(_PORTAL_KEY).encode()) if not hasattr(self, "_key") else self._key
        self._key = key
        opened = [open_ack(data, collector=self.name, keys=lambda _: key) for data in list(self.acks)]
        return sum(ack.committed and ack.batch_hash == batch_hash(signed) for ack in opened)


_PORTAL_KEY = """
from django.conf import settings
from portal.fleet.services import portal_signing_key
print(portal_signing_key(str(settings.PORTAL_DIR)).verify_key.pem().decode())
"""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path)
    portal.command("init")
    yield portal
    portal.stop()
    print(portal.log("ingest") if (tmp_path / "ingest.log").exists() else "", file=sys.stderr)


def counts(portal: Portal) -> list[int]:
    return sorted(row["count"] for row in portal.command("reads"))


def test_a_kill_between_commit_and_ack_loses_and_doubles_nothing(portal: Portal) -> None:
    box = Box(portal)
    portal.start_broker()
    box.connect()
    doomed = portal.start("ingest", program=_KILLED_BEFORE_ITS_ACK)
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    signed = box.seal(0)
    box.publish(signed)
    assert doomed.wait(60) == -signal.SIGKILL
    assert counts(portal) == [0, 1, 2, 3, 4]  # committed, and nobody was told
    assert box.acks == []
    again = portal.start("ingest")
    until(lambda: box.committed(signed), "the broker delivers again and the ack comes")
    assert counts(portal) == [0, 1, 2, 3, 4]
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0
    assert "1 committed, 0 rejected" in portal.log("ingest")


def test_ingest_outlives_an_absent_and_a_killed_broker(portal: Portal) -> None:
    box = Box(portal)
    ingest = portal.start("ingest")
    until(lambda: portal.log("ingest").count("ingest starts"), "ingest runs without a broker")
    broker = portal.start_broker()
    box.connect()
    first = box.seal(0)
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest connects when the broker comes")
    box.publish(first)
    until(lambda: box.committed(first), "the first ack")
    broker.send_signal(signal.SIGKILL)
    broker.wait()
    portal.start_broker()
    second = box.seal(5)
    until(lambda: portal.log("ingest").count("ingest ready") >= 2, "ingest connects again")
    until(box.client.is_connected, "the collector connects again")
    box.publish(second)
    until(lambda: box.committed(second), "the second ack")
    assert ingest.poll() is None
    assert counts(portal) == list(range(10))


def test_a_locked_database_only_delays(portal: Portal) -> None:
    """Longer than the busy time-out, here shortened: the batch waits unacknowledged and is applied afterwards."""
    box = Box(portal)
    url = portal.environment["DATABASE_URL"]
    release: Any
    if url.startswith("postgres"):
        import psycopg

        lock = psycopg.connect(url)
        lock.execute("LOCK TABLE metering_storedbatch IN ACCESS EXCLUSIVE MODE")
        release = lock.rollback
        program = _SHORT_PATIENCE.replace("STATEMENT", "SET lock_timeout = 200")
    else:
        lock = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        release = lambda: lock.execute("ROLLBACK")  # noqa: E731
        program = _SHORT_PATIENCE.replace("STATEMENT", "PRAGMA busy_timeout = 200")
    portal.start_broker()
    box.connect()
    portal.start("ingest", program=program)
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    signed = box.seal(0)
    box.publish(signed)
    until(lambda: "trying again" in portal.log("ingest"), "ingest notices the lock")
    assert box.acks == []
    release()
    until(lambda: box.committed(signed), "the ack comes once the lock is gone")
    assert counts(portal) == [0, 1, 2, 3, 4]
    lock.close()


_SHORT_PATIENCE = """
import portal.cli
portal.cli._django()
from django.db.backends.signals import connection_created
def impatient(connection, **kwargs):
    with connection.cursor() as cursor:
        cursor.execute("STATEMENT")
connection_created.connect(impatient)
portal.cli.portal(["ingest"])
"""


def test_garbage_and_strangers_do_not_stop_the_others(portal: Portal) -> None:
    box = Box(portal)
    portal.start_broker()
    box.connect()
    portal.start("ingest")
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    good = box.seal(0)
    for data in (b"", b"garbage", good[:-1] + bytes((good[-1] ^ 1,)), bytes(1_500_000), good):
        box.publish(data)
    until(lambda: box.committed(good), "the good one is acknowledged")
    assert len(box.acks) == 1
    refused = portal.python("from portal.metering.models import RefusedBatch\nprint(RefusedBatch.objects.count())")
    assert int(refused) == 4
    assert counts(portal) == [0, 1, 2, 3, 4]


def test_a_double_application_would_show(portal: Portal) -> None:
    """The planted fault that the demo's reconciliation must find: contents applied twice are listed twice."""
    box = Box(portal)
    signed = box.seal(0, count=2)
    (portal.folder / "batch").write_bytes(signed)
    portal.python(
        "import sys\nfrom pathlib import Path\nfrom domain.ids import CollectorId\nfrom portal.core.clock import now\n"
        "from portal.ingest.apply import apply_batch\nfrom portal.metering import services\n"
        "once = services.apply_contents\n"
        "def twice(*a, **k):\n    once(*a, **k)\n    return once(*a, **k)\n"
        "services.apply_contents = twice\n"
        "apply_batch(Path(sys.argv[1]).read_bytes(), CollectorId('hw-test-1'), now())",
        str(portal.folder / "batch"),
    )
    assert counts(portal) == [0, 0, 1, 1]
    assert portal.command("rebuild") == {"batches": 1}
    assert counts(portal) == [0, 1]

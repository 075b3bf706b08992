"""The ingest process against a real broker: killed between commit and ack, broker or database away."""

from __future__ import annotations

import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import nats_server
from tests.portal.boxes import enrol
from tests.portal.processes import Portal, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(nats_server() is None, reason="required-nats: no nats-server found"),
    pytest.mark.xdist_group("portal-processes"),
]

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


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path)
    yield portal
    portal.stop()
    print(portal.log("ingest") if (tmp_path / "ingest.log").exists() else "", file=sys.stderr)


def counts(portal: Portal) -> list[int]:
    return sorted(row["count"] for row in portal.command("reads", "list"))


def test_a_kill_between_commit_and_ack_loses_and_doubles_nothing(portal: Portal) -> None:
    (box,) = enrol(portal, "hw-test-1")
    portal.start_broker()
    box.connect()
    doomed = portal.start("ingest", program=_KILLED_BEFORE_ITS_ACK)
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    signed = box.seal(0)
    box.publish(signed)
    assert doomed.wait(120) == -signal.SIGKILL
    assert counts(portal) == [0, 1, 2, 3, 4]  # committed, and nobody was told
    assert box.acks == []
    again = portal.start("ingest")
    until(lambda: box.committed(signed), "the broker delivers again and the ack comes")
    assert counts(portal) == [0, 1, 2, 3, 4]
    again.send_signal(signal.SIGTERM)
    assert again.wait(120) == 0
    assert "1 committed, 0 rejected" in portal.log("ingest")


def test_ingest_outlives_an_absent_and_a_killed_broker(portal: Portal) -> None:
    (box,) = enrol(portal, "hw-test-1")
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
    (box,) = enrol(portal, "hw-test-1")
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
    (box,) = enrol(portal, "hw-test-1")
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


def test_a_hole_is_asked_for_and_a_command_is_sent(portal: Portal) -> None:
    (box,) = enrol(portal, "hw-test-1")
    portal.start_broker()
    box.connect()
    portal.start("ingest")
    until(lambda: "ingest ready" in portal.log("ingest"), "ingest is subscribed")
    first, missing, third = (box.seal(5 * n) for n in range(3))
    box.publish(first)
    box.publish(third)
    until(lambda: box.command_kinds(), "ingest asks for what is missing")
    wanted = {"epoch": box.box.epoch.hex(), "stream": 0, "first": 2, "last": 2}
    assert box.command_kinds()[0] == ("resend", wanted)
    portal.command("command", "read-now", "hw-test-1", "--meter", "EFE-00000001")
    until(lambda: ("read-now", {"meters": ["EFE-00000001"]}) in box.command_kinds(), "the command is sent")
    box.publish(missing)
    until(lambda: box.committed(missing), "the hole is filled")
    assert counts(portal) == list(range(15))


def test_a_double_application_would_show(portal: Portal) -> None:
    """The planted fault that the demo's reconciliation must find: contents applied twice are listed twice."""
    (box,) = enrol(portal, "hw-test-1")
    signed = box.seal(0, count=2)
    (portal.folder / "batch").write_bytes(signed)
    portal.python(
        "import sys\nfrom pathlib import Path\nfrom domain.ids import CollectorId\nfrom portal.core.clock import now\n"
        "from portal.ingest.apply import apply_batch\nfrom portal.metering import services\n"
        "once = services.apply_contents\n"
        "def twice(*a, **k):\n    once(*a, **k)\n    return once(*a, **k | {'keeping': ()})\n"
        "services.apply_contents = twice\n"
        "apply_batch(Path(sys.argv[1]).read_bytes(), CollectorId('hw-test-1'), now())",
        str(portal.folder / "batch"),
    )
    assert counts(portal) == [0, 0, 1, 1]
    assert portal.command("rebuild") == {"batches": 1}
    assert counts(portal) == [0, 1]

"""Several ingest workers on real brokers: disjoint partitions share the work, overlapping ones repeat it harmlessly."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click
import pytest

from portal.cli import _Partitions
from portal.ingest.consumer import client_id
from tests.broker import mosquitto, nats_server
from tests.portal.boxes import enrol, name_in
from tests.portal.processes import Portal, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BROKERS = [
    pytest.param("nats", marks=pytest.mark.skipif(nats_server() is None, reason="required-nats: no nats-server found")),
    pytest.param(
        "mosquitto", marks=pytest.mark.skipif(mosquitto() is None, reason="required-mosquitto: no mosquitto found")
    ),
]


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    portal = Portal(tmp_path)
    yield portal
    portal.stop()
    for log in sorted(tmp_path.glob("worker-*.log")):
        print(log.name, portal.log(log.stem), file=sys.stderr)


@pytest.mark.xdist_group("portal-processes")
@pytest.mark.parametrize("kind", BROKERS)
def test_two_workers_apply_each_batch_once(portal: Portal, kind: str) -> None:
    """Each serves partitions of its own, and some that the other serves too, which is a mistake and does no harm."""
    first, second = "0-11", "4-15"
    names = [name_in(range(4)), name_in(range(4, 12)), name_in(range(12, 16))]
    boxes = enrol(portal, *names)
    portal.start_broker(kind)
    workers = [portal.start("ingest", "--partitions", p, "--json", name=f"worker-{p}") for p in (first, second)]
    for p in (first, second):
        until(lambda p=p: "ingest ready" in portal.log(f"worker-{p}"), "a worker is subscribed")
    sealed = {box.connect().name: [box.seal(5 * n) for n in range(8)] for box in boxes}
    for number in range(8):
        for box in boxes:
            box.publish(sealed[box.name][number])
    for box in boxes:
        until(lambda box=box: all(box.committed(signed) for signed in sealed[box.name]), "every batch is acknowledged")
        box.publish(sealed[box.name][0])  # and once more: acknowledged again, applied no more
        until(lambda box=box: box.committed(sealed[box.name][0]) >= 2, "a repeated batch is acknowledged again")
        box.close()
    counts = sorted(row["count"] for row in portal.command("reads", "list"))
    assert counts == sorted(list(range(40)) * len(boxes))
    assert all(ack.committed for box in boxes for ack in box.opened())
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(120) == 0
    for p in (first, second):
        log = portal.log(f"worker-{p}")
        assert '"faults": 0' in log
        assert '"committed": 0' not in log, "both did some of the work"


@pytest.mark.parametrize(
    ("text", "expected"), [("3", {3}), ("0-2", {0, 1, 2}), ("0,2,14-15", {0, 2, 14, 15}), ("0-15", set(range(16)))]
)
def test_partitions_are_named_by_numbers_and_ranges(text: str, expected: set[int]) -> None:
    assert _Partitions().convert(text, None, None) == expected


@pytest.mark.parametrize("text", ["", "16", "3-1", "a", "0-", "-1", "0-16", "1,,2", "²"])
def test_what_names_no_partition_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="partition"):
        _Partitions().convert(text, None, None)


def test_a_worker_s_session_belongs_to_what_it_serves() -> None:
    """A persistent session keeps its subscriptions: under one name there must never be others."""
    ids = {client_id(frozenset(range(first, last))) for first in range(16) for last in range(first + 1, 17)}
    assert len(ids) == 16 * 17 // 2
    assert client_id(None) == "portal-ingest"
    assert client_id(frozenset(range(8))) == "portal-ingest-00ff"

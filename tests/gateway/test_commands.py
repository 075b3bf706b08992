"""Commands of the portal: what their bodies may be, and the whole way from its signature to the signed answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.clock import clock_from_spec
from domain.ids import Stream
from domain.reading import EventKind, ReadFlag
from gateway.commands import METERS_MAX, Commands
from gateway.config import PortalConfig
from sync.resends import SEQUENCE_MAX, Span
from sync.signing import Command, SigningKey, sign_command
from sync.topics import command_topic
from tests.broker import Broker
from tests.gateway.street import Gateway, Street, until
from tests.sync.conftest import FakePortal

EPOCH = "00112233445566778899aabbccddeeff"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Bench:
    """Commands over parts that only take notes."""

    def __init__(self, refused: str = "") -> None:
        self.reads: dict[str, Future[Any]] = {"EFE-1": Future(), "EFE-2": Future()}
        self.spans: list[Span] = []
        self.reported: list[tuple[EventKind, str, Mapping[str, str | int]]] = []
        self.commands = Commands(
            read_now=self.reads.get,
            resend=lambda span: self.spans.append(span) or refused,  # type: ignore[func-returns-value]
            configure=lambda *_: None,
            report=lambda *event: self.reported.append(event),
        )

    def carry_out(self, kind: str, body: Mapping[str, Any]) -> None:
        self.commands.carry_out(Command(bytes(range(16)), kind, NOW, NOW + timedelta(hours=1), body))

    def results(self) -> list[str]:
        return [str(detail["result"]) for kind, _, detail in self.reported if kind is EventKind.COMMAND_DONE]


GOOD = {"epoch": EPOCH, "stream": 0, "first": 1, "last": 5}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("dance", {}, "unknown kind"),
        ("resend", {}, "expected epoch"),
        ("resend", {**GOOD, "more": 1}, "nothing else"),
        ("resend", {**GOOD, "epoch": EPOCH.upper()}, "epoch"),
        ("resend", {**GOOD, "epoch": EPOCH[:-1]}, "epoch"),
        ("resend", {**GOOD, "epoch": bytes.fromhex(EPOCH)}, "epoch"),
        ("resend", {**GOOD, "stream": 2}, "stream"),
        ("resend", {**GOOD, "stream": True}, "stream"),
        ("resend", {**GOOD, "stream": "0"}, "stream"),
        ("resend", {**GOOD, "first": 0}, "first"),
        ("resend", {**GOOD, "first": 6}, "first"),
        ("resend", {**GOOD, "first": 1.0}, "first"),
        ("resend", {**GOOD, "last": SEQUENCE_MAX + 1}, "last"),
        ("resend", {**GOOD, "last": None}, "last"),
        ("read-now", {}, "expected meters"),
        ("read-now", {"meters": "EFE-1"}, "list"),
        ("read-now", {"meters": []}, "list"),
        ("read-now", {"meters": ["EFE-1"] * (METERS_MAX + 1)}, "list"),
        ("read-now", {"meters": ["EFE-1", 7]}, "meter ids"),
        ("read-now", {"meters": [["EFE-1"]]}, "meter ids"),
        ("read-now", {"meters": ["x" * 65]}, "meter ids"),
    ],
)
def test_a_body_that_makes_no_sense_is_answered_and_does_nothing(kind: str, body: Mapping[str, Any], says: str) -> None:
    bench = Bench()
    bench.carry_out(kind, body)
    (result,) = bench.results()
    assert says in result
    assert bench.spans == []
    _, event_id, detail = bench.reported[0]
    assert event_id == f"command-done:{bytes(range(16)).hex()}"
    assert detail["kind"] == kind


def test_a_read_is_done_when_the_last_meter_has_answered() -> None:
    bench = Bench()
    bench.carry_out("read-now", {"meters": ["EFE-1", "EFE-2", "EFE-1"]})
    bench.reads["EFE-1"].set_result(None)
    assert bench.results() == []
    bench.reads["EFE-2"].set_exception(RuntimeError("no reply"))
    assert bench.results() == ["EFE-2: no reply"]


def test_meters_that_nobody_has_are_named() -> None:
    bench = Bench()
    bench.reads["EFE-1"].set_result(None)
    bench.carry_out("read-now", {"meters": ["EFE-1"]})
    bench.carry_out("read-now", {"meters": ["EFE-1", "EFE-9"]})
    assert bench.results() == ["ok", "EFE-9: no such meter here"]


def test_a_resend_tells_what_is_gone_and_how_it_ended() -> None:
    bench = Bench()
    bench.carry_out("resend", GOOD)
    (span,) = bench.spans
    assert (span.epoch.hex(), span.stream, span.first, span.last) == (EPOCH, Stream.BULK, 1, 5)
    span.on_gone(1, 2)
    span.on_done(3, 0)
    (kind, _, detail), _ = bench.reported
    assert (kind, detail) == (EventKind.BATCHES_GONE, {"epoch": EPOCH, "stream": 0, "first": 1, "last": 2})
    assert bench.results() == ["ok"]
    bench.carry_out("resend", GOOD)
    bench.spans[1].on_done(1, 2)
    assert bench.results()[1:] == ["2 of 3 batches were not acknowledged"]
    busy = Bench(refused="too many")
    busy.carry_out("resend", GOOD)
    assert busy.results() == ["too many"]


def test_answers_to_the_portal_travel_with_the_alarms() -> None:
    assert EventKind.COMMAND_DONE.urgent
    assert EventKind.BATCHES_GONE.urgent


# The whole way


class Portal(FakePortal):
    """The portal of one collector; it signs commands in the collector's time."""

    def begin(self, gateway: Gateway) -> None:
        self.gateway, self.nonces = gateway, itertools.count(1)
        self.start()
        assert self.ready.wait(10)

    def command(self, kind: str, **body: Any) -> str:
        """Send a command; return its number in hex."""
        nonce, now = next(self.nonces).to_bytes(16, "big"), clock_from_spec(self.gateway.config.collector.clock).now()
        command = Command(nonce, kind, now - timedelta(seconds=60), now + timedelta(hours=1), body)
        collector = self.gateway.config.collector.id
        data = sign_command(command, collector=collector, key=self.key)
        self.client.publish(command_topic(collector), data, qos=1)
        return nonce.hex()

    def urgent(self, kind: EventKind) -> list[dict[str, Any]]:
        """Return the details of the events of a kind that came in the urgent stream."""
        return [
            dict(stored.event.detail)
            for batch_id, (_, batch) in list(self.committed.items())
            for stored in batch.events
            if batch_id.stream is Stream.URGENT and stored.event.kind is kind
        ]

    def result(self, nonce: str) -> str:
        """Wait for the outcome of a command."""
        done = until(
            lambda: [detail for detail in self.urgent(EventKind.COMMAND_DONE) if detail["nonce"] == nonce],
            what=f"the outcome of command {nonce}",
        )
        return str(done[0]["result"])


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Portal]:
    """A running gateway with one meter, and its portal, which has seen its first reads."""
    street = Street(tmp_path, speed=10.0, mbus=0, rtu=0, tcp=1)
    try:
        with Broker.nats(tmp_path / "broker") as broker:
            made = Portal(broker, SigningKey.generate())
            (tmp_path / "portal.pem").write_bytes(made.key.verify_key.pem())
            made.collector_key.save(tmp_path / "signing.key")
            sending = PortalConfig(
                broker.url,
                tmp_path / "signing.key",
                tmp_path / "portal.pem",
                seal_every_s=5,
                upload_bytes_per_s_max=100_000,
            )
            gateway = Gateway(replace(street.config(tmp_path, every_s=10), portal=sending))
            made.begin(gateway)
            try:
                with gateway.running():
                    until(lambda: any(i.stream is Stream.BULK for i in made.committed), what="the first reads")
                    yield made
            finally:
                made.stop()
    finally:
        street.close()


def test_the_portal_reads_a_meter_and_has_batches_sent_again(portal: Portal) -> None:
    (meter,) = portal.gateway.config.meters
    assert portal.result(portal.command("read-now", meters=[str(meter.id)])) == "ok"
    answers = [
        stored.read
        for batch_id, (_, batch) in portal.committed.items()
        for stored in batch.reads
        if batch_id.stream is Stream.URGENT
    ]
    assert answers
    assert all(read.flags & ReadFlag.ON_DEMAND and read.register.meter_id == meter.id for read in answers)
    assert "no such meter" in portal.result(portal.command("read-now", meters=["EFE-00000000"]))
    assert "unknown kind" in portal.result(portal.command("open-valve"))

    first = next(i for i in portal.committed if i.stream is Stream.BULK and i.sequence == 1)
    before = sum(i == first for i, _ in portal.arrivals)
    ask = {"epoch": first.epoch.hex(), "stream": 0, "first": 1, "last": 1}
    assert portal.result(portal.command("resend", **ask)) == "ok"
    assert sum(i == first for i, _ in portal.arrivals) == before + 1  # FakePortal compares the bytes
    assert portal.result(portal.command("resend", **{**ask, "epoch": EPOCH, "last": 9})) == "ok"
    until(lambda: portal.urgent(EventKind.BATCHES_GONE), what="word of what is gone")
    assert portal.urgent(EventKind.BATCHES_GONE) == [{"epoch": EPOCH, "stream": 0, "first": 1, "last": 9}]
    assert "first, last" in portal.result(portal.command("resend", **{**ask, "first": 2}))
    uplink = portal.gateway.run("status", "--json").stdout
    assert '"requested": 1' in uplink
    assert '"upload_bytes_per_s_max": 100000' in uplink
    assert '"link_minutes": ' in uplink
    assert '"link_minutes": null' not in uplink

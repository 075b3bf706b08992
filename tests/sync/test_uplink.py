"""The uplink on a real broker: acks that are lost or lie, a portal that is away, a broker that dies or freezes."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from buffer.store import Store
from domain.clock import ClockState, SystemClock
from domain.errors import ConfigError
from domain.ids import CollectorId, MeterId, RegisterId, Stream
from domain.reading import Event, EventKind, Register, RegisterRead
from domain.units import Unit
from sync.connection import BrokerAddress, TlsFiles
from sync.signing import Command, SigningKey, batch_encoder, sign_command
from sync.topics import command_topic
from sync.uplink import Uplink, UplinkPlan
from tests.broker import Broker, Pki
from tests.sync.conftest import FakePortal, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REGISTER = Register(MeterId("EFE-04990254"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)
QUICK = UplinkPlan(
    seal_every_s=0.2,
    max_items=50,
    ack_timeout_s=0.6,
    ack_timeout_max_s=1.0,
    keepalive_s=2,
    back_off_s=0.05,
    back_off_max_s=0.3,
)


def reads(first: int, count: int) -> list[RegisterRead]:
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return [
        RegisterRead(REGISTER, n, at + timedelta(seconds=n), ClockState(bytes(16), n * 10**9, False))
        for n in range(first, first + count)
    ]


def alarm(name: str) -> Event:
    return Event(name, EventKind.LEAK_OPENED, datetime(2026, 11, 22, tzinfo=UTC), ClockState(bytes(16), 1, False))


class Rig:
    """A store, its uplink and a portal, on one broker."""

    def __init__(self, folder: Path, broker: Broker, collector: CollectorId) -> None:
        self.key = SigningKey.generate()
        self.broker, self.collector = broker, collector
        self.store = Store.open(folder / "store.db", clock=SystemClock())
        self.portal = FakePortal(broker, self.key)
        self.commands: list[Command] = []
        self.uplink = self.new_uplink(QUICK)

    def new_uplink(self, plan: UplinkPlan, tls: TlsFiles | None = None) -> Uplink:
        return Uplink(
            self.store,
            collector=self.collector,
            address=BrokerAddress.parse(self.broker.url, allow_cleartext=True),
            tls=tls,
            encode=batch_encoder(self.key),
            keys=lambda kid: self.portal.key.verify_key if kid == self.portal.key.key_id else None,
            clock=SystemClock(),
            plan=plan,
            on_command=self.commands.append,
            rng=random.Random(4),
        )

    def backlog(self) -> int:
        return self.store.status().backlog_items

    def close(self) -> None:
        self.uplink.stop()
        if hasattr(self.portal, "client"):
            self.portal.stop()
        self.store.close()


@pytest.fixture
def rig(tmp_path: Path, broker: Broker, collector: CollectorId) -> Iterator[Rig]:
    made = Rig(tmp_path, broker, collector)
    yield made
    made.close()


def test_everything_arrives_once_and_only_the_signed_ack_clears_it(rig: Rig) -> None:
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.store.append(reads(0, 120), [alarm("a1")])
    rig.uplink.start()
    wait_for(lambda: rig.backlog() == 0, what="backlog drained")
    assert rig.portal.append_seqs() == list(range(1, 122))
    assert rig.portal.arrivals[0][0].stream is Stream.URGENT  # the alarm overtook the backlog
    status = rig.uplink.status()
    assert (status.committed, status.resent, status.bad_messages) == (4, 0, 0)
    wait_for(lambda: b'{"state": "online"}' in rig.portal.states, what="state")


def test_a_broker_that_took_the_batch_proves_nothing(rig: Rig) -> None:
    rig.store.append(reads(0, 10))
    rig.uplink.start()  # nobody is subscribed: the broker acknowledges every publish and keeps none for us
    wait_for(lambda: rig.uplink.status().resent >= 2, what="resent for want of a signed ack")
    assert rig.backlog() == 10
    assert len(rig.store.unacked(Stream.BULK)) == 1
    rig.portal.start()
    wait_for(lambda: rig.backlog() == 0, what="acked once the portal is there")
    assert rig.portal.append_seqs() == list(range(1, 11))


def test_a_window_that_a_forgetful_broker_swallowed_does_not_wait_for_its_time_out(rig: Rig) -> None:
    rig.store.append(reads(0, 600))
    patient = rig.new_uplink(replace(QUICK, ack_timeout_s=3600.0, ack_timeout_max_s=3600.0, probe_first_s=0.5))
    patient.start()
    try:
        wait_for(lambda: patient.in_flight == 8, what="a full window, kept for nobody")
        rig.portal.start()
        wait_for(lambda: rig.backlog() == 0, what="all of it acknowledged")
        assert rig.portal.append_seqs() == list(range(1, 601))
    finally:
        patient.stop()


@pytest.mark.parametrize("fault", ["mute", "wrong-key", "wrong-hash", "noise"])
def test_without_a_valid_ack_the_same_bytes_come_again(rig: Rig, fault: str) -> None:
    rig.portal.fault = lambda _id, arrival: fault if arrival < 3 else None
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.store.append(reads(0, 5))
    rig.uplink.start()
    wait_for(lambda: rig.backlog() == 0, what=fault)
    assert len(rig.portal.arrivals) >= 3
    assert len({payload for _, payload in rig.portal.arrivals}) == 1
    status = rig.uplink.status()
    assert status.committed == 1
    assert status.bad_messages == (2 if fault in ("wrong-key", "noise") else 0)
    assert status.unknown_acks == (2 if fault == "wrong-hash" else 0)


def test_a_batch_that_a_later_ack_overtook_is_not_left_to_its_time_out(rig: Rig) -> None:
    rig.portal.fault = lambda batch_id, arrival: "mute" if batch_id.sequence == 1 and arrival == 1 else None
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.store.append(reads(0, 120))
    patient = rig.new_uplink(replace(QUICK, ack_timeout_s=3600.0, ack_timeout_max_s=3600.0))
    patient.start()
    try:
        wait_for(lambda: rig.backlog() == 0, what="the overtaken batch came again")
        assert patient.status().resent == 1
    finally:
        patient.stop()


def test_a_rejected_batch_is_set_aside_and_the_next_ones_go_on(rig: Rig) -> None:
    rig.portal.fault = lambda batch_id, _n: "reject" if batch_id.sequence == 1 else None
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.store.append(reads(0, 70))
    rig.uplink.start()
    wait_for(lambda: rig.backlog() == 0, what="drained")
    (rejected,) = rig.store.rejected_batches()
    assert (rejected.id.sequence, rejected.reason, rejected.items) == (1, "refused-here", 50)
    assert rig.portal.append_seqs() == list(range(51, 72))  # 20 reads, and the event that tells of it
    events = [event for _, batch in rig.portal.committed.values() for event in batch.events]
    assert [stored.event.kind for stored in events] == [EventKind.BATCH_REJECTED]


def test_a_chain_that_parted_goes_on_in_a_new_epoch(rig: Rig) -> None:
    old_epoch = rig.store.epoch
    rig.portal.fault = lambda batch_id, _n: "conflict" if batch_id.epoch == old_epoch else None
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.store.append(reads(0, 120))
    rig.uplink.start()
    wait_for(lambda: rig.backlog() == 0, what="drained in another epoch")
    assert rig.store.epoch != old_epoch
    assert rig.portal.append_seqs() == list(range(1, 121))
    assert rig.store.rejected_batches() == []


def test_the_broker_is_killed_and_comes_back_while_reads_go_on(rig: Rig) -> None:
    rig.portal.start()
    rig.uplink.start()
    rig.store.append(reads(0, 60))
    wait_for(lambda: rig.backlog() == 0, what="first drain")
    rig.broker.kill()
    rig.store.append(reads(60, 60))
    wait_for(lambda: rig.uplink.status().failures >= 2, what="noticed")
    assert rig.backlog() >= 60
    rig.store.append(reads(120, 60))
    rig.broker.start()
    wait_for(lambda: rig.backlog() == 0, what="drained after the broker's return")
    assert rig.portal.append_seqs() == list(range(1, 181))


def test_the_broker_is_absent_at_start(tmp_path: Path, collector: CollectorId) -> None:
    broker = Broker.nats(tmp_path / "broker")
    rig = Rig(tmp_path, broker, collector)
    try:
        rig.store.append(reads(0, 7))
        rig.uplink.start()
        wait_for(lambda: rig.uplink.status().failures >= 2, what="attempts")
        assert "cannot be reached" in rig.uplink.status().last_error
        broker.start()
        rig.portal.start()
        wait_for(lambda: rig.backlog() == 0, what="drained")
    finally:
        rig.close()
        broker.stop()


def test_a_frozen_link_is_left_and_nothing_is_lost(rig: Rig) -> None:
    rig.portal.start()
    rig.uplink.start()
    rig.store.append(reads(0, 20))
    wait_for(lambda: rig.backlog() == 0, what="first drain")
    rig.broker.freeze()
    rig.store.append(reads(20, 90))
    wait_for(lambda: not rig.uplink.status().connected, what="keep-alive ran out")
    assert rig.backlog() == 90
    rig.broker.thaw()
    wait_for(lambda: rig.backlog() == 0, what="drained")
    assert rig.portal.append_seqs() == list(range(1, 111))


def test_a_frozen_link_does_not_delay_the_stop(rig: Rig) -> None:
    rig.uplink.start()
    wait_for(lambda: rig.uplink.status().connected, what="connected")
    rig.broker.freeze()
    rig.uplink.stop()
    assert not rig.uplink._thread.is_alive()


def test_commands_are_carried_out_once(rig: Rig) -> None:
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.uplink.start()
    wait_for(lambda: rig.uplink.status().connected, what="connected")
    now = datetime.now(UTC)

    def send(nonce: int, *, key: SigningKey | None = None, ends: timedelta = timedelta(hours=1)) -> None:
        issued = now if ends > timedelta() else now - timedelta(hours=2)
        command = Command(bytes([nonce]) * 16, "read-now", issued, now + ends, {"meter": "EFE-04990254"})
        data = sign_command(command, collector=rig.collector, key=key or rig.portal.key)
        rig.portal.client.publish(command_topic(rig.collector), data, qos=1)

    send(1)
    send(1)  # a replay
    send(2, key=SigningKey.generate())  # a stranger
    send(3, ends=timedelta(hours=-1))  # expired
    send(4, ends=timedelta(days=30))  # valid for longer than numbers are remembered
    send(5)
    wait_for(lambda: len(rig.commands) == 2, what="two commands")
    assert [command.nonce[0] for command in rig.commands] == [1, 5]
    assert rig.commands[0].body == {"meter": "EFE-04990254"}
    assert rig.uplink.status().bad_messages == 3


def test_mutual_tls(tmp_path: Path, collector: CollectorId) -> None:
    pki = Pki.make(tmp_path / "pki", collector, "portal")
    stranger = Pki.make(tmp_path / "other", collector)
    with Broker.nats(tmp_path / "broker", pki=pki) as broker:
        rig = Rig(tmp_path, broker, collector)
        try:
            rig.portal.start(pki)
            rig.store.append(reads(0, 3))
            files = TlsFiles(pki.ca, stranger.certificate(collector), stranger.key(collector))
            refused = rig.new_uplink(QUICK, files)
            refused.start()
            wait_for(lambda: refused.status().failures >= 2, what="refused")
            refused.stop()
            assert refused.status().connections == 0
            assert rig.portal.arrivals == []
            rig.uplink = rig.new_uplink(QUICK, TlsFiles(pki.ca, pki.certificate(collector), pki.key(collector)))
            rig.uplink.start()
            wait_for(lambda: rig.backlog() == 0, what="drained over TLS")
        finally:
            rig.close()


def test_the_last_will_tells_of_a_collector_that_vanished(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.portal.start()
    assert rig.portal.ready.wait(60)
    rig.uplink.start()
    wait_for(lambda: rig.portal.states, what="online")
    connection = rig.uplink._connection
    assert connection is not None
    socket = connection._client.socket()
    assert socket is not None
    socket.shutdown(2)  # the line is cut; no DISCONNECT was sent
    wait_for(lambda: b'{"state": "offline"}' in rig.portal.states, what="the will")
    wait_for(lambda: rig.portal.states[-1] == b'{"state": "online"}', what="back again")


def test_clear_text_is_refused() -> None:
    assert BrokerAddress.parse("mqtts://portal.example") == BrokerAddress("portal.example", 8883, tls=True)
    for url in ("mqtt://127.0.0.1:1883", "http://127.0.0.1", "mqtts://", "mqtts://user:secret@host", "mqtts://h:x"):
        with pytest.raises(ConfigError):
            BrokerAddress.parse(url)
    for host in ("portal.example", "10.0.0.1", "0.0.0.0"):
        with pytest.raises(ConfigError, match="clear text"):
            BrokerAddress.parse(f"mqtt://{host}:1883", allow_cleartext=True)
    assert not BrokerAddress.parse("mqtt://127.0.0.1:1883", allow_cleartext=True).tls


def test_waits_between_attempts_grow_and_stay_bounded(rig: Rig) -> None:
    bounds: Callable[[int], float] = lambda n: max(rig.uplink.back_off_s(n) for _ in range(200))  # noqa: E731
    assert bounds(0) <= 0.05
    assert 0.1 < bounds(2) <= 0.2
    assert 0.25 < bounds(40) <= 0.3

"""When batches are sealed: urgent at once, bulk by number or age, and not further ahead than the portal accepts."""

from __future__ import annotations

from domain.clock import ManualClock
from domain.errors import HeadwaterError
from domain.ids import Stream
from domain.reading import Event, EventKind, StoredEvent, StoredRead
from gateway.commit import Committed
from gateway.sealing import RETRY_S, Sealed, Sealer
from gateway.timekeeping import CollectorClock
from tests.gateway.fakes import START, FakeLink, reply


class Bench:
    def __init__(self, *, waiting: int = 0) -> None:
        self.clock = ManualClock(START)
        self.outcomes: dict[Stream, list[Sealed]] = {Stream.BULK: [], Stream.URGENT: []}
        self.tried: list[Stream] = []
        self.sent = 0
        self.fault: Exception | None = None
        self.sealer = Sealer(
            self.seal, clock=self.clock, batch_max_reads=10, seal_every_s=60, on_sealed=self.sealed, waiting=waiting
        )

    def seal(self, stream: Stream, max_items: int) -> Sealed:
        if self.fault:
            raise self.fault
        self.tried.append(stream)
        return self.outcomes[stream].pop(0) if self.outcomes[stream] else Sealed.NOTHING

    def sealed(self) -> None:
        self.sent += 1

    def commit(self, reads: int, kind: EventKind | None = None) -> None:
        found = reply("M1", 1, FakeLink(self.clock)).reads[0]
        events = ()
        if kind:
            state = CollectorClock(self.clock, synchronised=lambda: True).state()
            events = (StoredEvent(99, Event("e", kind, START, state)),)
        self.sealer.committed(Committed(tuple(StoredRead(i, found) for i in range(reads)), events))


def ready() -> Bench:
    bench = Bench()
    bench.sealer.tick()
    bench.tried.clear()
    return bench


def test_bulk_waits_for_its_age() -> None:
    bench = ready()
    bench.commit(3)
    assert bench.sealer.tick() == 60
    assert bench.tried == []
    bench.clock.advance(60)
    bench.outcomes[Stream.BULK] = [Sealed.BATCH]
    assert bench.sealer.tick() is None
    assert bench.tried == [Stream.BULK, Stream.BULK]
    assert bench.sent == 1


def test_bulk_is_sealed_when_enough_waits() -> None:
    bench = ready()
    bench.commit(9)
    bench.sealer.tick()
    assert bench.tried == []
    bench.commit(1)
    bench.sealer.tick()
    assert bench.tried == [Stream.BULK]


def test_an_alarm_is_sealed_at_once_and_alone() -> None:
    bench = ready()
    bench.commit(3, EventKind.LEAK_OPENED)
    bench.outcomes[Stream.URGENT] = [Sealed.BATCH]
    bench.sealer.tick()
    assert bench.tried == [Stream.URGENT, Stream.URGENT]


def test_what_a_restart_found_waiting_is_sealed_first_of_all() -> None:
    bench = Bench(waiting=4)
    bench.sealer.tick()
    assert bench.tried == [Stream.URGENT, Stream.BULK]


def test_enough_sealed_ahead_waits_for_an_ack() -> None:
    bench = ready()
    bench.commit(10)
    bench.outcomes[Stream.BULK] = [Sealed.BATCH, Sealed.AHEAD]
    assert bench.sealer.tick() == RETRY_S
    assert bench.sealer.tick() == RETRY_S
    assert len(bench.tried) == 2
    bench.sealer.nudge()
    assert bench.sealer.tick() is None
    assert len(bench.tried) == 3


def test_a_store_that_fails_is_tried_again() -> None:
    bench = ready()
    bench.commit(10, EventKind.LEAK_OPENED)
    bench.fault = HeadwaterError("no room")
    assert bench.sealer.tick() == RETRY_S
    bench.fault = None
    bench.clock.advance(RETRY_S)
    assert bench.sealer.tick() is None
    assert bench.tried == [Stream.URGENT, Stream.BULK]

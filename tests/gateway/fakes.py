"""A line, a driver and a store that do as a test tells them, at the level where the bus owner meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from domain.clock import Clock, ManualClock
from domain.ids import MeterId, RegisterId
from domain.reading import Event, Register, RegisterRead, StoredEvent, StoredRead
from domain.units import Unit
from drivers.base import Deadline, Link, MeterReply, MeterTarget, ScanResult, last_byte_state
from drivers.errors import NoReply
from gateway import schedule
from gateway.bus import BusOwner
from gateway.commit import Committed, CommitWindow
from gateway.config import BusConfig
from gateway.memory import Memory
from gateway.plans import BusPlan
from gateway.schedule import Plan, PlannedMeter
from gateway.timekeeping import CollectorClock

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
Answer = Callable[[MeterTarget], MeterReply]


class FakeLink:
    """A line without bytes."""

    kind = "serial"
    char_time_s = 0.0

    def __init__(self, clock: Clock) -> None:
        self.last_byte_at = (clock.now(), clock.monotonic())
        self.closed = False

    def send(self, data: bytes) -> None:
        raise AssertionError("the fake driver sends nothing")

    def receive(self, size: int, deadline: Deadline) -> bytes:
        raise AssertionError("the fake driver receives nothing")

    def discard_input(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeDriver:
    """Answers from `answers` (or a growing count); an exchange takes 0.5 s, a time-out 2 s."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, float]] = field(default_factory=list)
    name: str = "fake"
    counts: dict[str, int] = field(default_factory=dict)

    def read(self, target: MeterTarget, link: Link, *, deadline: Deadline, clock: Clock) -> MeterReply:
        self.asked.append((target.meter_id, clock.monotonic()))
        answer = self.answers.get(target.meter_id)
        if answer is not None:
            try:
                return answer(target)
            except NoReply:
                clock.sleep(2.0)
                raise
        clock.sleep(0.5)
        link.last_byte_at = (clock.now(), clock.monotonic())
        self.counts[target.meter_id] = self.counts.get(target.meter_id, 0) + 1
        return reply(target.meter_id, self.counts[target.meter_id], link)

    def scan(self, link: Link, *, clock: Clock, first: int = 1, last: int | None = None) -> Iterator[ScanResult]:
        yield ScanResult("1", True, 1, 1)

    def exchange_time_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        return 0.5

    def timeout_s(self, target: MeterTarget, *, char_time_s: float) -> float:
        return 2.0


def reply(meter_id: str, count: int, link: Link, **kwargs: Any) -> MeterReply:
    """Return a reply with one total."""
    at, state = last_byte_state(link)
    register = Register(MeterId(meter_id), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)
    read = RegisterRead(register, count, at, state)
    given: dict[str, Any] = {"unexpected": False, "alarms": (), "identity": None, "reply": b"\x68", **kwargs}
    return MeterReply(meter_id=MeterId(meter_id), reads=(read,), **given)


class FakeStore:
    """Append and snapshots in memory; `broken` makes append raise."""

    def __init__(self) -> None:
        self.items: list[StoredRead | StoredEvent] = []
        self.transactions: list[int] = []
        self.snapshots: dict[str, tuple[int, bytes]] = {}
        self.broken: Exception | None = None

    def append(self, reads: Sequence[RegisterRead], events: Sequence[Event] = ()) -> list[int | None]:
        if self.broken:
            raise self.broken
        first = len(self.items) + 1
        self.items += [StoredRead(first + i, read) for i, read in enumerate(reads)]
        self.items += [StoredEvent(first + len(reads) + i, event) for i, event in enumerate(events)]
        self.transactions.append(len(reads) + len(events))
        return list(range(first, len(self.items) + 1))

    def save_snapshot(self, name: str, append_seq: int, blob: bytes) -> None:
        self.snapshots[name] = (append_seq, blob)

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        return self.snapshots.get(name)

    @property
    def reads(self) -> list[RegisterRead]:
        return [item.read for item in self.items if isinstance(item, StoredRead)]

    @property
    def events(self) -> list[Event]:
        return [item.event for item in self.items if isinstance(item, StoredEvent)]


class Bench:
    """One bus with its owner, turned by hand."""

    def __init__(self, meters: int = 3, *, every_s: float = 60, memory: Memory | None = None) -> None:
        self.hand = ManualClock(START)
        self.clock = CollectorClock(self.hand, synchronised=lambda: True)
        self.store, self.driver, self.memory = FakeStore(), FakeDriver(), memory or Memory()
        self.links: list[FakeLink] = []
        self.committed: list[Committed] = []
        self.line_fault: Exception | None = None
        self.window = CommitWindow(self.store.append, clock=self.clock, on_committed=self.committed.append)
        names = [f"M{i}" for i in range(meters)]
        planned = tuple(PlannedMeter(name, every_s, 0.0, 0.5) for name in names)
        plan = BusPlan(
            bus=BusConfig("riser", "serial", port="/dev/ttyX"),
            plan=Plan(planned, 3, "seed"),
            targets={name: MeterTarget(MeterId(name), str(i + 1)) for i, name in enumerate(names)},
            drivers=dict.fromkeys(names, self.driver),
            attempts=2,
        )
        self.owner = BusOwner(
            plan, clock=self.clock, window=self.window, memory=self.memory, open_line=self._open,
            histories=dict.fromkeys(names, schedule.NEVER),
        )  # fmt: skip

    def _open(self) -> FakeLink:
        if self.line_fault:
            raise self.line_fault
        self.links.append(FakeLink(self.clock))
        return self.links[-1]

    def run(self, seconds: float) -> None:
        """Let the owner work for some time."""
        ends = self.hand.monotonic() + seconds
        while self.hand.monotonic() < ends:
            wait_s = self.owner.step()
            if wait_s is not None:
                self.hand.advance(min(wait_s, ends - self.hand.monotonic()))

    def kinds(self) -> list[str]:
        """Return the kinds of the stored events in order."""
        return [event.kind.value for event in self.store.events]

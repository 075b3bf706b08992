"""The commit window: nothing waits longer than it, a store that fails holds the bus up and loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from domain.clock import SystemClock
from domain.reading import Event, RegisterRead
from drivers.base import MeterReply
from gateway import commit
from gateway.commit import Committed, CommitWindow
from tests.gateway.fakes import FakeLink, FakeStore, reply


def a_read(count: int) -> RegisterRead:
    found: MeterReply = reply("M1", count, FakeLink(SystemClock()))
    return found.reads[0]


def until(condition: Callable[[], object], *, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


def test_the_window_ends_by_itself(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "WINDOW_S", 0.05)
    told: list[Committed] = []
    window = CommitWindow(store.append, clock=SystemClock(), on_committed=told.append)
    window.start()
    window.add([a_read(1), a_read(2)])
    until(lambda: told)
    assert [stored.append_seq for stored in told[0].reads] == [1, 2]
    window.stop()
    assert store.transactions == [2]


def test_the_window_ends_at_its_number_of_reads(store: FakeStore) -> None:
    window = CommitWindow(store.append, clock=SystemClock(), on_committed=lambda _: None)
    for count in range(commit.READS_MAX + 5):
        window.add([a_read(count)])
    assert store.transactions == [commit.READS_MAX]
    window.flush()
    assert store.transactions == [commit.READS_MAX, 5]


def test_a_store_that_fails_holds_the_bus_up_and_nothing_is_lost(
    store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "RETRY_REAL_S", 0.02)
    window = CommitWindow(store.append, clock=SystemClock(), on_committed=lambda _: None)
    store.broken = OSError("no space left on device")

    def round_of_one() -> None:
        window.add([a_read(1)])
        window.flush()

    bus = threading.Thread(target=round_of_one)
    bus.start()
    until(lambda: window.counters.failures > 3)
    assert bus.is_alive()
    store.broken = None
    bus.join(60)
    assert not bus.is_alive()
    assert [read.raw_count for read in store.reads] == [1]
    assert window.counters.last_error == ""


def test_stopping_over_a_broken_store_ends(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "RETRY_REAL_S", 0.02)
    window = CommitWindow(store.append, clock=SystemClock(), on_committed=lambda _: None)
    window.start()
    window.add([a_read(1)])
    store.broken = OSError("no space left on device")
    window.stop()
    assert store.reads == []


def test_stopping_ends_a_bus_that_waits_for_a_broken_store(store: FakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "RETRY_REAL_S", 0.02)
    window = CommitWindow(store.append, clock=SystemClock(), on_committed=lambda _: None)
    store.broken = OSError("no space left on device")
    window.add([a_read(1)])
    bus = threading.Thread(target=window.flush)
    bus.start()
    until(lambda: window.counters.failures > 3)
    window.stop()
    bus.join(60)
    assert not bus.is_alive()


def test_what_no_batch_could_carry_is_left_out_and_the_rest_is_kept(store: FakeStore) -> None:
    whole = store.append

    def picky(reads: Sequence[RegisterRead], events: Sequence[Event] = ()) -> list[int | None]:
        if any(read.raw_count == 2 for read in reads):
            raise ValueError("a count that no batch could carry")
        return whole(reads, events)

    told: list[Committed] = []
    window = CommitWindow(picky, clock=SystemClock(), on_committed=told.append)
    window.add([a_read(1), a_read(2), a_read(3)])
    window.flush()
    assert [stored.read.raw_count for stored in told[0].reads] == [1, 3]
    assert window.counters.left_out == 1


def test_refused_duplicates_are_counted_and_not_told() -> None:
    read = a_read(1)
    pairs = commit.committed([read, read], [], [7, None])
    assert [stored.append_seq for stored in pairs.reads] == [7]

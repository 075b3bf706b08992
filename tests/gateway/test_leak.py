"""The leak watch: fed after the append, restored as if never stopped, on a fake store and on the real one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from buffer.store import Store
from domain.clock import ClockState, ManualClock
from domain.ids import MeterId, RegisterId
from domain.reading import (
    Event,
    EventKind,
    ReadFlag,
    ReadQuality,
    Reason,
    Register,
    RegisterRead,
    StoredEvent,
    StoredRead,
)
from domain.units import Unit
from gateway.leak import SNAPSHOT, LeakWatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

START = datetime(2026, 3, 2, tzinfo=UTC)
LITRES = Register(MeterId("EFE-1"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)


class ListStore:
    """A store in memory: refuses an event id it has, as the real one does."""

    def __init__(self) -> None:
        self.epoch = b"e" * 16
        self.items: list[StoredRead | StoredEvent] = []
        self.snapshots: dict[str, tuple[int, bytes]] = {}

    def append(self, reads: Sequence[RegisterRead], events: Sequence[Event] = ()) -> list[StoredRead]:
        stored = []
        for read in reads:
            self.items.append(StoredRead(len(self.items) + 1, read))
            stored.append(self.items[-1])
        have = {item.event.event_id for item in self.items if isinstance(item, StoredEvent)}
        self.items += [
            StoredEvent(len(self.items) + n, event)
            for n, event in enumerate((e for e in events if e.event_id not in have), start=1)
        ]
        return [item for item in stored if isinstance(item, StoredRead)]

    def events(self) -> list[Event]:
        return [item.event for item in self.items if isinstance(item, StoredEvent)]

    def save_snapshot(self, name: str, append_seq: int, blob: bytes) -> None:
        self.snapshots[name] = (append_seq, blob)

    def load_snapshot(self, name: str) -> tuple[int, bytes] | None:
        return self.snapshots.get(name)

    def items_since(self, append_seq: int, *, limit: int) -> list[StoredRead | StoredEvent]:
        return [item for item in self.items if item.append_seq > append_seq][:limit]


def _read(minute: int, count: int, register: Register = LITRES, **changes: object) -> RegisterRead:
    at = START + timedelta(minutes=minute)
    clock = ClockState(bytes(16), minute * 60 * 10**9, synchronised=True, synced_since=START)
    return RegisterRead(register, count % 10**8, at, clock, **changes)  # type: ignore[arg-type]


def _leaky(hours: int = 40, *, register: Register = LITRES, from_h: int = 6, until_h: int = 30) -> list[RegisterRead]:
    """Reads every 15 minutes of a meter that leaks 60 l/h from one hour to another and is still otherwise."""
    quarters = range(hours * 4)
    counts = [99_999_900 + 15 * (min(max(q, from_h * 4), until_h * 4) - from_h * 4) for q in quarters]
    return [_read(15 * q, count, register) for q, count in zip(quarters, counts, strict=True)]


def _run(store: ListStore, watch: LeakWatch, clock: ManualClock, reads: Sequence[RegisterRead]) -> None:
    """What the service does with each committed group of reads."""
    for read in reads:
        stored = store.append([read])
        store.append([], watch.feed(stored))
        clock.advance(900)
        watch.maybe_snapshot(stored[-1].append_seq)


def test_a_leak_opens_and_clears_with_its_evidence() -> None:
    store, clock = ListStore(), ManualClock(START)
    reads = _leaky()
    _run(store, LeakWatch.restore(store, clock=clock), clock, reads)
    opened, cleared = store.events()
    assert (opened.kind, cleared.kind) == (EventKind.LEAK_OPENED, EventKind.LEAK_CLEARED)
    assert opened.kind.urgent
    detail = opened.detail
    assert opened.meter_id == "EFE-1"
    assert opened.event_id == f"{detail['alarm']}-opened"
    assert cleared.event_id == f"{detail['alarm']}-cleared"
    assert (detail["rule"], detail["register"], detail["litres_per_h"]) == ("running", "total", 60)
    proved = next(read for read in reads if read.read_at == opened.at)
    assert opened.clock == proved.clock
    first_seq, last_seq = detail["append_seqs"]  # type: ignore[misc]
    first, last = (item for item in store.items if item.append_seq in (first_seq, last_seq))
    assert isinstance(first, StoredRead)
    assert isinstance(last, StoredRead)
    assert first.read.read_at.isoformat() == detail["since"]
    assert last.read == proved
    assert (last.read.raw_count - first.read.raw_count) % 10**8 == detail["counts"] == detail["litres"]


@pytest.mark.parametrize("stop_at", [0, 1, 20, 50, 57, 58, 59, 100, 140, 159])
def test_a_restart_at_any_moment_repeats_and_loses_nothing(stop_at: int) -> None:
    reads = _leaky()
    straight, clock = ListStore(), ManualClock(START)
    _run(straight, LeakWatch.restore(straight, clock=clock), clock, reads)

    store, clock = ListStore(), ManualClock(START)
    _run(store, LeakWatch.restore(store, clock=clock), clock, reads[:stop_at])
    # SIGKILL: the next read is durable, its alarm is not.
    store.append(reads[stop_at : stop_at + 1])
    again = LeakWatch.restore(store, clock=clock)
    store.append([], again.feed([]))
    _run(store, again, clock, reads[stop_at + 1 :])
    assert store.events() == straight.events()


def test_snapshots_are_hourly_and_spare_the_replay() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    written = []
    for read in _leaky(hours=5):
        watch.feed(store.append([read]))
        clock.advance(900)
        written.append(watch.maybe_snapshot(len(store.items)))
    assert written == [False, False, False, True] * 5
    assert store.snapshots[SNAPSHOT][0] == len(store.items)
    assert len(store.snapshots[SNAPSHOT][1]) < 1000


def test_a_read_between_append_and_feed_is_replayed() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    stored = store.append(_leaky(hours=20))
    expected = LeakWatch(store, clock=clock).feed(stored)
    assert watch.feed(stored[:40]) == []
    watch.snapshot(stored[-1].append_seq)
    assert LeakWatch.restore(store, clock=clock).feed([]) == expected


def test_reads_that_were_fed_are_not_fed_again() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    stored = store.append(_leaky(hours=20))
    first = watch.feed(stored)
    assert [event.kind for event in first] == [EventKind.LEAK_OPENED]
    assert watch.feed(stored) == []


@pytest.mark.parametrize("blob", [b"", b"not zlib", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_damaged_snapshot_is_left_aside_and_every_read_fed_again(
    blob: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store, clock = ListStore(), ManualClock(START)
    stored = store.append(_leaky(hours=20))
    expected = LeakWatch(store, clock=clock).feed(stored)
    store.save_snapshot(SNAPSHOT, len(stored), blob)
    with caplog.at_level(logging.WARNING):
        watch = LeakWatch.restore(store, clock=clock)
    assert "snapshot" in caplog.text
    assert watch.feed([]) == expected


def test_the_snapshot_of_another_epoch_is_not_trusted() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    events = watch.feed(store.append(_leaky(hours=20)))
    watch.snapshot(10**6)
    store.epoch = b"f" * 16
    assert LeakWatch.restore(store, clock=clock).feed([]) == events


def test_only_measured_totals_are_evidence() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    reverse = Register(MeterId("EFE-1"), RegisterId("reverse_total"), Unit.CUBIC_METRE, -3, 10**8)
    suspect = [read.marked(ReadQuality.SUSPECT, Reason.UNEXPECTED_METER) for read in _leaky()]
    assert watch.feed(store.append(suspect)) == []
    assert watch.feed(store.append(_leaky(register=reverse))) == []
    assert len(watch.feed(store.append(_leaky()))) == 2


def test_meters_do_not_mix_and_old_history_changes_nothing() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    other = Register(MeterId("EFE-2"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)
    still = [_read(15 * q, 5, other) for q in range(160)]
    history = [_read(15 * q - 10**5, q, flags=ReadFlag.FROM_HISTORY) for q in range(160)]
    mixed = [read for three in zip(_leaky(), still, history, strict=True) for read in three]
    events = watch.feed(store.append(mixed))
    assert [(event.kind, event.meter_id) for event in events] == [
        (EventKind.LEAK_OPENED, "EFE-1"),
        (EventKind.LEAK_CLEARED, "EFE-1"),
    ]


def test_a_register_whose_scale_was_corrected_starts_anew() -> None:
    store, clock = ListStore(), ManualClock(START)
    watch = LeakWatch.restore(store, clock=clock)
    watch.feed(store.append(_leaky(hours=10)))
    finer = Register(LITRES.meter_id, LITRES.register_id, Unit.CUBIC_METRE, -4, 10**8)
    assert watch.feed(store.append(_leaky(hours=12, register=finer)[40:])) == []


def test_on_the_real_store(tmp_path: Path) -> None:
    clock, reads = ManualClock(START), _leaky()
    for part in (reads[:50], reads[50:90], reads[90:]):
        with Store.open(tmp_path / "store.db", clock=clock) as store:
            watch = LeakWatch.restore(store, clock=clock)
            store.append([], watch.feed([]))
            for begin in range(0, len(part), 4):
                group = part[begin : begin + 4]
                sequences = store.append(group)
                stored = [StoredRead(seq, read) for seq, read in zip(sequences, group, strict=True) if seq]
                store.append([], watch.feed(stored))
                clock.advance(3600)
                watch.maybe_snapshot(stored[-1].append_seq)
            items = store.items_since(0, limit=1000)
    kinds = [item.event.kind for item in items if isinstance(item, StoredEvent) and item.event.meter_id == "EFE-1"]
    assert kinds == [EventKind.LEAK_OPENED, EventKind.LEAK_CLEARED]

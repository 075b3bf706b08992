"""What may go, when, and what a full disk or a full store does."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from buffer.database import PAGE_BYTES, sidecar
from buffer.errors import StoreFull
from buffer.retention import Policy
from buffer.store import Store
from domain.ids import Stream
from domain.reading import EventKind
from tests.buffer.conftest import COLLECTOR, encode, event, fat, reads

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from buffer.model import SealedBatch
    from domain.clock import ManualClock


BOUND_BYTES = 32 * 1024 * 1024


def sealed(store: Store, most: int, stream: Stream = Stream.BULK) -> SealedBatch:
    batch = store.seal(stream, COLLECTOR, encode, max_items=most)
    assert batch is not None
    return batch


def rows(store: Store) -> list[int]:
    return [item.append_seq for item in store.items_since(0, limit=10**6)]


def days(number: float) -> float:
    return timedelta(days=number).total_seconds()


def test_nothing_unacknowledged_ever_goes(store: Store, clock: ManualClock) -> None:
    store.append(reads(0, 30), [event("e")])
    batches = [sealed(store, 10) for _ in range(2)]
    store.rejected(batches[0].id, batches[0].hash, "chain")
    clock.advance(days(10_000))
    swept = store.sweep(pressure=True)
    assert (swept.reads, swept.events, swept.batches) == (0, 0, 0)
    assert store.unacked(Stream.BULK) == [batches[1]]
    assert len(store.rejected_batches()) == 1


def test_acknowledged_rows_go_after_two_weeks_and_batches_after_ninety_days(store: Store, clock: ManualClock) -> None:
    store.append(reads(0, 30))
    first, second = sealed(store, 10), sealed(store, 10)
    store.acked(first.id, first.hash)
    clock.advance(days(13))
    assert not store.sweep().freed_anything
    clock.advance(days(2))
    assert store.sweep().reads == 10
    assert rows(store) == list(range(11, 31))
    store.acked(second.id, second.hash)
    clock.advance(days(74))
    assert store.sweep().reads == 10
    clock.advance(days(2))
    swept = store.sweep()
    assert (swept.reads, swept.batches) == (0, 1)
    assert store.status().acked_batches_kept == 1
    assert rows(store) == list(range(21, 31))


def test_rows_wait_for_the_other_stream_and_for_snapshots(store: Store, clock: ManualClock) -> None:
    store.append(reads(0, 5), [event("leak", EventKind.LEAK_OPENED)])
    store.append(reads(10, 5))
    store.save_snapshot("leak", 3, b"")
    bulk = sealed(store, 100)
    store.acked(bulk.id, bulk.hash)
    clock.advance(days(20))
    store.sweep()
    assert rows(store) == list(range(4, 12)), "the snapshot has still to be replayed from 3"
    store.save_snapshot("leak", 11, b"")
    store.sweep()
    assert rows(store) == list(range(6, 12)), "the alarm at 6 is in no batch"
    urgent = sealed(store, 10, Stream.URGENT)
    store.sweep()
    assert rows(store) == list(range(6, 12)), "its batch is not acknowledged"
    store.acked(urgent.id, urgent.hash)
    store.sweep()
    assert rows(store) == []


def test_little_room_makes_the_oldest_batches_go_first(store: Store) -> None:
    store.append(reads(0, 40))
    for _ in range(20):
        batch = sealed(store, 2)
        store.acked(batch.id, batch.hash)
    store.append(reads(100, 1))
    assert not store.sweep(policy=Policy(disk_free_bytes=0)).freed_anything
    swept = store.sweep(policy=Policy(fullness=0.0))
    assert (swept.reads, swept.batches) == (40, 2)
    assert rows(store) == [41]


def test_what_does_not_fit_the_log_at_once_goes_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append(reads(0, 40))
    for _ in range(4):
        batch = sealed(store, 10)
        store.acked(batch.id, batch.hash)
    change, tries = store._database.change, []

    def small_log(work: Callable[[sqlite3.Connection], object]) -> object:
        tries.append(work)
        if len(tries) in (1, 2, 4):
            raise StoreFull("no room in the log")
        return change(work)

    monkeypatch.setattr(store._database, "change", small_log)
    swept = store.sweep(pressure=True)
    assert (swept.reads, swept.batches) == (40, 1)
    assert len(tries) == 5


def test_the_room_of_log_and_file_is_taken_before_it_is_used(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, max_bytes=BOUND_BYTES) as store:
        database, log = store._database, sidecar(path, "wal")
        assert log.stat().st_blocks * 512 >= database.sizes.log_bytes
        store.append(reads(0, 500))
        database.fold_log()
        assert path.stat().st_size < database._allowed_pages * PAGE_BYTES, "a checkpoint gives back what is not used"
        store.append(reads(500, 1))
        assert path.stat().st_size >= database._allowed_pages * PAGE_BYTES
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert sidecar(path, "reserve").stat().st_blocks * 512 >= database.sizes.log_bytes
    assert not log.exists()


def test_a_full_store_says_so_keeps_everything_and_drains(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, max_bytes=BOUND_BYTES) as store:
        appended = fill(store)
        assert appended > 100
        assert store.status().bytes_used <= BOUND_BYTES
        with pytest.raises(StoreFull, match="no room left"):
            store.append([], fat(appended, 10))
        delivered = 0
        while batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=50):
            assert store.acked(batch.id, batch.hash)
            delivered += batch.items
        assert delivered == appended, "a full store did not drain"
        assert (store.append([], fat(10**6, 10))[0] or 0) > appended
        assert store.status().bytes_used <= BOUND_BYTES


def fill(store: Store) -> int:
    """Append until there is no room; returns how many events were taken."""
    appended = 0
    with contextlib.suppress(StoreFull):
        while True:
            store.append([], fat(appended, 10))
            appended += 10
    return appended

"""Append, seal, acknowledge: what the store promises to the gateway and to the uplink."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buffer.database import sidecar
from buffer.errors import StoreError
from buffer.store import SEALED_AHEAD, Store
from domain.ids import BatchId, Stream
from domain.reading import EventKind, ReadFlag, StoredEvent, StoredRead
from tests.buffer.conftest import COLLECTOR, REGISTERS, encode, event, read, reads

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.model import SealedBatch
    from domain.clock import ManualClock


def seal(store: Store, stream: Stream = Stream.BULK, most: int = 1000) -> SealedBatch:
    batch = store.seal(stream, COLLECTOR, encode, max_items=most)
    assert batch is not None
    return batch


def test_what_was_appended_comes_back_as_it_was(store: Store, path: Path, clock: ManualClock) -> None:
    items = [*reads(0, 3), read(3, flags=ReadFlag.RETRIED | ReadFlag.LOW_BATTERY)]
    assert store.append(items, [event("e1")]) == [1, 2, 3, 4, 5]
    expected = [*(StoredRead(n, item) for n, item in enumerate(items, 1)), StoredEvent(5, event("e1"))]
    assert store.items_since(0, limit=100) == expected
    assert store.items_since(2, limit=2) == expected[2:4]
    store.close()
    with Store.open(path, clock=clock) as again:
        assert again.items_since(0, limit=100) == expected
        assert again.epoch == store.epoch
        assert again.append(reads(10, 1)) == [6]


def test_duplicates_are_refused_and_the_rest_is_kept(store: Store) -> None:
    assert store.append(reads(0, 2), [event("a")]) == [1, 2, 3]
    assert store.append([read(1), read(2), read(2, count=9)], [event("a"), event("b")]) == [None, 4, None, None, 5]
    assert store.append([read(1, meter=1)]) == [6]
    other_boot = replace(read(1), clock=replace(read(1).clock, boot_id=bytes(16)))
    assert store.append([other_boot]) == [7]
    assert store.append([other_boot]) == [None]


def test_history_is_refused_by_its_own_time_not_by_the_fetchs(store: Store) -> None:
    history = [
        replace(read(n, flags=ReadFlag.FROM_HISTORY), clock=read(100).clock) for n in (1, 2, 3)
    ]  # one reply carried all three
    assert store.append(history) == [1, 2, 3]
    assert store.append([*history, read(100)]) == [None, None, None, 4]
    assert store.last_reads() == {REGISTERS[0]: StoredRead(4, read(100))}


def test_append_seq_never_repeats_even_when_everything_is_gone(store: Store, path: Path, clock: ManualClock) -> None:
    store.append(reads(0, 10))
    batch = seal(store)
    store.acked(batch.id, batch.hash)
    clock.advance(timedelta(days=200).total_seconds())
    swept = store.sweep()
    assert (swept.reads, swept.batches) == (10, 1)
    assert store.items_since(0, limit=10) == []
    store.close()
    with Store.open(path, clock=clock) as again:
        assert again.append(reads(20, 1)) == [11]


def test_a_read_that_no_batch_could_carry_leaves_nothing_behind(store: Store) -> None:
    bad = replace(read(1), clock=replace(read(1).clock, monotonic_ns=2**63))
    with pytest.raises(ValueError, match="64 bits"):
        store.append([read(0, meter=7), bad])
    with pytest.raises(ValueError, match="detail"):
        store.append([], [replace(event("x"), detail={"a": 1.5})])  # type: ignore[dict-item]
    assert store.items_since(0, limit=10) == []
    assert store.append([read(0, meter=7)]) == [1]  # the register that was rolled back is written again
    assert store.items_since(0, limit=10) == [StoredRead(1, read(0, meter=7))]


def test_streams_are_apart_and_gap_free(store: Store) -> None:
    alarm = event("leak", EventKind.LEAK_OPENED)
    asked = read(50, flags=ReadFlag.ON_DEMAND)
    store.append(reads(0, 3), [event("e"), alarm])
    store.append([asked, read(60)])
    urgent = json.loads(seal(store, Stream.URGENT).data)
    assert (urgent["events"], urgent["reads"]) == ([5], [6])
    bulk = [json.loads(seal(store, Stream.BULK, 3).data) for _ in range(2)]
    assert [(b["reads"], b["events"]) for b in bulk] == [([1, 2, 3], []), ([7], [4])]
    assert store.seal(Stream.BULK, COLLECTOR, encode, max_items=3) is None
    assert [b["id"][2] for b in bulk] == [1, 2]


def test_the_chain_and_the_bytes(store: Store, path: Path, clock: ManualClock) -> None:
    store.append(reads(0, 6))
    first, second = seal(store, most=3), seal(store, most=3)
    assert json.loads(first.data)["previous"] == bytes(32).hex()
    assert json.loads(second.data)["previous"] == first.hash.hex()
    assert store.unacked(Stream.BULK) == [first, second]
    assert store.unacked(Stream.BULK, after=1) == [second]
    assert store.unacked(Stream.BULK, limit=1) == [first]
    store.close()
    with Store.open(path, clock=clock) as again:
        assert again.unacked(Stream.BULK) == [first, second]
        again.append(reads(10, 1))
        assert json.loads(seal(again).data)["previous"] == second.hash.hex()


def test_only_identity_and_hash_acknowledge(store: Store) -> None:
    store.append(reads(0, 3))
    batch = seal(store)
    assert not store.acked(batch.id, bytes(32))
    assert not store.acked(replace(batch.id, sequence=2), batch.hash)
    assert not store.acked(replace(batch.id, epoch=bytes(16)), batch.hash)
    assert not store.acked(BatchId(batch.id.collector, batch.id.epoch, Stream.URGENT, 1), batch.hash)
    assert store.status().backlog_items == 3
    assert store.acked(batch.id, batch.hash)
    assert store.acked(batch.id, batch.hash)  # a repeat is harmless
    assert not store.rejected(batch.id, batch.hash, "too late")
    assert store.status().backlog_items == 0
    assert store.unacked(Stream.BULK) == []


def test_batches_are_there_for_a_resend_until_retention_drops_them(store: Store, clock: ManualClock) -> None:
    store.append(reads(0, 50))
    sealed = [seal(store, most=10) for _ in range(5)]
    epoch = store.epoch
    store.acked(sealed[1].id, sealed[1].hash)
    store.rejected(sealed[2].id, sealed[2].hash, "bounds")
    assert store.batches(epoch, Stream.BULK, 1, 5) == sealed
    assert store.batches(epoch, Stream.BULK, 2, 4) == sealed[1:4]
    assert store.batches(epoch, Stream.BULK, 2, 2**40, limit=2) == sealed[1:3]
    assert store.batches(epoch, Stream.URGENT, 1, 5) == []
    assert store.batches(bytes(16), Stream.BULK, 1, 5) == []
    assert store.forked(sealed[3].id, sealed[3].hash)
    assert store.batches(epoch, Stream.BULK, 1, 5) == sealed[1:3], "what was sealed anew would go out twice"
    clock.advance(timedelta(days=91).total_seconds())
    store.sweep()
    assert store.batches(epoch, Stream.BULK, 1, 5) == sealed[2:3]


def test_a_connection_of_ones_own_sees_every_write(path: Path, clock: ManualClock) -> None:
    said: list[str] = []

    class Watched(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            said.append(sql)
            if sql == "COMMIT" and failing:
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

        def executescript(self, sql: str) -> sqlite3.Cursor:
            said.append(sql)
            return super().executescript(sql)

    failing = False
    with Store.open(path, clock=clock, connection=Watched) as store:
        assert any("CREATE TABLE epoch" in sql for sql in said), "the schema was written on another connection"
        failing = True
        with pytest.raises(StoreError, match="disk I/O error"):
            store.append(reads(0, 3))
        failing = False
        assert store.append(reads(0, 3)) == [4, 5, 6], "a number that a failed commit took is not given out again"


def test_a_rejected_batch_is_set_aside_with_an_event(store: Store) -> None:
    store.append(reads(0, 3))
    batch = seal(store)
    assert not store.rejected(batch.id, bytes(32), "chain")
    assert store.rejected(batch.id, batch.hash, "chain")
    assert store.rejected(batch.id, batch.hash, "chain")
    (kept,) = store.rejected_batches()
    assert (kept.id, kept.reason, kept.items) == (batch.id, "chain", 3)
    (told,) = store.items_since(3, limit=10)
    assert isinstance(told, StoredEvent)
    assert told.event.kind is EventKind.BATCH_REJECTED
    assert store.acked(batch.id, batch.hash)  # the portal changed its mind: it has the batch after all
    assert store.rejected_batches() == []


def test_a_bounded_number_is_sealed_ahead(store: Store) -> None:
    store.append(reads(0, SEALED_AHEAD + 5))
    sealed = [seal(store, most=1) for _ in range(SEALED_AHEAD)]
    assert store.seal(Stream.BULK, COLLECTOR, encode, max_items=1) is None
    store.append([], [event("leak", EventKind.LEAK_OPENED)])
    seal(store, Stream.URGENT)  # the other stream has its own bound
    store.acked(sealed[0].id, sealed[0].hash)
    assert seal(store, most=1).id.sequence == SEALED_AHEAD + 1


def test_a_batch_says_how_far_the_other_stream_was_sealed(store: Store) -> None:
    store.append(reads(0, 3), [event("leak", EventKind.LEAK_OPENED)])
    batches = [seal(store, stream, 1) for stream in (Stream.BULK, Stream.BULK, Stream.URGENT, Stream.BULK)]
    assert [json.loads(batch.data)["beside"] for batch in batches] == [0, 0, 2, 1]


def test_long_events_make_smaller_batches(store: Store) -> None:
    store.append([], [replace(event(f"e{n}"), detail={"text": "x" * 60_000}) for n in range(9)])
    sizes = []
    while batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=100):
        sizes.append(batch.items)
    assert sum(sizes) == 9
    assert max(sizes) == 4


def test_a_failing_encoder_changes_nothing(store: Store) -> None:
    store.append(reads(0, 3))

    def broken(_request: object) -> bytes:
        raise RuntimeError("no key")

    with pytest.raises(RuntimeError):
        store.seal(Stream.BULK, COLLECTOR, broken, max_items=10)
    assert json.loads(seal(store).data)["reads"] == [1, 2, 3]


def test_appends_from_many_threads_while_batches_are_sealed(store: Store) -> None:
    store.sealed_ahead = 10_000
    seqs: list[int | None] = []
    lock = threading.Lock()

    def bus(meter: int) -> None:
        for n in range(0, 100, 10):
            got = store.append(reads(n, 10, meter=meter))
            with lock:
                seqs.extend(got)

    threads = [threading.Thread(target=bus, args=(meter,)) for meter in range(5)]
    for thread in threads:
        thread.start()
    sealed: list[int] = []
    while any(thread.is_alive() for thread in threads) or len(sealed) < 500:
        if batch := store.seal(Stream.BULK, COLLECTOR, encode, max_items=37):
            sealed += json.loads(batch.data)["reads"]
    for thread in threads:
        thread.join()
    assert sorted(seq for seq in seqs if seq is not None) == sealed == list(range(1, 501))


def test_snapshots_and_nonces(store: Store, clock: ManualClock) -> None:
    assert store.load_snapshot("leak") is None
    store.save_snapshot("leak", 7, b"one")
    store.save_snapshot("leak", 9, b"two")
    assert store.load_snapshot("leak") == (9, b"two")
    assert store.use_nonce(b"n" * 16, clock.now())
    assert not store.use_nonce(b"n" * 16, clock.now())


def test_the_time_floor_is_the_last_thing_written(store: Store, path: Path, clock: ManualClock) -> None:
    assert store.time_floor() is None
    store.append([read(500), read(10)])
    assert store.time_floor() == read(10).read_at  # the last one: a clock that ran ahead for a while is forgotten
    batch = seal(store)
    assert store.time_floor() == batch.sealed_at == clock.now()


def test_one_process_at_a_time(store: Store, path: Path, clock: ManualClock) -> None:
    with pytest.raises(StoreError, match=r"in use by process \d+"):
        Store.open(path, clock=clock)


def test_a_database_locked_by_another_process_waits_then_says_so(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, busy_s=0.1) as store:
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(StoreError, match="locked by another process"):
                store.append(reads(0, 3))
            other.stdin.close()
            other.wait()
        assert store.append(reads(0, 3)) == [1, 2, 3]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store.open(tmp_path / "file" / "store.db", clock=clock)


def test_it_really_is_durable(store: Store, path: Path) -> None:
    db = store._database.connection
    assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert sidecar(path, "wal").exists()
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT COUNT(*) FROM read").fetchone()[0] == 0
    other.close()

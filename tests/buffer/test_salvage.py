"""Damaged, foreign, newer and restored stores: reading goes on, nothing is deleted, a new epoch says so."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from buffer import leaves, salvage
from buffer.database import sidecar
from buffer.errors import StoreDamaged, StoreError
from buffer.store import Store
from domain.ids import Stream
from domain.reading import EventKind, StoredEvent, StoredRead
from tests.buffer.conftest import COLLECTOR, encode, event, fat, read, reads

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.model import SealedBatch
    from domain.clock import ManualClock
    from domain.reading import Event


SMALL_BYTES = 2 * 1024 * 1024
"""A small bound makes a small reserve: most of the file's pages then hold something that can be lost."""


def filled(path: Path, clock: ManualClock) -> tuple[bytes, list[SealedBatch]]:
    """Write a store with an acked, a rejected and a waiting batch, and reads and an event beyond them."""
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(reads(0, 3000))
        batches = [store.seal(Stream.BULK, COLLECTOR, encode, max_items=500) for _ in range(3)]
        sealed = [batch for batch in batches if batch is not None]
        store.acked(sealed[0].id, sealed[0].hash)
        store.rejected(sealed[1].id, sealed[1].hash, "chain")
        store.append([], [event("kept", EventKind.TAMPER)])
        store.save_snapshot("leak", 2000, b"state")
        store.use_nonce(b"n" * 16, clock.now())
        return store.epoch, sealed


def salvage_event(store: Store) -> Event:
    told = [item.event for item in store.items_since(0, limit=10**6) if isinstance(item, StoredEvent)]
    (found,) = [event for event in told if event.kind is EventKind.STORE_SALVAGED]
    return found


def drained(store: Store) -> list[dict[str, object]]:
    """Seal and acknowledge everything; return the batches of the new epoch."""
    store.sealed_ahead = 10**6
    batches = []
    for stream in Stream:
        while batch := store.seal(stream, COLLECTOR, encode, max_items=700):
            batches.append(json.loads(batch.data))
    return batches


def test_a_damaged_header_loses_nothing_that_can_be_read(path: Path, clock: ManualClock) -> None:
    """The first page is destroyed: SQLite sees no database at all, and every row is found by its page."""
    _, sealed = filled(path, clock)
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    before = path.read_bytes()
    with Store.open(path, clock=clock) as store:
        aside = path.with_name(str(salvage_event(store).detail["file"]))
        assert aside.read_bytes() == before, "the damaged file was changed"
        assert store.append(reads(5000, 1)) != [None]
        assert store.status().epoch_why == "salvaged"
        batches = drained(store)
        assert batches[0]["lasts"] == [3, 0], "the witness knows what the file could not tell"
        sent = {seq for batch in batches for seq in batch["reads"]}  # type: ignore[attr-defined]
        assert set(range(1501, 3001)) <= sent, "unsent reads are gone"
        assert store.unacked(Stream.BULK)[:1] == [sealed[2]]


class NoRoom(sqlite3.Connection):
    """A disk on which nothing new can be made."""

    def executescript(self, script: str) -> sqlite3.Cursor:
        raise sqlite3.OperationalError("database or disk is full")


def test_a_damaged_store_on_a_full_disk_waits_for_room_and_says_so(path: Path, clock: ManualClock) -> None:
    filled(path, clock)
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="free some megabytes"):
        Store.open(path, clock=clock, connection=NoRoom)
    assert path.read_bytes() == before
    with Store.open(path, clock=clock) as store:
        assert (salvage_event(store).detail["reads"], salvage_event(store).detail["batches"]) == (1500, 3)


@pytest.mark.parametrize("table", ["read", "batch_bytes", "register", "sqlite_master"])
def test_without_the_first_page_of_a_table_its_rows_are_found(path: Path, clock: ManualClock, table: str) -> None:
    """The page from which all others of a table hang; and long events, whose text lies on pages of its own."""
    _, sealed = filled(path, clock)
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append([], fat(0, 3))
    with contextlib.closing(sqlite3.connect(path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone() or (1,)
    with path.open("r+b") as file:
        file.seek(4096 * (root[0] - 1))
        file.write(b"\x5a" * 4096)
    with Store.open(path, clock=clock) as store:
        told = salvage_event(store).detail
        events = {item.event.event_id for item in store.items_since(0, limit=10**6) if isinstance(item, StoredEvent)}
        assert {"kept", "fat-0", "fat-1", "fat-2"} <= events
        waiting = store.unacked(Stream.BULK)
        sent = {seq for batch in drained(store) for seq in batch["reads"]}  # type: ignore[attr-defined]
        if table == "register":
            assert told["reads"] == 0, "a read of an unknown register means nothing"
            return
        carried = {seq for batch in waiting for seq in json.loads(batch.data)["reads"]}
        assert set(range(1001, 3001)) <= sent | carried | set(json.loads(sealed[1].data)["reads"])
        assert sent.isdisjoint(carried)


def test_what_stands_in_the_log_alone_is_found_too(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    """A kill leaves the newest reads in the log; then the first page of the file goes."""
    store = Store.open(path, clock=clock, max_bytes=SMALL_BYTES)
    store.append(reads(0, 100))
    store._database.fold_log()
    store.append(reads(100, 5))
    killed = tmp_path / "killed" / "store.db"
    killed.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{killed}{suffix}")
    store.close()
    with killed.open("r+b") as file:
        file.write(b"\x5a" * 4096)
    rows = {row[0] for table, row in leaves.rows_of(killed) if table == "read"}
    assert rows == set(range(1, 106))
    with Store.open(killed, clock=clock) as store:
        assert sum(isinstance(item, StoredRead) for item in store.items_since(0, limit=1000)) == 105


@pytest.mark.parametrize("seed", range(6))
def test_damaged_pages_cost_only_what_stood_on_them(path: Path, clock: ManualClock, seed: int) -> None:
    old_epoch, sealed = filled(path, clock)
    rng = random.Random(seed)
    pages = path.stat().st_size // 4096
    victims = rng.sample(range(pages // 3, pages), 3)
    with path.open("r+b") as file:
        for page in victims:
            file.seek(4096 * page)
            file.write(rng.randbytes(4096))
    sidecar(path, "suspect").touch()
    before = path.read_bytes()
    with Store.open(path, clock=clock) as store:
        assert store.epoch != old_epoch
        told = salvage_event(store).detail
        assert path.with_name(str(told["file"])).read_bytes() == before
        waiting = {batch.id: batch for batch in store.unacked(Stream.BULK)}
        for batch in waiting.values():
            assert batch in sealed, "a batch was carried over with other bytes"
        kept = [item for item in store.items_since(0, limit=10**6) if isinstance(item, StoredRead)]
        for item in kept:
            assert item.read == read(item.append_seq - 1), "a read came back different"
        sent = {seq for batch in drained(store) for seq in batch["reads"]}  # type: ignore[attr-defined]
        carried = {seq for batch in waiting.values() for seq in json.loads(batch.data)["reads"]}
        assert sent.isdisjoint(carried), "a read would be sent twice"
        # Three pages of 4 KiB hold at most 300 reads or a batch of 500; everything else is on its way.
        assert len(sent | carried) >= 3000 - 500 - 500 - 500 - 300
        assert (store.append(reads(9000, 1))[0] or 0) > max(item.append_seq for item in kept)


def test_a_sound_store_is_carried_over_whole(path: Path, clock: ManualClock) -> None:
    old_epoch, sealed = filled(path, clock)
    told = salvage.salvage(path, clock=clock, why="a test")
    assert (told.reads, told.events, told.batches, told.lost) == (3000, 2, 3, 0)
    salvage.reported(path)
    with Store.open(path, clock=clock) as store:
        assert store.epoch != old_epoch
        assert store.unacked(Stream.BULK) == [sealed[2]]
        assert [batch.id for batch in store.rejected_batches()] == [sealed[1].id]
        assert store.acked(sealed[2].id, sealed[2].hash)
        assert store.load_snapshot("leak") == (2000, b"state")
        assert not store.use_nonce(b"n" * 16, clock.now())
        assert store.append([read(0), read(4000)], [event("kept", EventKind.TAMPER)]) == [None, 3003, None]
        batches = drained(store)
        assert sorted(seq for batch in batches for seq in batch["reads"]) == [*range(1501, 3001), 3003]  # type: ignore[attr-defined]
        assert batches[0]["epoch_before"] == old_epoch.hex()
        assert batches[0]["lasts"] == [3, 0]


def test_a_batch_whose_bytes_are_damaged_is_not_sent_but_its_reads_are(path: Path, clock: ManualClock) -> None:
    _, sealed = filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE batch_bytes SET data = zeroblob(length(data)) WHERE ref = 3")
    db.close()
    told = salvage.salvage(path, clock=clock, why="a test")
    assert (told.batches, told.lost) == (2, 1)
    with Store.open(path, clock=clock) as store:
        assert store.unacked(Stream.BULK) == []
        assert {seq for batch in drained(store) for seq in batch["reads"]} == set(range(1001, 3001))  # type: ignore[attr-defined]


def test_without_room_for_a_copy_reading_goes_on(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, clock)

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(salvage, "_carry_over", no_room)
    told = salvage.salvage(path, clock=clock, why="a test")
    assert "No space left" in told.why
    with Store.open(path, clock=clock) as store:
        assert store.append(reads(0, 1)) != [None]
    monkeypatch.undo()
    with sqlite3.connect(path.with_name(told.aside)) as aside:
        assert aside.execute("SELECT COUNT(*) FROM read").fetchone()[0] == 3000
    aside.close()


@pytest.mark.parametrize("stop", ["before the renames", "between the renames"])
def test_a_power_cut_while_salvaging_repeats_or_finishes_it(path: Path, clock: ManualClock, stop: str) -> None:
    filled(path, clock)
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)
    half = salvage._make_empty
    if stop == "before the renames":
        half(sidecar(path, "salvaging"))
        sidecar(path, "salvaged").write_bytes(b"half a file")
    else:
        half(sidecar(path, "salvaging"))
        sidecar(path, "salvaging").replace(sidecar(path, "salvaged"))
        path.replace(path.with_name("store.db.damaged-by-hand"))
    with Store.open(path, clock=clock) as store:
        assert store.append(reads(0, 1)) != [None]
        assert store.status().epoch_why in ("salvaged", "restored")
    assert list(path.parent.glob("store.db.damaged-*"))


def test_a_salvage_cut_off_before_its_event_is_reported_by_the_next_start(path: Path, clock: ManualClock) -> None:
    old_epoch, _ = filled(path, clock)
    told = salvage.salvage(path, clock=clock, why="a test")
    for _ in range(2):  # the second start has nothing more to say
        with Store.open(path, clock=clock) as store:
            assert salvage_event(store).detail == told.as_detail()
            assert store.status().epoch_why == "salvaged"
            epochs = store._database.connection.execute("SELECT COUNT(*) FROM epoch").fetchone()[0]
            assert epochs == 2
            assert store.epoch != old_epoch


def test_a_salvage_cut_off_with_its_new_store_complete_is_finished(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file's log may stand aside already: made anew from the file alone, the new store would lack it."""
    filled(path, clock)
    before = path.read_bytes()
    monkeypatch.setattr(salvage, "_put_in_place", lambda *_: None)
    told = salvage.salvage(path, clock=clock, why="a test")
    monkeypatch.undo()
    whole = sidecar(path, "salvaged").read_bytes()
    salvage.finish_interrupted(path)
    assert path.read_bytes() == whole
    assert path.with_name(told.aside).read_bytes() == before


def test_damage_found_while_running_is_salvaged_at_the_next_start(path: Path, clock: ManualClock) -> None:
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        store.append(reads(0, 2000))
        store._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store._database.connection.execute("PRAGMA cache_size=0")
        with path.open("r+b") as file:
            file.seek(path.stat().st_size - 4096 * 25)
            file.write(b"\xaa" * 4096 * 10)
        with pytest.raises(StoreDamaged, match="restart"):
            store.items_since(0, limit=10_000)
        assert sidecar(path, "suspect").exists()
    with Store.open(path, clock=clock) as store:
        assert store.status().epoch_why == "salvaged"
        assert len(store.items_since(0, limit=10_000)) > 500
    assert not sidecar(path, "suspect").exists()


@pytest.mark.parametrize("what", ["another program's database", "a newer version", "text", "an empty file"])
def test_whatever_stands_at_the_path(path: Path, clock: ManualClock, what: str) -> None:
    path.parent.mkdir()
    if what == "another program's database":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE read (x)")
        db.close()
    elif what == "a newer version":
        filled(path, clock)
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version=99")
            db.execute("ALTER TABLE read ADD COLUMN of_the_future TEXT")
        db.close()
    else:
        path.write_text("not a database" * 1000 if what == "text" else "")
    with Store.open(path, clock=clock) as store:
        store.append(reads(10_000, 1))
        asides = list(path.parent.glob("store.db.damaged-*[0-9Z]"))
        assert len(asides) == (0 if what == "an empty file" else 1)
        if what == "a newer version":
            assert len([i for i in store.items_since(0, limit=10**6) if isinstance(i, StoredRead)]) == 3001
            assert len(store.unacked(Stream.BULK)) == 1


def test_a_store_put_back_from_a_copy_begins_a_new_epoch(path: Path, clock: ManualClock, tmp_path: Path) -> None:
    with Store.open(path, clock=clock) as store:
        store.append(reads(0, 10))
        first = store.seal(Stream.BULK, COLLECTOR, encode, max_items=4)
        old_epoch = store.epoch
    image = tmp_path / "image.db"
    shutil.copy(path, image)
    with Store.open(path, clock=clock) as store:
        assert store.epoch == old_epoch
        store.append(reads(10, 10))
        for _ in range(2):
            store.seal(Stream.BULK, COLLECTOR, encode, max_items=5)
    shutil.copy(image, path)
    with Store.open(path, clock=clock) as store:
        assert store.epoch != old_epoch
        assert store.status().epoch_why == "restored"
        assert store.unacked(Stream.BULK) == [first]  # these bytes are as good as ever
        assert store.append(reads(30, 1)) == [15], "an append_seq that may be out already was used again"
        batch = drained(store)[0]
        assert (batch["id"], batch["epoch_before"], batch["lasts"]) == (
            [store.epoch.hex(), 0, 1],
            old_epoch.hex(),
            [3, 0],
        )
        assert batch["previous"] == bytes(32).hex()
        epoch = store.epoch
    with Store.open(path, clock=clock) as store:
        assert store.epoch == epoch, "one restoration is one new epoch"


def test_a_store_that_vanished_names_its_epoch(path: Path, clock: ManualClock) -> None:
    old_epoch, _ = filled(path, clock)
    path.unlink()
    with Store.open(path, clock=clock) as store:
        assert store.status().epoch_why == "restored"
        assert store.append(reads(0, 1)) == [1501]
        assert drained(store)[0]["epoch_before"] == old_epoch.hex()


def test_a_witness_that_cannot_be_read_proves_nothing(path: Path, clock: ManualClock) -> None:
    old_epoch, _ = filled(path, clock)
    for text in ("", "{", '{"epoch": "zz"}', '{"epoch": "00", "sequences": [1, 2], "append_seq": 3}'):
        sidecar(path, "witness").write_text(text)
        with Store.open(path, clock=clock) as store:
            assert store.epoch == old_epoch


def test_a_fork_seals_anew_in_a_new_epoch(path: Path, clock: ManualClock) -> None:
    """The whole folder was put back from a copy: only the portal can tell, by refusing what we seal next."""
    old_epoch, sealed = filled(path, clock)
    with Store.open(path, clock=clock) as store:
        store.append([], [event("leak", EventKind.LEAK_OPENED)])
        store.seal(Stream.URGENT, COLLECTOR, encode, max_items=9)
        assert not store.forked(sealed[0].id, sealed[0].hash), "it is acknowledged"
        assert not store.forked(sealed[2].id, bytes(32))
        assert store.forked(sealed[2].id, sealed[2].hash)
        assert not store.forked(sealed[2].id, sealed[2].hash), "once is enough"
        assert store.epoch != old_epoch
        assert [batch for stream in Stream for batch in store.unacked(stream)] == []
        batches = drained(store)
        assert batches[0]["lasts"] == [3, 1]
        sent = sorted(seq for batch in batches for seq in [*batch["reads"], *batch["events"]])  # type: ignore[misc]
        assert sent == list(range(1001, store.status().last_append_seq + 1))
        assert [batch.id for batch in store.rejected_batches()] == [sealed[1].id]
        epoch = store.epoch
    with Store.open(path, clock=clock) as store:
        assert store.epoch == epoch


def test_a_fork_in_an_earlier_epoch_sends_its_reads_from_the_end(path: Path, clock: ManualClock) -> None:
    """A disk put back from a copy, and damaged since: a batch of the epoch before meets another one at the portal."""
    _, sealed = filled(path, clock)
    witness = json.loads(sidecar(path, "witness").read_text())
    sidecar(path, "witness").write_text(json.dumps({**witness, "sequences": [9, 9]}))
    with Store.open(path, clock=clock) as store:
        assert store.status().epoch_why == "restored"
        before = {item.read for item in store.items_since(0, limit=9999) if isinstance(item, StoredRead)}
        assert not store.forked(sealed[0].id, sealed[0].hash), "it is acknowledged"
        assert store.forked(sealed[2].id, sealed[2].hash)
        assert not store.forked(sealed[2].id, sealed[2].hash), "once is enough"
        assert store.unacked(Stream.BULK) == []
        assert {item.read for item in store.items_since(0, limit=9999) if isinstance(item, StoredRead)} == before
        sent = [seq for batch in drained(store) for seq in batch["reads"]]  # type: ignore[attr-defined]
        assert len(sent) == len(set(sent)) == 2000, "500 of the batch and 1,500 beyond it"


def test_a_damaged_line_of_the_schema_costs_no_read(path: Path, clock: ManualClock) -> None:
    """Bytes of the schema that are no text at all: SQLite's own complaint cannot be decoded; the reads are saved."""
    filled(path, clock)
    data = path.read_bytes()
    at = data.index(b") WITHOUT ROWID", data.index(b"CREATE TABLE snapshot"))
    path.write_bytes(data[:at] + b") \xff\xfe\x9eHOUT ROWID" + data[at + 15 :])
    with Store.open(path, clock=clock) as store:
        detail = salvage_event(store).detail
        assert detail["batches"] == 3
        assert sum(isinstance(item, StoredRead) for item in store.items_since(0, limit=10**6)) == 3000


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE epoch SET previous_epoch = 7",
        "UPDATE epoch SET epoch = x'00'",
        "UPDATE register SET scale = 'x', modulus = 'y'",
        "UPDATE register SET meter_id = ''",
        "UPDATE clock SET boot = 99",
        "UPDATE stream SET sealed_through = 'x', last_hash = 3",
        "UPDATE batch SET sealed_at_us = 1 << 62",
        "UPDATE batch SET collector = x'ff'",
        "UPDATE batch_bytes SET data = 5",
        "UPDATE read SET quality = 77 WHERE append_seq = 2000",
        "UPDATE read SET raw_count = -5 WHERE append_seq = 2000",
        "UPDATE event SET detail = '{' WHERE event_id = 'kept'",
        "UPDATE event SET detail = CAST(x'7bff7d' AS TEXT) WHERE event_id = 'kept'",
        "UPDATE event SET urgent = 9 WHERE event_id = 'kept'",
        "UPDATE snapshot SET append_seq = 'x', blob = 5",
        "UPDATE fact SET value = 'x'",
        "DELETE FROM stream",
        "DELETE FROM epoch",
    ],
)
def test_a_row_that_nobody_wrote_stops_no_start(path: Path, clock: ManualClock, statement: str) -> None:
    filled(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO fact VALUES ('append_floor', 3) ON CONFLICT DO NOTHING")
        db.execute(statement)
    sidecar(path, "suspect").touch()
    with Store.open(path, clock=clock, max_bytes=SMALL_BYTES) as store:
        kept = sum(isinstance(item, StoredRead) for item in store.items_since(0, limit=10**6))
        assert kept >= 1500 or "register" in statement or "clock" in statement
        assert store.append(reads(9000, 2)) != [None, None]
        drained(store)
        store.status()


def test_what_was_saved_and_still_makes_no_sense_is_set_aside_too(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path, clock)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE epoch SET previous_epoch = 7")
    monkeypatch.setattr(salvage, "_TYPES", {})
    monkeypatch.setattr(salvage._Carrier, "_is_sense", lambda *_: lambda _: True)
    with Store.open(path, clock=clock) as store:
        assert "what was saved of it" in str(salvage_event(store).detail["why"])
        assert store.append(reads(0, 2)) != [None, None]
    assert len(list(path.parent.glob("store.db.damaged-*[0-9Z]"))) == 2


def test_damage_that_leaves_a_sound_file_is_found_at_the_start(path: Path, clock: ManualClock) -> None:
    """SQLite keeps no checksums: a register's number that flipped refers to nothing, and would stop every seal."""
    filled(path, clock)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE read SET register = register + 64 WHERE append_seq = 2900")
    db.close()
    with Store.open(path, clock=clock) as store:
        assert salvage_event(store).detail["unreadable"] == 1
        assert drained(store)

"""Opens one state of the disk with the production Store and compares it with what had been promised."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buffer.migrate import version_of
from buffer.store import Store
from domain.clock import ManualClock
from domain.ids import Stream
from domain.reading import Event, EventKind, RegisterRead, StoredRead
from tests.buffer.conftest import COLLECTOR, event, read
from tests.proofs.power.promises import BatchName, Promised, made_once
from tests.proofs.power.telling import MAX_BYTES, START

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from buffer.model import SealRequest
    from tests.proofs.power.disk import Tree
    from tests.proofs.power.promises import Promises

_OWN = {EventKind.BATCH_REJECTED, EventKind.STORE_SALVAGED}
"""Events that the store itself appends."""
_LATER = 10**6
"""Numbers of reads that are appended after the power is back."""
_BATCHES = """SELECT epoch.epoch, stream, sequence, hash, state, data FROM batch
    LEFT JOIN batch_bytes USING (ref) JOIN epoch ON epoch.ref = batch.epoch"""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a scene allows that a plain power cut must not bring. damaged = what stood on the file that has to stay."""

    salvages: bool = False
    damaged: bytes = b""


@dataclass(slots=True)
class Found:
    """Figures of the states that were checked."""

    salvaged_without_damage: int = 0
    epochs: int = 0
    resent: int = 0


class Violation(Exception):
    """A promise that was broken."""


def need(condition: object, message: str) -> None:
    """Raise a Violation unless the condition holds."""
    if not condition:
        raise Violation(message)


def materialise(tree: Tree, root: Path, rng: random.Random) -> None:
    """Write a state of the disk into an empty folder; what is in `-shm` after a cut is noise, or nothing."""
    for path, content in tree.items():
        target = root / path
        if content is None:
            target.mkdir()
            continue
        data, size = content
        with target.open("wb") as file:
            file.write(data)
            if size > len(data):
                file.truncate(size)
    if "data/store.db" in tree and rng.random() < 0.25:
        (root / "data" / "store.db-shm").write_bytes(rng.randbytes(32768))


def digest_of(tree: Tree) -> bytes:
    """Return a hash of everything in a state."""
    result = hashlib.blake2b(digest_size=16)
    for path, content in sorted(tree.items()):
        data, size = (b"", -1) if content is None else content
        result.update(f"{path}\0{size}\0{len(data)}\0".encode())
        result.update(data)
    return result.digest()


def clear(root: Path) -> None:
    """Empty the folder."""
    for entry in root.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def check(root: Path, promises: Promises, scene: Scene, found: Found) -> None:
    """Open the store that stands in the folder and check every promise; raises Violation."""
    path = root / "data" / "store.db"
    _check_copies(path)
    try:
        store = Store.open(path, clock=ManualClock(START), max_bytes=MAX_BYTES, entropy=bytes([0xEE]).__mul__)
    except Exception as error:
        raise Violation(f"the store does not open: {type(error).__name__}: {error}") from error
    with contextlib.closing(store):
        _Check(store, promises, scene, found).run()


def _check_copies(path: Path) -> None:
    """Check that a copy kept for the case that a migration goes wrong is whole."""
    for copy in path.parent.glob("*.before-migration") if path.parent.exists() else ():
        with contextlib.closing(sqlite3.connect(copy)) as db:
            try:
                sound = db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok" and version_of(db) > 0
            except sqlite3.Error:
                sound = False
        need(sound, f"{copy.name} stands under its final name and is not whole")


class _Check:
    def __init__(self, store: Store, promises: Promises, scene: Scene, found: Found) -> None:
        self.store, self.promises, self.scene, self.found = store, promises, scene, found
        self.doing: dict[str, Any] = promises.doing or {"say": ""}
        self.say = self.doing["say"]
        self.folder = store._database.path.parent

    def run(self) -> None:
        self._salvage()
        self._epoch()
        present = self._items()
        known = self._batches()
        self._beside()
        self._goes_on(present, known)

    def _salvage(self) -> None:
        aside = [file for file in self.folder.glob("*.damaged-*") if not file.name.endswith(("-wal", "-shm"))]
        self.found.salvaged_without_damage += bool(aside) and not self.scene.salvages
        need(self.scene.salvages or not aside, f"a plain power cut made a salvage: {aside}")
        if self.scene.salvages:
            kept = any(self.scene.damaged in file.read_bytes() for file in aside)
            need(kept, "the damaged file is gone or changed")

    def _epoch(self) -> None:
        self.epoch = self.store.epoch.hex()
        if self.promises.epoch in (None, self.epoch):
            return
        self.found.epochs += self.say != "forking"
        need(self.say == "forking", f"epoch {self.promises.epoch} ended without a reason ({self.epoch})")

    def _items(self) -> set[int]:
        """Check the rows; returns the append_seqs of all that has to be delivered once."""
        rows = {item.append_seq: item for item in self.store.items_since(0, limit=10**6)}
        settled = {seq for batch in self.promises.batches.values() if batch.state in (1, 2) for seq in batch.items}
        if self.say == "settling":
            settled |= set(self.promises.batches[self._doing_name()].items)
        for seq, expected in self.promises.items.items():
            if seq not in rows:
                if not self.promises.swept or seq not in settled:
                    raise Violation(f"append_seq {seq} is gone: {expected}")
                continue
            item = rows[seq]
            content = item.read if isinstance(item, StoredRead) else item.event
            if content != expected:
                raise Violation(f"append_seq {seq} holds another item: {content} instead of {expected}")
        others = {seq: item for seq, item in rows.items() if seq not in self.promises.items}
        contents = [item.read if isinstance(item, StoredRead) else item.event for item in others.values()]
        strange = [one for one in contents if isinstance(one, RegisterRead) or one.kind not in _OWN]
        if strange:
            need(self.say == "appending", f"items that nobody appended: {strange[:3]}")
            expected_group = [made_once(tuple(key)) for key in self.doing["keys"]]
            need(strange == expected_group, "an append that was under way is there in part")
        events = [one.event_id for one in contents if isinstance(one, Event)]
        need(len(events) == len(set(events)), "an event is there twice")
        if not self.promises.swept:
            for named in self.promises.own_events:
                need(any(name.startswith("batch-rejected:") for name in events), f"no event of the rejection {named}")
        if self.scene.salvages:
            need(any(name.startswith("store-salvaged:") for name in events), "the salvage was not reported")
        return set(self.promises.items) | set(others)

    def _doing_name(self) -> BatchName:
        epoch, stream, sequence = self.doing["id"]
        return epoch, stream, sequence

    def _batches(self) -> dict[BatchName, Promised]:
        """Check the batches; returns all that exist or were published, with the items that each carries."""
        here: dict[BatchName, tuple[str, int]] = {}
        for epoch, stream, sequence, digest, state, data in self.store._database.connection.execute(_BATCHES):
            need(data is not None, f"batch {stream}/{sequence} has no bytes")
            need(hashlib.sha256(data).digest() == digest, f"batch {stream}/{sequence}: bytes and hash disagree")
            here[epoch.hex(), stream, sequence] = digest.hex(), state
        known = {name: Promised(batch.hash, batch.items, batch.state) for name, batch in self.promises.batches.items()}
        forked = self.say == "forking" and self.epoch != self.promises.epoch
        for name, batch in known.items():
            states = self._states_of(name, batch.state, forked=forked)
            if name not in here:
                need(self.promises.swept and 1 in states, f"published batch {name} is gone")
                batch.state = 1
                continue
            digest, state = here[name]
            need(digest == batch.hash, f"published batch {name} has other bytes")
            self.found.resent += state == 0 and 0 not in states
            need(
                state in states | {0} if 3 not in states else state in states, f"batch {name} is {state}, not {states}"
            )
            batch.state = state
        for name in here.keys() - known.keys():
            need(self.say == "sealing" and name == self._doing_name(), f"batch {name} that nobody sealed")
            need(here[name][0] == self.doing["hash"], f"batch {name} has other bytes than were made for it")
            known[name] = Promised(here[name][0], tuple(self.doing["items"]), here[name][1])
        waiting = {name: digest for name, (digest, state) in here.items() if state == 0}
        resent = [batch for stream in Stream for batch in self.store.unacked(stream, limit=10**6)]
        names = {(batch.id.epoch.hex(), int(batch.id.stream), batch.id.sequence): batch.hash.hex() for batch in resent}
        need(names == waiting, "what waits for its ack is not what would be sent again")
        return known

    def _states_of(self, name: BatchName, state: int, *, forked: bool) -> set[int]:
        if self.say == "settling" and name == self._doing_name():
            return {state, self.doing["state"]}
        if forked:
            target = self._doing_name()
            return {3} if name == target or (name[0] == target[0] and state == 0) else {state}
        return {state}

    def _beside(self) -> None:
        snapshot = self.store.load_snapshot("leak")
        saved = None if snapshot is None else (snapshot[0], snapshot[1].hex())
        allowed = [self.promises.snapshot]
        if self.say == "saving":
            allowed.append((self.doing["at"], self.doing["blob"]))
        need(saved in allowed, "the snapshot is not the one that was saved last")
        for number in self.promises.nonces:
            free = self.store.use_nonce(number.to_bytes(16, "big"), START)
            need(not free, f"command number {number} could be used again")

    def _goes_on(self, present: set[int], known: dict[BatchName, Promised]) -> None:
        """Append and seal everything: each item comes out once, and no number that was published is given again."""
        seqs = self.store.append([read(_LATER), read(_LATER + 1, meter=1)], [event("later", EventKind.TAMPER)])
        new = [seq for seq in seqs if seq is not None]
        need(len(new) == 3, "new reads are taken for old ones")
        given = [*self.promises.items, *(seq for batch in known.values() for seq in batch.items)]
        need(min(new) > max(given, default=0), f"append_seq {min(new)} was given out before")
        delivered = Counter(seq for batch in known.values() if batch.state != 3 for seq in batch.items)
        self.store.sealed_ahead = 10**9
        for stream in Stream:
            self._seal_rest(stream, known, delivered)
        expected = present | set(new)
        missing = expected - set(delivered)
        need(not missing, f"append_seqs {sorted(missing)[:5]} would never be sent")
        twice = [seq for seq, times in delivered.items() if times > 1]
        need(not twice, f"append_seqs {twice[:5]} would be sent twice")
        settled = {seq for batch in known.values() if batch.state == 1 for seq in batch.items}
        unknown = set(delivered) - expected - (settled if self.promises.swept else set())
        need(not unknown, f"append_seqs {sorted(unknown)[:5]} were published and are no longer known")

    def _seal_rest(self, stream: Stream, known: dict[BatchName, Promised], delivered: Counter[int]) -> None:
        mine = {name[2]: batch for name, batch in known.items() if name[:2] == (self.epoch, int(stream))}
        last = max(mine, default=0)
        before = bytes.fromhex(mine[last].hash) if mine else bytes(32)
        for _ in range(100):
            asked: list[SealRequest] = []

            def encode(request: SealRequest, asked: list[SealRequest] = asked) -> bytes:
                asked.append(request)
                return repr(request.batch_id).encode()

            batch = self.store.seal(stream, COLLECTOR, encode, max_items=10**6)
            if batch is None:
                return
            (request,) = asked
            need(request.batch_id.sequence == last + 1, f"{stream.name} goes on at {request.batch_id.sequence}")
            need(request.previous_hash == before, f"{stream.name}: the chain is broken at {last + 1}")
            last, before = last + 1, batch.hash
            delivered.update(item.append_seq for item in (*request.reads, *request.events))

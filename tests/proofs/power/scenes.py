"""The recorded runs: what stands on the disk before each, how it is recorded, what was promised to begin with."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from buffer.store import Store
from domain.clock import ManualClock
from domain.ids import Stream
from domain.reading import EventKind
from sync.signing import batch_encoder
from tests.buffer.conftest import COLLECTOR, event, reads
from tests.proofs.power.calls import record
from tests.proofs.power.checking import Found, Scene, check
from tests.proofs.power.promises import Promises, promises_of
from tests.proofs.power.telling import KEY, MAX_BYTES, START

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proofs.power.calls import Call

_NOISE = b"\x5a" * 4096
OLD_STORE = "tests/databases/v1.db"


@dataclass(frozen=True)
class Recording:
    """A run: what was on the disk, the calls, what had been promised before them."""

    name: str
    initial: dict[str, bytes | None]
    calls: list[Call]
    promises: Promises
    scene: Scene = field(default_factory=Scene)

    def check(self, root: Path, promises: Promises, found: Found) -> None:
        """Open the store of one state and check it; raises Violation."""
        check(root, promises, self.scene, found)

    @cached_property
    def shape(self) -> str:
        """Six digits that change when the calls are others: a state's number then means another state."""
        calls = [(call.kind, call.path, call.offset, len(call.data)) for call in self.calls]
        return hashlib.sha256(repr(calls).encode()).hexdigest()[:6]


def make(name: str, work: Path, repository: Path, *, plant: str = "") -> Recording:
    """Prepare a scene, record its run, and return what is known of it."""
    root = work / "disk"
    shutil.rmtree(root, ignore_errors=True)
    (root / "data").mkdir(parents=True)
    path = root / "data" / "store.db"
    if name == "migrated":
        shutil.copy(repository / OLD_STORE, path)
    elif name in ("salvaged", "restored"):
        _fill(path)
        if name == "salvaged":
            _damage(path)
        else:
            _put_back(path)
    else:
        (root / "data").rmdir()
    initial = _contents(root)
    scene = Scene(salvages=True, damaged=_NOISE) if name == "salvaged" else Scene()
    promises = Promises()
    if path.exists():
        promises = _promised(path, work / "reference")
        if name in ("salvaged", "restored"):
            promises.epoch = None
        if name == "salvaged":
            promises.items = {seq: item for seq, item in promises.items.items() if not _is_own(item)}
    arguments = ["-m", "tests.proofs.power.workload", name, str(root), str(work / "marks"), "--plant", plant]
    calls = record(arguments, root, work / "marks", work / "log")
    (work / "log").unlink()
    return Recording(name, initial, calls, promises, scene)


def _is_own(item: object) -> bool:
    return getattr(item, "kind", None) is EventKind.STORE_SALVAGED


def _promised(path: Path, reference: Path) -> Promises:
    shutil.rmtree(reference, ignore_errors=True)
    shutil.copytree(path.parent, reference)
    result = promises_of(reference / path.name)
    shutil.rmtree(reference)
    return result


def _contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(file.relative_to(root)): None if file.is_dir() else file.read_bytes()
        for file in root.rglob("*")
        if not file.name.endswith(("-lock", "-shm"))
    }


def _fill(path: Path) -> None:
    """Write a store with an acked, a rejected and a waiting batch, and items beyond them."""
    encode = batch_encoder(KEY)
    with Store.open(
        path, clock=ManualClock(START), max_bytes=MAX_BYTES, entropy=lambda count: b"\x07" * count
    ) as store:
        store.append(reads(0, 300), [event("early", EventKind.LEAK_OPENED)])
        batches = [store.seal(Stream.BULK, COLLECTOR, encode, max_items=50) for _ in range(3)]
        assert batches[0] is not None
        assert batches[1] is not None
        store.acked(batches[0].id, batches[0].hash)
        store.rejected(batches[1].id, batches[1].hash, "chain")
        store.append([], [event("kept", EventKind.TAMPER)])
        store.save_snapshot("leak", 200, b"state")


def _damage(path: Path) -> None:
    """Destroy a page of an index, with committed reads in the log: every row can be carried over."""
    with Store.open(path, clock=ManualClock(START), max_bytes=MAX_BYTES) as store:
        store.append(reads(400, 20))
        log = path.with_name(path.name + "-wal")
        files = {file: file.read_bytes() for file in (path, log)}
    for file, data in files.items():
        file.write_bytes(data)
    with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as db:
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'history_once'").fetchone()[0]
    db.close()
    data = bytearray(files[path])
    data[(page - 1) * 4096 : page * 4096] = _NOISE
    path.write_bytes(data)


def _put_back(path: Path) -> None:
    """Let the store be a copy from before its last two batches; the witness has seen them."""
    copy_of = path.read_bytes()
    with Store.open(path, clock=ManualClock(START), max_bytes=MAX_BYTES) as store:
        for stream in Stream:
            assert store.seal(stream, COLLECTOR, batch_encoder(KEY), max_items=40) is not None
    path.write_bytes(copy_of)

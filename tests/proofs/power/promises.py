"""What had been promised when the power failed: the marks before the cut, folded.

Between a mark that a call begins and the mark that it returned, the call is under way: what it does may be there whole
or not at all.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import cbor2

from buffer.store import Store
from domain.clock import ManualClock
from domain.reading import StoredRead
from sync.batch import MAX_PLAIN_BYTES, decode_payload
from tests.proofs.power.telling import MAX_BYTES, START, made

if TYPE_CHECKING:
    from pathlib import Path

    from domain.reading import Event, RegisterRead

BatchName = tuple[str, int, int]
"""Epoch, stream, sequence."""
_MADE: dict[tuple[Any, ...], RegisterRead | Event] = {}


def made_once(key: tuple[Any, ...]) -> RegisterRead | Event:
    """Return the item of a key; made once for all the states that it is in."""
    if key not in _MADE:
        _MADE[key] = made(key)
    return _MADE[key]


@dataclass(slots=True)
class Promised:
    """A batch that was published. state as in the store; a batch whose items were sealed anew is superseded (3)."""

    hash: str
    items: tuple[int, ...]
    state: int = 0


@dataclass(slots=True)
class Promises:
    """Folded marks.

    items    by append_seq, what an append returned for.
    doing    the mark of the call that is under way, None between calls.
    swept    a sweep has begun: what is acknowledged may be gone.
    epoch    None where no epoch was promised yet, or where opening has a reason to begin a new one.
    """

    items: dict[int, RegisterRead | Event] = field(default_factory=dict)
    batches: dict[BatchName, Promised] = field(default_factory=dict)
    snapshot: tuple[int, str] | None = None
    nonces: set[int] = field(default_factory=set)
    own_events: set[str] = field(default_factory=set)
    epoch: str | None = None
    swept: bool = False
    doing: dict[str, Any] | None = None
    marks: int = 0

    def copy(self) -> Promises:
        """Return a copy to fold marks into."""
        batches = {name: replace(batch) for name, batch in self.batches.items()}
        return replace(
            self, items=dict(self.items), batches=batches, nonces=set(self.nonces), own_events=set(self.own_events)
        )

    def take(self, mark: dict[str, Any]) -> None:
        """Take the next mark."""
        say = mark["say"]
        self.marks += 1
        self.doing = mark if say.endswith("ing") else None
        if say == "opened":
            self.epoch = mark["epoch"]
        elif say == "appended":
            for key, seq in zip(mark["keys"], mark["seqs"], strict=True):
                self.items[seq] = made_once(tuple(key))
        elif say == "sealed":
            self.batches[_name(mark)] = Promised(mark["hash"], tuple(mark["items"]))
        elif say == "settled":
            self.batches[_name(mark)].state = mark["state"]
            if mark["state"] == 2:
                epoch, stream, sequence = mark["id"]
                self.own_events.add(f"/{epoch}/{stream}/{sequence}")
        elif say == "forked":
            self.supersede(_name(mark))
            self.epoch = mark["epoch"]
        elif say == "sweeping":
            self.swept = True
        elif say == "saved":
            self.snapshot = mark["at"], mark["blob"]
        elif say == "used":
            self.nonces.add(mark["nonce"])

    def supersede(self, name: BatchName) -> None:
        """Note that a fork sealed the items of this batch, and of all that wait in its epoch, anew."""
        for other, batch in self.batches.items():
            if other == name or (other[0] == name[0] and batch.state == 0):
                batch.state = 3


def _name(mark: dict[str, Any]) -> BatchName:
    epoch, stream, sequence = mark["id"]
    return epoch, stream, sequence


def items_of(data: bytes) -> tuple[int, ...]:
    """Return the append_seqs in the signed bytes of a batch."""
    batch = decode_payload(cbor2.loads(data).value[2], max_plain_bytes=MAX_PLAIN_BYTES)
    return tuple(item.append_seq for item in (*batch.reads, *batch.events))


def promises_of(path: Path) -> Promises:
    """Return what a store that is there before the first call holds."""
    result = Promises()
    with contextlib.closing(Store.open(path, clock=ManualClock(START), max_bytes=MAX_BYTES)) as store:
        for item in store.items_since(0, limit=10**6):
            result.items[item.append_seq] = item.read if isinstance(item, StoredRead) else item.event
        query = """SELECT epoch.epoch, stream, sequence, hash, state, data FROM batch JOIN batch_bytes USING (ref)
            JOIN epoch ON epoch.ref = batch.epoch"""
        for epoch, stream, sequence, digest, state, data in store._database.connection.execute(query):
            result.batches[epoch.hex(), stream, sequence] = Promised(digest.hex(), items_of(data), state)
        if (found := store.load_snapshot("leak")) is not None:
            result.snapshot = found[0], found[1].hex()
        result.epoch = store.epoch.hex()
    return result

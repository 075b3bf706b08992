"""Drives a Store and says in marks what it is about to do, and what a call returned for.

The marks stand in the recorded stream of calls, so that for every cut it is known what had been promised by then.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from buffer.store import Store
from buffer.witness import Witness
from domain.clock import ManualClock
from domain.reading import EventKind, ReadFlag
from sync.signing import SigningKey, batch_encoder
from tests.buffer.conftest import COLLECTOR, event, read

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from buffer.model import SealedBatch, SealRequest
    from buffer.retention import Policy
    from domain.ids import BatchId, Stream
    from domain.reading import Event, RegisterRead

START = datetime(2026, 8, 1, 6, 0, tzinfo=UTC)
MAX_BYTES = 2 * 1024 * 1024
"""Bound of the recorded stores: a small log, so that one recording holds many checkpoints."""
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
Key = tuple[Any, ...]
"""What an item is made from: ("r", number, meter, flags) or ("e", name, kind), perhaps with characters of detail."""


def made(key: Key) -> RegisterRead | Event:
    """Return the read or event of a key: the same on both sides of the recording."""
    if key[0] == "r":
        return read(key[1], meter=key[2], flags=ReadFlag(key[3]))
    plain = event(key[1], EventKind(key[2]))
    if len(key) == 3:
        return plain
    text = random.Random(key[1]).randbytes(key[3] // 2).hex()
    return replace(plain, detail={"text": text})


def name_of(batch_id: BatchId) -> list[Any]:
    return [batch_id.epoch.hex(), int(batch_id.stream), batch_id.sequence]


class Teller:
    """A store whose every step is told; `plant` makes one of the faults that the proof has to find."""

    def __init__(self, path: Path, marks: int, *, plant: str = "", connection: type[sqlite3.Connection]) -> None:
        self.path, self._marks, self._plant, self._connection = path, marks, plant, connection
        self.clock = ManualClock(START)
        self._drawn = 0
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def say(self, what: str, **values: Any) -> None:
        os.write(self._marks, json.dumps({"say": what, **values}, separators=(",", ":")).encode() + b"\n")

    def _entropy(self, count: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(count, "big")

    def open(self, generation: int) -> None:
        """Open the store; a generation is a process, whose epochs have numbers of their own."""
        self._drawn = generation << 32
        self.say("opening")
        self._store = Store.open(
            self.path, clock=self.clock, entropy=self._entropy, connection=self._connection, max_bytes=MAX_BYTES
        )
        self.say("opened", epoch=self.store.epoch.hex())

    def close(self) -> None:
        self.say("closing")
        self.store.close()
        self.say("closed")

    def append(self, *keys: Key) -> list[int | None]:
        items = [made(key) for key in keys]
        reads: list[Any] = [item for key, item in zip(keys, items, strict=True) if key[0] == "r"]
        events: list[Any] = [item for key, item in zip(keys, items, strict=True) if key[0] == "e"]
        self.say("appending", keys=keys)
        seqs = self.store.append(reads, events)
        self.say("appended", keys=keys, seqs=seqs)
        self.clock.advance(1.0)
        return seqs

    def seal(self, stream: Stream, most: int) -> SealedBatch | None:
        told: dict[str, Any] = {}
        sign = batch_encoder(KEY)

        def encode(request: SealRequest) -> bytes:
            data = sign(request)
            items = [item.append_seq for item in (*request.reads, *request.events)]
            told.update(id=name_of(request.batch_id), hash=hashlib.sha256(data).hexdigest(), items=items)
            self.say("sealing", **told)
            if self._plant == "publish-early":
                self.say("sealed", **told)
            if self._plant == "witness-early":
                lasts = [0, 0]
                lasts[stream] = request.batch_id.sequence
                witness = Witness(request.batch_id.epoch, (lasts[0], lasts[1]), max(items))
                witness.save(self.path.with_name(self.path.name + "-witness"))
            return data

        batch = self.store.seal(stream, COLLECTOR, encode, max_items=most)
        if batch is not None:
            self.say("sealed", **told)
        return batch

    def settle(self, batch: SealedBatch, *, committed: bool) -> None:
        self.say("settling", id=name_of(batch.id), state=1 if committed else 2)
        if committed:
            assert self.store.acked(batch.id, batch.hash)
        else:
            assert self.store.rejected(batch.id, batch.hash, "chain")
        self.say("settled", id=name_of(batch.id), state=1 if committed else 2)

    def fork(self, batch: SealedBatch) -> None:
        self.say("forking", id=name_of(batch.id))
        assert self.store.forked(batch.id, batch.hash)
        self.say("forked", id=name_of(batch.id), epoch=self.store.epoch.hex())

    def sweep(self, policy: Policy, *, pressure: bool = False) -> None:
        self.say("sweeping")
        self.store.sweep(policy=policy, pressure=pressure)
        self.say("swept")

    def snapshot(self, append_seq: int, blob: bytes) -> None:
        self.say("saving", at=append_seq, blob=blob.hex())
        self.store.save_snapshot("leak", append_seq, blob)
        self.say("saved", at=append_seq, blob=blob.hex())

    def nonce(self, number: int) -> None:
        self.say("using", nonce=number)
        assert self.store.use_nonce(number.to_bytes(16, "big"), START + timedelta(days=30))
        self.say("used", nonce=number)

"""A store in memory and a portal that signs, for tests that drive a Sender by a hand-turned clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.clock import ManualClock
from domain.errors import HeadwaterError
from domain.ids import BatchId, CollectorId, Stream
from sync.outbound import Outgoing, UplinkPlan
from sync.resends import Span
from sync.sender import Sender
from sync.signing import Ack, Command, SigningKey, batch_hash, sign_ack, sign_command
from sync.topics import ack_topic, command_topic

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = bytes(range(16))
COLLECTOR = CollectorId("elm-street-3")
START = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass(frozen=True)
class MemoryBatch:
    """A sealed batch."""

    id: BatchId
    data: bytes
    items: int

    @property
    def hash(self) -> bytes:
        return batch_hash(self.data)


@dataclass
class MemoryStore:
    """UplinkStore in lists. `unsealed` counts items that wait; `fault` is raised by the next call of that name."""

    batch_bytes: int = 100
    unsealed: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    kept: dict[BatchId, MemoryBatch] = field(default_factory=dict)
    state: dict[BatchId, str] = field(default_factory=dict)
    nonces: set[bytes] = field(default_factory=set)
    faults: dict[str, HeadwaterError] = field(default_factory=dict)
    pages: list[int] = field(default_factory=list)
    sequences: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))

    def _fail(self, call: str) -> None:
        if call in self.faults:
            raise self.faults.pop(call)

    def seal(
        self, stream: Stream, collector: CollectorId, encode: Callable[[Any], bytes], *, max_items: int
    ) -> MemoryBatch | None:
        self._fail("seal")
        items = min(self.unsealed[stream], max_items)
        if not items:
            return None
        self.unsealed[stream] -= items
        self.sequences[stream] += 1
        return self.keep(stream, self.sequences[stream], items)

    def keep(self, stream: Stream, sequence: int, items: int = 1, *, state: str = "waiting") -> MemoryBatch:
        batch_id = BatchId(COLLECTOR, EPOCH, stream, sequence)
        batch = MemoryBatch(batch_id, str(batch_id).encode().ljust(self.batch_bytes, b"."), items)
        self.kept[batch_id], self.state[batch_id] = batch, state
        self.sequences[stream] = max(sequence, self.sequences[stream])
        return batch

    def unacked(self, stream: Stream, *, after: int = 0, limit: int = 32) -> list[MemoryBatch]:
        self._fail("unacked")
        return [b for b in self.kept.values() if b.id.stream is stream and self.state[b.id] == "waiting"][:limit]

    def acked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        self._fail("acked")
        return self._settle(batch_id, batch_hash, "acked")

    def rejected(self, batch_id: BatchId, batch_hash: bytes, reason: str) -> bool:
        return self._settle(batch_id, batch_hash, reason)

    def _settle(self, batch_id: BatchId, digest: bytes, state: str) -> bool:
        if batch_id not in self.kept or self.kept[batch_id].hash != digest:
            return False
        self.state[batch_id] = state
        return True

    def forked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        return False

    def batches(self, epoch: bytes, stream: Stream, first: int, last: int, *, limit: int = 32) -> list[MemoryBatch]:
        self._fail("batches")
        self.pages.append(limit)
        found = [b for b in self.kept.values() if (b.id.epoch, b.id.stream) == (epoch, stream)]
        return sorted((b for b in found if first <= b.id.sequence <= last), key=lambda b: b.id.sequence)[:limit]

    def last_sequence(self, epoch: bytes, stream: Stream) -> int | None:
        return self.sequences[stream] if epoch == EPOCH else None

    def use_nonce(self, nonce: bytes, expires_at: datetime) -> bool:
        fresh = nonce not in self.nonces
        self.nonces.add(nonce)
        return fresh


class Desk:
    """A sender, its store, its clock and the portal's key."""

    def __init__(self, **plan: Any) -> None:
        self.store, self.clock, self.key = MemoryStore(), ManualClock(START), SigningKey.generate()
        self.commands: list[Command] = []
        self.gone: list[tuple[int, int]] = []
        self.done: list[tuple[int, int]] = []
        self.sender = Sender(
            self.store,
            collector=COLLECTOR,
            encode=lambda _request: b"",
            keys=lambda kid: self.key.verify_key if kid == self.key.key_id else None,
            clock=self.clock,
            plan=UplinkPlan(**{"max_items": 10, "window": 4, **plan}),
            on_command=self.commands.append,
        )
        self.sender.connected(self.now_s)

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    def due(self, *, room: bool = True) -> Outgoing | None:
        """Return the next message and let its bytes leave at once."""
        outgoing = self.sender.due(self.now_s, room=room)
        if outgoing is not None:
            self.sender.sent(outgoing, self.now_s)
        return outgoing

    def all_due(self, *, room: bool = True) -> list[str]:
        """Return what is due now, as `b1` for the first bulk batch and `u1` for the first urgent one."""
        found = []
        while (outgoing := self.due(room=room)) is not None:
            assert outgoing.payload == self.store.kept[outgoing.batch_id].data
            found.append(name(outgoing))
            assert len(found) < 1_000, "it never ends"
        return found

    def ack(self, text: str, *, reason: str = "", digest: bytes | None = None, key: SigningKey | None = None) -> None:
        """Let the portal's word on a batch arrive."""
        batch = self.batch(text)
        ack = Ack(batch.id, digest or batch.hash, not reason, reason, START)
        self.sender.take(ack_topic(COLLECTOR), sign_ack(ack, key or self.key), self.now_s)

    def batch(self, text: str) -> MemoryBatch:
        stream = Stream.URGENT if text[0] == "u" else Stream.BULK
        return self.store.kept[BatchId(COLLECTOR, EPOCH, stream, int(text[1:]))]

    def command(self, nonce: int, kind: str = "read-now", **body: Any) -> None:
        now = self.clock.now()
        command = Command(bytes([nonce]) * 16, kind, now, now + timedelta(hours=1), body)
        self.sender.take(command_topic(COLLECTOR), sign_command(command, collector=COLLECTOR, key=self.key), self.now_s)

    def ask(self, first: int, last: int, *, stream: Stream = Stream.BULK, epoch: bytes = EPOCH) -> str:
        """Ask for batches again, as the portal's command does."""
        span = Span(
            epoch, stream, first, last, lambda a, b: self.gone.append((a, b)), lambda a, b: self.done.append((a, b))
        )
        return self.sender.resend(span)


def name(outgoing: Outgoing) -> str:
    return f"{'u' if outgoing.batch_id.stream is Stream.URGENT else 'b'}{outgoing.batch_id.sequence}"

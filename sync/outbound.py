"""What the way to the portal needs, how it behaves and what it shows: the nouns of the sender and the uplink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from domain.ids import BatchId, CollectorId, Stream


class OutgoingBatch(Protocol):
    """A sealed batch: its signed bytes are the same for ever."""

    @property
    def id(self) -> BatchId:
        """Identity."""
        ...

    @property
    def hash(self) -> bytes:
        """The sha256 of `data`."""
        ...

    @property
    def data(self) -> bytes:
        """Signed bytes."""
        ...

    @property
    def items(self) -> int:
        """How many reads and events it carries."""
        ...


class UplinkStore(Protocol):
    """What the uplink needs of a store; buffer.store.Store has it."""

    def seal(
        self, stream: Stream, collector: CollectorId, encode: Callable[[Any], bytes], *, max_items: int
    ) -> OutgoingBatch | None:
        """Make the next batch of a stream; None when there is nothing to send or too much waits."""
        ...

    def unacked(self, stream: Stream, *, after: int = 0, limit: int = 32) -> Sequence[OutgoingBatch]:
        """Return the batches that wait for their ack, oldest first."""
        ...

    def acked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Note an ack; returns whether the batch is known."""
        ...

    def rejected(self, batch_id: BatchId, batch_hash: bytes, reason: str) -> bool:
        """Set a batch aside; returns whether it is known."""
        ...

    def forked(self, batch_id: BatchId, batch_hash: bytes) -> bool:
        """Seal anew, in a new epoch, what this batch and those behind it carry; False when there is nothing to do."""
        ...

    def batches(
        self, epoch: bytes, stream: Stream, first: int, last: int, *, limit: int = 32
    ) -> Sequence[OutgoingBatch]:
        """Return those batches from a first to a last sequence that are still here, in order, for a resend."""
        ...

    def last_sequence(self, epoch: bytes, stream: Stream) -> int | None:
        """Return the number of the last batch of the newest epoch's stream; None for any other epoch."""
        ...

    def use_nonce(self, nonce: bytes, expires_at: datetime) -> bool:
        """Use up a command's number; False when it was used before."""
        ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish: a batch's signed bytes, the same at every publication."""

    topic: str
    payload: bytes
    batch_id: BatchId


@dataclass(frozen=True, slots=True)
class UplinkPlan:
    """How the uplink behaves. Times are real seconds, but for `seal_every_s`, which is of the collector's clock.

    max_items         reads and events in one batch.
    window            batches of one stream that may be published and not yet acknowledged.
    ack_timeout_s     this long after its bytes left, a batch is published again; doubles up to `ack_timeout_max_s`.
    probe_first_s     a full window without any answer for this long: its newest batch is published again; doubles up to
                      `probe_max_s`. A broker that forgot everything takes what it is given and keeps it for nobody.
    probe_max_s       the same bound for the newest batch on its way. Its ack brings the others again at once, so after
                      an hour without a portal, or a broker that forgot, one batch asks and the rest need not.
    upload_bytes_per_s_max  what the bulk stream may use of a metered link; 0 for all. Alarms go at once and count.
    keepalive_s       of MQTT. A dead link shows by its missing acks too; on a metered one a ping costs 140 bytes.
    back_off_max_s    longest wait between two attempts to connect; each wait is drawn from 0 up to its bound.
    """

    seal_every_s: float = 60.0
    max_items: int = 5_000
    window: int = 8
    ack_timeout_s: float = 30.0
    ack_timeout_max_s: float = 600.0
    probe_first_s: float = 5.0
    probe_max_s: float = 60.0
    upload_bytes_per_s_max: int = 0
    keepalive_s: int = 60
    back_off_s: float = 1.0
    back_off_max_s: float = 30.0


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """Counters since the start, for the status page.

    resent     publications of batches that were published before.
    requested  batches published because the portal asked for them again.

    upload_bytes_per_s_max  the plan's; 0 for none.
    bytes_per_s             what a busy link carried lately and had acknowledged; 0.0 until known.
    bytes_per_item          what a read or event cost on the line lately; 0.0 until known.
    """

    connected: bool = False
    connections: int = 0
    failures: int = 0
    last_error: str = ""
    published: int = 0
    resent: int = 0
    requested: int = 0
    committed: int = 0
    rejected: int = 0
    unknown_acks: int = 0
    bad_messages: int = 0
    commands: int = 0
    last_ack_at: datetime | None = None
    upload_bytes_per_s_max: int = 0
    bytes_per_s: float = 0.0
    bytes_per_item: float = 0.0

    def link_minutes(self, items: int) -> float | None:
        """Return how many minutes of link so many reads and events need; None while it is not known."""
        speeds = [speed for speed in (self.upload_bytes_per_s_max, self.bytes_per_s) if speed]
        if not items:
            return 0.0
        if not speeds or not self.bytes_per_item:
            return None
        return items * self.bytes_per_item / min(speeds) / 60

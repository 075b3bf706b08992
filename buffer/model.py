"""What the store hands out and takes in, beside the domain's reads and events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from domain.ids import BatchId, PreviousEpoch, Stream
    from domain.reading import StoredEvent, StoredRead


@dataclass(frozen=True, slots=True)
class SealRequest:
    """What is to become one batch: its identity, its place in the chain, its items in rising append_seq.

    previous_hash   sha256 of the signed bytes of the batch before it in this stream, 32 zero bytes for the first.
    previous_epoch  in the first batch of each stream of an epoch that had one before it, else None.
    beside          last sealed sequence of the other stream of the epoch, 0 for none.
    """

    batch_id: BatchId
    previous_hash: bytes
    previous_epoch: PreviousEpoch | None
    sealed_at: datetime
    reads: tuple[StoredRead, ...]
    events: tuple[StoredEvent, ...]
    beside: int = 0


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch whose signed bytes are committed; they are the same for ever.

    hash  sha256 of `data`, the signed bytes.
    """

    id: BatchId
    hash: bytes
    data: bytes
    items: int
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedBatch:
    """A batch that the portal refused for good; its bytes stay until a person decides."""

    id: BatchId
    reason: str
    items: int
    rejected_at: datetime


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Where one stream stands.

    unsealed_items  stored and in no batch yet.
    unacked_items   in sealed batches that wait for their ack.
    oldest_at       read_at (or sealed_at) of the oldest thing that waits; None when nothing does.
    """

    stream: Stream
    last_sequence: int
    unsealed_items: int
    unacked_batches: int
    unacked_items: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What a technician wants to know of the store.

    bytes_used    database and write-ahead log together.
    bytes_bound   what both may grow to.
    bytes_free    free on the disk.
    reserve_kept  whether the room for acks and deletes is still untouched.
    thinned_reads interval reads that ever gave way for lack of room; events say which.
    rejected_for  how many batches were rejected for each reason.
    bytes_to_send signed bytes that wait, those not sealed yet by what reads cost in the batches before.
    days_to_full  until there is no room, at the pace of the last reads and with nothing acknowledged; None until known.
    """

    path: Path
    epoch: bytes
    epoch_why: str
    last_append_seq: int
    streams: tuple[StreamStatus, ...]
    rejected_batches: int
    acked_batches_kept: int
    bytes_used: int
    bytes_bound: int
    bytes_free: int
    reserve_kept: bool
    thinned_reads: int
    rejected_for: dict[str, int]
    bytes_to_send: int
    days_to_full: float | None

    @property
    def backlog_items(self) -> int:
        """Reads and events that the portal has not acknowledged."""
        return sum(stream.unsealed_items + stream.unacked_items for stream in self.streams)

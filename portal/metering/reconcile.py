"""What the portal holds, for comparison with others: every read, the batch that brought it, the batches it misses."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from portal.metering.heads import head_of, missing
from portal.metering.models import Epoch, MeterRegister, StoredBatch
from portal.metering.reads import every_read, from_us, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.ids import Stream


class HeldRead(TypedDict):
    """One row of the read tables; a read that was applied twice comes twice."""

    meter: str
    epoch: str
    append_seq: int
    register: str
    count: int
    read_at: str


def held_reads() -> Iterator[HeldRead]:
    """Yield every read in the portal's read tables, recent and folded, as of one moment."""
    with snapshot():
        registers = {
            pk: (meter, register)
            for pk, meter, register in MeterRegister.objects.values_list("pk", "meter__meter_id", "register_id")
        }
        epochs = {pk: bytes(epoch).hex() for pk, epoch in Epoch.objects.values_list("pk", "epoch")}
        for row, read in every_read():
            meter, register = registers[row]
            yield HeldRead(
                meter=meter,
                epoch=epochs[read.epoch],
                append_seq=read.append_seq,
                register=register,
                count=read.raw_count,
                read_at=from_us(read.read_us).isoformat(),
            )


def batches_that_brought(epoch: Epoch, append_seq: int) -> list[StoredBatch]:
    """Return the signed batches in whose range an append_seq lies: one, or one of each stream where ranges interleave.

    Which of the two it is, the batch's own bytes say; nothing about it is stored per read.
    """
    return list(
        StoredBatch.objects.filter(
            epoch=epoch, first_append_seq__lte=append_seq, last_append_seq__gte=append_seq
        ).order_by("stream", "sequence")
    )


def holes(epoch: Epoch, stream: Stream) -> list[tuple[int, int]]:
    """Return the batches that the portal knows to be missing in a stream, as (first, last) sequences.

    Known from a later batch, or from what the collector said of the stream elsewhere. What it reported gone is missing
    all the same.
    """
    head = head_of(epoch.pk, stream)
    return list(missing(epoch.pk, int(stream), after=0, through=max(head.newest, head.declared)))

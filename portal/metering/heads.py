"""How far each stream of each epoch is here, and what a collector said there must be: one row a stream.

The rows follow from the stored batches and are kept by the transaction that stores one, under the lock of its
collector. What is missing is worked out from the stored batches themselves when it is asked for
(`portal/ingest/holes.py`); a head only knows that something may be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection

from domain.ids import Stream
from portal.core.statements import run_together
from portal.metering.models import Epoch, GoneBatches, RefusedBatch, StoredBatch, StreamHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from domain.ids import PreviousEpoch
    from portal.core.statements import Statement

LOOK_AFTER = timedelta(seconds=5)
"""How long after the last arrival of a stream its holes are looked at: batches overtake each other by this much."""

_SEQUENCE_MAX = 2**63 - 1
_COLUMNS = "epoch_id, stream, newest, newest_hash, last_append_seq, declared, settled_through, ask_at, asked_times"
_SAVE = (
    f"INSERT INTO metering_streamhead ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0) "  # noqa: S608
    "ON CONFLICT (epoch_id, stream) DO UPDATE SET newest = excluded.newest, newest_hash = excluded.newest_hash, "
    "last_append_seq = excluded.last_append_seq, declared = excluded.declared, "
    "settled_through = excluded.settled_through, ask_at = excluded.ask_at, asked_times = 0"
)

Ranges = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Head:
    """A StreamHead as ingest works with it; the fields are the model's."""

    newest: int = 0
    newest_hash: bytes = b""
    last_append_seq: int = 0
    declared: int = 0
    settled_through: int = 0
    ask_at: datetime | None = None

    def with_batch(self, sequence: int, digest: bytes, last_append_seq: int, *, at: datetime) -> Head:
        """Return the head once a batch is stored; a hole that is left is looked at a little later."""
        newer = sequence > self.newest
        return replace(
            self,
            newest=sequence if newer else self.newest,
            newest_hash=digest if newer else self.newest_hash,
            last_append_seq=max(last_append_seq, self.last_append_seq),
            settled_through=sequence if sequence == self.settled_through + 1 else self.settled_through,
        )._look(at)

    def with_declared(self, last: int, *, at: datetime) -> Head:
        """Return the head once the collector said that it has sealed this far."""
        return replace(self, declared=max(last, self.declared))._look(at)

    def _look(self, at: datetime) -> Head:
        if self.settled_through >= max(self.newest, self.declared):
            return replace(self, ask_at=None)
        # What comes shows that more is on its way: it puts the question off, and never brings it forward.
        return replace(self, ask_at=max(at + LOOK_AFTER, self.ask_at or at))


def head_of(epoch: int, stream: Stream) -> Head:
    """Return the head of a stream (Epoch's row id), an empty one while nothing is known of it."""
    row = StreamHead.objects.filter(epoch=epoch, stream=int(stream)).first()
    if row is None:
        return Head()
    return Head(row.newest, bytes(row.newest_hash), row.last_append_seq, row.declared, row.settled_through, row.ask_at)


def save_head(epoch: int, stream: Stream, head: Head) -> None:
    """Write a head, in the transaction that holds its collector."""
    run_together([head_row(epoch, stream, head)])


def head_row(epoch: int, stream: Stream, head: Head) -> Statement:
    """Return the statement that writes a head."""
    ask_at = connection.ops.adapt_datetimefield_value(head.ask_at)
    numbers = head.newest, head.newest_hash, head.last_append_seq, head.declared, head.settled_through
    return _SAVE, [epoch, int(stream), *numbers, ask_at]


def declare(epoch: int, stream: Stream, last: int, *, at: datetime) -> None:
    """Note that the collector has sealed a stream as far as `last`."""
    head = head_of(epoch, stream)
    if last > max(head.declared, head.newest):
        save_head(epoch, stream, head.with_declared(last, at=at))


def declare_previous(previous: PreviousEpoch, *, collector: int, at: datetime) -> None:
    """Note what an epoch's first batch says of the epoch before it, which may never have been heard of here."""
    if not any(previous.last_sequences):
        return
    row, _ = Epoch.objects.get_or_create(
        epoch=previous.epoch, defaults={"collector_id": collector, "first_seen_at": at}
    )
    if row.collector_id == collector:
        for stream in Stream:
            declare(row.pk, stream, previous.last_sequences[stream], at=at)


def note_gone(detail: Mapping[str, object], *, collector: int, at: datetime) -> bool:
    """Note the sequences that a `batches-gone` event names; returns whether it names a stream of this collector."""
    epoch, stream, first, last = (detail.get(key) for key in ("epoch", "stream", "first", "last"))
    if not (isinstance(epoch, str) and isinstance(first, int) and isinstance(last, int) and stream in (0, 1)):
        return False
    try:
        row = Epoch.objects.filter(epoch=bytes.fromhex(epoch), collector=collector).first()
    except ValueError:
        return False
    if row is None or not 1 <= first <= last <= _SEQUENCE_MAX:
        return False
    GoneBatches.objects.get_or_create(epoch=row, stream=stream, first=first, last=last, defaults={"reported_at": at})
    return True


def missing(epoch: int, stream: int, *, after: int, through: int) -> Iterator[tuple[int, int]]:
    """Yield the sequences of a stream in (after, through] that are not stored, as (first, last)."""
    expected = after + 1
    stored = StoredBatch.objects.filter(epoch=epoch, stream=stream, sequence__gt=after, sequence__lte=through)
    for sequence in stored.order_by("sequence").values_list("sequence", flat=True).iterator():
        if sequence > expected:
            yield expected, sequence - 1
        expected = sequence + 1
    if expected <= through:
        yield expected, through


def gone(epoch: int, stream: int) -> Ranges:
    """Return what the collector says it no longer has of a stream."""
    rows = GoneBatches.objects.filter(epoch=epoch, stream=stream).order_by("first", "last")
    return list(rows.values_list("first", "last"))


def refused(epoch: Epoch, stream: int) -> Ranges:
    """Return the sequences of a stream that lie among the dead letters."""
    letters = RefusedBatch.objects.filter(
        topic_collector=epoch.collector.collector_id, epoch=bytes(epoch.epoch), stream=stream
    )
    sequences = letters.order_by("sequence").values_list("sequence", flat=True)
    return [(sequence, sequence) for sequence in sequences if sequence is not None]


def without(ranges: Iterable[tuple[int, int]], cuts: Iterable[tuple[int, int]]) -> Ranges:
    """Return what is left of some ranges when others are cut out of them; both are in rising order."""
    left = list(ranges)
    for low, high in cuts:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    return left

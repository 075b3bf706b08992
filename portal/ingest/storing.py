"""Stores a verified batch once: the checks against what is here, the verbatim bytes, and everything that follows.

Nearly every batch follows the newest one of its stream, and then the stream's head answers every check. Whatever does
not simply follow is compared with all that is stored.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from portal.fleet.models import Collector
from portal.ingest.errors import BatchRefused
from portal.ingest.holes import MAX_AHEAD
from portal.ingest.standing import other
from portal.metering import heads, services
from portal.metering.models import Epoch, StoredBatch
from sync.batch import NO_PREVIOUS

if TYPE_CHECKING:
    from datetime import datetime

    from portal.core.statements import Statement
    from portal.ingest.standing import Standing
    from portal.metering.heads import Head
    from sync.batch import Batch

_SILENT = frozenset({"too-far-ahead"})


def store(batch: Batch, data: bytes, standing: Standing, *, received_at: datetime) -> bool:
    """Store a verified batch and everything in it; returns False when these very bytes are stored already.

    raises  BatchRefused when it contradicts what is stored.
    """
    digest = hashlib.sha256(data).digest()
    epoch = _epoch(batch, standing, received_at)
    appended = services.append_range(batch)
    if not _follows(batch, appended, standing):
        if _is_stored(batch, digest, epoch):
            return False
        if reason := _refusal(batch, digest, appended, epoch, standing):
            raise BatchRefused(reason, batch.id, silent=reason in _SILENT)
    if batch.previous_epoch is not None:
        heads.declare_previous(batch.previous_epoch, collector=epoch.collector_id, at=received_at)
    services.apply_contents(
        batch,
        epoch=epoch,
        received_at=received_at,
        token=standing.token,
        may_repeat=standing.other_epochs,
        keeping=[
            services.batch_row(batch, data, epoch=epoch, received_at=received_at),
            *head_rows(batch, digest, epoch, standing.head, standing.beside, received_at=received_at),
        ],
    )
    return True


def head_rows(
    batch: Batch, digest: bytes, epoch: Epoch, head: Head, beside: Head, *, received_at: datetime
) -> list[Statement]:
    """Return what brings the heads of an epoch up to date with a batch that is stored.

    head, beside  the heads of its stream and of the other one, from before it.
    """
    appended = services.append_range(batch)
    after = head.with_batch(batch.id.sequence, digest, appended[1] if appended else 0, at=received_at)
    rows = [heads.head_row(epoch.pk, batch.id.stream, after)]
    if batch.beside > max(beside.newest, beside.declared):
        further = beside.with_declared(batch.beside, at=received_at)
        rows.append(heads.head_row(epoch.pk, other(batch.id.stream), further))
    return rows


def _epoch(batch: Batch, standing: Standing, received_at: datetime) -> Epoch:
    """Return the row of a batch's epoch, made at first sight; raises BatchRefused when it is another collector's."""
    if standing.epoch is None or (batch.previous_epoch is not None and not standing.names_previous):
        row = services.epoch_row(Collector(pk=standing.collector), batch, received_at=received_at)
    else:
        own = standing.epoch_owner == standing.collector
        row = Epoch(pk=standing.epoch, collector_id=standing.collector, epoch=batch.id.epoch) if own else None
    if row is None:
        raise BatchRefused("epoch", batch.id)
    return row


def _follows(batch: Batch, appended: tuple[int, int] | None, standing: Standing) -> bool:
    """Return whether a batch is the next one of its stream in every respect."""
    head = standing.head
    before = head.newest_hash if head.newest else NO_PREVIOUS
    return (
        batch.id.sequence == head.newest + 1
        and batch.previous_hash == before
        and (appended is None or appended[0] > head.last_append_seq)
    )


def _is_stored(batch: Batch, digest: bytes, epoch: Epoch) -> bool:
    """Return whether these very bytes are stored; raises BatchRefused when others are under their identity."""
    stored = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream), sequence=batch.id.sequence)
    known = stored.values_list("batch_hash", flat=True).first()
    if known is not None and bytes(known) != digest:
        raise BatchRefused("conflict", batch.id)
    return known is not None


def _refusal(batch: Batch, digest: bytes, appended: tuple[int, int] | None, epoch: Epoch, standing: Standing) -> str:
    """Return why a batch that does not simply follow cannot be taken, empty when it can."""
    if batch.id.sequence > standing.head.newest + MAX_AHEAD:
        return "too-far-ahead"
    if _breaks_chain(batch, digest, epoch):
        return "chain"
    return "append-overlap" if appended and _meets_another(batch, appended, epoch) else ""


def _breaks_chain(batch: Batch, digest: bytes, epoch: Epoch) -> bool:
    """Compare the hash chain with the neighbours that are here; a hole says nothing until it is filled."""
    if (batch.id.sequence == 1) != (batch.previous_hash == NO_PREVIOUS):
        return True
    stream = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream))
    before = stream.filter(sequence=batch.id.sequence - 1).values_list("batch_hash", flat=True).first()
    after = stream.filter(sequence=batch.id.sequence + 1).values_list("previous_hash", flat=True).first()
    return (before is not None and bytes(before) != batch.previous_hash) or (
        after is not None and bytes(after) != digest
    )


def _meets_another(batch: Batch, appended: tuple[int, int], epoch: Epoch) -> bool:
    """Look for a committed batch of the stream whose append_seq range meets this one's: its reads would count twice."""
    return StoredBatch.objects.filter(
        epoch=epoch,
        stream=int(batch.id.stream),
        last_append_seq__gte=appended[0],
        first_append_seq__lte=appended[1],
    ).exists()

"""Makes everything derived anew from the stored batches: reads, packed days, roll-ups, states, events, leak cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from domain.ids import CollectorId
from portal.core.clock import now
from portal.core.services import bump_change
from portal.core.statements import run_together
from portal.fleet.models import CollectorKey
from portal.ingest.standing import other
from portal.ingest.storing import head_rows
from portal.metering.folding import fold_closed_days
from portal.metering.heads import declare_previous, head_of
from portal.metering.models import (
    DailyVolume,
    GoneBatches,
    LeakCase,
    MeterEvent,
    Quarantined,
    RecentRead,
    RegisterDay,
    RegisterState,
    StoredBatch,
    StreamHead,
)
from portal.metering.services import apply_contents
from sync.signing import Algorithm, VerifyKey, open_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.fleet.models import Collector

_DERIVED = (
    RecentRead,
    RegisterDay,
    DailyVolume,
    RegisterState,
    LeakCase,
    MeterEvent,
    Quarantined,
    GoneBatches,
    StreamHead,
)


@transaction.atomic
def rebuild() -> int:
    """Delete every derived row and make it again, batch by batch in the order of their arrival; return how many.

    Ingest waits meanwhile: the change counter's row is held from the start. Signatures are verified once more, with
    every key that the collector ever had: what was revoked later was good when it was taken.
    """
    bump_change()
    for model in _DERIVED:
        model.objects.all().delete()
    StoredBatch.objects.exclude(repeated=0).update(repeated=0)
    batches = 0
    for row in StoredBatch.objects.select_related("epoch__collector").order_by("pk").iterator(chunk_size=100):
        collector = row.epoch.collector
        batch = open_batch(bytes(row.signed), collector=CollectorId(collector.collector_id), keys=every_key(collector))
        stream = batch.id.stream
        head, beside = head_of(row.epoch_id, stream), head_of(row.epoch_id, other(stream))
        run_together(head_rows(batch, bytes(row.batch_hash), row.epoch, head, beside, received_at=row.received_at))
        if batch.previous_epoch is not None:
            declare_previous(batch.previous_epoch, collector=collector.pk, at=row.received_at)
        apply_contents(batch, epoch=row.epoch, received_at=row.received_at)
        batches += 1
    fold_closed_days(now())
    return batches


def every_key(collector: Collector) -> Callable[[bytes], VerifyKey | None]:
    """Return what finds any key that a collector ever had."""
    keys = {
        row.kid: VerifyKey(Algorithm[row.alg], bytes(row.public_key))
        for row in CollectorKey.objects.filter(collector=collector)
    }
    return lambda key_id: keys.get(key_id.hex())

"""From a read that a bill rests on back to the signed batches that carried it."""

from __future__ import annotations

from django.db.models import Q

from portal.metering.models import StoredBatch
from portal.metering.reads import reads_of


def batches_behind(register_id: int, read_us: int) -> list[StoredBatch]:
    """Return the stored batches that carried a register's read of a moment, with their epochs and collectors.

    register_id  MeterRegister's row id; read_us: microseconds since 1970 UTC.
    By the read's epoch and append_seq: one batch, or one of each stream where their ranges interleave; which of the
    two it is, the batch's own bytes say. Empty when no collector brought such a read (the office did).
    """
    places = Q()
    reads = reads_of(register_id, read_us, read_us)
    for read in reads:
        places |= Q(epoch=read.epoch, first_append_seq__lte=read.append_seq, last_append_seq__gte=read.append_seq)
    if not reads:
        return []
    found = StoredBatch.objects.filter(places).select_related("epoch__collector")
    return list(found.order_by("epoch", "stream", "sequence"))

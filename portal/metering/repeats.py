"""Finds reads that came before under another epoch of the same collector.

A store that was restored or salvaged begins an epoch and sends again what it cannot prove to have been acknowledged.
The batches are new, the reads are not: a register that is read at one microsecond with one count by one collector was
read once. Within an epoch append_seq tells reads apart and nothing is compared, so that a batch that is applied twice
by a fault shows twice in the reconciliation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.metering.models import Epoch, RecentRead, RegisterDay, StoredBatch
from portal.metering.packed import DAY_US, unpack_day
from portal.metering.reads import from_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sync.read_columns import ReadColumns

_REGISTERS_AT_ONCE = 500
_Place = tuple[int, int, int]


def held_before(reads: ReadColumns, rows: Sequence[int], *, epoch: Epoch) -> set[int]:
    """Return the indexes of the reads that are held already; rows: the MeterRegister id of each of their registers.

    One query as long as the collector has one epoch, two while no other reaches into the batch's time.
    """
    if not reads:
        return set()
    others = Epoch.objects.filter(collector=epoch.collector_id).exclude(pk=epoch.pk).values_list("pk", flat=True)
    low_us, high_us = min(reads.at_us), max(reads.at_us)
    # An empty list asks nothing.
    near = StoredBatch.objects.filter(
        epoch__in=list(others), first_read_at__lte=from_us(high_us), last_read_at__gte=from_us(low_us)
    )
    epochs = set(near.values_list("epoch", flat=True))
    if not epochs:
        return set()
    held = set(_held(sorted(set(rows)), low_us, high_us, epochs))
    return {
        place
        for place, (index, read_us, count) in enumerate(zip(reads.indices, reads.at_us, reads.counts, strict=True))
        if (rows[index], read_us, count) in held
    }


def _held(registers: Sequence[int], low_us: int, high_us: int, epochs: set[int]) -> Iterator[_Place]:
    """Yield (register, read_us, raw_count) of what other epochs brought, open or folded."""
    for start in range(0, len(registers), _REGISTERS_AT_ONCE):
        some = registers[start : start + _REGISTERS_AT_ONCE]
        recent = RecentRead.objects.filter(register__in=some, read_us__range=(low_us, high_us), epoch__in=epochs)
        yield from recent.values_list("register", "read_us", "raw_count")
        days = RegisterDay.objects.filter(register__in=some, day__range=(low_us // DAY_US, high_us // DAY_US))
        for register, day, packed in days.values_list("register", "day", "packed"):
            for read in unpack_day(day, bytes(packed)):
                if read.epoch in epochs:
                    yield register, read.read_us, read.raw_count

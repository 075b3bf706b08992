"""Decides what of a batch enters the portal's tables and what waits in quarantine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portal.metering.assignments import allowed, sight_of
from portal.metering.models import Quarantined, StoredBatch
from portal.metering.reads import from_us, to_us
from sync.read_columns import columns_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from domain.ids import MeterId
    from domain.reading import StoredEvent
    from portal.metering.assignments import Sight
    from portal.metering.models import Epoch
    from sync.batch import Batch
    from sync.read_columns import ReadColumns

FOREIGN = "foreign-meter"


@dataclass(frozen=True, slots=True)
class Routed:
    """What of a batch enters the tables.

    reads   all of the batch's; rows: the MeterRegister id of each of its registers; chosen: the indexes of the reads
            that enter, None for all of them.
    events  those that enter; meters: the row id of every meter that they name.
    held    what is kept back of each meter, by its row id.
    """

    reads: ReadColumns
    rows: list[int]
    chosen: list[int] | None
    events: Sequence[StoredEvent]
    meters: Mapping[str, int]
    held: Mapping[int, Held] = field(default_factory=dict)


@dataclass(slots=True)
class Held:
    """What is kept back of one meter."""

    reads: int = 0
    events: int = 0
    moments: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entering:
    """A meter that was moved: what its new collector said of it from this moment (microseconds) on now enters."""

    meter_id: MeterId
    since_us: int


def routed(
    batch: Batch, *, epoch: Epoch, received_at: datetime, token: bytes | None, entering: Entering | None = None
) -> Routed:
    """Return what enters of a batch, and what does not.

    entering  look at what concerns this meter alone.
    """
    reads = columns_of(batch.reads)
    named = {stored.event.meter_id for stored in batch.events if stored.event.meter_id is not None}
    sight = sight_of(epoch.collector_id, registers=reads.registers, meters=named, token=token, seen_at=received_at)
    if reads.registers is sight.table and not named and entering is None:
        return Routed(reads, sight.rows, None, batch.events, {})
    rows = [sight.registers[register] for register in reads.registers]
    meters: dict[str, int] = {meter_id: sight.meters[meter_id][0] for meter_id in named}
    names = [register.meter_id for register in reads.registers]
    if entering is None and all(sight.meters[name][1] is None for name in (*names, *named)):
        sight.table, sight.rows = reads.registers, rows
        return Routed(reads, rows, None, batch.events, meters)
    held: dict[str, Held] = {}
    chosen = _chosen(reads, names, sight, held, entering)
    events = [stored for stored in batch.events if _enters(stored, sight, held, entering)]
    return Routed(reads, rows, chosen, events, meters, {sight.meters[name][0]: kept for name, kept in held.items()})


def _chosen(
    reads: ReadColumns, names: Sequence[str], sight: Sight, held: dict[str, Held], entering: Entering | None
) -> list[int]:
    windows = [sight.meters[name][1] for name in names]
    looked_at = [entering is None or name == entering.meter_id for name in names]
    chosen = []
    for place, (index, at_us) in enumerate(zip(reads.indices, reads.at_us, strict=True)):
        if not looked_at[index]:
            continue
        if not allowed(windows[index], at_us):
            kept = held.setdefault(names[index], Held())
            kept.reads += 1
            kept.moments.append(at_us)
        elif entering is None or at_us >= entering.since_us:  # what is older entered when it came
            chosen.append(place)
    return chosen


def _enters(stored: StoredEvent, sight: Sight, held: dict[str, Held], entering: Entering | None) -> bool:
    meter_id, at_us = stored.event.meter_id, to_us(stored.event.at)
    if entering is not None and meter_id != entering.meter_id:
        return False
    if meter_id is None or allowed(sight.meters[meter_id][1], at_us):
        return entering is None or at_us >= entering.since_us
    kept = held.setdefault(meter_id, Held())
    kept.events += 1
    kept.moments.append(at_us)
    return False


def write_down(part: Routed, batch: Batch, *, epoch: Epoch, entering: Entering | None) -> None:
    """Keep account of what of a stored batch is kept back; of a meter that enters, anew."""
    stored = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream), sequence=batch.id.sequence)
    if entering is not None:
        Quarantined.objects.filter(batch__in=stored, meter__meter_id=entering.meter_id).delete()
    if not part.held:
        return
    row = stored.values_list("pk", flat=True).get()
    Quarantined.objects.bulk_create(
        [
            Quarantined(
                batch_id=row,
                meter_id=meter,
                collector_id=epoch.collector_id,
                reason=FOREIGN,
                reads=kept.reads,
                events=kept.events,
                first_at=from_us(min(kept.moments)),
                last_at=from_us(max(kept.moments)),
            )
            for meter, kept in sorted(part.held.items())
        ],
        batch_size=500,
    )

"""The only door to metering's rows: batches with their reads and events, refusals, registers, installations."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.db.models import F, Q

from portal.core.services import audit, bump_change
from portal.core.statements import run_together
from portal.customers.models import ServicePoint
from portal.fleet.models import Collector, Meter
from portal.metering.errors import Overlap
from portal.metering.events import claim_leak_cases, store_events
from portal.metering.models import Epoch, Installation, MeterRegister, StoredBatch
from portal.metering.read_rows import insert_recent, newest_reads, save_states
from portal.metering.reads import from_us
from portal.metering.registers import register_rows
from portal.metering.repeats import held_before
from portal.metering.routing import routed, write_down
from sync.batch import append_seqs
from sync.read_columns import columns_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.reading import Register
    from portal.core.models import User
    from portal.core.statements import Statement
    from portal.metering.routing import Entering
    from sync.batch import Batch

_CLOCK_AHEAD = timedelta(days=1)
_KEEP_BATCH = (
    "INSERT INTO metering_storedbatch (epoch_id, stream, sequence, batch_hash, previous_hash, signed, sealed_at, "
    "received_at, reads, events, first_append_seq, last_append_seq, first_read_at, last_read_at, repeated) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0)"
)


def epoch_row(collector: Collector, batch: Batch, *, received_at: datetime) -> Epoch | None:
    """Return the row of a batch's epoch, made at first sight; None when another collector has used these bytes."""
    previous = None
    if batch.previous_epoch is not None:
        previous = {
            "epoch": batch.previous_epoch.epoch.hex(),
            "last_sequences": list(batch.previous_epoch.last_sequences),
        }
    row, _ = Epoch.objects.get_or_create(
        epoch=batch.id.epoch,
        defaults={"collector_id": collector.pk, "first_seen_at": received_at, "previous": previous},
    )
    if row.collector_id != collector.pk:
        return None
    if previous is not None and row.previous is None:
        row.previous = previous
        row.save(update_fields=["previous"])
    return row


def append_range(batch: Batch) -> tuple[int, int] | None:
    """Return the first and the last append_seq in a batch; None when nothing is in it."""
    ends = [(seqs[0], seqs[-1]) for seqs in (append_seqs(batch.reads), append_seqs(batch.events)) if seqs]
    return (min(first for first, _ in ends), max(last for _, last in ends)) if ends else None


def store_batch(batch: Batch, signed: bytes, *, epoch: Epoch, received_at: datetime) -> None:
    """Keep a batch byte for byte, in the caller's transaction."""
    run_together([batch_row(batch, signed, epoch=epoch, received_at=received_at)])


def batch_row(batch: Batch, signed: bytes, *, epoch: Epoch, received_at: datetime) -> Statement:
    """Return the statement that keeps a batch."""
    first, last = append_range(batch) or (None, None)
    moments = columns_of(batch.reads).at_us
    adapt = connection.ops.adapt_datetimefield_value
    return _KEEP_BATCH, [
        epoch.pk,
        int(batch.id.stream),
        batch.id.sequence,
        hashlib.sha256(signed).digest(),
        batch.previous_hash,
        signed,
        adapt(batch.sealed_at),
        adapt(received_at),
        len(batch.reads),
        len(batch.events),
        first,
        last,
        adapt(from_us(min(moments))) if moments else None,
        adapt(from_us(max(moments))) if moments else None,
    ]


def apply_contents(
    batch: Batch,
    *,
    epoch: Epoch,
    received_at: datetime,
    token: bytes | None = None,
    may_repeat: bool = True,
    entering: Entering | None = None,
    keeping: Sequence[Statement] = (),
) -> int:
    """Write a batch's reads and events and everything that follows from them; return the change number.

    Called once for each stored batch, in the transaction that stores it (and again only by a rebuild, after the rows
    of the first time are gone). It does not look whether it was called before: that is the stored batch's constraint.
    A read that another epoch of the collector brought before (a store was restored or salvaged) is kept once.

    token       of the collector's registry, None to look it up; may_repeat: the collector has other epochs.
    entering    apply what concerns one meter alone, which was in quarantine.
    keeping     statements that store the batch itself, to be sent along with others where nothing needs its row before.
    """
    part = routed(batch, epoch=epoch, received_at=received_at, token=token, entering=entering)
    chosen = part.chosen
    if may_repeat or chosen is not None:
        run_together(keeping)
        keeping = ()
        write_down(part, batch, epoch=epoch, entering=entering)
    if may_repeat and (repeated := held_before(part.reads, part.rows, epoch=epoch)):
        places = range(len(part.reads)) if chosen is None else chosen
        chosen = [place for place in places if place not in repeated]
        _count_repeated(batch, len(places) - len(chosen), epoch=epoch)
    insert_recent(part.reads, part.rows, epoch=epoch.pk, chosen=chosen)
    if part.events:
        store_events(part.events, part.meters, epoch=epoch, sender=batch.id.collector, received_at=received_at)
    newest = newest_reads(part.reads, part.rows, latest=received_at + _CLOCK_AHEAD, chosen=part.chosen)
    return save_states(part.reads, newest, first=keeping)


def _count_repeated(batch: Batch, repeated: int, *, epoch: Epoch) -> None:
    """Write down with a batch how many of its reads an earlier epoch had brought: they are kept once."""
    if repeated:
        stored = StoredBatch.objects.filter(epoch=epoch, stream=int(batch.id.stream), sequence=batch.id.sequence)
        stored.update(repeated=F("repeated") + repeated)


@transaction.atomic
def claim_register(register: Register, *, at: datetime, in_usage: bool = True) -> MeterRegister:
    """Return the row of a register that the office knows, made where it is new, and mark it claimed."""
    row = MeterRegister.objects.get(pk=register_rows([register], seen_at=at)[register])
    if not row.claimed or row.in_usage != in_usage:
        row.claimed, row.in_usage = True, in_usage
        row.save(update_fields=["claimed", "in_usage"])
    return row


@transaction.atomic
def install_meter(
    meter: Meter,
    service_point: ServicePoint,
    start: datetime,
    *,
    register: MeterRegister | None = None,
    first_count: int | None = None,
    actor: User | None = None,
    label: str = "",
) -> Installation:
    """Hang a meter at a service point; raises Overlap when either has another partner then."""
    ServicePoint.objects.select_for_update().get(pk=service_point.pk)
    Meter.objects.select_for_update().get(pk=meter.pk)
    clash = Installation.objects.filter(Q(meter=meter) | Q(service_point=service_point)).filter(
        Q(end__isnull=True) | Q(end__gt=start)
    )
    if (other := clash.first()) is not None:
        raise Overlap(f"{other} is installed at {start.isoformat()}; remove that meter first")
    installation = Installation.objects.create(
        meter=meter,
        service_point=service_point,
        start=start,
        register=register if first_count is not None else None,
        first_count=first_count,
    )
    claim_leak_cases(installation)
    audit("meter.install", actor=actor, label=label, target=installation, detail={"meter": meter.meter_id})
    bump_change()
    return installation


@transaction.atomic
def remove_meter(
    installation: Installation,
    end: datetime,
    *,
    register: MeterRegister | None = None,
    last_count: int | None = None,
    actor: User | None = None,
    label: str = "",
) -> None:
    """Take a meter off its service point at a moment, with the count that its dial showed then."""
    row = Installation.objects.select_for_update().get(pk=installation.pk)
    if row.end is not None or end <= row.start:
        raise Overlap(f"{row} has ended already, or started after {end.isoformat()}")
    row.end = end
    if last_count is not None:
        row.register, row.last_count = register or row.register, last_count
    row.save()
    installation.refresh_from_db()
    audit("meter.remove", actor=actor, label=label, target=row, detail={"meter": row.meter.meter_id})
    bump_change()

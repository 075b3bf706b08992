"""Moves a meter to another collector from a moment on, and lets in what that one said of it meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from domain.ids import CollectorId, MeterId
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.fleet.models import Collector, Meter
from portal.ingest.rebuild import every_key
from portal.metering.assignments import renew_token
from portal.metering.models import (
    Epoch,
    MeterAssignment,
    MeterEvent,
    MeterRegister,
    Quarantined,
    RecentRead,
    RegisterDay,
    StoredBatch,
)
from portal.metering.packed import DAY_US, unpack_day
from portal.metering.reads import from_us, to_us
from portal.metering.routing import Entering
from portal.metering.services import apply_contents
from sync.signing import open_batch

if TYPE_CHECKING:
    from datetime import datetime

    from portal.core.models import User

LONGEST_BACK = timedelta(days=62)
"""How far back a meter may be moved: what was kept back since is read again from its batches, while somebody waits."""


@transaction.atomic
def move_meter(
    meter: Meter, collector: Collector, start: datetime, *, reason: str, actor: User | None = None, label: str = ""
) -> MeterAssignment:
    """Let a collector speak for a meter from `start` on; what it said since then enters now.

    raises  Refused with what to do instead: it speaks for it already, the moment is in the future or too long ago, or
            the collector before has read the meter since.
    """
    reason = reason.strip()
    if not reason:
        raise Refused("reason-missing", _("Say why the meter is moved."))
    # In one order, as ingest holds one of them while it applies a batch: neither says anything meanwhile.
    holders = MeterAssignment.objects.filter(meter=meter, end__isnull=True).values_list("collector_id", flat=True)
    list(Collector.objects.select_for_update().filter(pk__in=[*holders, collector.pk]).order_by("pk"))
    before = MeterAssignment.objects.select_related("collector").filter(meter=meter, end__isnull=True).first()
    _check(before, meter, collector, start)
    if before is not None:
        before.end = start
        before.save(update_fields=["end"])
        renew_token(before.collector_id)
    assignment = MeterAssignment.objects.create(meter=meter, collector=collector, start=start)
    renew_token(collector.pk)
    _claim_alike(meter)
    audit(
        "meter.move",
        actor=actor,
        label=label,
        target=meter,
        reason=reason,
        detail={
            "meter": meter.meter_id,
            "from": before.collector.collector_id if before else "",
            "to": collector.collector_id,
            "start": start.isoformat(),
        },
    )
    _let_in(meter, collector, start)
    return assignment


def _check(before: MeterAssignment | None, meter: Meter, collector: Collector, start: datetime) -> None:
    moment = now()
    if start > moment:
        raise Refused("not-yet", _("Choose a moment that has passed."))
    if start < moment - LONGEST_BACK:
        raise Refused("too-long-ago", _("Choose a moment of the last %(days)s days.") % {"days": LONGEST_BACK.days})
    if before is None:
        return
    if before.collector_id == collector.pk:
        raise Refused("speaks-already", _("This collector speaks for the meter already."))
    if before.start is not None and before.start >= start:
        said = {"start": _text(before.start)}
        raise Refused("moved-since", _("Choose a moment after %(start)s UTC, when the meter was moved last.") % said)
    if (last := last_word(meter, before.collector, start)) is not None:
        raise Refused(
            "read-since",
            _("%(collector)s has read this meter until %(last)s UTC; choose a later moment.")
            % {"collector": before.collector.collector_id, "last": _text(last)},
        )


def last_word(meter: Meter, collector: Collector, start: datetime) -> datetime | None:
    """Return the latest moment since `start` of which a collector's reads or events of a meter are in use, or None."""
    start_us = to_us(start)
    registers = list(MeterRegister.objects.filter(meter=meter).values_list("pk", flat=True))
    epochs = set(Epoch.objects.filter(collector=collector).values_list("pk", flat=True))
    recent = RecentRead.objects.filter(register__in=registers, read_us__gte=start_us, epoch__in=epochs)
    found = [from_us(us) for us in recent.order_by("-read_us").values_list("read_us", flat=True)[:1]]
    days = RegisterDay.objects.filter(register__in=registers, day__gte=start_us // DAY_US)
    for day, packed in days.values_list("day", "packed"):
        reads = unpack_day(day, bytes(packed))
        found += [from_us(read.read_us) for read in reads if read.epoch in epochs and read.read_us >= start_us]
    events = MeterEvent.objects.filter(meter=meter, collector=collector, at__gte=start)
    found += events.order_by("-at").values_list("at", flat=True)[:1]
    return max(found, default=None)


def _claim_alike(meter: Meter) -> None:
    """Claim the registers that differ from a claimed one in their roll-over alone, as at first sight of a meter."""
    rows = list(MeterRegister.objects.filter(meter=meter))
    claimed = {(row.register_id, row.unit, row.scale): row.in_usage for row in rows if row.claimed}
    for row in rows:
        key = row.register_id, row.unit, row.scale
        if not row.claimed and key in claimed:
            MeterRegister.objects.filter(pk=row.pk).update(claimed=True, in_usage=claimed[key])


def _let_in(meter: Meter, collector: Collector, start: datetime) -> None:
    """Apply what the collector said of the meter since `start`, batch by batch in the order of their arrival."""
    entering = Entering(MeterId(meter.meter_id), to_us(start))
    waiting = Quarantined.objects.filter(meter=meter, collector=collector, last_at__gte=start)
    keys, name = every_key(collector), CollectorId(collector.collector_id)
    for pk in list(waiting.order_by("batch").values_list("batch_id", flat=True)):
        row = StoredBatch.objects.select_related("epoch").get(pk=pk)
        batch = open_batch(bytes(row.signed), collector=name, keys=keys)
        apply_contents(batch, epoch=row.epoch, received_at=row.received_at, entering=entering)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"

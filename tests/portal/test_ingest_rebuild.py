"""Everything derived can be made again from the stored batches, and comes out the same."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from domain.reading import EventKind
from domain.units import Unit
from portal.fleet.services import revoke_key
from portal.ingest.apply import apply_batch
from portal.ingest.rebuild import rebuild
from portal.metering import services as metering
from portal.metering.folding import fold_closed_days
from portal.metering.models import (
    DailyVolume,
    LeakCase,
    MeterEvent,
    RecentRead,
    RegisterDay,
    RegisterState,
    StoredBatch,
)
from portal.metering.reconcile import held_reads
from portal.metering.usage import usage
from tests.portal.building import NOON, collector_row, enrolled, event, home, read, total

if TYPE_CHECKING:
    from django.db.models import Model

pytestmark = pytest.mark.django_db


def everything() -> dict[str, object]:
    """What is derived, without what may differ: row ids of the open reads and change numbers."""
    models: list[type[Model]] = [DailyVolume, MeterEvent, LeakCase]
    return {
        **{model.__name__: _rows(model) for model in models},
        "days": sorted((r.register, r.day, r.reads, bytes(r.packed)) for r in RegisterDay.objects.all()),
        "states": sorted(RegisterState.objects.values_list("register", "last_read_at", "last_count", "last_quality")),
        "reads": Counter(tuple(sorted(row.items())) for row in held_reads()),
    }


def _rows(model: type[Model]) -> list[str]:
    skipped = {"id"} | ({"pk"} if model is DailyVolume else set())
    fields = [f.attname for f in model._meta.get_fields() if f.concrete and f.name not in skipped]
    return sorted(map(repr, model._default_manager.values_list(*fields)))


def test_rebuilt_rows_are_the_same_rows() -> None:
    rng = random.Random(3)
    box, meters = enrolled(), ["EFE-00000001", "EFE-00000002", "XYZ-9"]
    for meter in meters[:2]:
        home(total(meter), NOON - timedelta(days=1), address=f"home of {meter}")
    batches = []
    for hour in range(80):
        at = NOON + timedelta(hours=hour)
        reads = [
            read(total(meter), 100 * hour + rng.randrange(50), at + timedelta(seconds=n))
            for n, meter in enumerate(meters)
        ]
        happened = []
        if hour in (5, 50):
            kind = EventKind.LEAK_OPENED if hour == 5 else EventKind.LEAK_CLEARED
            happened = [event(kind, at, event_id=f"e{hour}", meter=meters[0], alarm="a1", rule="minimum")]
        batches.append(box.sealed(reads, happened))
    rng.shuffle(batches)
    for number, signed in enumerate(batches):
        assert apply_batch(signed, box.name, NOON + timedelta(hours=number)) is not None
        if number == 40:
            fold_closed_days(NOON + timedelta(days=2))
    fold_closed_days(NOON + timedelta(days=400))
    before, spoilt = everything(), RegisterDay.objects.first()
    service_point = metering.Installation.objects.earliest("pk").service_point
    span = {"start": NOON, "end": NOON + timedelta(days=4), "resolution": "hour", "unit": Unit.LITRE}
    shown = usage(service_point, **span)
    # What was derived is lost or spoilt, and a key that was good then is revoked now.
    assert spoilt is not None
    RegisterDay.objects.filter(register=spoilt.register).update(packed=b"spoilt")
    DailyVolume.objects.update(counts=7)
    MeterEvent.objects.filter(kind=EventKind.LEAK_CLEARED.value).delete()
    revoke_key(collector_row(box).keys.get(), reason="retired")
    assert rebuild() == StoredBatch.objects.count() == 80
    fold_closed_days(NOON + timedelta(days=400))
    assert RecentRead.objects.count() == 0
    assert everything() == before
    assert usage(service_point, **span) == shown


def test_a_batch_applied_twice_shows_twice() -> None:
    """Reconciliation reads the read tables themselves, so a fault in ingest cannot hide behind the batch's identity."""
    from portal.ingest.rebuild import every_key
    from sync.signing import open_batch

    box = enrolled()
    signed = box.sealed([read(total(), n, NOON + timedelta(hours=n)) for n in range(3)])
    apply_batch(signed, box.name, NOON)
    batch = open_batch(signed, collector=box.name, keys=every_key(collector_row(box)))
    metering.apply_contents(batch, epoch=StoredBatch.objects.get().epoch, received_at=NOON)
    assert Counter(row["append_seq"] for row in held_reads()) == {1: 2, 2: 2, 3: 2}
    fold_closed_days(NOON + timedelta(days=4))
    assert Counter(row["append_seq"] for row in held_reads()) == {1: 2, 2: 2, 3: 2}
    rebuild()
    assert Counter(row["append_seq"] for row in held_reads()) == {1: 1, 2: 1, 3: 1}

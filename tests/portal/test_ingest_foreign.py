"""A meter has one collector: what another one says of it changes nothing that anybody sees, and is not lost."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from domain.reading import EventKind
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.fleet.models import Collector, Meter
from portal.ingest.apply import apply_batch
from portal.ingest.moving import LONGEST_BACK, move_meter
from portal.ingest.rebuild import rebuild
from portal.metering import assignments
from portal.metering.folding import fold_closed_days
from portal.metering.models import (
    DailyVolume,
    LeakCase,
    MeterAssignment,
    MeterEvent,
    MeterRegister,
    Quarantined,
    RecentRead,
    RegisterDay,
    RegisterState,
    StoredBatch,
)
from portal.metering.reconcile import held_reads
from portal.metering.usage import usage
from portal.resident.live import audience
from tests.portal.building import Box, collector_row, enrolled, event, home, person, read, total
from tests.portal.test_metering_usage import CHICAGO

if TYPE_CHECKING:
    from datetime import datetime

    from domain.reading import Register

pytestmark = pytest.mark.django_db
VICTIM = "EFE-00000001"


@pytest.fixture
def start() -> datetime:
    """Noon of the day before yesterday."""
    return now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)


@pytest.fixture
def owner() -> Box:
    return enrolled("hw-owner")


@pytest.fixture
def intruder() -> Box:
    return dataclasses.replace(enrolled("hw-intruder"), epoch=bytes(range(50, 66)))


def hourly(register: Register, start: datetime, *, first: int, hours: int = 4):
    return [read(register, first + n, start + timedelta(hours=n)) for n in range(hours)]


def take(box: Box, signed: bytes, at: datetime) -> None:
    answer = apply_batch(signed, box.name, at)
    assert answer is not None
    assert answer.committed


def counts() -> list[int]:
    return sorted(row["count"] for row in held_reads())


def test_a_neighbours_collector_changes_nothing_that_a_resident_sees(
    owner: Box, intruder: Box, start: datetime
) -> None:
    user = person()
    service_point, _ = home(total(), start - timedelta(days=1), user=user)
    take(owner, owner.sealed(hourly(total(), start, first=1000)), start)
    opening = event(EventKind.LEAK_OPENED, start, event_id="l1", meter=VICTIM, alarm="a1", rule="minimum")
    take(owner, owner.sealed(events=[opening]), start)

    def seen() -> tuple[object, ...]:
        span = {"start": start - timedelta(hours=1), "end": start + timedelta(days=1)}
        return (
            usage(service_point, **span, resolution="hour", zone=CHICAGO),
            list(RegisterState.objects.filter(register__meter__meter_id=VICTIM).values()),
            list(LeakCase.objects.values()),
            list(MeterEvent.objects.values()),
            counts(),
            list(MeterRegister.objects.filter(claimed=True).values()),
        )

    before, change = seen(), _change()
    lies = [
        *hourly(total(), start + timedelta(hours=5), first=90_000),
        read(dataclasses.replace(total(), modulus=10**9), 7, start + timedelta(hours=9)),
    ]
    alarms = [
        event(EventKind.LEAK_OPENED, start, event_id="x1", meter=VICTIM, alarm="b1", rule="minimum"),
        event(EventKind.LEAK_CLEARED, start, event_id="x2", meter=VICTIM, alarm="a1"),
        event(EventKind.BACKFLOW, start, event_id="x3", meter=VICTIM),
    ]
    take(intruder, intruder.sealed(lies, alarms), start + timedelta(hours=9))
    take(intruder, intruder.sealed(hourly(total("EFE-00000099"), start, first=5)), start)
    assert seen()[:4] == before[:4]
    assert seen()[5] == before[5]
    assert counts() == sorted([*before[4], 5, 6, 7, 8])
    assert audience([service_point.pk], since=change) == set()
    # And nothing is lost: the batch is stored whole, and staff see that something waits.
    assert StoredBatch.objects.filter(epoch__collector__collector_id=intruder.name).count() == 2
    (kept,) = Quarantined.objects.all()
    assert (kept.meter.meter_id, kept.collector.collector_id) == (VICTIM, intruder.name)
    assert (kept.reason, kept.reads, kept.events) == ("foreign-meter", 5, 3)
    assert (kept.first_at, kept.last_at) == (start, start + timedelta(hours=9))


def _change() -> int:
    from portal.core.services import current_change

    return current_change()


def test_the_first_collector_speaks_for_a_meter_and_others_bring_their_own(owner: Box, intruder: Box, start) -> None:
    take(owner, owner.sealed(hourly(total(), start, first=1)), start)
    mixed = [*hourly(total("EFE-00000002"), start, first=50), *hourly(total(), start, first=70)]
    for _ in range(2):
        take(intruder, intruder.sealed(mixed), start)
        mixed = [dataclasses.replace(item, read_at=item.read_at + timedelta(days=1)) for item in mixed]
    assert counts() == [1, 2, 3, 4, 50, 50, 51, 51, 52, 52, 53, 53]
    rows = MeterAssignment.objects.values_list("meter__meter_id", "collector__collector_id", "start", "end")
    assert sorted(rows) == [(VICTIM, owner.name, None, None), ("EFE-00000002", intruder.name, None, None)]


def everything() -> dict[str, list[str]]:
    """All that is derived, once the closed days are folded, without what is drawn at random or counts up."""
    fold_closed_days(now())
    skipped = {"id", "public_id", "change_number"}
    found = {}
    for model in (RecentRead, RegisterDay, DailyVolume, RegisterState, MeterEvent, LeakCase, Quarantined):
        fields = [field.attname for field in model._meta.concrete_fields if field.attname not in skipped]
        found[model.__name__] = sorted(map(repr, model._default_manager.values_list(*fields)))
    return found


@pytest.mark.parametrize("folded", [False, True])
def test_what_waited_enters_when_the_meter_is_moved(owner: Box, intruder: Box, start: datetime, folded: bool) -> None:
    """The box on the wall was replaced: the new one speaks for the meters from a moment on."""
    home(total(), start - timedelta(days=1))
    take(owner, owner.sealed(hourly(total(), start, first=1000)), start)
    wider = dataclasses.replace(total(), modulus=10**9)
    new = [*hourly(total(), start + timedelta(hours=2), first=1002), read(wider, 2000, start + timedelta(hours=9))]
    leak = event(
        EventKind.LEAK_OPENED, start + timedelta(hours=5), event_id="l9", meter=VICTIM, alarm="a9", rule="minimum"
    )
    old_leak = dataclasses.replace(leak, at=start, event_id="l8", detail={"alarm": "a8"})
    other = hourly(total("EFE-00000002"), start, first=50)
    take(intruder, intruder.sealed([*other, *new], [leak, old_leak]), start + timedelta(hours=9))
    assert counts() == [50, 51, 52, 53, 1000, 1001, 1002, 1003]
    if folded:
        fold_closed_days(now())
        assert not RecentRead.objects.exists()
    meter, collector = Meter.objects.get(meter_id=VICTIM), collector_row(intruder)
    moved_at = start + timedelta(hours=3, minutes=30)
    move_meter(meter, collector, moved_at, reason="box replaced", label="test")
    assert counts() == [50, 51, 52, 53, 1000, 1001, 1002, 1003, 1004, 1005, 2000]
    assert [case.alarm_id for case in LeakCase.objects.all()] == [f"{intruder.name}/a9"]
    kept = Quarantined.objects.get()
    assert (kept.reads, kept.events) == (2, 1), "what lies before the moment stays where it is"
    assert all(MeterRegister.objects.filter(meter=meter).values_list("claimed", flat=True))
    assert RegisterState.objects.get(register__modulus=10**9).last_count == 2000
    assert AuditEntry.objects.get(action="meter.move").detail["from"] == owner.name
    # From now on the new one brings it, and the old one waits.
    take(intruder, intruder.sealed([read(total(), 1010, start + timedelta(hours=10))]), start)
    take(owner, owner.sealed([read(total(), 3000, start + timedelta(hours=10))]), start)
    assert counts()[-2:] == [1010, 2000]
    assert Quarantined.objects.count() == 2
    before = everything()
    rebuild()
    assert everything() == before


def test_a_meter_that_is_moved_back_brings_nothing_twice(owner: Box, intruder: Box, start: datetime) -> None:
    take(owner, owner.sealed([read(total(), 1, start)]), start)
    meter = Meter.objects.get(meter_id=VICTIM)
    move_meter(meter, collector_row(intruder), start + timedelta(minutes=90), reason="swapped by mistake")
    take(owner, owner.sealed(hourly(total(), start + timedelta(hours=1), first=2)), start)
    assert counts() == [1, 2]
    move_meter(meter, collector_row(owner), start + timedelta(minutes=150), reason="put right")
    assert counts() == [1, 2, 4, 5], "of one batch the first had entered when it came, the second never does"
    take(intruder, intruder.sealed(hourly(total(), start + timedelta(hours=1), first=12)), start)  # 13 is its own
    assert counts() == [1, 2, 4, 5, 13]
    moment = start + timedelta(hours=4, minutes=30)
    move_meter(meter, collector_row(intruder), moment, reason="again")
    move_meter(meter, collector_row(owner), moment + timedelta(minutes=1), reason="and back")
    assert counts() == [1, 2, 4, 5, 13]
    before = everything()
    rebuild()
    assert everything() == before


def test_reads_sent_again_in_a_new_epoch_enter_once(owner: Box, intruder: Box, start: datetime) -> None:
    take(owner, owner.sealed([read(total(), 1, start)]), start)
    reads = hourly(total(), start + timedelta(hours=1), first=2)
    take(intruder, intruder.sealed(reads), start)
    again = Box(intruder.name, intruder.key, epoch=bytes(range(70, 86)))
    take(again, again.sealed(reads[1:]), start)
    move_meter(
        Meter.objects.get(meter_id=VICTIM), collector_row(intruder), start + timedelta(minutes=1), reason="replaced"
    )
    assert counts() == [1, 2, 3, 4, 5]
    before = everything()
    rebuild()
    assert everything() == before


@pytest.mark.parametrize(
    ("hours", "who", "reason", "code"),
    [
        (3.5, "intruder", " ", "reason-missing"),
        (100, "intruder", "why", "not-yet"),
        (-24 * LONGEST_BACK.days, "intruder", "why", "too-long-ago"),
        (3.5, "owner", "why", "speaks-already"),
        (3, "intruder", "why", "read-since"),
        (3.1, "intruder", "why", "read-since"),
    ],
)
def test_a_move_that_would_take_back_what_was_seen_is_refused(
    owner: Box, intruder: Box, start: datetime, hours: float, who: str, reason: str, code: str
) -> None:
    take(owner, owner.sealed(hourly(total(), start, first=1000)), start)
    tamper = event(EventKind.TAMPER, start + timedelta(hours=3, minutes=10), event_id="t", meter=VICTIM)
    take(owner, owner.sealed(events=[tamper]), start)
    boxes = {"owner": owner, "intruder": intruder}
    with pytest.raises(Refused) as refusal:
        move_meter(
            Meter.objects.get(meter_id=VICTIM), collector_row(boxes[who]), start + timedelta(hours=hours), reason=reason
        )
    assert refusal.value.code == code
    assert MeterAssignment.objects.get().collector.collector_id == owner.name


def test_a_folded_day_tells_of_its_reads_too(owner: Box, intruder: Box, start: datetime) -> None:
    take(owner, owner.sealed(hourly(total(), start, first=1000)), start)
    fold_closed_days(now())
    with pytest.raises(Refused):
        move_meter(Meter.objects.get(), collector_row(intruder), start + timedelta(hours=2), reason="why")


def test_what_is_remembered_is_forgotten_when_a_meter_moves_or_nothing_was_committed(
    owner: Box, intruder: Box, start: datetime
) -> None:
    """As in another process, which only sees the token: and a first sight that was rolled back is none."""
    from django.db import transaction

    with transaction.atomic():
        take(intruder, intruder.sealed(hourly(total(), start, first=1)), start)
        transaction.set_rollback(True)
    assert not Meter.objects.exists()
    again = dataclasses.replace(intruder, last_append=0, sequences={}, hashes={})
    take(owner, owner.sealed([read(total(), 1, start)]), start)
    take(again, again.sealed(hourly(total(), start + timedelta(hours=1), first=60)), start)
    assert counts() == [1]
    remembered = dict(assignments._REMEMBERED)
    move_meter(Meter.objects.get(), collector_row(again), start + timedelta(hours=9), reason="why")
    assignments._REMEMBERED.clear()
    assignments._REMEMBERED.update(remembered)
    take(again, again.sealed([read(total(), 99, start + timedelta(hours=10))]), start)
    take(owner, owner.sealed([read(total(), 2, start + timedelta(hours=10))]), start)
    assert counts() == [1, 99]


def test_two_collectors_have_assignments_of_their_own() -> None:
    assert assignments._windows_of([(1, assignments._EVER_US, assignments._NEVER_US)], 1) is None
    assert assignments._windows_of([(1, assignments._EVER_US, assignments._NEVER_US)], 2) == ()
    # From before assignments were kept, everybody's reads stay as they are.
    assert assignments._windows_of([(1, 500, assignments._NEVER_US)], 2) == ((assignments._EVER_US, 500),)
    assert Collector.objects.count() == 0

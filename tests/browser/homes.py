"""Homes for the browser tests, from a seed: residents, meters, reads, a leak, a gap. A program beside the portal.

`python -m tests.browser.homes load` fills an initialised portal; `read METER COUNTS` lets a meter count on;
`leak METER` opens a leak; `look` makes the worker's looks for alerts due again. It takes the portal's environment
(HEADWATER_PORTAL_DIR, HEADWATER_CLOCK, ...), as any portal process does.
"""

from __future__ import annotations

import functools
import random
import sys
from datetime import datetime, timedelta

import django

SEED = 20260617
PASSWORD = "clear-water-7-springs"
STEP = timedelta(minutes=15)
DAYS = 45
_OFFICE = {
    "emergency_phone": "405-555-0199",
    "postal_address": "12 Reservoir Road\nCedar Valley, OK 73000",
    "office_hours": [{"en": "8 a.m. to 5 p.m., Monday to Friday", "es": "De lunes a viernes, de 8 a. m. a 5 p. m."}],
    "contacts": [
        {
            "label": {"en": "Payments by telephone", "es": "Pagos por teléfono"},
            "phone": "405-555-0120",
            "hours": {"en": "At any hour", "es": "A toda hora"},
        }
    ],
    "programme_url": "https://cedarvalley.example/meters",
    "programme_title": {"en": "New meters for the valley", "es": "Medidores nuevos para el valle"},
}


def main(arguments: list[str]) -> None:
    """Do what the first word says."""
    django.setup()
    if arguments[0] == "load":
        load()
    elif arguments[0] == "read":
        count_on(arguments[1], int(arguments[2]))
    elif arguments[0] == "leak":
        open_leak(arguments[1])
    elif arguments[0] == "look":
        look_again()
    elif arguments[0] == "send":
        send()
    elif arguments[0] == "hold":
        hold()
    elif arguments[0] == "similar":
        similar()
    else:
        raise SystemExit(f"unknown: {arguments[0]}")


def load() -> None:
    """Fill the portal: each resident shows one state of the pages."""
    from portal.core.clock import now
    from portal.core.models import User, UtilitySettings

    random_ = random.Random(SEED)
    print(f"homes: seed {SEED}")
    UtilitySettings.objects.update_or_create(
        pk=1,
        defaults={
            "name": "Cedar Valley Water",
            "zone": "America/Chicago",
            "contact_phone": "405-555-0100",
            "contact_email": "help@cedarvalley.example",
            **_OFFICE,
        },
    )
    moment = now().replace(second=0, microsecond=0)
    start = moment - timedelta(days=DAYS)
    _home("ana@example.org", "12 Elm Street", "CVW-10000001", start, _reads(random_, start, moment, gap=True))
    _home("ben@example.org", "14 Elm Street", "CVW-10000002", start, _reads(random_, start, moment, litres_per_h=38))
    _home("cleo@example.org", "16 Elm Street", "CVW-10000003", moment, [])
    two = _reads(random_, start, moment)
    _home("dora@example.org", "3 Oak Lane", "CVW-10000004", start, two)
    _home("dora@example.org", "5 Oak Lane", "CVW-10000005", start, _reads(random_, start, moment))
    _home("eve@example.org", "7 Oak Lane", "CVW-10000006", start, _reads(random_, start, moment))
    _user("nobody@example.org")
    for number, name in enumerate(("Ash", "Birch", "Cherry", "Dogwood", "Hickory", "Juniper", "Linden", "Maple")):
        for house in (2, 4, 6, 8):
            meter = f"CVW-2{number:03}{house:04}"
            reads = [(moment - timedelta(minutes=5 * house), random_.randrange(100_000, 900_000))]
            _home(f"{name.lower()}{house}@example.org", f"{house} {name} Street", meter, start, reads)
    User.objects.filter(pk=_user("staff@example.org").pk).update(is_staff=True, name="Sam Staff")
    _home(
        "help-hana@example.org",
        "21 Spring Lane",
        "CVW-10000021",
        start,
        _reads(random.Random(SEED + 21), start, moment),
    )
    chief = User.objects.filter(pk=_user("help-chief@example.org").pk)
    chief.update(is_staff=True, is_superuser=True, name="Cora Chief")
    _unclaimed(moment)
    open_leak("CVW-10000002")
    _home("msg-mia@example.org", "23 Spring Lane", "CVW-10000022", moment, [])
    _two_meters("usage-una@example.org", "31 Willow Way", start, moment)
    own = random.Random(SEED + 1)
    for number, name in enumerate(("alert-gil", "alert-hana", "alert-ines")):
        meter = f"CVW-3000000{number}"
        _home(f"{name}@example.org", f"{21 + number} Pine Street", meter, start, _reads(own, start, moment))


def _two_meters(email: str, address: str, start: datetime, moment: datetime) -> None:
    """A home with a domestic and an irrigation meter, and what 40 similar homes used."""
    from portal.comparison.models import PeerHome
    from portal.customers.models import Account
    from portal.customers.services import ensure_premise, move_in
    from portal.fleet.models import Meter
    from portal.metering.services import claim_register, install_meter

    meters, random_ = ("CVW-10000031", "CVW-10000032"), random.Random(SEED + 31)
    _home(email, address, meters[0], start, _reads(random_, start, moment))
    account = Account.objects.get(users__email=email)
    garden = ensure_premise(address, label="irrigation")
    move_in(account, garden, start)
    claim_register(_register(meters[1]), at=start)
    install_meter(Meter.objects.get(meter_id=meters[1]), garden, start)
    _apply([(_register(meters[1]), at, n) for at, n in _reads(random_, start, moment)], collector="cvw-north-1")
    home = ensure_premise(address)
    for month in {(moment - timedelta(days=n)).date().replace(day=1) for n in range(DAYS)}:
        PeerHome.objects.create(month=month, service_point=home, account=account, by_class="residential")
    similar()


def similar() -> None:
    """Say what 40 similar homes used: again for a test that wants it, for the worker works it out from the few here."""
    from portal.comparison.models import PeerDay
    from portal.core.clock import now

    moment = now()
    PeerDay.objects.filter(group="residential").delete()
    PeerDay.objects.bulk_create(
        PeerDay(group="residential", day=(moment - timedelta(days=n)).date(), homes=41, mean_ml=610_000 + 10_000 * n)
        for n in range(1, DAYS)
    )


def send() -> None:
    """Send what waits, as the worker does: into the outbox folder."""
    from portal.notifications.sending import send_due

    print(send_due().sent)


def hold() -> None:
    """Let a message wait as long as it does without a worker."""
    from portal.core.clock import now
    from portal.core.models import DueJob
    from portal.notifications.models import Message
    from portal.notifications.services import NewEmail, queue_email

    since = now() - timedelta(minutes=17)
    held = queue_email(NewEmail("held", "ana@example.org", "Your bill is ready", "It waits."))
    Message.objects.filter(pk=held.pk).update(queued_at=since, next_try_at=since)
    DueJob.objects.update(last_finished_at=since)


def _reads(
    random_: random.Random, start: datetime, end: datetime, *, litres_per_h: int = 0, gap: bool = False
) -> list[tuple[datetime, int]]:
    """Return (read_at, litres on the dial) of one household, every quarter of an hour."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("America/Chicago")
    count, moment = random_.randrange(120_000, 480_000), start
    reads = []
    while moment <= end:
        if not (gap and timedelta(hours=27) < end - moment < timedelta(hours=32)):
            reads.append((moment, count))
        hour = moment.astimezone(zone).hour
        busy = 0.75 if 6 <= hour <= 8 or 17 <= hour <= 21 else 0.25 if 9 <= hour <= 22 else 0.02
        count += random_.choice((4, 7, 11, 19, 38, 62)) if random_.random() < busy else 0
        count += litres_per_h // 4 if end - moment < timedelta(days=2, hours=9) else 0
        moment += STEP
    return reads


def _user(email: str):  # type: ignore[no-untyped-def]
    from allauth.account.models import EmailAddress

    from portal.core.models import User

    user = User.objects.filter(email=email).first()
    if user is None:
        user = User.objects.create(email=email, password=_password())
        EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


@functools.cache
def _password() -> str:
    """Return the one hash that all of them share: hashing is slow on purpose."""
    from django.contrib.auth.hashers import make_password

    return make_password(PASSWORD)


def _home(email: str, address: str, meter_id: str, start: datetime, reads: list[tuple[datetime, int]]) -> None:
    from portal.customers.models import Account
    from portal.customers.services import ensure_premise, grant_access, move_in
    from portal.fleet.models import Meter
    from portal.metering.services import claim_register, install_meter

    service_point = ensure_premise(address)
    account = Account.objects.create(number=f"10{Account.objects.count():05}", name=email.split("@")[0].title())
    grant_access(account, _user(email), at=start)
    move_in(account, service_point, start)
    claim_register(_register(meter_id), at=start)
    install_meter(Meter.objects.get(meter_id=meter_id), service_point, start)
    if reads:
        _apply([(_register(meter_id), at, count) for at, count in reads], collector="cvw-north-1")


def _register(meter_id: str):  # type: ignore[no-untyped-def]
    from domain.ids import MeterId, RegisterId
    from domain.reading import Register
    from domain.units import Unit

    return Register(MeterId(meter_id), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)


def _apply(reads, *, collector: str, events=()) -> None:  # type: ignore[no-untyped-def]
    """Store one batch and apply it as ingest does, in one transaction (its signature is not what these tests test)."""
    from django.db import transaction

    from domain.ids import BatchId, CollectorId, Stream
    from domain.reading import RegisterRead, StoredEvent, StoredRead
    from portal.core.clock import now
    from portal.fleet.models import Collector
    from portal.metering import services
    from portal.metering.models import StoredBatch
    from sync.batch import Batch

    moment = now()
    with transaction.atomic():
        row, _ = Collector.objects.get_or_create(
            collector_id=collector, defaults={"enrolled_at": moment, "name": "Pump house"}
        )
        number = StoredBatch.objects.filter(epoch__collector=row).count() + 1
        first = number * 1_000_000
        batch = Batch(
            id=BatchId(CollectorId(collector), collector.encode().ljust(16, b"*")[:16], Stream.BULK, number),
            previous_hash=bytes(32),
            sealed_at=moment,
            reads=tuple(
                StoredRead(first + n, RegisterRead(register, count, at, _clock_state()))
                for n, (register, at, count) in enumerate(reads)
            ),
            events=tuple(StoredEvent(first + len(reads) + n, event) for n, event in enumerate(events)),
        )
        epoch = services.epoch_row(row, batch, received_at=moment)
        assert epoch is not None
        services.store_batch(batch, f"{collector}/{number}".encode(), epoch=epoch, received_at=moment)
        services.apply_contents(batch, epoch=epoch, received_at=moment)
        Collector.objects.filter(pk=row.pk).update(last_batch_at=moment)


def _clock_state():  # type: ignore[no-untyped-def]
    from domain.clock import ClockState

    return ClockState(bytes(16), 0, synchronised=True)


def _unclaimed(moment: datetime) -> None:
    from portal.fleet.commands import queue_command
    from portal.fleet.models import Collector
    from portal.ingest.letters import Refusal, record_refusal

    _apply([(_register("XYZ-99999999"), moment, 4711), (_register("CVW-10000001"), moment, 1)], collector="cvw-south-2")
    record_refusal(Refusal(b"not a batch", "signature", "cvw-south-2", moment))
    north = Collector.objects.get(collector_id="cvw-north-1")
    queue_command(north, "read-now", {"meters": ["CVW-10000002"]}, expires_in=timedelta(hours=1), label="command line")


def count_on(meter_id: str, counts: int) -> None:
    """Let a meter count on and be read now."""
    from portal.core.clock import now
    from portal.metering.models import RegisterState

    state = RegisterState.objects.filter(register__meter__meter_id=meter_id).first()
    count = (state.last_count if state else 100_000) + counts
    _apply([(_register(meter_id), now(), count)], collector="cvw-north-1")
    print(count)


def open_leak(meter_id: str) -> None:
    """Open a leak as the collector's detector reports it."""
    from domain.ids import MeterId
    from domain.reading import Event, EventKind
    from portal.core.clock import now

    moment = now()
    event = Event(
        event_id=f"leak-{meter_id}-opened",
        kind=EventKind.LEAK_OPENED,
        at=moment - timedelta(hours=33),
        clock=_clock_state(),
        meter_id=MeterId(meter_id),
        detail={
            "alarm": f"leak-{meter_id}",
            "rule": "continuous",
            "since": (moment - timedelta(hours=57)).isoformat(),
            "litres": 912,
            "litres_per_h": 38,
        },
    )
    _apply([], collector="cvw-north-1", events=[event])


def look_again() -> None:
    """Make the worker's looks for alerts due, whenever the last ones were."""
    from portal.core.models import DueJob

    DueJob.objects.filter(name__startswith="alerts of").delete()


if __name__ == "__main__":
    main(sys.argv[1:])

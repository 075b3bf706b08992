"""Usage: rows of any resolution sum to what the dial turned, gaps are gaps, and only one's own occupancy is seen."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from domain.reading import ReadQuality, Register, RegisterRead
from domain.units import Unit
from portal.core.clock import now
from portal.core.errors import Refused
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess, Occupancy
from portal.ingest.apply import apply_batch
from portal.metering import services as metering
from portal.metering.folding import fold_closed_days
from portal.metering.models import DailyVolume, RecentRead, RegisterDay
from portal.metering.usage import UsageSeries, usage, viewer_usage
from tests.portal.building import NOON, enrolled, home, person, read, total

pytestmark = pytest.mark.django_db
CHICAGO = ZoneInfo("America/Chicago")
STEP = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def _collector_of_its_own() -> None:
    arrive.box = None  # type: ignore[attr-defined]


def arrive(reads: list[RegisterRead]) -> None:
    """Let the test's collector bring the reads, in one signed batch."""
    box = arrive.box = arrive.box or enrolled("hw-usage-1")  # type: ignore[attr-defined]
    answer = apply_batch(box.sealed(reads), box.name, reads[-1].read_at)
    assert answer is not None
    assert answer.committed


def random_reads(
    register: Register, start: datetime, end: datetime, rng: random.Random, first: int
) -> list[RegisterRead]:
    """Reads about every quarter of an hour, jittered, with holes of hours, on a dial that may roll over."""
    reads, at, count = [], start + timedelta(seconds=rng.randrange(900)), first
    while at < end:
        reads.append(read(register, count % (register.modulus or 10**18), at))
        at += STEP + timedelta(microseconds=rng.randrange(-30_000_000, 30_000_000))
        if rng.random() < 0.01:
            at += timedelta(hours=rng.randrange(1, 30))
        count += rng.choice((0, 0, 0, 1, 2, 7, 40))
    return reads


def consistent(hours: UsageSeries, days: UsageSeries, months: UsageSeries) -> None:
    assert hours.total_counts == days.total_counts == months.total_counts
    assert hours.total == days.total == months.total
    for series, coarse in ((hours, days), (days, months)):
        for row in coarse.rows:
            inside = [r for r in series.rows if row.start <= r.start and r.end <= row.end]
            assert sum(r.counts or 0 for r in inside) == (row.counts or 0)
            assert sum((r.volume or Decimal(0) for r in inside), Decimal(0)) == (row.volume or Decimal(0))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folded", [False, True])
def test_every_resolution_sums_to_the_difference_of_the_registers(seed: int, folded: bool) -> None:
    rng = random.Random(seed)
    register = total(modulus=10**5)
    start = datetime(2026, 10, 25, 5, tzinfo=UTC)
    reads = random_reads(register, start, start + timedelta(days=12), rng, first=99_990)
    service_point, _ = home(register, start - timedelta(days=1))
    rng.shuffle(parts := [reads[:300], reads[300:500], reads[500:]])
    for number, part in enumerate(part for part in parts if part):
        arrive(part)
        if folded and number != 1:
            fold_closed_days(start + timedelta(days=20))
    assert RegisterDay.objects.exists() is folded
    span = {"start": start, "end": start + timedelta(days=13)}
    hours, days, months = (
        usage(service_point, **span, resolution=r, zone=CHICAGO, unit=Unit.GALLON) for r in ("hour", "day", "month")
    )
    consistent(hours, days, months)
    turned = (reads[-1].raw_count - reads[0].raw_count) % 10**5
    assert hours.total_counts == turned
    assert hours.as_of == reads[-1].read_at
    assert hours.first is not None
    assert hours.last is not None
    assert (hours.first.raw_count, hours.last.raw_count) == (reads[0].raw_count, reads[-1].raw_count)
    # The same, cut anywhere: two halves have the sum of the whole.
    cut = start + timedelta(seconds=rng.randrange(12 * 86_400))
    halves = [
        usage(service_point, start=a, end=b, resolution="hour", zone=CHICAGO, unit=Unit.GALLON).total or Decimal(0)
        for a, b in ((start, cut), (cut, start + timedelta(days=13)))
    ]
    assert sum(halves, Decimal(0)) == hours.total


def test_days_of_25_and_23_hours_are_labelled_by_their_start() -> None:
    register = total()
    start = datetime(2026, 10, 31, 5, tzinfo=UTC)
    service_point, _ = home(register, start)
    arrive([read(register, 100 * n, start + timedelta(hours=n)) for n in range(24 * 4)])
    span = {"start": start, "end": datetime(2026, 11, 3, 6, tzinfo=UTC), "zone": CHICAGO, "unit": Unit.LITRE}
    days = usage(service_point, resolution="day", **span)
    assert [(row.start, row.counts) for row in days.rows] == [
        (datetime(2026, 10, 31, tzinfo=CHICAGO), 2400),
        (datetime(2026, 11, 1, tzinfo=CHICAGO), 2500),
        (datetime(2026, 11, 2, tzinfo=CHICAGO), 2400),
    ]
    hours = usage(service_point, resolution="hour", **span)
    local = [row.start.astimezone(CHICAGO) for row in hours.rows]
    assert [t.hour for t in local if t.day == 1][:4] == [0, 1, 1, 2]
    assert sum(1 for t in local if t.day == 1) == 25
    spring = usage(
        service_point,
        start=datetime(2027, 3, 14, 6, tzinfo=UTC),
        end=datetime(2027, 3, 15, 5, tzinfo=UTC),
        resolution="hour",
        zone=CHICAGO,
    )
    assert len(spring.rows) == 23


def test_what_is_not_known_is_a_gap_and_not_a_zero() -> None:
    register = total()
    service_point, _ = home(register, NOON)
    arrive([read(register, count, NOON + timedelta(hours=h)) for h, count in ((2, 100), (3, 100), (5, 140))])
    series = usage(service_point, start=NOON, end=NOON + timedelta(hours=7), resolution="hour", unit=Unit.LITRE)
    assert [row.counts for row in series.rows] == [None, None, 0, 20, 20, None, None]
    assert [row.quality for row in series.rows[:3]] == [ReadQuality.MISSING, ReadQuality.MISSING, ReadQuality.MEASURED]
    assert [row.interpolated for row in series.rows] == [False, False, False, True, True, False, False]
    assert series.as_of == NOON + timedelta(hours=5)


def test_a_service_point_without_a_meter_has_no_usage() -> None:
    service_point = customers.ensure_premise("1 Nowhere")
    series = usage(service_point, start=NOON, end=NOON + timedelta(days=2), resolution="day")
    assert {row.volume for row in series.rows} == {None}
    assert (series.total, series.total_counts, series.as_of, series.first) == (None, None, None, None)


def test_the_count_written_down_at_installation_starts_the_usage() -> None:
    register = total()
    service_point, _ = home(register, NOON, first_count=1000)
    arrive([read(register, 1060, NOON + timedelta(hours=1)), read(register, 1100, NOON + timedelta(hours=2))])
    series = usage(service_point, start=NOON, end=NOON + timedelta(days=1), resolution="day")
    assert series.total_counts == 100
    assert series.first is not None
    assert (series.first.raw_count, series.first.value) == (1000, Decimal("1.000"))


def test_a_meter_swap_in_the_middle_of_an_hour() -> None:
    """The old meter counts litres to the last moment, the new one gallons from the first; the hour has both."""
    old, new = total("OLD-1"), total("NEW-1", unit=Unit.GALLON, scale=0, modulus=10**6)
    swap = NOON + timedelta(minutes=30)
    service_point, installation = home(old, NOON - timedelta(days=1))
    arrive([read(old, n * 10, NOON + timedelta(minutes=5 * n)) for n in range(6)])
    row = metering.claim_register(old, at=NOON)
    metering.remove_meter(installation, swap, register=row, last_count=60)
    fresh = metering.claim_register(new, at=NOON)
    metering.install_meter(fresh.meter, service_point, swap, register=fresh, first_count=5)
    arrive([read(new, 5 + n, swap + timedelta(minutes=5 * n)) for n in range(1, 7)])
    # The old meter is hung up somewhere else and goes on counting there.
    elsewhere = customers.ensure_premise("Somewhere else")
    metering.install_meter(row.meter, elsewhere, swap + timedelta(hours=1))
    arrive([read(old, 5000, swap + timedelta(hours=2)), read(old, 6000, swap + timedelta(hours=3))])
    series = usage(service_point, start=NOON, end=NOON + timedelta(hours=4), resolution="hour", unit=Unit.GALLON)
    assert series.rows[0].volume == Decimal("15.850") + 6  # 60 l are 15.850 gal
    assert series.rows[0].counts is None
    assert [row.volume for row in series.rows[1:]] == [None, None, None]
    there = usage(elsewhere, start=NOON, end=NOON + timedelta(hours=5), resolution="hour", unit=Unit.LITRE)
    assert there.total == 1000


def test_a_person_sees_only_their_own_occupancy() -> None:
    register = total()
    ana, ben = person("ana@example.org"), person("ben@example.org")
    service_point, _ = home(register, NOON - timedelta(days=1), user=ana, account="A")
    arrive([read(register, 100 * n, NOON + timedelta(hours=n)) for n in range(13)])
    moved = NOON + timedelta(hours=6, minutes=30)
    customers.move_out(Occupancy.objects.get(), moved)
    account = Account.objects.create(number="B")
    customers.move_in(account, service_point, moved)
    customers.grant_access(account, ben, at=moved)
    span = {"start": NOON, "end": NOON + timedelta(hours=12), "resolution": "hour", "unit": Unit.LITRE}
    of_ana, of_ben = (viewer_usage(user, service_point, **span) for user in (ana, ben))
    assert [row.counts for row in of_ana.rows] == [100] * 6 + [50] + [None] * 5
    assert [row.counts for row in of_ben.rows] == [None] * 6 + [50] + [100] * 5
    assert of_ana.last is not None
    assert of_ben.first is not None
    assert of_ana.last.raw_count == of_ben.first.raw_count == 650
    assert of_ana.as_of == NOON + timedelta(hours=6)
    customers.end_access(AccountAccess.objects.get(user=ana), at=NOON)
    assert viewer_usage(ana, service_point, **span).total is None
    assert viewer_usage(person("eve@example.org"), service_point, **span).total is None


def test_a_register_that_waits_to_be_claimed_shows_nothing() -> None:
    home(total(), NOON)
    tenfold = Register(total().meter_id, total().register_id, Unit.CUBIC_METRE, -2, 10**8)
    service_point = customers.ensure_premise("12 Elm Street")
    arrive([read(tenfold, n, NOON + timedelta(hours=n)) for n in range(3)])
    assert usage(service_point, start=NOON, end=NOON + timedelta(hours=2), resolution="hour").total is None
    metering.claim_register(tenfold, at=NOON)
    shown = usage(service_point, start=NOON, end=NOON + timedelta(hours=2), resolution="hour", unit=Unit.LITRE)
    assert shown.total == 20


def test_a_clock_far_ahead_stretches_no_usage() -> None:
    register = total()
    service_point, _ = home(register, NOON)
    arrive([read(register, 100, NOON), read(register, 200, NOON + timedelta(hours=1))])
    arrive([read(register, 900_000, datetime(2199, 1, 1, tzinfo=UTC))])
    series = usage(service_point, start=NOON, end=NOON + timedelta(hours=3), resolution="hour", unit=Unit.LITRE)
    assert [row.counts for row in series.rows] == [100, None, None]


def test_nor_does_a_clock_ahead_by_less_than_the_period_shown() -> None:
    register, moment = total(), now()
    service_point, _ = home(register, moment - timedelta(days=1))
    arrive([read(register, 100 * n, moment - timedelta(hours=3 - n)) for n in range(3)])
    arrive([read(register, 900_000, moment + timedelta(days=5))])
    span = {"start": moment - timedelta(hours=6), "end": moment + timedelta(days=20), "resolution": "day"}
    series = usage(service_point, **span)
    assert (series.total_counts, series.as_of) == (200, moment - timedelta(hours=1))


@pytest.mark.parametrize("office", [None, 10**5])
@pytest.mark.parametrize("wire", [None, 10**8])
def test_the_office_need_not_know_where_a_dial_rolls_over(office: int | None, wire: int | None) -> None:
    """One counter, two definitions: counts that were written down and counts that were read belong together."""
    service_point, installation = home(total(modulus=office), NOON, first_count=99_000)
    register = total(modulus=wire)
    arrive([read(register, 100_000 + n, NOON + timedelta(hours=n)) for n in range(1, 6)])
    span = {"start": NOON, "end": NOON + timedelta(days=2), "unit": Unit.LITRE}
    assert usage(service_point, resolution="day", **span).total == 1005
    assert installation.register is not None
    end = NOON + timedelta(hours=6)
    metering.remove_meter(installation, end, register=installation.register, last_count=100_007)
    series = usage(service_point, resolution="hour", **span)
    assert (series.total, series.total_counts) == (1007, 1007)
    assert series.first is not None
    assert series.last is not None
    assert (series.first.raw_count, series.last.raw_count) == (99_000, 100_007)


def test_a_definition_that_changes_on_the_way_leaves_no_gap() -> None:
    service_point, _ = home(total(modulus=None), NOON)
    arrive([read(total(modulus=None), n * 10, NOON + timedelta(hours=n)) for n in range(3)])
    arrive([read(total(modulus=10**8), n * 10, NOON + timedelta(hours=n)) for n in range(3, 6)])
    series = usage(service_point, start=NOON, end=NOON + timedelta(hours=5), resolution="hour", unit=Unit.LITRE)
    assert [row.counts for row in series.rows] == [10] * 5


@pytest.mark.parametrize(("hours", "resolution"), [(0, "hour"), (-1, "day"), (24 * 900, "hour"), (1, "week")])
def test_spans_that_make_no_sense_are_refused(hours: int, resolution: str) -> None:
    service_point = customers.ensure_premise("1 Nowhere")
    with pytest.raises(Refused):
        usage(service_point, start=NOON, end=NOON + timedelta(hours=hours), resolution=resolution)  # type: ignore[arg-type]


def test_a_late_read_opens_its_day_again() -> None:
    register = total()
    service_point, _ = home(register, NOON)
    arrive([read(register, 0, NOON), read(register, 240, NOON + timedelta(hours=24))])
    assert fold_closed_days(NOON + timedelta(days=3)) == 2
    span = {"start": NOON, "end": NOON + timedelta(hours=24), "resolution": "hour", "unit": Unit.LITRE}
    assert {row.counts for row in usage(service_point, **span).rows} == {10}
    arrive([read(register, 200, NOON + timedelta(hours=1))])
    again = usage(service_point, **span)
    assert again.rows[0].counts == 200
    assert again.total_counts == 240
    assert RecentRead.objects.count() == 1
    assert fold_closed_days(NOON + timedelta(days=3)) == 1
    assert RecentRead.objects.count() == 0
    assert usage(service_point, **span) == again
    assert RegisterDay.objects.count() == 2


def test_open_days_are_not_folded() -> None:
    register = total()
    home(register, NOON)
    arrive([read(register, n, NOON + timedelta(hours=n)) for n in range(12)])
    midnight = datetime(2026, 6, 18, tzinfo=UTC)
    assert fold_closed_days(midnight + timedelta(hours=1)) == 0
    assert fold_closed_days(midnight + timedelta(hours=2)) == 7
    assert RecentRead.objects.count() == 5


def test_daily_volumes_sum_to_the_register_whatever_arrives_when() -> None:
    rng = random.Random(11)
    register = total()
    home(register, NOON)
    reads = random_reads(register, NOON, NOON + timedelta(days=9), rng, first=500)
    batches = [reads[n::5] for n in range(5)]
    for number, batch in enumerate(batches):
        arrive(batch)
        if number % 2 == 0:
            fold_closed_days(NOON + timedelta(days=30))
    volumes = {row.day: row.counts for row in DailyVolume.objects.all()}
    assert sum(volumes.values()) == reads[-1].raw_count - reads[0].raw_count
    service_point = customers.ensure_premise("12 Elm Street")
    days = usage(service_point, start=NOON, end=NOON + timedelta(days=10), resolution="day", zone=CHICAGO)
    for row in days.rows:
        assert volumes.get(row.start.astimezone(CHICAGO).date(), 0) == (row.counts or 0)

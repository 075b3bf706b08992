"""Any chart sums to the difference of the registers it spans; looking at few days gives what all reads give."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

import portal.metering.usage as usage_module
from domain.reading import ReadQuality
from domain.units import Unit, as_decimal, counts_to
from domain.usage import count_at
from portal.billing.models import BillingAccount, ServiceAgreement
from portal.customers.services import Span, ensure_premise, move_in
from portal.ingest.apply import apply_batch
from portal.metering import services as metering
from portal.metering.folding import fold_closed_days
from portal.metering.models import Installation, MeterRegister, OfficeRead
from portal.metering.usage import PLACES, Cut, UsageSeries, count_points, counters_at, usages
from portal.resident import services
from portal.resident.compare import Compare
from portal.resident.periods import By, period_of
from tests.portal import billed
from tests.portal.building import NOON, Box, enrolled, home, person, read, total
from tests.portal.metered_homes import metered_home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_django.fixtures import SettingsWrapper

    from domain.reading import Register, RegisterRead
    from portal.core.models import User
    from portal.customers.models import ServicePoint

pytestmark = pytest.mark.django_db
CHICAGO = ZoneInfo("America/Chicago")
UNITS = (Unit.GALLON, Unit.LITRE, Unit.CUBIC_FOOT, Unit.CCF, Unit.CUBIC_METRE)
SEEDS = range(8)


@dataclass(frozen=True)
class Street:
    """A home with a random past, and the moments between which anything is known of it."""

    place: ServicePoint
    start: datetime
    end: datetime


def arrive(box: Box, reads: Sequence[RegisterRead]) -> None:
    answer = apply_batch(box.sealed(reads), box.name, max(one.read_at for one in reads))
    assert answer is not None
    assert answer.committed


def counted(rng: random.Random, register: Register, start: datetime, end: datetime) -> list[RegisterRead]:
    """Reads every quarter of an hour to six hours, with holes of days, on a dial that rolls over."""
    at, count = start + timedelta(seconds=rng.randrange(9000)), rng.randrange(register.modulus or 10**6)
    step = timedelta(minutes=rng.choice((15, 60, 180)))
    reads = []
    while at < end:
        quality = rng.choices((ReadQuality.MEASURED, ReadQuality.ESTIMATED, ReadQuality.MISSING), (96, 2, 2))[0]
        reads.append(read(register, count % (register.modulus or 10**18), at, quality))
        at += step + timedelta(microseconds=rng.randrange(60_000_000))
        if rng.random() < 0.01:
            at += timedelta(hours=rng.randrange(1, 120))
        count += rng.choice((0, 0, 1, 7, 40, (register.modulus or 10**6) // 50))
    return reads


def street(seed: int) -> Street:
    """A home over a change of the clocks: perhaps a swapped meter, an office read, days that are folded or not."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    start = rng.choice((datetime(2026, 2, 20, 6, tzinfo=UTC), datetime(2026, 10, 20, 5, tzinfo=UTC)))
    end = start + timedelta(days=26)
    box = enrolled("hw-charts-1")
    first = total("OLD-1", modulus=rng.choice((None, 10**4, 10**5, 10**8)))
    place, hung = home(first, start)
    swap = start + timedelta(hours=rng.randrange(100, 24 * 20)) if rng.random() < 0.6 else end
    reads = counted(rng, first, start, swap)
    arrive(box, reads)
    row = MeterRegister.objects.get(meter=hung.meter)
    if swap < end:
        Installation.objects.filter(pk=hung.pk).update(end=swap, register=row, last_count=reads[-1].raw_count)
        later = counted(rng, total("NEW-1", unit=Unit.GALLON, scale=-1, modulus=10**6), swap, end)
        new = metering.claim_register(later[0].register, at=swap)
        metering.install_meter(new.meter, place, swap, register=new, first_count=later[0].raw_count)
        arrive(box, later)
    if rng.random() < 0.5:
        middle = reads[len(reads) // 2]
        OfficeRead.objects.create(
            register=row,
            read_at=middle.read_at + timedelta(minutes=3),
            raw_count=middle.raw_count,
            quality=int(ReadQuality.MEASURED),
            source=OfficeRead.Source.MANUAL,
            entered_at=middle.read_at,
        )
    if seed % 2:
        fold_closed_days(start + timedelta(days=rng.randrange(10, 60)))
    return Street(place, start, end)


def register_difference(series: UsageSeries, place: ServicePoint) -> Decimal:
    """What the dials turned in a series' time, from the points themselves: nothing of the charts' own sums."""
    result = Decimal(0)
    window = Span(series.start, series.end)
    for counter in counters_at(place, window):
        hung = window.intersection(Span(counter.installation.start, counter.installation.end))
        assert hung is not None
        points = count_points(counter.registers, counter.installation, hung)
        known = hung.intersection(Span(points[0].at, points[-1].at)) if len(points) > 1 else None
        if known is None:
            continue
        ends = [count_at(points, moment) for moment in (known.start, known.end)]
        turned = [end[0] for end in ends if end is not None]
        result += _volume(counter.registers, turned[1], series.unit) - _volume(
            counter.registers, turned[0], series.unit
        )
    return result


def _volume(registers: Sequence[MeterRegister], count: int, unit: Unit) -> Decimal:
    register, modulus = registers[0], registers[0].modulus

    def rounded(n: int) -> Decimal:
        return as_decimal(counts_to(n, unit=Unit(register.unit), scale=register.scale, to=unit), PLACES[unit])

    turns, shown = divmod(count, modulus) if modulus else (0, count)
    return rounded(shown) + (turns * rounded(modulus) if modulus else 0)


def cuts(rng: random.Random, known: Street) -> list[Cut]:
    """One random period of each view, and a random stretch cut anywhere."""
    moment = known.start + timedelta(seconds=rng.randrange(int((known.end - known.start).total_seconds())))
    periods = [period_of(by, moment.astimezone(CHICAGO).date(), CHICAGO, at=moment) for by in By]
    anywhere = sorted(known.start + timedelta(seconds=rng.randrange(26 * 86_400)) for _ in range(5))
    return [*(Cut(period.edges, period.by.resolution) for period in periods), Cut(tuple(anywhere), "hour")]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chart_sums_to_the_difference_of_the_registers(seed: int) -> None:
    known, rng = street(seed), random.Random(seed + 1000)
    for _ in range(3):
        for series in usages(known.place, cuts(rng, known), zone=CHICAGO, unit=rng.choice(UNITS)):
            assert (series.total or Decimal(0)) == register_difference(series, known.place)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_days_beside_the_edges_say_what_all_reads_say(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known, rng = street(seed), random.Random(seed + 2000)
    wanted = cuts(rng, known)
    spans = [Span(known.start, known.start + timedelta(days=9)), Span(known.start + timedelta(days=11), None)]
    for seen in (None, spans):
        monkeypatch.setattr(usage_module, "_EDGES_MANY", 10**9)
        quick = usages(known.place, wanted, zone=CHICAGO, spans=seen)
        monkeypatch.setattr(usage_module, "_EDGES_MANY", -1)
        assert quick == usages(known.place, wanted, zone=CHICAGO, spans=seen)
        assert quick == [usages(known.place, [cut], zone=CHICAGO, spans=seen)[0] for cut in wanted]


@pytest.fixture
def two_meters(settings: SettingsWrapper) -> tuple[User, ServicePoint]:
    """A person with a domestic and an irrigation meter, both read for sixty days; it is noon."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{NOON.timestamp()!r}"
    user, start = person(), NOON - timedelta(days=60)
    place, _ = home(total("DOM-1"), start, user=user)
    garden = ensure_premise(place.premise.address, label="irrigation")
    move_in(user.accounts.get(), garden, start)
    register = total("IRR-1", unit=Unit.CUBIC_FOOT, scale=-1, modulus=10**7)
    row = metering.claim_register(register, at=start)
    metering.install_meter(row.meter, garden, start)
    box = enrolled("hw-charts-1")
    hours = range(60 * 24 + 1)
    arrive(box, [read(total("DOM-1"), 1000 + 25 * n, start + timedelta(hours=n)) for n in hours])
    arrive(box, [read(register, 5 * n, start + timedelta(hours=n)) for n in hours])
    fold_closed_days(NOON)
    return user, place


@pytest.mark.parametrize("unit", UNITS)
def test_all_meters_of_a_home_are_the_sum_of_its_meters(two_meters: tuple[User, ServicePoint], unit: Unit) -> None:
    user, place = two_meters
    services.prefer_unit(user, unit.value)
    garden = place.premise.service_points.get(label="irrigation")
    for by in By:
        at = NOON - timedelta(hours=3)
        whole = services.usage_page(user, place, by=by, day=None, at=at, all_meters=True)
        parts = [services.usage_page(user, point, by=by, day=None, at=at) for point in (place, garden)]
        assert whole.total is not None
        totals = [Decimal(part.total.exact) for part in parts if part.total]
        assert Decimal(whole.total.exact) == sum(totals, Decimal(0)) > max(totals, default=0)
        for row, *rows in zip(whole.rows, *(part.rows for part in parts), strict=True):
            volumes = [Decimal(one.volume) for one in rows if one.volume is not None]
            assert (None if row.volume is None else Decimal(row.volume)) == (sum(volumes) if volumes else None)
    assert [dial.meter_id for dial in whole.dials] == ["DOM-1", "IRR-1"]
    assert [choice.text for choice in whole.meters] == ["Water", "Irrigation", "All meters of this home"]


def test_a_row_of_which_one_meter_is_missing_says_so(two_meters: tuple[User, ServicePoint]) -> None:
    user, place = two_meters
    hung = Installation.objects.get(meter__meter_id="IRR-1")
    Installation.objects.filter(pk=hung.pk).update(end=NOON - timedelta(days=10))
    page = services.usage_page(user, place, by=By.DAY, day=NOON.date(), all_meters=True)
    assert {row.mark for row in page.rows[10:16]} == {"partial"}
    assert {row.mark for row in page.rows[:6]} == {"measured"}


def _billed(user: User) -> None:
    """Let the home's account get bills for both meters, so that its page says what the month costs."""
    account = user.accounts.get()
    billed.rate_book()
    BillingAccount.objects.create(account=account, cycle=billed.cycle(), email="ana@example.org")
    for occupancy in account.occupancies.all():
        ServiceAgreement.objects.create(
            account=account,
            service_point=occupancy.service_point,
            rate_class="residential",
            start=occupancy.start.astimezone(CHICAGO).date(),
        )


@pytest.mark.parametrize("by", list(By), ids=lambda by: by.value)
def test_a_page_asks_the_database_few_questions(two_meters: tuple[User, ServicePoint], by: By) -> None:
    """Neither more for a longer view nor for longer ago; a second meter adds what it rests on."""
    user, place = two_meters
    _billed(user)
    client = Client()
    client.force_login(user)
    counts = []
    for query in ("", "&date=2026-05-03", "&compare=previous", "&meters=all"):
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(f"/usage/{place.public_id}/?by={by.value}{query}")
        assert 'id="cost-so-far"' in answer.content.decode()
        counts.append(len(queries))
    print(f"\n{by}: {counts} queries")
    most, piece = QUERIES_MOST[connection.vendor]
    most += piece if by is By.MINUTE else 0
    assert max(counts) <= most


QUERIES_MOST = {"sqlite": (28, 2), "postgresql": (9, 1)}
"""With what the running month costs and its rate book, of a home with two meters; an hour asks how often it is read.

PostgreSQL is asked several things in one message.
"""


def test_a_running_period_is_compared_with_the_same_part_of_the_other(two_meters: tuple[User, ServicePoint]) -> None:
    user, place = two_meters
    for by in (By.HOUR, By.WEEK, By.DAY):
        other = services.usage_page(user, place, by=by, day=None, compare=Compare.PREVIOUS).comparison
        assert other is not None
        assert other.percent == 0, other.sentence
        assert "so far" in other.sentence
    whole = services.usage_page(user, place, by=By.DAY, day=date(2026, 5, 9), compare=Compare.PREVIOUS).comparison
    assert whole is not None
    assert (whole.percent, "No percentage" in whole.sentence) == (None, True)  # April is known from the 18th
    none = services.usage_page(user, place, by=By.DAY, day=None, compare=Compare.YEAR).comparison
    assert none is not None
    assert (none.percent, none.sentence) == (
        None,
        "There are no readings of the same month of the year before to compare with.",
    )


def test_the_same_days_of_last_year_are_compared_with_their_own_use(settings: SettingsWrapper) -> None:
    """700 litres on each day of last June and 600 on each of this one: a seventh less, whatever is looked at."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{datetime(2026, 7, 9, 17, tzinfo=UTC).timestamp()!r}"
    user, use = person(), {(2025, 6): 700, (2026, 6): 600}
    place = metered_home(datetime(2025, 5, 25, 5, tzinfo=UTC), user=user)
    for start in (datetime(2025, 5, 25, 5, tzinfo=UTC), datetime(2026, 5, 25, 5, tzinfo=UTC)):
        place.at = start
        place.read_daily(45, lambda at: use.get((at.year, at.month), 50), reads_a_day=1, fold=False)
    services.prefer_unit(user, Unit.LITRE.value)
    for by, day, days, title in (
        (By.DAY, date(2026, 6, 17), 30, "June 2025"),
        (By.WEEK, date(2026, 6, 10), 7, "June 8 to June 14, 2025"),
        (By.HOUR, date(2026, 6, 17), 1, "Wednesday, June 18, 2025"),
    ):
        page = services.usage_page(user, place.service_point, by=by, day=day, compare=Compare.YEAR)
        other = page.comparison
        assert other is not None
        assert page.total is not None
        assert (other.title, other.percent) == (title, -14)
        assert (Decimal(page.total.exact), sum(one for one in other.volumes if one)) == (days * 600, days * 700)


def test_weeks_start_on_sunday_and_a_year_ago_keeps_the_weekday() -> None:
    week = period_of(By.WEEK, date(2026, 6, 17), CHICAGO)
    assert (week.first, week.last_excluded) == (date(2026, 6, 14), date(2026, 6, 21))
    assert week.title == "June 14 to June 20, 2026"
    assert period_of(By.WEEK, date(2026, 6, 14), CHICAGO) == week
    from portal.resident.compare import other_period

    assert other_period(week, Compare.YEAR).first == date(2025, 6, 15)
    assert other_period(period_of(By.HOUR, date(2026, 6, 17), CHICAGO), Compare.YEAR).first.weekday() == 2
    autumn = period_of(By.WEEK, date(2026, 11, 1), CHICAGO)
    assert (autumn.hours, len(autumn.edges)) == (169, 8)

"""Similar homes: who is counted, what is withheld, and that no home can be made out of a mean."""

from __future__ import annotations

import random
import time
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.reading import ReadQuality
from portal.billing.models import ServiceAgreement
from portal.comparison.averages import cap_of, compute_similar_homes, fill_earlier_month, round_up, shown_mean
from portal.comparison.models import OptOut, PeerDay, PeerGroup, PeerHome
from portal.comparison.peers import HOMES_LEAST, similar_use
from portal.comparison.services import leave_out, left_out
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.customers import services as customers
from portal.customers.models import Account, AccountAccess, Occupancy
from portal.metering.models import DailyVolume, Installation, MeterRegister, RegisterState
from portal.resident import services
from portal.resident.compare import Compare
from portal.resident.periods import By
from tests.portal.building import NOON, home, person, total

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from portal.customers.models import ServicePoint

pytestmark = pytest.mark.django_db
CHICAGO = ZoneInfo("America/Chicago")
START = NOON - timedelta(days=80)
DAYS = [date(2026, 6, 1) + timedelta(days=n) for n in range(16)]


@pytest.fixture(autouse=True)
def at_noon(settings: SettingsWrapper) -> None:
    """It is noon in Chicago on 17 June 2026."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{NOON.timestamp()!r}"


def homes(count: int, *, inputs: dict[str, object] | None = None, first: int = 0) -> list[ServicePoint]:
    """Homes of the residential class that used 500, 501, 502 ... litres on each day of June."""
    made = []
    for number in range(first, first + count):
        register = total(f"MTR-{number:04}")
        point, _ = home(register, START, address=f"{number} Oak Street")
        account = Account.objects.create(number=f"20{number:05}")
        Occupancy.objects.create(account=account, service_point=point, start=START)
        ServiceAgreement.objects.create(
            account=account,
            service_point=point,
            rate_class="residential",
            inputs=inputs or {},
            start=date(2026, 1, 1),
        )
        row = MeterRegister.objects.get(meter__meter_id=str(register.meter_id))
        RegisterState.objects.create(
            register=row, last_read_at=NOON, last_count=1, last_quality=int(ReadQuality.MEASURED), change_number=1
        )
        DailyVolume.objects.bulk_create(
            DailyVolume(register=row.pk, day=day, counts=500 + number, quality=0, interpolated=True) for day in DAYS
        )
        made.append(point)
    return made


def account_at(point: ServicePoint) -> Account:
    return Account.objects.get(occupancies__service_point=point)


def use(point: ServicePoint) -> dict[date, int]:
    return dict(similar_use(point, {account_at(point).pk}, DAYS[0], date(2026, 7, 1)).litres)


def test_a_mean_rests_on_fifteen_other_homes_or_is_withheld() -> None:
    own, *_ = homes(HOMES_LEAST)  # fourteen others
    compute_similar_homes(NOON)
    assert PeerDay.objects.filter(group="residential").count() == len(DAYS)
    assert use(own) == {}
    assert "not enough similar homes" in similar_use(own, set(), DAYS[0], date(2026, 7, 1)).why
    homes(1, first=HOMES_LEAST)
    PeerHome.objects.all().delete()  # as if the month began anew
    PeerDay.objects.all().delete()
    compute_similar_homes(NOON)
    assert set(use(own)) == set(DAYS)
    assert set(use(own).values()) == {600}  # 507.5, in steps of what one home can add: 2,000 / 16, so 200
    gone = PeerHome.objects.filter(month=DAYS[0]).exclude(service_point=own).values_list("pk", flat=True)[:2]
    PeerHome.objects.filter(pk__in=list(gone)).delete()
    compute_similar_homes(NOON)
    assert not PeerDay.objects.exists()  # too few for anybody: nothing is kept


def test_it_can_be_done_again_and_late_data_are_taken_in() -> None:
    points = homes(20)
    compute_similar_homes(NOON)
    before = list(PeerDay.objects.order_by("day").values_list("group", "day", "homes", "mean_ml"))
    compute_similar_homes(NOON)
    assert list(PeerDay.objects.order_by("day").values_list("group", "day", "homes", "mean_ml")) == before
    DailyVolume.objects.filter(day=DAYS[3]).update(counts=900)
    compute_similar_homes(NOON)
    assert {day: mean for _, day, _, mean in before}[DAYS[3]] != PeerDay.objects.get(day=DAYS[3]).mean_ml
    DailyVolume.objects.filter(day=DAYS[4]).update(quality=int(ReadQuality.ESTIMATED))
    compute_similar_homes(NOON)
    assert DAYS[4] not in use(points[0])  # nobody was really read that day


def test_earlier_months_are_filled_one_a_turn_until_nobody_lived_there() -> None:
    homes(HOMES_LEAST + 1)
    early = [date(2026, 3, 30), date(2026, 4, 10), date(2026, 5, 1)]
    for row in MeterRegister.objects.all():
        DailyVolume.objects.bulk_create(
            DailyVolume(register=row.pk, day=day, counts=700, quality=0, interpolated=True) for day in early
        )
    compute_similar_homes(NOON)
    assert {*early[1:]} <= {*PeerDay.objects.values_list("day", flat=True)}
    PeerHome.objects.filter(month=date(2026, 4, 1)).delete()
    PeerDay.objects.filter(day=early[1]).delete()
    assert fill_earlier_month(NOON) == 30
    assert PeerDay.objects.filter(day=early[1]).exists()
    assert fill_earlier_month(NOON) == 0  # nobody had moved in on 1 March


def test_the_members_of_a_month_are_fixed() -> None:
    homes(20)
    compute_similar_homes(NOON)
    late = homes(5, first=40)
    compute_similar_homes(NOON)
    assert set(PeerDay.objects.values_list("homes", flat=True)) == {20}
    assert "second month" in similar_use(late[0], set(), DAYS[0], date(2026, 7, 1)).why


def test_households_of_one_size_are_compared_where_there_are_enough() -> None:
    small = homes(16, inputs={"household_size": 2})
    homes(20, inputs={"household_size": "4"}, first=100)
    compute_similar_homes(NOON)
    groups = {*PeerDay.objects.values_list("group", "homes")}
    assert groups == {("residential", 36), ("residential/1-2", 16), ("residential/3-4", 20)}
    assert similar_use(small[0], set(), DAYS[0], DAYS[3]).homes == 15


def test_an_earlier_months_days_come_with_the_next_runs() -> None:
    homes(16)
    for register in MeterRegister.objects.all():
        DailyVolume.objects.create(
            register=register.pk, day=date(2026, 4, 20), counts=400, quality=0, interpolated=True
        )
    Occupancy.objects.update(start=START - timedelta(days=60))
    Installation.objects.update(start=START - timedelta(days=60))
    compute_similar_homes(NOON)
    assert PeerDay.objects.filter(day=date(2026, 4, 20)).exists()


def test_who_is_left_out_is_neither_counted_nor_shown() -> None:
    points = homes(20)
    own, user = points[0], person("h0b@example.org")
    compute_similar_homes(NOON)
    account = account_at(own)
    with pytest.raises(Refused):
        leave_out(account, out=True, actor=user)
    customers.grant_access(account, user, at=NOON, level=AccountAccess.Level.MANAGE_ALL)
    leave_out(account, out=True, actor=user)
    leave_out(account, out=True, actor=user)
    assert left_out(account)
    assert AuditEntry.objects.filter(action="comparison.leave-out", actor=user).count() == 1
    compute_similar_homes(NOON)
    assert set(PeerDay.objects.values_list("homes", flat=True)) == {19}
    shown = similar_use(own, {account.pk}, DAYS[0], date(2026, 7, 1))
    assert (shown.litres, "left out" in shown.why) == ({}, True)
    leave_out(account, out=False, actor=user)
    assert not OptOut.objects.exists()


def test_the_page_shows_similar_homes_by_whole_days() -> None:
    points = homes(30)
    compute_similar_homes(NOON)
    user = person()
    customers.grant_access(account_at(points[0]), user, at=NOON)
    page = services.usage_page(user, points[0], by=By.DAY, day=None, compare=Compare.SIMILAR)
    assert page.comparison is not None
    assert [text != "" for text in page.comparison.texts] == [True] * 16 + [False] * 14
    assert "nothing to compare yet" in page.comparison.sentence  # its own meter has no reads here
    assert services.usage_page(user, points[0], by=By.MINUTE, day=None, compare=Compare.SIMILAR).comparison is None


@given(st.lists(st.integers(0, 3_000_000), min_size=15, max_size=40), st.integers(0, 10**9), st.integers(0, 14))
@settings(max_examples=60, deadline=None)
def test_no_home_alone_moves_a_mean_by_more_than_the_rounding(volumes: list[int], other: int, changed: int) -> None:
    cap = cap_of(volumes) or 1_000_000
    before = shown_mean(volumes, cap)
    after = shown_mean([*volumes[:changed], other, *volumes[changed + 1 :]], cap)
    without = shown_mean([*volumes[:changed], *volumes[changed + 1 :]], cap)
    step = max(round_up(-(-cap // (len(volumes) - 1))), 10 ** max(0, len(str(max(before, after, without))) - 2))
    assert abs(after - before) <= step
    assert abs(without - before) <= 2 * step  # whoever leaves is within the rounding of both
    assert step * len(volumes) >= cap  # so a home's own share is known no better than anything up to its cap


def test_rounding() -> None:
    assert [round_up(n) for n in (0, 1, 3, 10, 11, 200, 201)] == [0, 1, 5, 10, 20, 200, 500]
    rng = random.Random(4)
    many = [rng.randrange(400_000, 900_000) for _ in range(400)]
    assert shown_mean(many, cap_of(many)) % 10_000 == 0  # two significant figures
    assert datetime(2026, 6, 17, tzinfo=CHICAGO) < NOON
    assert PeerGroup.objects.count() == 0

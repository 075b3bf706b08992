"""The usage page: who sees what of which time, in which words; its rules, without a browser."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import translation

from domain.ids import CollectorId
from domain.reading import EventKind, ReadQuality
from domain.units import Unit
from portal.core.errors import Refused
from portal.customers import services as customers
from portal.customers.models import Account, Occupancy
from portal.fleet.models import Collector
from portal.metering import services as metering
from portal.resident import services
from portal.resident.periods import By, period_of
from portal.resident.wording import duration_text, number
from sync.signing import SigningKey
from tests.portal.building import NOON, Box, event, home, person, read, total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_django.fixtures import SettingsWrapper

    from domain.reading import Event, RegisterRead

CHICAGO = ZoneInfo("America/Chicago")
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_noon(settings: SettingsWrapper) -> None:
    """Time starts at noon in Chicago on 17 June 2026."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{NOON.timestamp()!r}"


@pytest.fixture
def box() -> Box:
    return Box(CollectorId("hw-test-1"), SigningKey.generate())


def apply(box: Box, reads: Iterable[RegisterRead] = (), events: Iterable[Event] = ()) -> None:
    collector, _ = Collector.objects.get_or_create(collector_id=box.name)
    batch = box.batch(list(reads), list(events))
    epoch = metering.epoch_row(collector, batch, received_at=NOON)
    assert epoch is not None
    metering.apply_contents(batch, epoch=epoch, received_at=NOON)


def quarter_hours(start: datetime, end: datetime, *, first: int = 100_000, step: int = 5) -> list[RegisterRead]:
    moments = range(int((end - start) / timedelta(minutes=15)) + 1)
    return [read(total(), first + step * n, start + timedelta(minutes=15) * n) for n in moments]


def test_rows_are_hours_of_the_utilitys_day_and_sum_to_the_dial(box: Box) -> None:
    user = person()
    start = NOON - timedelta(hours=12)  # midnight in Chicago
    service_point, _ = home(total(), start, user=user)
    apply(box, quarter_hours(start, NOON))
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    assert len(page.rows) == 24
    assert [row.mark for row in page.rows] == ["measured"] * 12 + ["waiting"] + ["ahead"] * 11
    assert page.rows[0].title == "12 AM – 1 AM"
    assert sum(Decimal(row.volume) for row in page.table_rows if row.volume) == Decimal(page.total.exact)  # type: ignore[union-attr]
    assert page.total is not None
    assert page.total.exact == "63.402"  # 240 litres: the dial's 26,480.607 gallons less its 26,417.205 gallons
    assert page.headline is not None
    assert page.headline.today is not None
    assert (page.headline.today.exact, page.headline.today.text) == (page.total.exact, "63.4")
    assert [(dial.count, dial.whole, dial.part) for dial in page.dials] == [(100_240, "00100", "240")]
    assert page.headline.as_of == "12:00 PM"


def test_hours_without_a_read_are_marked_as_shared_out(box: Box) -> None:
    user = person()
    start = NOON - timedelta(hours=12)
    service_point, _ = home(total(), start, user=user)
    reads = quarter_hours(start, NOON)
    apply(box, [r for r in reads if not timedelta(hours=3) < r.read_at - start < timedelta(hours=6)])
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    assert [row.mark for row in page.rows[:8]] == ["measured"] * 4 + ["shared"] + ["measured"] * 3
    assert page.marks == {"estimated"}


def test_nothing_before_the_first_read_is_shown_as_a_row(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(minutes=50), user=user)
    apply(box, [read(total(), 10, NOON - timedelta(minutes=40)), read(total(), 30, NOON - timedelta(minutes=2))])
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    assert [row.title for row in page.table_rows if row.volume] == ["11 AM – 12 PM"]
    assert [row.mark for row in page.rows[:11]] == ["before"] * 11
    assert page.previous is None
    assert page.following is None


def test_what_a_meter_showed_elsewhere_is_not_shown(box: Box) -> None:
    user = person()
    service_point, old = home(total("OLD-1"), NOON - timedelta(days=9), user=user)
    apply(box, [read(total(), 4711, NOON - timedelta(hours=3))])
    metering.remove_meter(old, NOON - timedelta(hours=2))
    row = metering.claim_register(total(), at=NOON)
    metering.install_meter(row.meter, service_point, NOON - timedelta(hours=1))
    assert services.usage_page(user, service_point, by=By.HOUR, day=None).dials == ()
    apply(box, [read(total(), 4712, NOON - timedelta(minutes=1))])
    assert [d.count for d in services.usage_page(user, service_point, by=By.HOUR, day=None).dials] == [4712]


def test_a_new_home_waits_for_its_first_read(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(hours=2), user=user)
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    assert page.waiting
    assert page.total is None
    assert (page.headline.today if page.headline else "none") is None
    assert page.dials == ()


@pytest.mark.parametrize(
    ("day", "hours", "names"),
    [
        (date(2026, 3, 8), 23, ["1 AM", "3 AM"]),
        (date(2026, 11, 1), 25, ["1 AM CDT", "1 AM CST", "2 AM"]),
        (date(2026, 6, 17), 24, ["1 AM", "2 AM", "3 AM"]),
    ],
)
def test_days_on_which_clocks_change(box: Box, day: date, hours: int, names: list[str]) -> None:
    period = period_of(By.HOUR, day, CHICAGO)
    labels = [period.row_label(period.start + timedelta(hours=n)) for n in range(period.hours)]
    assert (period.hours, len(labels), bool(period.clock_note)) == (hours, hours, hours != 24)
    assert labels[1 : 1 + len(names)] == names
    assert len(set(labels)) == hours


def test_a_mover_in_sees_nothing_of_those_before(box: Box) -> None:
    before, after = person("before@example.org"), person("after@example.org")
    start = NOON - timedelta(hours=12)
    service_point, installation = home(total(), start, user=before)
    apply(box, quarter_hours(start, NOON))
    moved = NOON - timedelta(hours=6)
    customers.move_out(Occupancy.objects.get(), moved)
    account = Account.objects.create(number="1000002")
    customers.move_in(account, service_point, moved)
    customers.grant_access(account, after, at=moved)
    new, old = (services.usage_page(user, service_point, by=By.HOUR, day=None) for user in (after, before))
    assert [row.mark for row in new.rows[:7]] == ["before"] * 6 + ["measured"]
    assert [row.volume is None for row in old.rows[:8]] == [False] * 6 + [True] * 2
    assert old.moved_out
    assert (old.headline, old.dials, old.leak) == (None, (), None)
    assert new.previous is None
    assert {dial.at for dial in new.boundary_dials} == {"June 17, 2026, 6:00 AM", "June 17, 2026, 12:00 PM"}
    opened = event(EventKind.LEAK_OPENED, NOON, event_id="x", meter=str(total().meter_id), rule="continuous")
    apply(box, events=[opened])
    installation.refresh_from_db()
    assert services.usage_page(after, service_point, by=By.HOUR, day=None).leak is not None
    assert services.usage_page(before, service_point, by=By.HOUR, day=None).leak is None


def test_a_stranger_sees_nothing(box: Box) -> None:
    service_point, _ = home(total(), NOON - timedelta(hours=1), user=person())
    stranger = person("stranger@example.org")
    with pytest.raises(Refused) as refused:
        services.usage_page(stranger, service_point, by=By.HOUR, day=None)
    assert refused.value.code == "not-yours"
    client = Client()
    client.force_login(stranger)
    assert client.get(f"/usage/{service_point.public_id}/").status_code == 404
    assert client.get("/").content.decode().count("No home is linked") == 1


def test_a_leak_banner_says_since_when_how_much_and_why(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(days=9), user=user)
    details: dict[str, str | int] = {
        "alarm": "abc",
        "rule": "continuous",
        "since": (NOON - timedelta(hours=26)).isoformat(),
        "litres_per_h": 38,
    }
    opened = event(EventKind.LEAK_OPENED, NOON, event_id="abc-opened", meter=str(total().meter_id), **details)
    apply(box, events=[opened])
    leak = services.usage_page(user, service_point, by=By.HOUR, day=None).leak
    assert leak is not None
    assert (leak.since, leak.lasted) == ("June 16, 2026, 10:00 AM", "1 day and 2 hours")
    assert (leak.rate, leak.so_far) == ("10 gallons", "261 gallons")
    assert "24 hours" in leak.rule
    closed = event(EventKind.LEAK_CLEARED, NOON, event_id="abc-cleared", meter=str(total().meter_id), alarm="abc")
    apply(box, events=[closed])
    assert services.usage_page(user, service_point, by=By.HOUR, day=None).leak is None


def test_quality_is_shown(box: Box) -> None:
    user = person()
    start = NOON - timedelta(hours=4)
    service_point, _ = home(total(), start, user=user)
    qualities = (ReadQuality.MEASURED, ReadQuality.ESTIMATED, ReadQuality.MEASURED, ReadQuality.SUSPECT)
    apply(box, [read(total(), 10 * n, start + timedelta(hours=n), q) for n, q in enumerate(qualities)])
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    assert [(row.mark, row.note) for row in page.rows[8:11]] == [
        ("estimated", "estimated"),
        ("estimated", "estimated"),
        ("suspect", "doubtful: being checked"),
    ]


def test_water_that_flowed_back_is_a_number_with_a_reason_and_no_bar(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(hours=6), user=user)
    counts = (100, 190, 120, 300)
    apply(box, [read(total(), count, NOON - timedelta(hours=5 - n)) for n, count in enumerate(counts)])
    page = services.usage_page(user, service_point, by=By.HOUR, day=None)
    shown = [row for row in page.rows if row.volume is not None]
    assert [row.note for row in shown] == ["", "the meter counted backwards", ""]
    assert [row.as_json()["volume"] for row in shown] == [23.776, 0.0, 47.551]
    assert page.total is not None
    assert sum(Decimal(row.volume or 0) for row in shown) == Decimal(page.total.exact) == Decimal("52.835")


def test_the_unit_is_kept_for_a_person_and_strange_ones_are_refused() -> None:
    user = person()
    assert services.preferred_unit(user) is Unit.GALLON
    client = Client()
    client.force_login(user)
    assert client.post("/preferences/unit/", {"unit": "m3", "next": "/usage/x/?by=day"}).url == "/usage/x/?by=day"
    assert services.preferred_unit(user) is Unit.CUBIC_METRE
    assert client.post("/preferences/unit/", {"unit": "m3", "next": "https://elsewhere.example/"}).url == "/"
    assert client.post("/preferences/unit/", {"unit": "barrel"}).status_code == 400
    assert client.get("/preferences/unit/").status_code == 405


@pytest.mark.parametrize("query", ["by=second", "date=yesterday", "date=2026-13-01", "date=", "date=0001-01-01"])
def test_whatever_stands_in_the_address_there_is_an_answer(box: Box, query: str) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(days=2), user=user)
    client = Client()
    client.force_login(user)
    status = client.get(f"/usage/{service_point.public_id}/?{query}").status_code
    assert status == (400 if query in ("by=second", "date=yesterday", "date=2026-13-01") else 200)


def test_a_date_outside_a_persons_time_is_brought_inside(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(days=2), user=user)
    for asked, shown in ((date(1999, 1, 1), date(2026, 6, 15)), (date(9999, 12, 31), date(2026, 6, 17))):
        assert services.usage_page(user, service_point, by=By.HOUR, day=asked).period.first == shown


def test_pages_ask_for_a_sign_in_and_are_not_kept_by_browsers(box: Box) -> None:
    user = person()
    service_point, _ = home(total(), NOON - timedelta(days=2), user=user)
    address = f"/usage/{service_point.public_id}/"
    client = Client()
    assert client.get(address).url.startswith("/accounts/login/?next=/usage/")
    client.force_login(user)
    answer = client.get(address)
    assert "no-store" in answer["Cache-Control"]
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_words() -> None:
    assert number(Decimal("1234567.125"), 1) == "1,234,567.1"
    assert number(Decimal("-0.25"), 1) == "−0.3"
    assert duration_text(59) == "0 minutes"
    assert duration_text(90_000) == "1 day and 1 hour"
    with translation.override("es"):
        assert duration_text(2 * 86_400 + 8 * 3600) == "2 días y 8 horas"
        period = period_of(By.HOUR, date(2026, 6, 17), CHICAGO)
        assert period.title == "miércoles, 17 de junio de 2026"
    assert datetime(2026, 6, 17, tzinfo=UTC) < NOON

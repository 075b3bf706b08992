"""Banners: shown while their dates hold and not a moment longer; the late fees that wait meanwhile."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from portal.billing.addressed import within
from portal.billing.fees import charge_late_fees
from portal.billing.models import BillingAccount, Cycle, OutageGrace
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.customers.models import Account
from portal.service.audience import audience_of, audience_text
from portal.service.models import Banner
from portal.service.services import BannerWords, banners, change_banner, end_banner, make_banner
from rates.policies import LateFee, Policies
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
MOMENT = datetime(2026, 8, 5, 17, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def a_summer_day(settings: SettingsWrapper) -> None:
    at(settings, MOMENT)


def at(settings: SettingsWrapper, moment: datetime) -> None:
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{moment.timestamp()!r}"


def words(start: datetime = MOMENT, end: datetime | None = None, *, hold: bool = False, **more: str) -> BannerWords:
    title = {"en": "Payments are down", "es": "No se puede pagar"}
    return BannerWords(more.pop("kind", "outage"), title, {"en": "We work on it."}, start, end, hold_late_fees=hold)


def shown(path: str = "/help/", language: str = "en") -> str:
    client = Client()
    client.cookies["django_language"] = language
    return client.get(path).content.decode()


def test_a_banner_is_on_every_page_from_its_first_to_its_last_moment(settings: SettingsWrapper) -> None:
    make_banner(words(MOMENT + HOUR, MOMENT + 3 * HOUR))
    for moment, wanted in ((MOMENT, False), (MOMENT + 2 * HOUR, True), (MOMENT + 4 * HOUR, False)):
        at(settings, moment)
        for path in ("/help/", "/accounts/login/", "/no/such/page/"):
            assert ("Payments are down" in shown(path)) is wanted
    assert banners(MOMENT + 3 * HOUR) == []
    assert len(banners(MOMENT + HOUR)) == 1


def test_a_banner_speaks_the_language_of_the_page_or_else_english() -> None:
    make_banner(words())
    page = shown(language="es")
    assert "No se puede pagar" in page
    assert "We work on it." in page
    assert 'role="status"' in page


def test_the_link_of_a_new_portal_appears_only_once_it_is_live(settings: SettingsWrapper) -> None:
    link = "https://portal.example.gov/"
    live = MOMENT + DAY
    row = BannerWords(
        "transition",
        {"en": "A new portal opens"},
        {"en": "Pay at the counter meanwhile"},
        MOMENT,
        link=link,
        link_from=live,
    )
    make_banner(row)
    assert "A new portal opens" in shown()
    assert "Pay at the counter meanwhile" in shown("/accounts/login/")
    assert link not in shown()
    at(settings, live)
    assert f'href="{link}"' in shown()


def test_ending_takes_it_off_at_once_and_is_written_down() -> None:
    clerk = person("clerk@example.org")
    row = make_banner(words(), actor=clerk)
    end_banner(row, actor=clerk)
    end_banner(row, actor=clerk)
    assert "Payments are down" not in shown()
    assert list(AuditEntry.objects.values_list("action", flat=True)) == ["banner.made", "banner.ended"]
    with pytest.raises(Refused, match="over"):
        change_banner(row, words(), actor=clerk)


def test_late_fees_wait_while_a_banner_says_so() -> None:
    bill = make_bill(make_account())
    due = bill.due_date
    rules = Policies(late_fee=LateFee(Fraction(10)))
    start = datetime.combine(due, datetime.min.time(), UTC) + 18 * HOUR
    row = make_banner(words(start, hold=True))
    assert charge_late_fees(due + timedelta(days=40), rules) == []
    change_banner(row, words(start, start + 2 * DAY, hold=True))
    grace = OutageGrace.objects.get()
    assert (grace.start, grace.end) == (due, due + timedelta(days=2))
    assert len(charge_late_fees(due + timedelta(days=40), rules)) == 1


def test_a_banner_for_some_holds_the_late_fees_of_those_alone() -> None:
    hit, other = make_bill(make_account()), make_bill(make_account())
    rules, day = Policies(late_fee=LateFee(Fraction(10))), hit.due_date + timedelta(days=40)
    start = datetime.combine(hit.due_date, datetime.min.time(), UTC) + 18 * HOUR
    row = make_banner(replace(words(start, hold=True), audience={"accounts": [hit.account.public_id]}))
    assert [charge.account for charge in charge_late_fees(day, rules)] == [other.account]
    change_banner(row, words(start, hold=True))
    assert [grace.audience for grace in OutageGrace.objects.filter(end=None)] == [{}]
    assert charge_late_fees(day, rules) == []


def test_a_banner_leaves_another_grace_alone_and_a_plan_taken_back_leaves_none() -> None:
    other = OutageGrace.objects.create(start=date(2026, 8, 1), reason="the bank is closed")
    row = make_banner(words(MOMENT + 5 * DAY, MOMENT + 6 * DAY, hold=True))
    assert OutageGrace.objects.count() == 2
    end_banner(row)
    assert list(OutageGrace.objects.all()) == [other]
    assert other.end is None


def test_unticking_ends_the_grace_today() -> None:
    row = make_banner(words(MOMENT - 3 * DAY, hold=True))
    change_banner(row, words(MOMENT - 3 * DAY))
    assert OutageGrace.objects.get().end == date(2026, 8, 5)
    assert Banner.objects.get().grace is None


@pytest.mark.parametrize(
    ("faulty", "code"),
    [
        (words(kind="party"), "kind"),
        (BannerWords("notice", {"es": "Hola"}, {}, MOMENT), "title"),
        (BannerWords("notice", {"en": "x" * 121}, {}, MOMENT), "title"),
        (words(MOMENT, MOMENT), "ends"),
        (BannerWords("notice", {"en": "x"}, {}, MOMENT, link="javascript:alert(1)"), "link"),
    ],
)
def test_a_faulty_banner_is_refused_with_its_field(faulty: BannerWords, code: str) -> None:
    with pytest.raises(Refused) as refused:
        make_banner(faulty)
    assert refused.value.code == code
    assert not Banner.objects.exists()


def test_staff_make_change_and_end_banners_in_the_utilitys_time(settings: SettingsWrapper) -> None:
    UtilitySettings.objects.update_or_create(pk=1, defaults={"zone": "America/Chicago"})
    clerk = person("clerk@example.org")
    clerk.is_staff = True
    clerk.save()
    desk = Client()
    desk.force_login(clerk)
    form = {
        "kind": "outage",
        "title_en": "Work at the bank",
        "title_es": "Trabajos en el banco",
        "starts_at": "2026-08-05T11:00",
        "ends_at": "2026-08-05T13:00",
    }
    assert desk.post("/staff/banners/new/", {**form, "ends_at": "2026-08-05T10:00"}).status_code == 422
    assert desk.post("/staff/banners/new/", form).status_code == 303
    row = Banner.objects.get()
    assert row.starts_at == datetime(2026, 8, 5, 16, 0, tzinfo=UTC)
    assert "Work at the bank" in shown()
    assert 'value="2026-08-05T13:00"' in desk.get(f"/staff/banners/{row.public_id}/").content.decode()
    changed = {**form, "title_en": "Work at our bank", "hold_late_fees": "on"}
    assert desk.post(f"/staff/banners/{row.public_id}/", changed).status_code == 303
    assert "Work at our bank" in shown()
    assert OutageGrace.objects.get().end == date(2026, 8, 5)
    assert desk.post(f"/staff/banners/{row.public_id}/end/").status_code == 303
    assert "Work at our bank" not in shown()
    assert "Work at our bank" in desk.get("/staff/banners/").content.decode()


def seen_by(user: User | None) -> str:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client.get("/help/").content.decode()


def test_a_banner_for_a_part_of_the_town_is_seen_by_those_who_live_there_and_by_staff() -> None:
    here, there, listed, staff = (person(f"{name}@example.org") for name in ("here", "there", "listed", "staff"))
    make_account(user=here, route="R1"), make_account(user=there, route="R2")
    account = make_account(user=listed, route="R2")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    row = make_banner(replace(words(), audience=audience_of(routes=" R1 ,", accounts=f"00{account.number}\n")))
    assert [name for name in (here, there, listed, staff, None) if "Payments are down" in seen_by(name)] == [
        here,
        listed,
        staff,
    ]
    assert audience_text(row.audience) == {"cycles": "", "routes": "R1", "accounts": account.number}
    assert AuditEntry.objects.get(action="banner.made").detail["audience"]["routes"] == ["R1"]
    change_banner(row, words())
    assert "Payments are down" in seen_by(None)


def test_a_notice_for_a_cycle_is_sent_to_its_accounts_alone() -> None:
    inside, outside = make_account(route="R1"), make_account(route="R1")
    cycle = Cycle.objects.create(code="North", name="North")
    BillingAccount.objects.filter(account=inside).update(cycle=cycle)
    audience = audience_of(cycles="North")
    assert list(Account.objects.filter(within(audience))) == [inside]
    assert set(Account.objects.filter(within({}))) == {inside, outside}


@pytest.mark.parametrize(
    ("typed", "code"),
    [({"cycles": "Z"}, "cycles"), ({"routes": "R1; Z"}, "routes"), ({"accounts": "12 34"}, "accounts")],
)
def test_an_audience_that_does_not_exist_is_refused_by_name(typed: dict[str, str], code: str) -> None:
    make_account(route="R1")
    with pytest.raises(Refused) as refused:
        audience_of(**typed)
    assert refused.value.code == code
    staff = person("staff@example.org", is_staff=True)
    client = Client()
    client.force_login(staff)
    form = {"kind": "notice", "title_en": "Hello", "starts_at": "2026-08-05T12:00", **typed}
    answer = client.post("/staff/banners/new/", form)
    assert answer.status_code == 422
    assert f'id="id_{code}_error"' in answer.content.decode()

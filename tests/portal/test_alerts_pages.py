"""The pages of alerts and of My Notifications: who sees what, and that every form does what it says."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from portal.alerts.kinds import Kind
from portal.alerts.models import Alert, AlertRecipient, AlertSetting
from portal.customers.models import AccountAccess
from portal.notifications.models import Message
from tests.portal.alerting import HOUR, WEDNESDAY, account_of, guest_of, home_of, leak_case, look_at_events, reader

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from portal.core.models import User
    from tests.portal.metered_homes import Home

pytestmark = pytest.mark.django_db
Level = AccountAccess.Level
NOON = WEDNESDAY + 12 * HOUR
SETTINGS, SAVE = "/profile/notifications/", "/profile/notifications/save/"


@pytest.fixture(autouse=True)
def _noon(settings: SettingsWrapper) -> None:
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{NOON.timestamp()!r}"


@pytest.fixture
def ana() -> User:
    return reader()


@pytest.fixture
def home(ana: User) -> Home:
    found = home_of(ana)
    leak_case(found, NOON - HOUR)
    look_at_events(NOON)
    return found


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(user: User, path: str) -> str:
    answer = signed_in(user).get(path)
    assert answer.status_code == 200, path
    return answer.content.decode()


def of_meter(home: Home, **fields: str) -> dict[str, str]:
    return {"account": account_of(home).public_id, "meter": home.service_point.public_id, "key": "a1m1", **fields}


def test_the_alert_stands_on_the_list_and_its_page_says_all_of_it(home: Home, ana: User) -> None:
    alert = Alert.objects.get()
    listed = page(ana, "/alerts/")
    assert listed.index('id="standing"') < listed.index("Water may be leaking") < listed.index("The last year")
    shown = page(ana, f"/alerts/{alert.public_id}/")
    for words in (
        "June 17, 2026, 3:00 AM",
        "11 gallons an hour",
        "83 gallons were counted",
        "For eight hours",
        "Toilets:",
    ):
        assert words in shown
    assert f'href="/usage/{home.service_point.public_id}/"' in shown
    assert "We tell you" not in shown
    assert "remind you once a day" in shown


def test_the_banner_of_the_usage_page_leads_to_the_alert(home: Home, ana: User) -> None:
    shown = page(ana, f"/usage/{home.service_point.public_id}/")
    assert f'href="/alerts/{Alert.objects.get().public_id}/"' in shown
    viewer = guest_of(home, "viewer@example.org", Level.VIEW_USAGE)
    assert "leak-banner" in (shown := page(viewer, f"/usage/{home.service_point.public_id}/"))
    assert "/alerts/" not in shown


def test_it_is_acknowledged_answered_and_quieted_by_forms(home: Home, ana: User) -> None:
    client, alert = signed_in(ana), Alert.objects.get()
    say = f"/alerts/{alert.public_id}/say/"
    assert client.post(say, {"do": "acknowledge"}).status_code == 303
    assert 'id="said"' in page(ana, f"/alerts/{alert.public_id}/")
    refused = client.post(say, {"do": "answer", "answer": "pool", "note": "x" * 201})
    assert refused.status_code == 422
    assert 'href="#note"' in refused.content.decode()
    assert client.post(say, {"do": "answer", "answer": ""}).status_code == 422
    client.post(say, {"do": "answer", "answer": "pool", "note": "<b>the spa</b>"})
    shown = page(ana, f"/alerts/{alert.public_id}/")
    assert "This was my pool or spa: &lt;b&gt;the spa&lt;/b&gt;" in shown
    assert 'id="be-quiet"' in shown
    assert client.post(say, {"do": "quiet", "days": "400"}).status_code == 422
    assert client.post(say, {"do": "quiet", "days": "9" * 5_000}).status_code == 422
    client.post(say, {"do": "quiet", "days": "7"})
    assert AlertSetting.objects.get().quiet_until is not None
    assert "You asked for no such message until June 24, 2026" in page(ana, SETTINGS)


@pytest.mark.parametrize("level", [None, Level.VIEW_USAGE, Level.VIEW_BILLS, Level.PAY])
def test_an_alert_of_others_does_not_exist(home: Home, level: Level | None) -> None:
    other = reader("other@example.org") if level is None else guest_of(home, "other@example.org", level)
    client, path = signed_in(other), f"/alerts/{Alert.objects.get().public_id}/"
    assert client.get(path).status_code == 404
    for what in ("acknowledge", "answer", "quiet"):
        assert client.post(f"{path}say/", {"do": what, "answer": "pool", "days": "7"}).status_code == 404
    assert "leaking" not in page(other, "/alerts/")
    assert 'id="no-alerts"' in page(other, SETTINGS)
    assert client.post(SAVE, of_meter(home, form="add-limit", amount="5", unit="gal", per="hour")).status_code == 404
    assert AlertRecipient.objects.filter(user=other).count() == AlertSetting.objects.count() == 0


def test_each_form_of_my_notifications_keeps_what_it_says(home: Home, ana: User) -> None:
    client = signed_in(ana)

    def post(**fields: str) -> str:
        answer = client.post(SAVE, of_meter(home, **fields), follow=True)
        return answer.content.decode()

    shown = post(form="add-limit", amount="50", unit="gal", per="hour", email="on")
    assert "more than 50 gallons in an hour" in shown
    own = AlertSetting.objects.get(kind=Kind.THRESHOLD)
    assert "Remove: more than 50 gallons in an hour" in shown
    post(form="add-limit", amount="2.50", unit="usd", per="day", email="on")
    assert "more than $2.50 in a day" in page(ana, SETTINGS)
    post(form="remove-limit", limit=own.public_id)
    assert "more than 50 gallons" not in page(ana, SETTINGS)
    whole = {f"{kind}-shown": "1" for kind in ("leak", "unusual", "silent", "no-use")}
    whole |= {"silent-number": "12", "no-use-number": "3", "leak-on": "on", "leak-email": "on"}
    assert "Saved." in post(form="meter", **whole)
    rows = {row.kind: row for row in AlertSetting.objects.filter(service_point=home.service_point)}
    assert set(rows) == {Kind.UNUSUAL, Kind.SILENT, Kind.NO_USE}  # the leak is as it is by default
    assert not rows[Kind.UNUSUAL].on
    post(form="away", **{"first-day": "2026-06-20", "last-day": "2026-06-27", "email": "on"})
    assert "Away from June 20, 2026 to June 27, 2026." in page(ana, SETTINGS)
    assert AlertSetting.objects.get(kind=Kind.VACATION).last_day == date(2026, 6, 27)
    post(form="away", do="end")
    assert AlertSetting.objects.filter(kind=Kind.VACATION).count() == 0
    account = {"account": account_of(home).public_id, "key": "a1"}
    client.post(SAVE, {**account, "form": "due", "bill-due-shown": "1", "bill-due-on": "on", "bill-due-email": "on",
                       "bill-due-number": "7"})  # fmt: skip
    client.post(SAVE, {**account, "form": "expected", "projected-on": "on", "projected-email": "on", "amount": "$90"})
    client.post(SAVE, {**account, "form": "general", "bill-ready-shown": "1", "service-shown": "1"})
    kept = {row.kind: row for row in AlertSetting.objects.filter(service_point=None).exclude(kind=Kind.THRESHOLD)}
    assert (kept[Kind.BILL_DUE].number, kept[Kind.PROJECTED].amount, kept[Kind.SERVICE].on) == (7, 90, False)
    before = Message.objects.count()
    assert "on its way" in client.post(SAVE, {"form": "test", "channel": "email"}, follow=True).content.decode()
    assert Message.objects.count() == before + 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"form": "add-limit", "amount": "lots", "unit": "gal", "per": "hour", "email": "on"}, "a1m1-limit-amount"),
        ({"form": "add-limit", "amount": "5", "unit": "gal", "per": "hour"}, "a1m1-limit-email"),
        ({"form": "away", "first-day": "2026-06-20", "last-day": "2026-06-10", "email": "on"}, "a1m1-away-first-day"),
        ({"form": "meter", "silent-shown": "1", "silent-on": "on", "silent-email": "on", "silent-number": "1"},
         "a1m1-silent-number"),
        ({"form": "meter", "silent-shown": "1", "silent-on": "on", "silent-email": "on", "silent-number": "9" * 5_000},
         "a1m1-silent-number"),
        ({"form": "meter", "leak-shown": "1", "leak-on": "on"}, "a1m1-leak-email"),
        ({"form": "meter", "leak-shown": "1", "leak-on": "on", "leak-sms": "on"}, "a1m1-leak-sms"),
        ({"form": "expected", "key": "a1", "meter": "", "projected-on": "on", "projected-email": "on", "amount": ""},
         "a1-expected-amount"),
    ],
)  # fmt: skip
def test_a_fault_is_said_beside_its_field_and_nothing_is_kept(
    home: Home, ana: User, fields: dict[str, str], field: str
) -> None:
    answer = signed_in(ana).post(SAVE, of_meter(home, **fields))
    text = answer.content.decode()
    assert answer.status_code == 422
    assert f'href="#{field}"' in text
    assert f'id="{field}"' in text
    assert AlertSetting.objects.count() == 0


def test_another_persons_account_and_meter_cannot_be_named_in_a_form(home: Home, ana: User) -> None:
    other = home_of(reader("ben@example.org"), number=2)
    client = signed_in(ana)
    limit = {"form": "add-limit", "amount": "5", "unit": "gal", "per": "hour", "email": "on"}
    mixed = {**of_meter(home), "meter": other.service_point.public_id}
    for place in (of_meter(other), mixed):
        assert client.post(SAVE, {**place, **limit}).status_code == 404
    assert client.post(SAVE, {"form": "nothing"}).status_code == 404
    assert AlertSetting.objects.count() == 0


def test_guests_who_manage_alerts_see_nothing_of_money(home: Home) -> None:
    text = page(guest_of(home, "helper@example.org", Level.MANAGE_ALERTS), SETTINGS)
    assert "1 Elm Street" in text
    for words in ("Text-to-Pay", "dollars", "Bill ready", "High bill"):
        assert words not in text

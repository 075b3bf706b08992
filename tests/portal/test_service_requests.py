"""Service requests: asked once by those who may, every step told, nobody else's seen."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from portal.core.errors import Refused
from portal.core.models import AuditEntry, UtilitySettings
from portal.customers import services as customers
from portal.customers.models import AccountAccess
from portal.notifications.models import Message
from portal.service import requests as rules
from portal.service.models import ServiceRequest
from portal.service.requests import Wish
from rates.policies import LeakAdjustment, Policies
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person

if TYPE_CHECKING:
    from django.http import HttpResponse
    from pytest_django.fixtures import SettingsWrapper

    from portal.core.models import User
    from portal.customers.models import Account

pytestmark = pytest.mark.django_db
MOMENT = datetime(2026, 8, 5, 17, 0, tzinfo=UTC)
LATER = date(2026, 8, 20)
Level = AccountAccess.Level


@pytest.fixture(autouse=True)
def a_summer_day(settings: SettingsWrapper) -> None:
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{MOMENT.timestamp()!r}"


@pytest.fixture
def ana() -> User:
    user = person("ana@example.org")
    EmailAddress.objects.get_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
    return user


@pytest.fixture
def account(ana: User) -> Account:
    return make_account(user=ana, email=ana.email, name="Ana")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def staff() -> User:
    user = person("clerk@example.org")
    user.is_staff = True
    user.save()
    return user


def text_of(answer: HttpResponse) -> str:
    return answer.content.decode()


def asked(account: Account, by: User, kind: str = "other", **more: object) -> ServiceRequest:
    wish = Wish(kind, key=f"key-{kind}", details="The meter's lid is broken", **more)  # type: ignore[arg-type]
    return rules.ask(account, rules.places_of(account)[0], wish, by=by)[0]


def test_a_form_sent_twice_is_one_request_and_one_message(account: Account, ana: User) -> None:
    client = signed_in(ana)
    form = {"key": "drawn-when-shown", "details": "Please look at the lid", "phone": "405-555-0111"}
    answers = [client.post("/requests/new/other/", form) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0]["Location"] == answers[1]["Location"]
    row = ServiceRequest.objects.get()
    assert (row.state, row.account, row.phone) == ("received", account, "405-555-0111")
    assert row.service_point == rules.places_of(account)[0]
    assert Message.objects.filter(user=ana, category="service").count() == 1
    page = text_of(client.get("/requests/"))
    assert row.public_id in page
    assert "received" in page


def test_one_restore_at_a_time_and_a_new_one_when_it_is_done(account: Account, ana: User) -> None:
    point = rules.places_of(account)[0]
    first, new = rules.ask(account, point, Wish("restore", key="one"), by=ana)
    again, second_new = rules.ask(account, point, Wish("restore", key="two"), by=ana)
    assert (new, second_new, again) == (True, False, first)
    rules.finish(first, "", by=staff())
    assert rules.ask(account, point, Wish("restore", key="three"), by=ana)[1]


def test_each_step_is_seen_and_told_in_the_persons_language(account: Account, ana: User) -> None:
    ana.language = "es"
    ana.save()
    row, clerk = asked(account, ana), staff()
    rules.take(row, by=clerk)
    rules.note(row, "We come on Friday.", by=clerk)
    rules.refuse(row, "The lid is not ours.", by=clerk)
    row.refresh_from_db()
    assert (row.state, row.taken_by) == ("refused", clerk)
    assert [step.state for step in row.steps.all()] == ["received", "in-work", "in-work", "refused"]
    mails = Message.objects.filter(user=ana).order_by("pk")
    assert [mail.language for mail in mails] == ["es"] * 4
    assert "We come on Friday." in mails[2].text
    assert "The lid is not ours." in mails[3].text
    ana.language = "en"
    ana.save()
    page = text_of(signed_in(ana).get(f"/requests/{row.public_id}/"))
    assert "We come on Friday." in page
    assert "The lid is not ours." in page
    assert "withdraw" not in page
    assert list(AuditEntry.objects.filter(action__startswith="request.").values_list("action", flat=True)) == [
        "request.received", "request.in-work", "request.in-work", "request.refused",
    ]  # fmt: skip
    with pytest.raises(Refused, match="closed"):
        rules.take(row, by=clerk)


def test_a_request_can_be_withdrawn_by_its_customer(account: Account, ana: User) -> None:
    row = asked(account, ana)
    client = signed_in(ana)
    assert client.post(f"/requests/{row.public_id}/withdraw/").status_code == 303
    row.refresh_from_db()
    assert row.state == "withdrawn"
    client.post(f"/requests/{row.public_id}/withdraw/")
    assert row.steps.count() == 2


@pytest.mark.parametrize("level", [Level.VIEW_USAGE, Level.VIEW_BILLS, Level.PAY, Level.MANAGE_ALERTS, None])
def test_who_does_not_manage_neither_asks_nor_sees(account: Account, ana: User, level: str | None) -> None:
    row = asked(account, ana)
    other = person("other@example.org")
    if level is not None:
        customers.grant_access(account, other, level=level, at=MOMENT - timedelta(days=1))
    client = signed_in(other)
    assert client.get(f"/requests/{row.public_id}/").status_code == 404
    assert client.post(f"/requests/{row.public_id}/withdraw/").status_code == 404
    assert row.public_id not in text_of(client.get("/requests/"))
    for kind in ("restore", "other", "leak"):
        assert client.get(f"/requests/new/{kind}/").status_code == 403
        assert client.post(f"/requests/new/{kind}/", {"key": "k", "details": "anything"}).status_code == 403
    with pytest.raises(Refused, match="account holder"):
        rules.ask(account, None, Wish("restore", key="k"), by=other)
    row.refresh_from_db()
    assert (row.state, ServiceRequest.objects.count()) == ("received", 1)


def test_nobody_asks_for_a_place_that_is_not_theirs(account: Account, ana: User) -> None:
    foreign = make_account(user=person("ben@example.org"), email="ben@example.org", name="Ben")
    with pytest.raises(Refused, match="your places"):
        rules.ask(account, rules.places_of(foreign)[0], Wish("restore", key="k"), by=ana)
    bill = make_bill(foreign)
    with pytest.raises(Refused, match="bill"):
        rules.ask(account, None, Wish("leak", key="k", bill=bill, repaired_on=date(2026, 8, 1)), by=ana)


def test_restore_says_that_the_whole_balance_comes_first(account: Account, ana: User) -> None:
    make_bill(account)
    UtilitySettings.objects.update_or_create(pk=1, defaults={"contact_phone": "405-555-0100"})
    page = text_of(signed_in(ana).get("/requests/new/restore/"))
    assert "paid in full" in page
    assert "$101.45" in page
    assert "405-555-0100" in page


@pytest.mark.parametrize(
    ("kind", "form", "field"),
    [
        ("move", {"wished-on": "2026-08-20"}, "direction-in"),
        ("move", {"direction": "out", "wished-on": "2026-08-04"}, "wished-on"),
        ("stop", {}, "wished-on"),
        ("stop", {"wished-on": "soon"}, "wished-on"),
        ("other", {"details": " "}, "details"),
        ("leak", {"repaired-on": "2026-08-01", "evidence": "a receipt of the plumber"}, "bill"),
    ],
)
def test_what_is_missing_is_said_at_its_field(
    account: Account, ana: User, kind: str, form: dict[str, str], field: str
) -> None:
    answer = signed_in(ana).post(f"/requests/new/{kind}/", {"key": "k", **form})
    assert answer.status_code == 422
    assert f'<a href="#{field}">' in text_of(answer)
    assert not ServiceRequest.objects.exists()


def test_a_leak_needs_its_bill_the_day_and_what_shows_the_repair(
    account: Account, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = LeakAdjustment(share=Fraction(1, 2), average_months=12, every_months=12)
    monkeypatch.setattr("portal.resident.requests.policies_on", lambda day: Policies(leak=rule))
    bill, client = make_bill(account), signed_in(ana)
    page = text_of(client.get("/requests/new/leak/"))
    assert "50 percent" in page
    assert str(bill.number) in page
    form = {"key": "k", "bill": bill.public_id, "repaired-on": "2026-08-06", "evidence": "plumber's bill of 1 August"}
    for fault, changed in (("repaired-on", {}), ("evidence", {"repaired-on": "2026-08-01", "evidence": "yes"})):
        answer = client.post("/requests/new/leak/", {**form, **changed})
        assert answer.status_code == 422
        assert f'<a href="#{fault}">' in text_of(answer)
    assert client.post("/requests/new/leak/", {**form, "repaired-on": "2026-08-01"}).status_code == 303
    row = ServiceRequest.objects.get()
    assert (row.bill, row.repaired_on) == (bill, date(2026, 8, 1))
    desk = signed_in(staff())
    assert f"/staff/bills/{bill.public_id}/adjust/" in text_of(desk.get(f"/staff/requests/{row.public_id}/"))


def test_staff_filter_take_answer_and_close(account: Account, ana: User) -> None:
    row = asked(account, ana)
    stop = asked(account, ana, "stop", wished_on=LATER)
    desk = signed_in(staff())
    page = text_of(desk.get("/staff/requests/?kind=stop"))
    assert stop.public_id in page
    assert row.public_id not in page
    address = f"/staff/requests/{row.public_id}/"
    assert desk.post(address, {"action": "take"}).status_code == 303
    assert desk.post(address, {"action": "refuse", "note": ""}).status_code == 422
    assert desk.post(address, {"action": "done", "note": "A new lid is on."}).status_code == 303
    row.refresh_from_db()
    assert row.state == "done"
    assert row.public_id not in text_of(desk.get("/staff/requests/"))
    assert row.public_id in text_of(desk.get("/staff/requests/?state=done"))
    assert "A new lid is on." in text_of(signed_in(ana).get(f"/requests/{row.public_id}/"))
    old = ServiceRequest.objects.filter(pk=stop.pk)
    assert stop.public_id not in text_of(desk.get("/staff/requests/?days=7"))
    old.update(made_at=MOMENT - timedelta(days=8))
    assert stop.public_id in text_of(desk.get("/staff/requests/?days=7"))


def test_residents_do_not_reach_the_staff_pages(account: Account, ana: User) -> None:
    row, client = asked(account, ana), signed_in(ana)
    for address in ("/staff/requests/", f"/staff/requests/{row.public_id}/", "/staff/banners/", "/staff/settings/"):
        assert client.get(address).status_code == 403
    assert client.post(f"/staff/requests/{row.public_id}/", {"action": "done"}).status_code == 403


def test_requests_are_part_of_ones_own_data_and_leave_with_the_login(account: Account, ana: User) -> None:
    from portal.service.personal_data import REQUESTS

    closed, open_ = asked(account, ana), asked(account, ana, "stop", wished_on=LATER, phone="405-555-0111")
    rules.withdraw(closed, by=ana)
    rows = list(REQUESTS.rows(ana))
    assert [row["kind"] for row in rows] == ["other", "stop"]
    assert rows[0]["details"] == "The meter's lid is broken"
    assert REQUESTS.erase(ana) == 2
    assert list(REQUESTS.rows(ana)) == []
    closed.refresh_from_db()
    open_.refresh_from_db()
    assert (closed.details, closed.asked_by) == ("", None)
    assert (open_.phone, open_.asked_by) == ("405-555-0111", None)
    rules.finish(open_, "", by=staff())

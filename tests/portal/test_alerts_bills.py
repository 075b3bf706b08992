"""Alerts in money: a bill that is ready or due, a bill that will be high, thresholds in dollars, service notices."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.utils.formats import date_format

from portal.alerts import services
from portal.alerts.evaluation import look_at_usage
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert
from portal.alerts.preferences import Scope, Wish, add_threshold, choose
from portal.billing.models import BillingAccount
from portal.core.models import User
from portal.core.services import bump_change
from portal.customers.models import AccountAccess
from portal.customers.services import grant_access
from portal.ledger.payments import record_payment
from portal.metering.calendar import midnight
from portal.metering.models import RegisterState
from portal.notifications.models import Message, Phone
from tests.portal import billed
from tests.portal.alerting import look_at_events, reader, sent_to, subjects
from tests.portal.billed import CHICAGO, reads, run, steady

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
Level = AccountAccess.Level
MOMENT = midnight(date(2026, 6, 11), CHICAGO) + timedelta(hours=9)
HOUR = timedelta(hours=1)


@pytest.fixture
def home(settings: SettingsWrapper) -> billed.Home:
    """A home on its eleventh day of a month of 400 gallons a day; nothing was billed yet."""
    settings.HEADWATER_CLOCK = f"scaled:1.0:{time.time()!r}:{MOMENT.timestamp()!r}"
    billed.rate_book()
    found = billed.home(1, date(2026, 4, 1))
    reads(found.register, steady(date(2026, 4, 1), date(2026, 6, 11), 400))
    return found


def holder(home: billed.Home, email: str, level: Level = Level.HOLDER) -> User:
    user = reader(email)
    grant_access(home.account, user, at=MOMENT, level=level)
    return user


def phone(user: User) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    Phone.objects.create(
        user=user, number="+14055550123", consented_at=at, verified_at=at, consent_text="-", consent_language="en"
    )


def changed(home: billed.Home) -> None:
    RegisterState.objects.filter(register=home.register).update(change_number=bump_change())


def test_a_bill_is_told_once_to_those_who_see_bills_and_not_by_a_second_email(home: billed.Home) -> None:
    ana = holder(home, "ana@example.org")
    ben, cleo = holder(home, "ben@example.org", Level.MANAGE_ALL), holder(home, "cleo@example.org", Level.MANAGE_ALERTS)
    dora = holder(home, "dora@example.org", Level.VIEW_BILLS)
    BillingAccount.objects.filter(account=home.account).update(email=ana.email)
    phone(ben)
    choose(Scope(ben, home.account), Kind.BILL_READY, Wish(on=True, by_email=True, by_sms=True))
    (bill,) = run(date(2026, 6, 1))
    assert Message.objects.filter(key=f"bill:{bill.public_id}:email", to=ana.email).count() == 1
    look_at_events(MOMENT)
    look_at_events(MOMENT + HOUR)
    assert sent_to(ana) == sent_to(cleo) == sent_to(dora) == []
    email, text = sent_to(ben)
    assert "due on" in email.text
    assert "Your bill is ready." in text.text
    assert "$" not in text.text
    (alert,) = services.visible_alerts(ana)
    assert alert.kind == Kind.BILL_READY
    assert list(services.visible_alerts(cleo)) == list(services.visible_alerts(dora)) == []


def test_a_reminder_comes_before_the_due_date_with_amount_and_ways_to_pay_while_the_bill_is_open(
    home: billed.Home,
) -> None:
    from portal.core.services import utility_settings

    settings = utility_settings()
    settings.ways_to_pay = [{"label": {"en": "In person"}, "detail": {"en": "1 Main Street"}}]
    settings.save()
    (bill,) = run(date(2026, 6, 1))
    ana, ben = holder(home, "ana@example.org"), holder(home, "ben@example.org")
    phone(ben)
    client = Client()
    client.force_login(ben)
    assert "Text-to-Pay reminder" in client.get("/profile/notifications/").content.decode()
    wish = {"bill-due-shown": "1", "bill-due-on": "on", "bill-due-sms": "on", "bill-due-number": "5"}
    saved = {"form": "due", "key": "a1", "account": home.account.public_id, **wish}
    assert client.post("/profile/notifications/save/", saved).status_code == 303
    due = midnight(bill.due_date, CHICAGO)
    for hours in range(-9 * 24, 3 * 24, 5):
        look_at_events(due + hours * HOUR)
    (mail,) = [message for message in sent_to(ana) if "due soon" in message.subject]
    amount = f"${bill.due_cents // 100:,}.{bill.due_cents % 100:02d}"
    for words in (amount, "In person: 1 Main Street", "3 days before", "How you can pay:"):
        assert words in mail.text
    assert "pay online" not in mail.text.lower()
    (text,) = [message for message in sent_to(ben) if message.channel == "sms"]
    assert f"{amount} is due on {date_format(bill.due_date, 'F j')}" in text.text
    assert (text.to, [mail for mail in sent_to(ben) if "due soon" in mail.subject]) == ("+14055550123", [])
    days = {alert.evidence["days"]: (due - alert.opened_at).days for alert in Alert.objects.filter(kind=Kind.BILL_DUE)}
    assert days == {3: 2, 5: 4}  # in the morning of the day so many days before


def test_nobody_is_reminded_of_what_is_paid(home: billed.Home) -> None:
    (bill,) = run(date(2026, 6, 1))
    ana = holder(home, "ana@example.org")
    record_payment(
        home.account, bill.due_cents, method="cash", received_on=bill.bill_date, reference="r-1", label="test"
    )
    for hours in range(-9 * 24, 24, 5):
        look_at_events(midnight(bill.due_date, CHICAGO) + hours * HOUR)
    assert "Your bill is due soon" not in subjects(ana)


def test_limits_in_dollars_count_at_the_accounts_own_rates(home: billed.Home) -> None:
    """400 gallons a day at $3.46 for 1,000: a day costs $1.38, the ten days so far $59.54 with the fixed charges."""
    ana = holder(home, "ana@example.org")
    scope = Scope(ana, home.account)
    add = lambda amount, per: add_threshold(  # noqa: E731
        scope, per=per, amount=amount, unit="usd", by_email=True, by_sms=False
    )
    start = midnight(date(2026, 6, 11), CHICAGO)
    add("2", "day"), add("3", "hour"), add("59", "period"), add("70", "period")
    reads(home.register, [(start + HOUR, 28_435 + 10), (start + 2 * HOUR, 28_435 + 15)])
    state = RegisterState.objects.get(register=home.register)
    last = state.last_count
    changed(home)
    look_at_usage(start + 2 * HOUR)
    assert [alert.evidence["amount"] for alert in Alert.objects.filter(kind=Kind.THRESHOLD)] == ["59"]
    reads(home.register, [(start + 2.5 * HOUR, last + 1_000)])
    changed(home)
    look_at_usage(start + 2.5 * HOUR)
    told = Alert.objects.filter(kind=Kind.THRESHOLD).order_by("pk")
    assert [(alert.evidence["per"], alert.evidence["unit"]) for alert in told] == [
        ("period", "usd"), ("day", "usd"), ("hour", "usd")
    ]  # fmt: skip
    assert told[2].evidence["cents"] > 300
    look_at_usage(start + 2.7 * HOUR)
    assert len([one for one in subjects(ana) if "limit" in one]) == 3


def test_a_high_bill_to_be_expected_is_told_once_a_period(home: billed.Home) -> None:
    ana = holder(home, "ana@example.org")
    choose(Scope(ana, home.account), Kind.PROJECTED, Wish(on=True, amount=Decimal(200)))
    changed(home)
    look_at_usage(MOMENT)
    assert subjects(ana) == []
    choose(Scope(ana, home.account), Kind.PROJECTED, Wish(on=True, amount=Decimal(60)))
    for minutes in (10, 20):
        changed(home)
        look_at_usage(MOMENT + minutes * HOUR / 60)
    assert subjects(ana) == ["Your next bill will probably be high"]
    assert "your bill to June 30, 2026 will come to about $" in sent_to(ana)[0].text


def test_what_costs_too_much_is_told_when_the_reads_are_there_and_not_lost_as_too_old(home: billed.Home) -> None:
    ana = holder(home, "ana@example.org")
    add_threshold(Scope(ana, home.account), per="period", amount="50", unit="usd", by_email=True, by_sms=False)
    choose(Scope(ana, home.account), Kind.PROJECTED, Wish(on=True, amount=Decimal(50)))
    cleo = holder(home, "cleo@example.org", Level.MANAGE_ALL)
    add_threshold(Scope(cleo, home.account), per="period", amount="50", unit="usd", by_email=True, by_sms=False)
    AccountAccess.objects.filter(user=cleo).update(level=Level.MANAGE_ALERTS)  # who may see no bills any more
    newest, day = midnight(date(2026, 6, 11), CHICAGO), timedelta(days=1)
    changed(home)
    look_at_usage(newest + 4 * day)
    assert (Alert.objects.count(), sent_to(ana)) == (0, [])
    count = RegisterState.objects.get(register=home.register).last_count
    reads(home.register, [(newest + n * day, count + 10 * n) for n in range(1, 5)])
    changed(home)
    look_at_usage(newest + 4 * day)
    assert sorted(subjects(ana)) == ["Your next bill will probably be high", "Your water use passed the limit you set"]
    assert sent_to(cleo) == []
    cents = {alert.kind: alert.evidence["cents"] for alert in Alert.objects.all()}
    spent, ahead = (Decimal(cents[kind]) / 100 for kind in (Kind.THRESHOLD, Kind.PROJECTED))
    add_threshold(Scope(ana, home.account), per="period", amount=str(spent), unit="usd", by_email=True, by_sms=False)
    choose(Scope(ana, home.account), Kind.PROJECTED, Wish(on=True, amount=ahead))
    changed(home)
    look_at_usage(newest + 4 * day)
    assert len(sent_to(ana)) == 2  # the limit itself is not more than the limit


def test_service_notices_go_to_everybody_with_a_home_once_and_plain_notices_to_nobody(home: billed.Home) -> None:
    from portal.service.services import BannerWords, make_banner

    ana, viewer = holder(home, "ana@example.org"), holder(home, "vera@example.org", Level.VIEW_USAGE)
    words = {"en": "No water on Elm Street"}
    starts = MOMENT + 30 * HOUR
    make_banner(BannerWords("outage", words, {"en": "A main is replaced."}, starts, starts + 4 * HOUR))
    make_banner(BannerWords("notice", {"en": "Our fair"}, {"en": "Come."}, starts, starts + HOUR))
    for minutes in (0, 1, 60):
        look_at_events(MOMENT + minutes * HOUR / 60)
    (message,) = sent_to(ana)
    assert message.subject.endswith("A notice about your water service")
    assert "A main is replaced. From June 12, 2026, 3:00 PM to June 12, 2026, 7:00 PM." in message.text
    assert sent_to(viewer) == []

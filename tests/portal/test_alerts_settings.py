"""Who may set what, what is stored of it, what an answer does, and what the texts hold."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from portal.alerts import services
from portal.alerts.kinds import RULES, Kind
from portal.alerts.models import Alert, AlertSetting
from portal.alerts.preferences import Scope, Wish, add_threshold, choose, remove_threshold, send_test
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User
from portal.customers.models import AccountAccess
from portal.notifications.models import Channel, Phone
from tests.portal.alerting import (
    DAY,
    HOUR,
    account_of,
    guest_of,
    home_of,
    leak_case,
    look_at_events,
    reader,
    sent_to,
    subjects,
)
from tests.portal.metered_homes import Home

pytestmark = pytest.mark.django_db
Level = AccountAccess.Level
NOON = datetime(2026, 6, 17, 17, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("portal.alerts.preferences.now", "portal.alerts.services.now"):
        monkeypatch.setattr(name, lambda: NOON)


@pytest.fixture
def ana() -> User:
    return reader()


@pytest.fixture
def home(ana: User) -> Home:
    return home_of(ana)


def scope(home: Home, user: User) -> Scope:
    return Scope(user, account_of(home), home.service_point)


def phone(user: User) -> None:
    Phone.objects.create(
        user=user, number="+14055550123", consented_at=NOON, verified_at=NOON, consent_text="-", consent_language="en"
    )


def test_only_what_differs_from_the_defaults_is_stored(home: Home, ana: User) -> None:
    mine = scope(home, ana)
    choose(mine, Kind.LEAK, Wish(on=True))
    assert AlertSetting.objects.count() == 0
    assert AuditEntry.objects.filter(action="alert.setting").count() == 0
    choose(mine, Kind.LEAK, Wish(on=False))
    choose(mine, Kind.SILENT, Wish(on=True, number=48))
    assert AlertSetting.objects.count() == 2
    choose(mine, Kind.LEAK, Wish(on=True))
    choose(mine, Kind.SILENT, Wish(on=True, number=24))
    assert AlertSetting.objects.count() == 0
    assert AuditEntry.objects.filter(action="alert.setting", actor=ana).count() == 4


@pytest.mark.parametrize("level", [Level.VIEW_USAGE, Level.VIEW_BILLS, Level.PAY])
def test_who_only_looks_can_set_nothing(home: Home, level: Level) -> None:
    other = guest_of(home, "other@example.org", level)
    for kind in Kind:
        if kind != Kind.THRESHOLD:
            place = Scope(other, account_of(home), None if RULES[kind].account else home.service_point)
            with pytest.raises(Refused, match="may not"):
                choose(place, kind, Wish(on=False))
    with pytest.raises(Refused, match="may not"):
        limit(home, other)
    assert AlertSetting.objects.count() == 0


def limit(home: Home, user: User, amount: str = "50", unit: str = "gal", per: str = "hour") -> AlertSetting:
    return add_threshold(scope(home, user), per=per, amount=amount, unit=unit, by_email=True, by_sms=False)


def test_who_manages_alerts_sets_what_is_about_water_and_nothing_about_money(home: Home) -> None:
    helper = guest_of(home, "helper@example.org", Level.MANAGE_ALERTS)
    limit(home, helper)
    choose(scope(home, helper), Kind.UNUSUAL, Wish(on=False))
    with pytest.raises(Refused, match="may not"):
        limit(home, helper, unit="usd")
    for kind in (Kind.PROJECTED, Kind.BILL_READY, Kind.BILL_DUE):
        with pytest.raises(Refused, match="may not"):
            choose(Scope(helper, account_of(home)), kind, Wish(on=True, number=RULES[kind].number))


def test_another_persons_meter_and_limit_cannot_be_touched(home: Home, ana: User) -> None:
    ben = reader("ben@example.org")
    other = home_of(ben, number=2)
    own = limit(home, ana)
    with pytest.raises(Refused, match="not one of yours"):
        remove_threshold(ben, own.public_id)
    for place in (Scope(ben, account_of(home), home.service_point), Scope(ben, account_of(other), home.service_point)):
        with pytest.raises(Refused):
            choose(place, Kind.LEAK, Wish(on=False))
    remove_threshold(ana, own.public_id)
    assert AlertSetting.objects.count() == 0


@pytest.mark.parametrize(
    ("amount", "unit", "per", "code"),
    [
        ("0", "gal", "hour", "amount"),
        ("-5", "gal", "hour", "amount"),
        ("many", "gal", "hour", "amount"),
        ("nan", "gal", "hour", "amount"),
        ("1e9", "gal", "hour", "amount"),
        ("1.23456", "gal", "hour", "amount"),
        ("5", "pints", "hour", "unit"),
        ("5", "gal", "week", "per"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    home: Home, ana: User, amount: str, unit: str, per: str, code: str
) -> None:
    with pytest.raises(Refused) as caught:
        limit(home, ana, amount, unit, per)
    assert caught.value.code == code
    assert limit(home, ana, " 1,200.5 ").amount == 1200.5


def test_texts_need_a_confirmed_phone_and_something_must_be_chosen(home: Home, ana: User) -> None:
    with pytest.raises(Refused, match="phone number"):
        choose(scope(home, ana), Kind.LEAK, Wish(on=True, by_sms=True))
    with pytest.raises(Refused, match="email or text"):
        choose(scope(home, ana), Kind.LEAK, Wish(on=True, by_email=False))
    phone(ana)
    choose(scope(home, ana), Kind.LEAK, Wish(on=True, by_email=False, by_sms=True))
    leak_case(home, NOON)
    look_at_events(NOON)
    (message,) = sent_to(ana)
    assert (message.channel, message.to) == (Channel.SMS, "+14055550123")


def test_days_away_must_be_days_to_come(home: Home, ana: User) -> None:
    for first, last in ((None, None), (date(2026, 6, 20), date(2026, 6, 19)), (date(2026, 6, 1), date(2026, 6, 16))):
        with pytest.raises(Refused) as caught:
            choose(scope(home, ana), Kind.VACATION, Wish(on=True, first_day=first, last_day=last))
        assert caught.value.code == "days"


def test_an_answer_is_kept_audited_and_seen_by_staff_and_quiets_the_reminders(home: Home, ana: User) -> None:
    case = leak_case(home, NOON)
    look_at_events(NOON)
    alert = services.alert_for_case(case, ana)
    assert alert is not None
    with pytest.raises(Refused, match="200"):
        services.answer(alert, "pool", note="x" * 201, actor=ana)
    with pytest.raises(Refused, match="Choose"):
        services.answer(alert, "dragon", actor=ana)
    assert services.open_alerts(ana) == [alert]
    services.answer(alert, "pool", note="the  spa,\n since Monday", actor=ana)
    assert services.open_alerts(ana) == []
    look_at_events(NOON + 2 * DAY)
    assert len(sent_to(ana)) == 1
    ((said,),) = services.answers_to([case.public_id]).values()
    assert (said.label, said.note, said.at) == ("This was my pool or spa", "the spa, since Monday", NOON)
    entry = AuditEntry.objects.get(action="alert.answer")
    assert entry.actor == ana
    assert "spa" not in str(entry.detail)  # their own words stay with the alert


def test_a_lawful_answer_may_quiet_the_kind_for_some_days_and_not_for_ever(home: Home, ana: User) -> None:
    leak_case(home, NOON)
    look_at_events(NOON)
    alert = Alert.objects.get()
    assert not services.may_quiet(alert, services.side_of(alert, ana))
    services.answer(alert, "irrigation", actor=ana)
    assert services.may_quiet(alert, services.side_of(alert, ana))
    with pytest.raises(Refused):
        services.quiet(alert, 365, actor=ana)
    assert services.quiet(alert, 7, actor=ana) == NOON + 7 * DAY
    other = home_of(ana, number=2)
    leak_case(home, NOON + DAY, alarm="again")
    leak_case(other, NOON + DAY, alarm="elsewhere")
    look_at_events(NOON + DAY)
    assert len(sent_to(ana)) == 2  # of the other meter alone
    look_at_events(NOON + 8 * DAY)
    assert len([one for one in subjects(ana) if not one.startswith("Still")]) == 3


def test_nobody_answers_for_another(home: Home, ana: User) -> None:
    leak_case(home, NOON)
    look_at_events(NOON)
    alert, ben = Alert.objects.get(), reader("ben@example.org")
    viewer = guest_of(home, "viewer@example.org", Level.VIEW_USAGE)
    home_of(ben, number=2)
    for other in (ben, viewer):
        for act in (
            lambda who: services.acknowledge(alert, actor=who),
            lambda who: services.answer(alert, "pool", actor=who),
            lambda who: services.quiet(alert, 7, actor=who),
        ):
            with pytest.raises(Refused, match="not one of yours"):
                act(other)
    assert ana.alerts_received.count() == 1


def test_a_test_message_goes_to_a_confirmed_address_only(ana: User) -> None:
    (message,) = send_test(ana, Channel.EMAIL)
    assert message.to == ana.email
    with pytest.raises(Refused, match="phone"):
        send_test(ana, Channel.SMS)
    with pytest.raises(Refused, match="email"):
        send_test(reader("new@example.org", verified=False), Channel.EMAIL)


GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)
EVIDENCE = {
    Kind.LEAK: {"rule": "burst", "litres": 314, "litres_per_h": 40},
    Kind.UNUSUAL: {"what": "hour", "litres": 201, "most_litres": 20, "days": 28},
    Kind.THRESHOLD: {"amount": "50", "unit": "gal", "per": "hour", "litres": 190},
    Kind.PROJECTED: {"cents": 9900, "limit_cents": 6000, "last_day": "2026-06-30"},
    Kind.VACATION: {"day": "2026-06-18", "litres": 21, "trickle_litres": 20, "last_day": "2026-06-20"},
    Kind.NO_USE: {"days": 2},
    Kind.SILENT: {"hours": 24},
    Kind.BILL_READY: {"bill_date": "2026-06-02", "due_date": "2026-06-22", "cents": 6123},
    Kind.BILL_DUE: {"bill_date": "2026-06-02", "due_date": "2026-09-22", "cents": 123456, "days": 3},
    Kind.SERVICE: {"title": {"en": "T"}, "text": {"en": "X"}, "until": ""},
}


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("kind", list(Kind))
def test_texts_are_short_plain_and_hold_nothing_personal(home: Home, kind: Kind, language: str) -> None:
    from zoneinfo import ZoneInfo

    from django.utils import translation

    from domain.units import Unit
    from portal.alerts.texts import Reader, words_for

    alert = Alert(
        kind=kind, account=account_of(home), service_point=home.service_point, since=NOON, happened_at=NOON,
        opened_at=NOON, ended_at=NOON + HOUR, evidence=EVIDENCE[kind],
    )  # fmt: skip
    with translation.override(language):
        for again, over in ((False, False), (True, False), (False, True)):
            words = words_for(alert, Reader(Unit.GALLON, ZoneInfo("America/Chicago")), again=again, over=over)
            assert len(words.sms) <= 90  # the utility's name, code and STOP share the 160 with it
            assert set(words.sms) <= GSM_7, set(words.sms) - GSM_7
            assert "Elm" not in words.subject + words.sms
            assert "\n" not in words.subject
            assert len(words.subject) <= 80
            assert words.what
            assert words.why

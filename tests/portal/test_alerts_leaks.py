"""Leaks are told to everybody who manages alerts at the meter, by themselves, once, and every day until answered."""

from __future__ import annotations

import pytest

from portal.alerts import leaks, services
from portal.alerts.choices import choices_of
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert, AlertRecipient, AlertSetting, Watermark
from portal.alerts.telling import end, keep
from portal.customers.models import AccountAccess, Occupancy
from portal.customers.services import end_access, grant_access, move_in, move_out
from portal.notifications.models import Message
from tests.portal.alerting import (
    DAY,
    HOUR,
    WEDNESDAY,
    account_of,
    guest_of,
    home_of,
    leak_case,
    look,
    look_at_events,
    reader,
    sent_to,
    subjects,
)

pytestmark = pytest.mark.django_db
Level = AccountAccess.Level
NOON = WEDNESDAY + 12 * HOUR


def test_a_leak_is_told_within_one_look_to_those_who_manage_alerts_without_a_word_from_them() -> None:
    home = home_of(ana := reader()).read(NOON, 10_500)
    helper = guest_of(home, "helper@example.org", Level.MANAGE_ALERTS)
    viewer = guest_of(home, "viewer@example.org", Level.VIEW_USAGE)
    bills = guest_of(home, "bills@example.org", Level.VIEW_BILLS)
    unproven = reader("unproven@example.org", verified=False)
    grant_access(account_of(home), unproven, at=NOON, level=Level.MANAGE_ALERTS)
    leak_case(home, NOON - HOUR)
    assert look(NOON) == 1
    assert AlertSetting.objects.count() == 0
    assert subjects(ana) == subjects(helper) == ["Water may be leaking"]
    assert sent_to(viewer) == sent_to(bills) == sent_to(unproven) == []
    alert = Alert.objects.get()
    assert (alert.kind, alert.since, alert.happened_at) == (Kind.LEAK, NOON - 9 * HOUR, NOON - HOUR)
    text = sent_to(ana)[0].text
    for words in (
        "1 Elm Street",
        "June 17, 2026, 3:00 AM",
        "11 gallons an hour",
        "83 gallons were counted",
        "For eight hours",
        "Toilets",
        "Irrigation",
        "softener",
        "remind you once a day",
        "turn this off",
        f"https://portal.example.gov/alerts/{alert.public_id}/",
    ):
        assert words in text
    assert "Elm" not in sent_to(ana)[0].subject


def test_nothing_is_told_twice_and_reminders_come_once_a_day_until_it_is_acknowledged() -> None:
    home = home_of(ana := reader())
    ben = guest_of(home, "ben@example.org", Level.MANAGE_ALL)
    leak_case(home, NOON)
    for minute in range(0, 600, 7):
        look_at_events(NOON + minute * HOUR / 60)
    assert subjects(ana) == ["Water may be leaking"]
    for hour in range(10, 72, 2):
        home.newest(NOON + hour * HOUR, home.count)
        look_at_events(NOON + hour * HOUR)
    assert subjects(ana) == ["Water may be leaking", *["Still so: Water may be leaking"] * 3]
    alert = Alert.objects.get()
    services.acknowledge(alert, actor=ana)
    look_at_events(NOON + 4 * DAY)
    assert len(subjects(ana)) == 4  # quiet after the answer
    assert len(subjects(ben)) == 5  # everybody answers for themselves alone


def test_reminders_wait_for_ten_in_the_morning() -> None:
    home = home_of(ana := reader())
    leak_case(home, NOON)
    look_at_events(NOON)
    for hour in range(1, 22):
        look_at_events(NOON + hour * HOUR)
    assert len(sent_to(ana)) == 1
    look_at_events(NOON + 22 * HOUR)
    assert len(sent_to(ana)) == 2


def test_that_it_is_over_is_told_once() -> None:
    home = home_of(ana := reader())
    case = leak_case(home, NOON)
    look_at_events(NOON)
    case.cleared_at = NOON + 5 * HOUR
    case.evidence = {**case.evidence, "cleared": {"litres": 900}}
    case.save()
    for hour in (5, 6, 30, 60):
        look_at_events(NOON + hour * HOUR)
    assert subjects(ana) == ["Water may be leaking", "Over: Water may be leaking"]
    assert "has stopped, on June 17, 2026, 5:00 PM" in sent_to(ana)[1].text
    assert "238 gallons" in sent_to(ana)[1].text
    end(Alert.objects.all(), NOON + 6 * HOUR, NOON + 6 * HOUR)  # another worker comes a moment later
    assert (Alert.objects.get().ended_at, len(sent_to(ana))) == (NOON + 5 * HOUR, 2)


def test_a_leak_that_came_and_went_between_two_looks_is_not_lost_and_an_old_one_is_kept_and_not_sent() -> None:
    home = home_of(ana := reader())
    look_at_events(NOON - 5 * DAY)
    for alarm, days in (("short", 0), ("old", 4)):
        case = leak_case(home, NOON - days * DAY - 2 * HOUR, alarm=alarm)
        case.cleared_at = NOON - days * DAY - HOUR
        case.save()
    assert look_at_events(NOON) == 2
    assert [(alert.late, alert.ended_at is not None) for alert in Alert.objects.order_by("happened_at")] == [
        (True, True),
        (False, True),
    ]
    assert subjects(ana) == ["Water may be leaking", "Over: Water may be leaking"]


def test_a_running_leak_that_was_found_late_is_told_when_its_meter_is_heard_again_and_not_before() -> None:
    home, quiet = home_of(ana := reader()), home_of(ben := reader("ben@example.org"), number=2)
    for one in (home, quiet):
        leak_case(one, NOON - 4 * DAY, alarm=account_of(one).number)
    assert look_at_events(NOON) == 2
    assert look_at_events(NOON + 22 * HOUR) == 0  # ten in the morning: what is late is not reminded of either
    assert sent_to(ana) == sent_to(ben) == []
    home.newest(NOON + DAY, home.count)
    for minute in range(3):
        look_at_events(NOON + DAY + minute * HOUR / 60)
    assert (subjects(ana), sent_to(ben)) == (["Water may be leaking"], [])
    look_at_events(NOON + 46 * HOUR)
    assert subjects(ana) == ["Water may be leaking", "Still so: Water may be leaking"]
    assert [alert.late for alert in Alert.objects.order_by("pk")] == [False, True]


def test_a_leak_whose_case_commits_after_a_later_one_is_told_although_it_has_cleared() -> None:
    home, other = home_of(ana := reader()), home_of(ben := reader("ben@example.org"), number=2)
    leak_case(other, NOON - HOUR, alarm="quick")
    look_at_events(NOON)
    assert (subjects(ana), subjects(ben)) == ([], ["Water may be leaking"])
    slow = leak_case(home, NOON - 2 * HOUR, alarm="slow")
    slow.cleared_at = NOON - HOUR
    slow.save()
    Watermark.objects.filter(name="leak cases").update(value=slow.pk)  # its number was taken before the other's
    guest = guest_of(home, "guest@example.org", Level.MANAGE_ALERTS)
    AccountAccess.objects.filter(user=guest).update(granted_at=NOON - HOUR / 2)
    for minute in range(3):
        look_at_events(NOON + minute * HOUR / 60)
    assert subjects(ana) == ["Water may be leaking", "Over: Water may be leaking"]
    assert sent_to(guest) == []  # who came after it had cleared hears of nothing that was before


def test_two_workers_that_find_a_leak_a_moment_apart_keep_and_tell_one() -> None:
    home = home_of(ana := reader())
    untold = leaks._untold([leak_case(home, NOON - HOUR)], NOON)
    kept = [keep(list(leaks._found(untold, moment)), moment) for moment in (NOON, NOON + HOUR / 60)]
    assert [len(alerts) for alerts in kept] == [1, 0]
    assert subjects(ana) == ["Water may be leaking"]


def test_a_leak_that_cleared_before_anybody_listened_is_no_news_to_who_registers() -> None:
    home = home_of(ana := reader())
    AccountAccess.objects.filter(user=ana).update(granted_at=NOON)
    past = leak_case(home, NOON - 2 * HOUR)
    past.cleared_at = NOON - HOUR
    past.save()
    assert look_at_events(NOON) == 0
    assert sent_to(ana) == []


def test_a_new_guest_has_the_defaults_and_learns_of_a_standing_leak() -> None:
    home = home_of(reader())
    leak_case(home, NOON)
    look_at_events(NOON)
    guest = guest_of(home, "guest@example.org", Level.MANAGE_ALERTS)
    account = account_of(home).pk
    kinds = [kind for kind in Kind if choices_of([account]).of(kind, account, home.service_point.pk)]
    assert kinds == [
        Kind.LEAK, Kind.UNUSUAL, Kind.THRESHOLD, Kind.SILENT, Kind.BILL_READY, Kind.BILL_DUE, Kind.SERVICE
    ]  # fmt: skip
    mine = [
        kind
        for kind in Kind
        if guest in [choice.user for choice in choices_of([account]).of(kind, account, home.service_point.pk)]
    ]
    assert mine == [Kind.LEAK, Kind.UNUSUAL, Kind.THRESHOLD, Kind.SILENT, Kind.SERVICE]
    look_at_events(NOON + 22 * HOUR)
    assert subjects(guest) == ["Water may be leaking"]


def test_ended_access_and_a_move_out_end_every_message() -> None:
    home = home_of(ana := reader())
    guest = guest_of(home, "guest@example.org", Level.MANAGE_ALERTS)
    leak_case(home, NOON)
    look_at_events(NOON)
    end_access(AccountAccess.objects.get(user=guest), at=NOON)
    look_at_events(NOON + DAY)
    assert (len(sent_to(guest)), len(sent_to(ana))) == (1, 2)
    assert list(services.visible_alerts(guest)) == []
    move_out(Occupancy.objects.get(service_point=home.service_point), NOON + DAY)
    look_at_events(NOON + 2 * DAY)
    assert len(sent_to(ana)) == 2
    assert Alert.objects.get().ended_at == NOON + 2 * DAY


def test_who_moves_in_is_told_of_what_still_runs_from_their_own_time_on_and_of_nothing_before() -> None:
    home = home_of(reader())
    past = leak_case(home, NOON - DAY, alarm="past")
    past.cleared_at = NOON - HOUR
    past.save()
    leak_case(home, NOON, alarm="running")
    look_at_events(NOON)
    moved = NOON + 5 * HOUR
    move_out(Occupancy.objects.get(service_point=home.service_point), moved)
    from portal.customers.models import Account

    account = Account.objects.create(number="2000001")
    zoe = reader("zoe@example.org")
    grant_access(account, zoe, at=moved)
    move_in(account, home.service_point, moved)
    look_at_events(moved + HOUR)
    (mine,) = services.visible_alerts(zoe)
    assert (mine.since, mine.happened_at) == (moved, moved)
    assert "3:00 AM" not in sent_to(zoe)[0].text
    assert "5:00 PM" in sent_to(zoe)[0].text
    assert "83 gallons" not in sent_to(zoe)[0].text  # what ran before is not theirs to know


def test_turned_off_it_is_not_told() -> None:
    from portal.alerts.preferences import Scope, Wish, choose

    home = home_of(ana := reader())
    choose(Scope(ana, account_of(home), home.service_point), Kind.LEAK, Wish(on=False))
    leak_case(home, NOON)
    look_at_events(NOON)
    assert sent_to(ana) == []
    assert [alert.kind for alert in services.visible_alerts(ana)] == [Kind.LEAK]  # the page still says so


def test_a_worker_that_dies_between_keeping_and_sending_loses_and_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from portal.alerts import telling

    class Killed(BaseException):
        """Like a signal: nothing catches it on the way."""

    home = home_of(ana := reader())
    guest = guest_of(home, "guest@example.org", Level.MANAGE_ALERTS)
    leak_case(home, NOON)
    whole, calls = telling.notify, []

    def dies(*args: object, **named: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        return whole(*args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(telling, "notify", dies)
        with pytest.raises(Killed):
            look_at_events(NOON)
    assert (Alert.objects.count(), AlertRecipient.objects.count(), Message.objects.count()) == (0, 0, 0)
    look_at_events(NOON)
    look_at_events(NOON)
    assert subjects(ana) == subjects(guest) == ["Water may be leaking"]


def test_in_spanish_and_in_litres() -> None:
    from portal.resident.models import Preference

    home = home_of(ana := reader(language="es"))
    Preference.objects.create(user=ana, unit="l")
    leak_case(home, NOON)
    look_at_events(NOON)
    (message,) = sent_to(ana)
    assert message.language == "es"
    assert "Water may be leaking" not in message.subject
    assert "40 litros" in message.text

"""Thresholds, unusual use, vacation, no use and silence: what is told, once, and what is nothing to tell of."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portal.alerts.evaluation import look_at_usage
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert, UsageMark
from portal.alerts.preferences import Scope, Wish, add_threshold, choose
from portal.customers.models import Occupancy
from portal.customers.services import move_out
from portal.metering.folding import fold_closed_days
from portal.metering.models import RecentRead
from portal.notifications.models import Message
from tests.portal.alerting import (
    DAY,
    HOUR,
    WEDNESDAY,
    account_of,
    heard,
    home_of,
    let_flow,
    lived_in,
    reader,
    run_hours,
    sent_to,
    subjects,
)
from tests.portal.metered_homes import Home

pytestmark = pytest.mark.django_db
NOW = WEDNESDAY


@pytest.fixture(autouse=True)
def _the_clock_of_that_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.alerts.preferences.now", lambda: NOW)


def limit(home: Home, user, amount: str, per: str, unit: str = "gal"):  # type: ignore[no-untyped-def]
    scope = Scope(user, account_of(home), home.service_point)
    return add_threshold(scope, per=per, amount=amount, unit=unit, by_email=True, by_sms=False)


def kinds() -> list[str]:
    return list(Alert.objects.order_by("pk").values_list("kind", flat=True))


def test_a_limit_for_an_hour_is_told_in_the_hour_itself_and_once_for_each_hour() -> None:
    home = home_of(ana := reader(), start=NOW - DAY).read_daily(1, 240, reads_a_day=24, fold=False)
    limit(home, ana, "50", "hour")
    look_at_usage(NOW)
    assert sent_to(ana) == []
    look_at_usage(let_flow(home, 189, minutes=10))  # 49.9 gallons
    assert sent_to(ana) == []
    look_at_usage(let_flow(home, 2, minutes=10))  # 50.5
    assert subjects(ana) == ["Your water use passed the limit you set"]
    assert "50 gallons in the hour from 12 AM on June 17, 2026." in sent_to(ana)[0].text
    assert "more than 50 gallons in an hour" in sent_to(ana)[0].text
    look_at_usage(let_flow(home, 300, minutes=10))
    look_at_usage(let_flow(home, 300, minutes=29))
    assert len(sent_to(ana)) == 1
    look_at_usage(let_flow(home, 200, minutes=10))  # the next hour, of which 9 minutes have passed
    assert len(sent_to(ana)) == 1
    look_at_usage(let_flow(home, 200, minutes=10))
    assert len(sent_to(ana)) == 2
    assert {alert.ended_at for alert in Alert.objects.all()} == {NOW + HOUR, NOW + 2 * HOUR}


def test_limits_for_a_day_and_a_period_count_from_their_midnights() -> None:
    from portal.billing.models import BillingAccount
    from tests.portal.billed import cycle

    home = home_of(ana := reader(), start=NOW - 2 * DAY).read_daily(2, 900, reads_a_day=24, fold=False)
    BillingAccount.objects.create(account=account_of(home), cycle=cycle(read_day=16))
    limit(home, ana, "1000", "day", "l")
    limit(home, ana, "2.5", "period", "m3")
    look_at_usage(NOW)
    for _ in range(20):
        look_at_usage(run_hours(home, 1, 50))
    assert kinds() == []
    look_at_usage(run_hours(home, 1, 50))
    assert kinds() == [Kind.THRESHOLD]
    assert Alert.objects.get().evidence == {"amount": "1000", "unit": "l", "per": "day", "litres": 1050}
    look_at_usage(run_hours(home, 12, 50))  # with the 900 of the 16th, on which the period began
    assert [alert.evidence["per"] for alert in Alert.objects.order_by("pk")] == ["day", "period"]
    assert "2.6 cubic meters in the billing period since June 16, 2026" in sent_to(ana)[1].text


def test_a_limit_that_was_passed_between_two_looks_is_told_and_late_data_is_kept_and_not_sent() -> None:
    home = home_of(ana := reader(), start=NOW - DAY).read_daily(1, 240, reads_a_day=24, fold=False)
    limit(home, ana, "100", "hour", "l")
    look_at_usage(NOW)
    for litres in (10, 150, 10):
        let_flow(home, litres)
    look_at_usage(home.at + timedelta(minutes=5))
    (alert,) = Alert.objects.all()
    assert (alert.since, alert.evidence["litres"], alert.late) == (NOW + HOUR, 150, False)
    for litres in (10, 150, *[10] * 80):
        let_flow(home, litres)
    look_at_usage(home.at + timedelta(minutes=5))
    assert list(Alert.objects.order_by("pk").values_list("late", flat=True)) == [False, True]
    assert len(sent_to(ana)) == 1


def test_a_gap_that_fills_is_looked_at_again() -> None:
    home = home_of(ana := reader(), start=NOW - DAY).read_daily(1, 240, reads_a_day=24, fold=False)
    limit(home, ana, "100", "hour", "l")
    look_at_usage(NOW)
    start = home.count
    let_flow(home, 270, minutes=9 * 60)  # the live read overtakes what the collector still has
    look_at_usage(home.at)
    assert sent_to(ana) == []
    rows = [home.row(NOW + n * HOUR, start + 10 * n + (180 if n > 3 else 0)) for n in range(1, 9)]
    RecentRead.objects.bulk_create(rows)
    heard(home)
    look_at_usage(home.at + HOUR / 6)
    assert Alert.objects.get().since == NOW + 3 * HOUR


@pytest.mark.parametrize("quality", [1, 3], ids=["estimated", "suspect"])
def test_no_estimated_and_no_suspect_read_alarms_anybody(quality: int) -> None:
    home = lived_in(ana := reader())
    limit(home, ana, "50", "hour")
    choose(
        Scope(ana, account_of(home), home.service_point),
        Kind.VACATION,
        Wish(on=True, first_day=date(2026, 6, 17), last_day=date(2026, 6, 20)),
    )
    look_at_usage(NOW)
    look_at_usage(let_flow(home, 5000, quality=quality))
    assert kinds() == []
    look_at_usage(let_flow(home, 0, minutes=30))
    assert Kind.VACATION in kinds()


def test_unusual_use_of_an_hour_and_of_a_day_is_told_with_its_figures_once_a_day() -> None:
    home = lived_in(ana := reader())  # 20 litres in every hour
    look_at_usage(NOW)
    look_at_usage(run_hours(home, 9))
    look_at_usage(let_flow(home, 199, minutes=40))
    assert kinds() == []
    look_at_usage(let_flow(home, 1, minutes=10))
    assert subjects(ana) == ["Unusual water use"]
    assert Alert.objects.get().evidence == {"what": "hour", "litres": 200, "most_litres": 20, "days": 28}
    assert "in the hour from 9 AM, 53 gallons were used" in sent_to(ana)[0].text
    assert "In the 28 days before, this home never used more than 5.3 gallons" in sent_to(ana)[0].text
    look_at_usage(let_flow(home, 2000, minutes=10))
    assert len(sent_to(ana)) == 1
    look_at_usage(run_hours(home, 14, 60))
    assert len(sent_to(ana)) == 1
    look_at_usage(run_hours(home, 20, 75))
    assert len(sent_to(ana)) == 2
    assert Alert.objects.last().evidence == {
        "what": "day", "day": "2026-06-18", "litres": 1500, "most_litres": 480, "days": 6
    }  # fmt: skip


def test_what_this_home_does_every_week_is_not_unusual() -> None:
    """Irrigation: 900 litres from 5 to 6 in the morning on Wednesdays; a neighbour who never did that is told."""
    garden = home_of(ana := reader(), start=NOW - 49 * DAY)
    other = home_of(ben := reader("ben@example.org"), number=2, start=NOW - 49 * DAY)
    for home in (garden, other):
        rows = []
        for _ in range(49 * 24):
            local = (home.at - HOUR * 5).replace(tzinfo=None)  # Chicago's summer
            watering = home is garden and local.weekday() == 2 and local.hour == 5
            home.count, home.at = home.count + (900 if watering else 15), home.at + HOUR
            rows.append(home.row(home.at, home.count))
        RecentRead.objects.bulk_create(rows)
        heard(home)
    fold_closed_days(NOW + 3 * DAY)
    look_at_usage(NOW)
    for home in (garden, other):
        run_hours(home, 5, 15)
        let_flow(home, 900)
    look_at_usage(garden.at)
    assert sent_to(ana) == []
    assert subjects(ben) == ["Unusual water use"]


def test_a_home_that_is_not_known_for_long_and_a_past_of_others_say_nothing() -> None:
    home = lived_in(reader(), days=10)
    look_at_usage(NOW)
    look_at_usage(let_flow(home, 3000))
    assert kinds() == []


def test_vacation_tells_of_any_use_but_a_trickle_once_and_only_while_away() -> None:
    home = lived_in(ana := reader())
    scope = Scope(ana, account_of(home), home.service_point)
    look_at_usage(let_flow(home, 150))  # a pool is filled, nobody is away
    assert kinds() == []
    away = Wish(on=True, first_day=date(2026, 6, 18), last_day=date(2026, 6, 20))
    choose(scope, Kind.VACATION, away)
    look_at_usage(run_hours(home, 23, 5))
    assert kinds() == []  # today is no day away
    look_at_usage(run_hours(home, 20, 1))
    assert kinds() == []  # 20 litres: an ice maker
    look_at_usage(run_hours(home, 1, 1))
    assert subjects(ana) == ["Water is used while you are away"]
    assert Alert.objects.get().evidence["litres"] == 21
    look_at_usage(run_hours(home, 24, 30))
    assert len(sent_to(ana)) == 1
    look_at_usage(run_hours(home, 26, 30))
    assert Alert.objects.get().ended_at is None  # an hour before the last day away is over
    look_at_usage(run_hours(home, 4, 30))
    look_at_usage(run_hours(home, 1, 30))
    assert Alert.objects.get().ended_at is not None
    assert len(sent_to(ana)) == 1


def test_a_single_day_away_is_a_day_away() -> None:
    home = lived_in(ana := reader())
    today = date(2026, 6, 17)
    choose(
        Scope(ana, account_of(home), home.service_point),
        Kind.VACATION,
        Wish(on=True, first_day=today, last_day=today),
    )
    look_at_usage(run_hours(home, 2, 15))
    assert kinds() == [Kind.VACATION]


@pytest.mark.parametrize("at_once", [True, False])
def test_use_of_days_ago_that_comes_late_does_not_hide_what_runs_while_away_now(at_once: bool) -> None:
    home = lived_in(ana := reader())
    choose(
        Scope(ana, account_of(home), home.service_point),
        Kind.VACATION,
        Wish(on=True, first_day=date(2026, 6, 17), last_day=date(2026, 6, 30)),
    )
    look_at_usage(NOW)
    run_hours(home, 24, 30)
    if not at_once:
        look_at_usage(NOW + 5 * DAY)
        assert (kinds(), sent_to(ana)) == ([Kind.VACATION], [])
    look_at_usage(run_hours(home, 4 * 24, 30))
    look_at_usage(run_hours(home, 1, 30))
    assert subjects(ana) == ["Water is used while you are away"]
    assert list(Alert.objects.order_by("pk").values_list("late", "ended_at")) == [(True, None), (False, None)]


def test_a_limit_for_a_period_that_was_passed_while_nothing_was_heard_is_told_when_the_reads_are_there() -> None:
    from portal.billing.models import BillingAccount
    from tests.portal.billed import cycle

    home = home_of(ana := reader(), start=NOW - DAY).read_daily(1, 240, reads_a_day=24, fold=False)
    BillingAccount.objects.create(account=account_of(home), cycle=cycle(read_day=16))
    limit(home, ana, "1", "period", "m3")
    look_at_usage(NOW)
    run_hours(home, 24, 50)
    look_at_usage(NOW + 5 * DAY)
    assert (kinds(), sent_to(ana)) == ([], [])
    for hours in (95, 1, 1):
        look_at_usage(run_hours(home, hours, 5))
    assert subjects(ana) == ["Your water use passed the limit you set"]


def test_a_limit_says_nothing_of_use_before_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of(ana := reader(), start=NOW - DAY).read_daily(1, 240, reads_a_day=24, fold=False)
    look_at_usage(NOW)
    let_flow(home, 500)
    monkeypatch.setattr("portal.alerts.preferences.now", lambda: home.at)
    limit(home, ana, "100", "hour", "l")
    look_at_usage(let_flow(home, 10))
    assert kinds() == []
    look_at_usage(let_flow(home, 101))
    assert kinds() == [Kind.THRESHOLD]


@pytest.mark.parametrize(("litres", "told"), [(200, []), (201, [Kind.UNUSUAL])])
def test_an_hour_is_unusual_above_twice_the_most_of_its_time_of_day(litres: int, told: list[str]) -> None:
    home = lived_in(reader(), litres=2400)  # 100 litres in every hour
    look_at_usage(NOW)
    look_at_usage(let_flow(home, litres))
    assert kinds() == told


@pytest.mark.parametrize(("days", "told"), [(13, []), (14, [Kind.UNUSUAL])])
def test_two_weeks_must_be_known_before_an_hour_is_unusual(days: int, told: list[str]) -> None:
    home = lived_in(reader(), days=days)
    look_at_usage(NOW)
    look_at_usage(let_flow(home, 300))
    assert kinds() == told


@pytest.mark.parametrize(
    ("days", "usual", "litres", "told"),
    [
        (35, 240, 480, []),  # twice the most, and not more
        (35, 240, 481, [Kind.UNUSUAL]),
        (35, 120, 399, []),  # much for this home, little for any
        (35, 120, 400, [Kind.UNUSUAL]),
        (28, 120, 400, []),  # three Wednesdays are whole
        (29, 120, 400, [Kind.UNUSUAL]),  # four
    ],
)
def test_a_day_is_unusual_above_twice_the_most_of_four_such_weekdays(
    days: int, usual: int, litres: int, told: list[str]
) -> None:
    home = lived_in(reader(), days=days, litres=usual)
    look_at_usage(NOW)
    run_hours(home, 23, litres // 24)
    let_flow(home, litres - 23 * (litres // 24))
    look_at_usage(run_hours(home, 1, litres // 24))
    assert kinds() == told


def test_no_use_for_some_days_is_told_once_and_ends_with_the_first_litre() -> None:
    home = lived_in(ana := reader())
    scope = Scope(ana, account_of(home), home.service_point)
    choose(scope, Kind.NO_USE, Wish(on=True, number=2))
    look_at_usage(run_hours(home, 47, 0))
    assert kinds() == []
    look_at_usage(run_hours(home, 1, 0))
    look_at_usage(run_hours(home, 5, 0))
    assert subjects(ana) == ["No water was used"]
    look_at_usage(let_flow(home, 1))
    assert Alert.objects.get().ended_at == home.at
    look_at_usage(run_hours(home, 47, 0))
    assert len(sent_to(ana)) == 1
    look_at_usage(run_hours(home, 1, 0))
    assert len(sent_to(ana)) == 2


def test_a_silent_meter_is_told_after_a_day_by_itself_unless_nothing_at_all_is_heard() -> None:
    home = lived_in(ana := reader())
    other = lived_in(reader("ben@example.org"), number=2, days=2)
    look_at_usage(NOW + 30 * HOUR)
    assert kinds() == []  # neither is heard: the fault is ours
    heard(other, NOW + 23 * HOUR)
    look_at_usage(NOW + 23 * HOUR)
    assert kinds() == []
    heard(other, NOW + 24 * HOUR)
    look_at_usage(NOW + 24 * HOUR)
    assert subjects(ana) == ["We do not hear from your meter"]
    look_at_usage(NOW + 25 * HOUR)
    assert len(sent_to(ana)) == 1
    assert "since June 17, 2026, 12:00 AM" in sent_to(ana)[0].text
    heard(home, NOW + 25 * HOUR)
    heard(other, NOW + 25 * HOUR)
    look_at_usage(NOW + 25 * HOUR)
    assert Alert.objects.get().ended_at == NOW + 25 * HOUR
    assert len(sent_to(ana)) == 1


def test_use_after_a_move_out_and_before_a_move_in_alarms_nobody() -> None:
    from portal.customers.models import Account
    from portal.customers.services import grant_access, move_in

    home = lived_in(ana := reader())
    limit(home, ana, "50", "hour")
    look_at_usage(NOW)
    move_out(Occupancy.objects.get(service_point=home.service_point), NOW + HOUR)
    run_hours(home, 1)
    look_at_usage(let_flow(home, 3000))
    zoe, account = reader("zoe@example.org"), Account.objects.create(number="2000001")
    grant_access(account, zoe, at=NOW + 2 * HOUR)
    move_in(account, home.service_point, NOW + 2 * HOUR + HOUR / 2)
    let_flow(home, 1500, minutes=30)
    look_at_usage(run_hours(home, 1))
    assert Message.objects.count() == 0


def test_what_did_not_change_is_not_looked_at_and_a_chunk_takes_the_same_queries() -> None:
    counts = []
    for number in (1, 8):
        homes = [
            home_of(reader(f"p{number}-{n}@example.org"), number=10 * number + n, start=NOW - DAY).read_daily(
                1, 240, reads_a_day=4, fold=False
            )
            for n in range(number)
        ]
        for home in homes:
            let_flow(home, 10)
        with CaptureQueriesContext(connection) as seen:
            look_at_usage(NOW + HOUR)
        counts.append(len(seen))
        assert UsageMark.objects.count() == (1 if number == 1 else 9)
        with CaptureQueriesContext(connection) as seen:
            look_at_usage(NOW + HOUR)
        assert len(seen) < 16
    assert counts[1] <= counts[0]


def test_a_meter_that_cannot_be_judged_keeps_no_other_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from portal.alerts import usage_rules

    homes = [lived_in(reader(f"p{n}@example.org"), number=n, days=2) for n in (1, 2, 3)]
    look_at_usage(NOW)
    for home in homes:
        limit(home, home.service_point.occupancies.get().account.users.get(), "50", "hour")
        let_flow(home, 300, minutes=10)
    known = usage_rules._known_until

    def fails(one: usage_rules.Asked, use: object) -> object:
        if one.place.public_id == homes[1].service_point.public_id:
            raise ValueError("a fault of ours")
        return known(one, use)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(usage_rules, "_known_until", fails)
        look_at_usage(homes[0].at)
    assert Alert.objects.count() == 2
    assert homes[1].service_point.public_id in caplog.text
    let_flow(homes[1], 1, minutes=10)
    look_at_usage(homes[1].at)
    assert Alert.objects.count() == 3

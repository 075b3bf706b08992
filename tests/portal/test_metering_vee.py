"""Validation, screening, office reads and estimates against a database: what is kept, what reaches the usage."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.reading import ReadQuality
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.customers import services as customers
from portal.customers.models import Account
from portal.ingest.rebuild import rebuild
from portal.metering.folding import fold_closed_days
from portal.metering.models import DailyVolume, OfficeRead, ReadFinding, ReadVerdict, RecentRead, RegisterDay
from portal.metering.points import extra_points
from portal.metering.reads import to_us
from portal.metering.spans import metered
from portal.metering.usage import usage
from portal.metering.validation import office
from portal.metering.validation.estimating import estimate_boundary, write_estimate
from portal.metering.validation.screening import screen_recent
from portal.metering.validation.services import open_holds, validate
from tests.portal.building import person
from tests.portal.metered_homes import JULY, JUNE, MAY, Home, metered_home
from tests.portal.test_metering_vee_rules import table

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
SOURCE = OfficeRead.Source
NUMBERS = count(100)


def used(home: Home, start: datetime, end: datetime) -> list[int | None]:
    return [row.counts for row in usage(home.service_point, start=start, end=end, resolution="day").rows]


def state_of(home: Home) -> tuple[Any, ...]:
    """Everything that a resident, a roll-up or a bill sees of a home."""
    volumes = list(DailyVolume.objects.filter(register=home.register.pk).order_by("day").values_list())
    series = usage(home.service_point, start=MAY, end=JULY + 10 * DAY, resolution="day")
    return volumes, series, metered([home.service_point.pk], [MAY, JUNE, JULY])


def rules_of(home: Home, start: datetime = JUNE, end: datetime = JULY, **options: Any) -> list[str]:
    return [finding.rule for finding in validate([home.service_point.pk], start, end, **options)[home.service_point.pk]]


# Office reads and verdicts


def test_a_read_by_hand_counts_in_chart_roll_up_and_bill() -> None:
    home = metered_home().read_daily(31)
    office.enter_read(home.register, JUNE + 10 * DAY, 38_600, source=SOURCE.MANUAL, actor=person(is_staff=True))
    assert sum(filter(None, used(home, JUNE, JULY))) == 10_000
    assert DailyVolume.objects.get(register=home.register.pk, day=date(2026, 6, 5)).counts == 1000
    part = metered([home.service_point.pk], [JUNE, JUNE + 10 * DAY])[home.service_point.pk][0]
    assert [count.count for count in part.counts] == [28_600, 38_600]


def test_every_version_of_a_read_is_kept_and_two_people_cannot_both_change_it() -> None:
    home, staff = metered_home().read_daily(31), person(is_staff=True)
    first = office.enter_read(home.register, JUNE + DAY, 29_000, source=SOURCE.MANUAL, actor=staff)
    second = office.revise(first, 29_200, reason="a 2 read as a 0", actor=staff)
    with pytest.raises(Refused) as refused:
        office.revise(first, 29_300, reason="read again", actor=staff)
    assert refused.value.code == "superseded"
    gone = office.withdraw(second, reason="of the neighbour", actor=staff)
    assert [(row.raw_count, row.withdrawn, row.quality) for row in office.versions(gone)] == [
        (29_000, False, ReadQuality.MEASURED),
        (29_200, False, ReadQuality.EDITED),
        (29_200, True, ReadQuality.EDITED),
    ]
    again = office.enter_read(home.register, JUNE + DAY, 29_100, source=SOURCE.DIAL_PHOTO, actor=staff)
    assert again.supersedes == gone
    actions = list(AuditEntry.objects.filter(action__startswith="read.").order_by("pk").values_list("action", "reason"))
    assert actions == [
        ("read.enter", ""),
        ("read.edit", "a 2 read as a 0"),
        ("read.withdraw", "of the neighbour"),
        ("read.enter", ""),
    ]


def test_a_change_needs_a_reason() -> None:
    home = metered_home().read_daily(31)
    read = office.enter_read(home.register, JUNE + DAY, 29_000, source=SOURCE.MANUAL)
    for attempt in (
        lambda: office.revise(read, 29_100, reason=" x "),
        lambda: office.withdraw(read, reason=""),
        lambda: office.edit_stored(home.register, to_us(MAY + DAY), 11_000, reason=""),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "reason"
    assert OfficeRead.objects.count() == 1
    assert not ReadVerdict.objects.exists()


@pytest.mark.parametrize(
    ("at", "count", "code"),
    [
        (MAY - DAY, 10_000, "not-installed"),
        (datetime(2100, 1, 1, tzinfo=UTC), 40_000, "future"),
        (MAY + 10 * DAY + timedelta(hours=1), 15_999, "falls"),
        (MAY + 10 * DAY + timedelta(hours=1), 16_700, "falls"),
        (JUNE + DAY, -1, "count"),
        (JUNE + DAY, 10**8, "count"),
    ],
)
def test_a_read_that_cannot_be_is_refused(at: datetime, count: int, code: str) -> None:
    home = metered_home().read_daily(31)
    with pytest.raises(Refused) as refused:
        office.enter_read(home.register, at, count, source=SOURCE.MANUAL)
    assert refused.value.code == code
    assert not OfficeRead.objects.exists()


def test_the_same_read_again_is_the_same_and_another_count_a_conflict() -> None:
    home = metered_home().read_daily(31)
    first = office.enter_read(home.register, JUNE + DAY, 29_000, source=SOURCE.MANUAL)
    assert office.enter_read(home.register, JUNE + DAY, 29_000, source=SOURCE.MANUAL) == first
    with pytest.raises(Refused) as refused:
        office.enter_read(home.register, JUNE + DAY, 29_001, source=SOURCE.MANUAL)
    assert refused.value.code == "conflict"


def test_an_edit_leaves_the_stored_read_and_taking_it_back_restores_everything() -> None:
    home = metered_home().read_daily(61)
    before, packed = state_of(home), list(RegisterDay.objects.order_by("register", "day").values_list())
    edit = office.edit_stored(home.register, to_us(MAY + 5 * DAY), 13_100, reason="photo of the dial")
    assert used(home, MAY + 4 * DAY, MAY + 6 * DAY) == [700, 500]
    assert DailyVolume.objects.get(register=home.register.pk, day=date(2026, 5, 5)).quality == ReadQuality.EDITED
    assert list(RegisterDay.objects.order_by("register", "day").values_list()) == packed
    assert state_of(home) != before
    office.withdraw(edit, reason="the photo was of another")
    assert state_of(home) == before


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
def test_taking_everything_back_gives_the_state_before_exactly(seed: int) -> None:
    rng = random.Random(seed)
    home = metered_home(number=next(NUMBERS)).read_daily(45, lambda _: rng.randrange(100, 900))
    before = state_of(home)
    undo = []
    for _ in range(rng.randrange(1, 5)):
        at = MAY + timedelta(hours=12 * rng.randrange(0, 91))
        kind = rng.randrange(3)
        if kind == 0:
            moment = at + timedelta(hours=rng.randrange(1, 11), minutes=1)
            if office.version_in_force(home.register, moment) is None:
                read = office.enter_read(
                    home.register, moment, rng.randrange(10_000, 60_000), source=SOURCE.MANUAL, may_fall=True
                )
                undo.append(lambda read=read: office.withdraw(read, reason="taken back"))
        elif kind == 1:
            until = None if rng.random() < 0.3 else to_us(at + DAY * rng.randrange(0, 9))
            verdict = office.decide(
                home.register, to_us(at), until, rng.choice(["suspect", "accepted", "excluded"]), reason="for a test"
            )
            undo.append(lambda verdict=verdict: office.take_back(verdict, reason="taken back"))
        elif office.version_in_force(home.register, at) is None:
            edit = office.edit_stored(home.register, to_us(at), rng.randrange(10_000, 60_000), reason="for a test")
            undo.append(lambda edit=edit: office.withdraw(edit, reason="taken back"))
    rng.shuffle(undo)
    for step in undo:
        step()
    assert state_of(home) == before, seed


def test_the_newest_verdict_counts_where_some_overlap() -> None:
    home = metered_home().read_daily(10)
    office.decide(home.register, to_us(MAY + 2 * DAY), None, ReadVerdict.Verdict.EXCLUDED, reason="another dial")
    assert used(home, MAY, MAY + 10 * DAY)[2:] == [None] * 8
    office.decide(
        home.register, to_us(MAY + 5 * DAY), to_us(MAY + 6 * DAY), ReadVerdict.Verdict.ACCEPTED, reason="looked at"
    )
    assert used(home, MAY, MAY + 10 * DAY) == [600] * 6 + [None] * 4
    assert DailyVolume.objects.filter(register=home.register.pk).count() == 6


# Screening


@pytest.mark.parametrize("other_first", [250_000_000 % 10**8, 55])
def test_a_swapped_meter_that_states_no_identity_never_reaches_the_usage(other_first: int) -> None:
    home = metered_home().read_daily(31)
    swapped = Home(home.service_point, home.installation, home.register, other_first, JUNE + timedelta(hours=1))
    swapped.read_daily(29, 700)
    assert sum(filter(None, used(home, MAY, JULY))) == 31 * 600
    assert sum(DailyVolume.objects.filter(register=home.register.pk).values_list("counts", flat=True)) == 31 * 600
    [part] = metered([home.service_point.pk], [MAY, JULY])[home.service_point.pk]
    assert part.counts[-1].count - part.counts[0].count == 31 * 600
    finding = ReadFinding.objects.get(rule="wrong-meter")
    assert (finding.severity, finding.start) == ("hold", JUNE + timedelta(hours=1))
    # It holds the bill of this and of every later period.
    assert "wrong-meter" in rules_of(home)
    assert "wrong-meter" in rules_of(home, JULY, JULY + 31 * DAY)
    assert "wrong-meter" not in rules_of(home, MAY, JUNE)
    assert open_holds([home.service_point.pk], JUNE, JULY)[home.service_point.pk]


def test_reads_are_screened_before_they_are_folded() -> None:
    home = metered_home().read_daily(31)
    home.read(JUNE + timedelta(minutes=5), home.count + 1, fold=False)
    for minutes in range(15, 120, 15):
        home.read(JUNE + timedelta(minutes=minutes), 900_000 + minutes, fold=False)
    assert screen_recent(JUNE + timedelta(hours=2)) == 1
    assert screen_recent(JUNE + timedelta(hours=2)) == 0
    assert sum(filter(None, used(home, MAY, JULY))) == 31 * 600 + 1


def test_reads_that_come_after_their_day_was_folded_are_compared_with_what_was_before_them() -> None:
    """More than a cubic metre was used that day before the late ones: what they are compared with is no fall."""
    home = metered_home()
    for hour in range(24):
        home.read(MAY + timedelta(hours=hour), 10_000 + 200 * hour, fold=hour in (17, 23))
    assert not ReadVerdict.objects.exists()
    assert used(home, MAY, MAY + timedelta(hours=23)) == [23 * 200]


def test_a_misread_is_left_out_and_the_track_goes_on() -> None:
    home = metered_home().read_daily(20)
    home.read(home.at + timedelta(hours=1), 4_000_000, fold=False)
    home.read(home.at + timedelta(hours=2), home.count + 40)
    assert sum(filter(None, used(home, MAY, JUNE))) == 20 * 600 + 40
    assert ReadFinding.objects.get().rule == "misread"


def test_what_staff_accepted_is_not_judged_again() -> None:
    home = metered_home().read_daily(31)
    swapped = Home(home.service_point, home.installation, home.register, 55, JUNE + timedelta(hours=1))
    swapped.read_daily(5)
    verdict = ReadVerdict.objects.get()
    office.decide(
        home.register, verdict.read_us, None, ReadVerdict.Verdict.ACCEPTED, supersedes=verdict, reason="a new register"
    )
    swapped.read_daily(5)
    assert ReadVerdict.objects.filter(verdict="excluded").count() == 1
    assert DailyVolume.objects.get(register=home.register.pk, day=date(2026, 6, 9)).counts == 600


# Validation


def test_a_quiet_home_has_no_finding_and_the_number_of_queries_does_not_grow() -> None:
    homes = [metered_home(number=n, user=person(f"p{n}@example.org")).read_daily(61) for n in range(1, 7)]
    ids = [home.service_point.pk for home in homes]
    with CaptureQueriesContext(
        connection,
    ) as few:
        assert validate(ids[:2], JUNE, JULY) == {ids[0]: [], ids[1]: []}
    with CaptureQueriesContext(connection) as many:
        assert validate(ids, JUNE, JULY) == dict.fromkeys(ids, [])
    assert len(few) == len(many)


def test_a_finding_is_opened_once_accepted_and_comes_back_when_the_numbers_change() -> None:
    home = metered_home(user=person()).read_daily(31).read_daily(30, 4_500)
    assert rules_of(home, record=False) == ["high"]
    assert not ReadFinding.objects.exists()
    assert rules_of(home) == rules_of(home) == ["high"]
    row = ReadFinding.objects.get()
    row.resolved_at, row.resolution = JULY, ReadFinding.Resolution.ACCEPTED
    row.save()
    [finding] = validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk]
    assert (finding.accepted, finding.holds, finding.public_id) == (True, False, row.public_id)
    office.enter_read(home.register, JULY - timedelta(hours=1), home.count - 90, source=SOURCE.MANUAL)
    office.edit_stored(home.register, to_us(JULY), home.count + 3_000, reason="photo of the dial")
    again = {finding.rule: finding for finding in validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk]}
    assert again["high"].holds
    assert again["high"].public_id != row.public_id


def test_a_finding_that_is_no_longer_so_closes_by_itself_and_opens_again() -> None:
    home = metered_home(user=person()).read_daily(31).read_daily(20)
    assert rules_of(home) == ["no-boundary", "gap"]
    home.read_daily(12)
    assert rules_of(home) == []
    assert set(ReadFinding.objects.values_list("resolution", flat=True)) == {"gone"}
    verdict = office.decide(home.register, to_us(JUNE + 20 * DAY) + 1, None, "excluded", reason="for a test")
    assert "no-boundary" in rules_of(home)
    office.take_back(verdict, reason="for a test")
    assert rules_of(home) == []


def test_daily_volumes_that_do_not_make_the_period_are_found() -> None:
    home = metered_home(user=person()).read_daily(61)
    DailyVolume.objects.filter(register=home.register.pk, day=date(2026, 6, 9)).update(counts=599)
    [finding] = validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk]
    assert (finding.rule, finding.detail) == ("sum", {"register": 18_000, "days_sum": 17_999, "days": 30})


def test_a_read_that_is_not_rolled_up_yet_is_no_wrong_sum() -> None:
    home = metered_home(user=person()).read_daily(60)
    home.read(JULY + timedelta(hours=20), home.count + 900, fold=False)
    part = metered([home.service_point.pk], [JUNE, JULY])[home.service_point.pk][0]
    rolled_up = DailyVolume.objects.filter(register=home.register.pk, day__gte=date(2026, 6, 1))
    assert sum(row.counts for row in rolled_up) != part.counts[-1].count - part.counts[0].count
    assert rules_of(home) == []
    fold_closed_days(JULY + 5 * DAY)
    assert rules_of(home) == []


def test_who_moved_in_lately_is_compared_with_their_own_days_alone() -> None:
    home = metered_home(MAY - 60 * DAY).read_daily(60 + 3, 5_000).read_daily(28, 300).read_daily(30, 1_000)
    account = Account.objects.create(number="1000099")
    customers.move_in(account, home.service_point, MAY + 3 * DAY)
    [finding] = validate([home.service_point.pk], JUNE, JULY)[home.service_point.pk]
    assert (finding.rule, finding.detail) == ("high", {"mean_day_l": 1000, "recent_day_l": 300})


# Estimates


def test_worked_estimates() -> None:
    """The table of docs/algorithms/vee.md: Mondays count 100, Tuesdays 110, Wednesdays 121, other days 90."""
    weekday = {0: 100, 1: 110, 2: 121}
    start = datetime(2026, 4, 6, 5, 0, tzinfo=UTC)
    home = metered_home(start, first=7000 - 8 * 691)
    home.read_daily(56, lambda at: weekday.get(at.astimezone(UTC).weekday(), 90))
    assert (home.at, home.count) == (JUNE, 7000)
    for at, _, expected in table("at"):
        moment = datetime.fromisoformat(f"{at}:00-05:00").astimezone(UTC)
        found = estimate_boundary(home.service_point, home.installation, home.register, moment)
        assert found is not None
        assert (found.basis, found.shown) == ("recent", int(expected)), at


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
def test_estimates_never_go_backwards_and_an_actual_read_overtakes_them(seed: int) -> None:
    rng = random.Random(seed)
    home = metered_home(number=next(NUMBERS), modulus=rng.choice([None, 100_000]), first=rng.randrange(99_999))
    home.read_daily(rng.randrange(3, 60), lambda _: rng.randrange(0, 900))
    first = home.count - sum(filter(None, used(home, MAY, home.at)))
    moments = sorted({home.at + timedelta(minutes=rng.randrange(1, 60 * 24 * 70)) for _ in range(5)})
    last, modulus, base = 0, home.register.modulus, home.count % (home.register.modulus or 10**18)
    for moment in moments:
        found = estimate_boundary(home.service_point, home.installation, home.register, moment, max_consecutive=9)
        assert found is not None
        turned = (found.shown - base) % (modulus or 10**18)
        assert turned >= last, seed
        last = turned
        if rng.random() < 0.6:
            write_estimate(home.register, moment, reason="nobody could get in", max_consecutive=9)
    assert all(counts is None or counts >= 0 for counts in used(home, MAY, JULY + 40 * DAY)), seed
    after = moments[-1] + timedelta(days=1)
    home.read(after, home.count + 3)
    assert extra_points([home.register.pk])[home.register.pk] == []
    assert sum(filter(None, used(home, MAY, after + DAY))) == home.count + 3 - first, seed


def test_more_estimates_in_a_row_than_the_policy_allows_are_refused() -> None:
    home = metered_home(user=person()).read_daily(31)
    write_estimate(home.register, JULY, reason="no access")
    write_estimate(home.register, JULY + 31 * DAY, reason="no access")
    with pytest.raises(Refused) as refused:
        write_estimate(home.register, JULY + 62 * DAY, reason="no access")
    assert refused.value.code == "no-estimate"
    assert "estimated" in rules_of(home)


def test_an_estimate_of_last_year_looks_at_the_same_weekdays() -> None:
    home = metered_home(JUNE - 400 * DAY, user=person())
    home.read_daily(400, lambda at: 1000 if at.month == 6 else 200)
    found = estimate_boundary(home.service_point, home.installation, home.register, home.at + 10 * DAY)
    assert found is not None
    assert (found.basis, found.count - found.base_count) == ("last-year", 10_000)


def test_who_has_no_history_is_estimated_like_the_meters_of_its_kind() -> None:
    metered_home(number=2).read_daily(40, 300)
    home = metered_home(MAY + 38 * DAY, number=1).read_daily(2, 900)
    found = estimate_boundary(home.service_point, home.installation, home.register, home.at + 10 * DAY)
    assert found is not None
    assert found.basis == "class"
    assert 300 * 10 <= found.count - found.base_count < 400 * 10


def test_usage_shows_what_was_estimated() -> None:
    home = metered_home(user=person()).read_daily(31)
    write_estimate(home.register, JUNE + 5 * DAY, reason="no access")
    rows = usage(home.service_point, start=JUNE, end=JUNE + 5 * DAY, resolution="day").rows
    assert {row.quality for row in rows} == {ReadQuality.ESTIMATED}
    assert sum(row.counts or 0 for row in rows) == 3000


def test_a_rebuild_keeps_what_the_office_added() -> None:
    home = metered_home().read_daily(31)
    read = office.enter_read(home.register, JUNE + DAY, 29_200, source=SOURCE.MANUAL)
    verdict = office.decide(home.register, to_us(MAY), to_us(MAY), ReadVerdict.Verdict.SUSPECT, reason="for a test")
    rebuild()
    assert not RecentRead.objects.exists()
    assert OfficeRead.objects.get() == read
    assert ReadVerdict.objects.get() == verdict

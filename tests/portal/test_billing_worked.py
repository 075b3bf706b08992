"""The worked tables of docs/algorithms/proration.md, figure by figure."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from domain.units import Unit
from portal.billing.models import Bill
from portal.metering.calendar import midnight
from portal.metering.models import Installation, OfficeRead
from portal.metering.validation.office import enter_read
from tests.portal import billed
from tests.portal.billed import CHICAGO, Home, cycle, lines_of, reads, run, steady

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _book() -> None:
    billed.rate_book()


def water_only(home: Home) -> Home:
    home.agreement.services = ["water"]
    home.agreement.save()
    return home


def test_a_rate_change_in_the_middle_of_a_period() -> None:
    middle = cycle("M", read_day=15)
    home = water_only(billed.home(1, date(2023, 7, 15), cycle_=middle))
    reads(home.register, steady(date(2023, 7, 15), date(2023, 9, 16), 411), fold=True)
    (bill,) = run(date(2023, 9, 15), cycle_=middle)
    segments = list(bill.segments.order_by("start"))
    assert [(s.version, s.days, s.full_days, s.units) for s in segments] == [
        ("2015-01-01", 17, 31, 6_987),
        ("2023-09-01", 14, 31, 5_754),
    ]
    assert [cents for _, _, cents in lines_of(bill)] == [411, 919, 1740, 492, 781, 1573]
    assert bill.charges_cents == 5916


def test_a_move_in() -> None:
    home = water_only(billed.home(1, date(2026, 6, 20)))
    reads(home.register, steady(date(2026, 6, 20), date(2026, 7, 2), 300), fold=True)
    (bill,) = run(date(2026, 7, 1))
    (segment,) = bill.segments.all()
    assert (bill.period_start, segment.days, segment.full_days, segment.units) == (date(2026, 6, 20), 11, 30, 3_300)
    assert [cents for _, _, cents in lines_of(bill)] == [400, 634, 660]


def swapped(home: Home, day: date, *, old_last: int) -> Home:
    """A meter that counts litres takes the place of the home's; it shows 7 when it is hung up."""
    moment = midnight(day, CHICAGO) + timedelta(hours=10)
    Installation.objects.filter(pk=home.installation.pk).update(end=moment, last_count=old_last, register=home.register)
    register = billed.meter("NEW-00000001", unit=Unit.CUBIC_METRE, scale=-3)
    installation = Installation.objects.create(
        meter=register.meter, service_point=home.service_point, start=moment, register=register, first_count=7
    )
    return Home(home.account, home.service_point, installation, register, home.agreement)


def test_a_meter_swap() -> None:
    home = water_only(billed.home(1, date(2026, 5, 1), first_count=0))
    reads(home.register, steady(date(2026, 5, 1), date(2026, 6, 15), 300), fold=True)
    new = swapped(home, date(2026, 6, 15), old_last=13_600)
    points = [(midnight(date(2026, 7, day), CHICAGO), 7 + 17_600 + day * 1_000) for day in (1, 2)]
    reads(new.register, points, fold=True)
    run(date(2026, 6, 1))
    (bill,) = run(date(2026, 7, 1))
    (segment,) = bill.segments.all()
    # 13,600 - 31 x 300 = 4,300 gal on the old dial, 18,600 l = 4,913.600... gal on the new one.
    assert segment.units == 9_213
    shown = [(dial.first_shown, dial.last_shown) for dial in segment.dials.order_by("start")]
    assert shown == [(9_300, 13_600), (7, 18_607)]
    assert [cents for _, _, cents in lines_of(bill)] == [1090, 1730, 1896]


def test_an_estimate_and_its_true_up() -> None:
    home = water_only(billed.home(1, date(2026, 3, 1)))
    reads(home.register, steady(date(2026, 3, 1), date(2026, 6, 10), 300), fold=True)
    for end in (date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1)):
        run(end)
    (june,) = run(date(2026, 7, 1))
    assert june.estimated
    (segment,) = june.segments.all()
    assert segment.units == 9_000
    assert [cents for _, _, cents in lines_of(june)] == [1090, 1730, 1800]
    # The meter is heard again on July 20; since June 10 it counted 500 a day.
    later = steady(date(2026, 7, 20), date(2026, 8, 2), 500, start=101 * 300 + 40 * 500)
    reads(home.register, later, fold=True)
    (july,) = run(date(2026, 8, 1))
    (segment,) = july.segments.all()
    assert (segment.units, july.estimated) == (15_500, False)
    assert lines_of(july) == [
        ("water", "base", 1090),
        ("water", "use", 1730),
        ("water", "use", 4500),
        ("water", "use", 338),
        ("water", "true-up", 1890),
    ]
    line = july.lines.get(kind="true-up")
    assert line.detail["estimated_units"] == 9_000
    assert line.detail["actual_units"] == 13_200
    assert (line.detail["estimated_cents"], line.detail["actual_cents"]) == (4620, 6510)
    total = sum(segment.units for bill in Bill.objects.all() for segment in bill.segments.all())
    made_up = line.detail["actual_units"] - line.detail["estimated_units"]
    assert total + made_up == 101 * 300 + 52 * 500


def test_two_estimates_in_a_row_are_made_up_for_each_in_its_own_tiers() -> None:
    home = water_only(billed.home(1, date(2026, 2, 1)))
    reads(home.register, steady(date(2026, 2, 1), date(2026, 5, 10), 300), fold=True)
    for end in (date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1)):
        run(end)
    (june,) = run(date(2026, 7, 1))
    assert june.estimated
    assert not june.lines.filter(kind="true-up").exists()
    later = steady(date(2026, 7, 20), date(2026, 8, 2), 500, start=98 * 300 + 71 * 500)
    reads(home.register, later, fold=True)
    (july,) = run(date(2026, 8, 1))
    made_up = [
        (line.detail["start"], line.detail["estimated_units"], line.detail["actual_units"], line.amount_cents)
        for line in july.lines.filter(kind="true-up").order_by("position")
    ]
    # May: 9 x 300 + 22 x 500 = 13,700 in place of 31 x 300; June: 15,000 in place of 9,000.
    assert made_up == [("2026-05-01", 9_300, 13_700, 1980), ("2026-06-01", 9_000, 15_000, 2700)]
    bills = Bill.objects.exclude(state="cancelled")
    billed_units = sum(segment.units for bill in bills for segment in bill.segments.all())
    assert billed_units + 4_400 + 6_000 == 98 * 300 + 83 * 500
    # Nothing is made up for twice.
    reads(
        home.register, list(steady(date(2026, 8, 2), date(2026, 9, 2), 500, start=98 * 300 + 84 * 500))[1:], fold=True
    )
    (august,) = run(date(2026, 9, 1))
    assert not august.lines.filter(kind="true-up").exists()
    assert august.segments.get().units == 15_500


def test_late_reads_that_move_a_boundary_leave_no_gallon_unbilled() -> None:
    home = water_only(billed.home(1, date(2026, 5, 1)))
    points = list(steady(date(2026, 5, 1), date(2026, 5, 31), 300))
    after = list(steady(date(2026, 6, 2), date(2026, 7, 2), 300, start=40 * 300))
    reads(home.register, [*points, *after], fold=True)
    (june,) = run(date(2026, 6, 1))
    billed_to = june.segments.get().dials.get().last_shown
    assert billed_to == 9_000 + 1_500
    # The collector's backlog arrives: all of it was used on the day after the boundary.
    reads(home.register, [(midnight(date(2026, 6, 1), CHICAGO), 9_100)], fold=True)
    (july,) = run(date(2026, 7, 1))
    dial = july.segments.get().dials.get()
    assert dial.first_shown == billed_to
    assert {"boundary-moved"} <= {finding["code"] for finding in july.findings}
    assert june.segments.get().units + july.segments.get().units == 40 * 300 + 29 * 300


def test_what_was_made_up_for_once_is_not_made_up_for_again() -> None:
    home = water_only(billed.home(1, date(2026, 2, 1)))
    reads(home.register, steady(date(2026, 2, 1), date(2026, 5, 10), 300), fold=True)
    for end in (date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1), date(2026, 6, 1)):
        run(end)
    # Somebody read the dial on June 5; then nothing again until July 20.
    on_june_5 = midnight(date(2026, 6, 5), CHICAGO)
    enter_read(home.register, on_june_5, 98 * 300 + 26 * 500, source=OfficeRead.Source.MANUAL, label="test")
    (june,) = run(date(2026, 7, 1))
    assert june.estimated
    assert [line.detail["start"] for line in june.lines.filter(kind="true-up")] == ["2026-05-01"]
    later = steady(date(2026, 7, 20), date(2026, 8, 2), 500, start=98 * 300 + 71 * 500)
    reads(home.register, later, fold=True)
    (july,) = run(date(2026, 8, 1))
    assert [line.detail["start"] for line in july.lines.filter(kind="true-up")] == ["2026-06-01"]
    bills = Bill.objects.exclude(state="cancelled")
    billed_units = sum(segment.units for bill in bills for segment in bill.segments.all())
    made_up = [line.detail for bill in bills for line in bill.lines.filter(kind="true-up")]
    made_up_units = sum(detail["actual_units"] - detail["estimated_units"] for detail in made_up)
    assert billed_units + made_up_units == 98 * 300 + 83 * 500

"""The life of a bill: held, released, issued once, taken back and replaced; several meters, moves, charges."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from portal.billing import bills
from portal.billing.models import Bill, BillingAccount, Charge, RateBook, ServiceAgreement, WinterAverageOf
from portal.billing.periods import Period
from portal.billing.runs import calculate_run, cancel_run, issue_run, recalculate_held, start_run
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User
from portal.customers.models import Occupancy
from portal.ledger.services import balance_cents
from portal.metering.calendar import midnight
from portal.metering.models import OfficeRead
from portal.metering.reads import to_us
from portal.metering.validation.office import edit_stored, enter_read
from tests.portal import billed
from tests.portal.billed import CHICAGO, cycle, lines_of, reads, run, steady
from tests.portal.building import person

pytestmark = pytest.mark.django_db
MAY, JUNE, JULY, AUGUST = (date(2026, month, 1) for month in (5, 6, 7, 8))


@pytest.fixture(autouse=True)
def _book() -> None:
    billed.rate_book()


def staff() -> User:
    return person("office@example.org", is_staff=True)


def codes(bill: Bill, severity: str = "hold") -> set[str]:
    return {finding["code"] for finding in bill.findings if finding["severity"] == severity}


def test_a_run_again_changes_nothing() -> None:
    for number in range(3):
        reads(billed.home(number, MAY).register, steady(MAY, date(2026, 6, 2), 200 + number))
    first = run(JUNE)
    again = run(JUNE)
    assert [(bill.pk, bill.number, bill.charges_cents) for bill in again] == [
        (bill.pk, bill.number, bill.charges_cents) for bill in first
    ]
    assert len(first) == 3
    assert {bill.state for bill in first} == {"issued"}
    assert all(balance_cents(bill.account) == bill.charges_cents == bill.due_cents for bill in first)


def test_a_run_in_chunks_of_one_bills_everybody_once() -> None:
    for number in range(5):
        reads(billed.home(number, MAY).register, steady(MAY, date(2026, 6, 2), 300))
    row = start_run(cycle(), JUNE, bill_date=JUNE)
    calculate_run(row, chunk=1)
    assert row.state == "calculated"
    assert row.progress["calculated"] == row.accounts == 5
    issue_run(row, chunk=2)
    assert row.state == "issued"
    assert Bill.objects.filter(state="issued").count() == 5


def test_a_period_that_is_not_over_is_refused() -> None:
    with pytest.raises(Refused, match="not over"):
        start_run(cycle(), date(2099, 1, 1))
    with pytest.raises(Refused, match="not the first day after a period of cycle .*; the next such day is 2026-07-01"):
        start_run(cycle(), date(2026, 6, 2))


def test_without_any_read_the_bill_is_held_and_says_what_to_do() -> None:
    home = billed.home(1, MAY, first_count=None)
    (bill,) = run(JUNE)
    assert bill.state == "held"
    assert codes(bill) >= {"no-start-read", "no-end-read"}
    assert "enter a read" in str(bill.findings)
    with pytest.raises(Refused, match="enter a read"):
        bills.release(bill, reason="he is right", actor=staff())
    for day, count in ((MAY, 100), (JUNE, 4_100)):
        enter_read(home.register, midnight(day, CHICAGO), count, source=OfficeRead.Source.MANUAL, label="test")
    done = bills.recalculate(bill, label="test")
    assert done.pk == bill.pk
    assert done.state == "draft", done.findings
    assert done.segments.get().units == 4_000
    assert bills.issue(done, label="test").number is not None


def test_a_read_that_is_late_is_waited_for_before_it_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    home = billed.home(1, date(2026, 4, 1))
    reads(home.register, steady(date(2026, 4, 1), date(2026, 5, 31), 300), fold=True)
    run(MAY)
    soon = midnight(JUNE, CHICAGO) + timedelta(hours=1)
    monkeypatch.setattr("portal.billing.reading.now", lambda: soon)
    (bill,) = run(JUNE)
    assert (bill.state, codes(bill) >= {"no-end-read"}) == ("held", True)
    assert not OfficeRead.objects.exists()
    reads(home.register, [(midnight(JUNE, CHICAGO), 61 * 300)])
    assert bill.run is not None
    recalculate_held(bill.run, label="test")
    bill.refresh_from_db()
    assert (bill.state, bill.estimated, bill.segments.get().units) == ("draft", False, 9_300)


def test_a_held_bill_is_released_with_a_name_and_a_reason() -> None:
    home = billed.home(1, date(2026, 2, 1))
    reads(home.register, steady(date(2026, 2, 1), MAY, 200), fold=True)
    reads(home.register, list(steady(MAY, date(2026, 6, 2), 4_000, start=89 * 200))[1:], fold=True)
    run(date(2026, 3, 1))
    run(date(2026, 4, 1))
    run(MAY)
    (bill,) = run(JUNE)
    assert bill.state == "held", bill.findings
    office = staff()
    with pytest.raises(Refused):
        bills.release(bill, reason=" ", actor=office)
    released = bills.release(bill, reason="filled a pool, has told us", actor=office)
    assert released.state == "draft"
    issued = bills.issue(released, office)
    assert issued.state == "issued"
    assert any(found.get("released", {}).get("by") == office.public_id for found in issued.findings)
    assert AuditEntry.objects.filter(action="bill.release", actor=office).exists()
    assert bills.issue(issued, office).number == issued.number


def test_a_bill_is_taken_back_and_replaced_and_both_stay() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 6, 2), 300))
    (old,) = run(JUNE)
    agreement = home.agreement
    agreement.inputs = {"low_income": True}
    agreement.save()
    new = bills.cancel_and_rebill(old, reason="low-income rate was granted in April", actor=staff())
    old.refresh_from_db()
    assert (old.state, new.state, new.kind) == ("cancelled", "issued", "corrected")
    assert new.replaces == old
    assert new.number != old.number
    assert new.charges_cents < old.charges_cents
    assert balance_cents(home.account) == new.charges_cents
    assert bills.difference(new) == [("sewer", 3511, 3261), ("water", 4755, 4050)]
    with pytest.raises(Refused):
        bills.cancel_and_rebill(old, reason="again", actor=None)


def test_a_corrected_end_is_the_next_bills_corrected_start() -> None:
    home = billed.home(1, MAY)
    reads(home.register, [(midnight(day, CHICAGO), count) for day, count in ((MAY, 0), (JUNE, 9_900), (JULY, 18_300))])
    bills_before = [run(JUNE)[0], run(JULY)[0]]
    for bill in bills_before:
        if bill.state == "held":
            bills.issue(bills.release(bill, reason="monthly reads", actor=User.objects.first() or staff()))
    edit_stored(home.register, to_us(midnight(JUNE, CHICAGO)), 9_300, reason="misread by the photo", label="test")
    new = bills.cancel_and_rebill(Bill.objects.get(pk=bills_before[0].pk), reason="misread", actor=None, label="test")
    if new.state == "held":
        new = bills.issue(bills.release(new, reason="as edited", actor=User.objects.first() or staff()))
    living = Bill.objects.exclude(state="cancelled").order_by("period_start")
    assert [bill.kind for bill in living] == ["corrected", "corrected"]
    assert [bill.segments.get().units for bill in living] == [9_300, 9_000]
    assert sum(bill.charges_cents for bill in living if bill.state == "issued") == balance_cents(home.account)


def test_waiting_charges_go_on_the_next_bill_once_and_wait_again_when_it_is_taken_back() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 7, 2), 300))
    charge = Charge.objects.create(
        account=home.account,
        key="connection:1",
        on=MAY,
        kind="fee",
        service="fee",
        code="connection",
        label={"en": "Connection fee", "es": "Conexión"},
        amount_cents=1000,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    (bill,) = run(JUNE)
    assert ("fee", "connection", 1000) in lines_of(bill)
    new = bills.cancel_and_rebill(bill, reason="test", actor=None)
    assert ("fee", "connection", 1000) in lines_of(new)
    (july,) = run(JULY)
    assert ("fee", "connection", 1000) not in lines_of(july)
    charge.refresh_from_db()
    assert charge.line is not None
    assert charge.line.bill == new


def test_two_meters_of_an_account_are_two_segments_of_one_bill() -> None:
    home = billed.home(1, MAY)
    garden = billed.home(1, MAY, label="irrigation", rate_class="residential")
    garden.agreement.services = ["water"]
    garden.agreement.save()
    reads(home.register, steady(MAY, date(2026, 6, 2), 300))
    reads(garden.register, steady(MAY, date(2026, 6, 2), 100))
    (bill,) = run(JUNE)
    assert sorted(segment.units for segment in bill.segments.all()) == [3_100, 9_300]
    assert bill.charges_cents == sum(line.amount_cents for line in bill.lines.all())


def test_a_final_bill_ends_everything_on_its_day() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 7, 2), 300))
    run(JUNE)
    final = bills.final_bill(home.account, date(2026, 6, 11), staff())
    assert (final.kind, final.state) == ("final", "issued")
    segment = final.segments.get()
    assert (segment.days, segment.full_days, segment.units) == (10, 30, 3_000)
    assert Occupancy.objects.get(account=home.account).end == midnight(date(2026, 6, 11), CHICAGO)
    assert ServiceAgreement.objects.get(account=home.account).end == date(2026, 6, 11)
    assert BillingAccount.objects.get(account=home.account).closed_on == date(2026, 6, 11)
    assert run(JULY) == []
    with pytest.raises(Refused):
        bills.final_bill(home.account, date(2026, 6, 11))


def test_the_remainder_goes_on_to_whoever_moves_in() -> None:
    register = billed.meter("MTR-00000001", modulus=10**7)
    register.unit, register.scale = "l", 0
    register.save()
    home = billed.home(1, MAY, register=register)
    reads(register, steady(MAY, date(2026, 8, 2), 1_001))
    run(JUNE)
    bills.final_bill(home.account, date(2026, 6, 18))
    other = billed.account_row(2)
    moved_in = midnight(date(2026, 6, 18), CHICAGO)
    Occupancy.objects.create(account=other, service_point=home.service_point, start=moved_in)
    ServiceAgreement.objects.create(
        account=other, service_point=home.service_point, rate_class="residential", start=date(2026, 6, 18)
    )
    run(JULY)
    run(AUGUST)
    units = sum(segment.units for bill in Bill.objects.all() for segment in bill.segments.all())
    assert units == int(Fraction(92 * 1_001) / Fraction("3.785411784"))
    assert Bill.objects.count() == 4


def test_who_moved_in_before_and_was_entered_after_the_run_owes_those_days_too() -> None:
    reads(billed.home(1, MAY).register, steady(MAY, date(2026, 7, 2), 300))
    run(JUNE)
    late = billed.home(2, date(2026, 5, 27))
    reads(late.register, steady(date(2026, 5, 27), date(2026, 7, 2), 300))
    _, bill = run(JULY)
    segment = bill.segments.get()
    assert (bill.period_start, segment.days, segment.full_days) == (date(2026, 5, 27), 35, 30)


def test_a_change_of_class_in_the_middle_divides_the_bill() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 6, 2), 300))
    ServiceAgreement.objects.filter(pk=home.agreement.pk).update(end=date(2026, 5, 11))
    ServiceAgreement.objects.create(
        account=home.account, service_point=home.service_point, rate_class="commercial", start=date(2026, 5, 11)
    )
    (bill,) = run(JUNE)
    assert [(s.days, s.full_days, s.units) for s in bill.segments.order_by("start")] == [
        (10, 31, 3_000),
        (21, 31, 6_300),
    ]


def test_the_winter_average_is_made_once_and_holds_for_a_year() -> None:
    home = billed.home(1, date(2025, 11, 1))
    reads(
        home.register,
        billed.varying(date(2025, 11, 1), date(2026, 7, 2), lambda day: 200 if day < date(2026, 3, 1) else 500),
        fold=True,
    )
    for month in range(12, 13):
        run(date(2025, month, 1))
    for month in range(1, 7):
        done = run(date(2026, month, 1))
        if done[0].state == "held":
            bills.issue(bills.release(done[0], reason="test", actor=User.objects.first() or staff()))
    average = WinterAverageOf.objects.get()
    assert average.start == date(2026, 3, 1)
    assert Fraction(average.units) == Fraction(200 * (31 + 31 + 28), 3)
    (bill,) = [bill for bill in Bill.objects.filter(period_end=date(2026, 6, 1))]
    line = bill.lines.get(service="sewer", code="use")
    assert line.amount_cents == 1620


def test_an_unissued_bill_before_it_holds_the_next_one() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 7, 2), 300))
    run(JUNE, issue=False)
    (bill,) = run(JULY, issue=False)
    assert codes(bill) == {"earlier-bill-open"}


def test_a_run_is_given_up_before_anything_is_issued() -> None:
    reads(billed.home(1, MAY).register, steady(MAY, date(2026, 6, 2), 300))
    row = calculate_run(start_run(cycle(), JUNE, bill_date=JUNE))
    cancel_run(row, reason="wrong rates", label="test")
    assert not Bill.objects.exists()
    assert len(run(JUNE)) == 1
    with pytest.raises(Refused):
        cancel_run(start_run(cycle(), JUNE), reason="too late", label="test")


def test_more_estimates_in_a_row_than_allowed_hold_the_bill() -> None:
    home = billed.home(1, date(2026, 2, 1))
    reads(home.register, steady(date(2026, 2, 1), date(2026, 4, 10), 300), fold=True)
    states = []
    for end in (date(2026, 3, 1), date(2026, 4, 1), MAY, JUNE, JULY):
        (bill,) = run(end)
        states.append((bill.state, bill.estimated))
    assert states == [("issued", False), ("issued", False), ("issued", True), ("issued", True), ("held", False)]
    assert "no-end-read" in codes(bill)


def test_a_preview_writes_nothing() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 5, 20), 300), fold=True)
    before = AuditEntry.objects.count()
    found = bills.preview(home.account, period=Period(MAY, date(2026, 5, 11)))
    assert sum(segment.units for segment in found.segments) == 3_000
    silent = bills.preview(home.account, period=Period(MAY, JUNE))
    assert silent.estimated
    assert (Bill.objects.count(), OfficeRead.objects.count(), AuditEntry.objects.count()) == (0, 0, before)


def test_bill_numbers_follow_their_month_and_never_repeat() -> None:
    for number in range(2):
        reads(billed.home(number, MAY).register, steady(MAY, date(2026, 6, 2), 300))
    numbers = [bill.number or "" for bill in run(JUNE)]
    assert len(set(numbers)) == 2
    assert all(number.startswith("202606-") and len(number) == 14 for number in numbers)


def test_a_charge_of_a_later_day_waits() -> None:
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 6, 2), 300))
    Charge.objects.create(
        account=home.account,
        key="later",
        on=JUNE + timedelta(days=1),
        kind="fee",
        service="fee",
        code="later",
        amount_cents=500,
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    (bill,) = run(JUNE)
    assert "later" not in {code for _, code, _ in lines_of(bill)}


def test_a_bill_that_comes_to_nothing_is_issued_without_an_entry() -> None:
    RateBook.objects.all().delete()
    billed.rate_book(ONLY_USE)
    home = billed.home(1, MAY, rate_class="residential")
    reads(home.register, [(at, 0) for at, _ in steady(MAY, date(2026, 6, 2), 0)])
    reads(home.register, list(steady(date(2026, 6, 2), date(2026, 7, 2), 300))[1:])
    (nothing,) = run(JUNE)
    assert (nothing.state, nothing.charges_cents, nothing.entry) == ("issued", 0, None)
    (july,) = run(JULY)
    assert (july.state, july.charges_cents) == ("issued", july.due_cents)
    assert july.charges_cents > 0
    cancelled = bills.cancel(nothing, reason="test", label="test")
    assert cancelled.state == "cancelled"


ONLY_USE = """format: headwater-rates/1
name: use alone
currency: USD
billed_unit: {unit: gal}
versions:
  - id: one
    start: 2015-01-01
    name: One
    authority: test
    classes:
      residential:
        label: {en: Residential}
        services:
          water:
            label: {en: Water}
            lines:
              - {code: use, charge: usage, label: {en: Use}, per: 1000, price: 4.50}
"""

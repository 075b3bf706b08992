"""What holds of every bill, whatever the reads, swaps, prices and moves: tried with made-up facts, without rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.billing.calculation import AccountFacts, CalculatedBill, PointFacts, Terms, calculate
from portal.billing.periods import Period
from portal.billing.proration import Carried, parts_of
from portal.billing.shelf import Shelf, ShelfBook
from portal.fleet.models import Meter
from portal.metering.calendar import midnight
from portal.metering.models import MeterRegister
from portal.metering.spans import BoundaryCount, MeteredPart
from rates.book import PriceRequest
from rates.loading import load_book
from tests.portal.billed import NORMAN

ZONE = ZoneInfo("America/Chicago")
FLAT = """format: headwater-rates/1
name: one price
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
              - {code: base, charge: fixed, label: {en: Base}, price: 10.90}
              - {code: use, charge: usage, label: {en: Use}, per: 1000, price: 4.50}
  - id: two
    start: 2023-09-01
    name: Two
    authority: test
    classes:
      residential:
        label: {en: Residential}
        services:
          water:
            label: {en: Water}
            lines:
              - {code: base, charge: fixed, label: {en: Base}, price: 12.40}
              - {code: use, charge: usage, label: {en: Use}, per: 1000, price: 5.25}
"""
BOOKS = {name: load_book(text, name=name) for name, text in (("norman", NORMAN), ("flat", FLAT))}
UNITS = [(Unit.GALLON, 0), (Unit.GALLON, 1), (Unit.CUBIC_METRE, -3), (Unit.CUBIC_FOOT, -1), (Unit.LITRE, 0)]
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def shelf(name: str) -> Shelf:
    return Shelf((ShelfBook(1, BOOKS[name], date(2015, 1, 1)),))


def register(number: int, unit: Unit, scale: int, modulus: int | None) -> MeterRegister:
    meter = Meter(pk=number, meter_id=f"M-{number}")
    return MeterRegister(pk=number, meter=meter, register_id="total", unit=unit.value, scale=scale, modulus=modulus)


def part(
    row: MeterRegister, counts: list[tuple[date, int]], start: date | None = None, end: date | None = None
) -> MeteredPart:
    """A meter with counts (unrolled) at local midnights."""
    found = tuple(
        BoundaryCount(midnight(day, ZONE), count, count % (row.modulus or count + 1), ReadQuality.MEASURED, False, ())
        for day, count in counts
    )
    first, last = midnight(start or counts[0][0], ZONE), midnight(end or counts[-1][0], ZONE)
    return MeteredPart(1, row.pk, row, first, last, found, row.modulus)


def facts(period: Period, parts: list[MeteredPart], carried: Carried | None = None, nominal: int = 0) -> AccountFacts:
    return AccountFacts(
        account=1,
        period=period,
        nominal_days=nominal or period.days,
        zone=ZONE,
        terms=(Terms(1, 1, "residential", date(2015, 1, 1), services=("water",)),),
        points={1: PointFacts(tuple(parts), carried)},
    )


def bill(period: Period, counts: list[tuple[date, int]], book: str = "norman", nominal: int = 0) -> CalculatedBill:
    row = register(1, Unit.GALLON, 0, None)
    done = calculate(facts(period, [part(row, counts)], nominal=nominal), shelf(book))
    assert not done.held, done.findings
    return done


def midnights(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


@relaxed
@given(
    start=st.dates(date(2023, 1, 1), date(2023, 12, 1)),
    days=st.integers(5, 65),
    a_day=st.integers(0, 3_000),
    nominal=st.integers(28, 62),
)
def test_a_bill_is_the_sum_of_its_lines_and_its_parts_are_its_period(
    start: date, days: int, a_day: int, nominal: int
) -> None:
    period = Period(start, start + timedelta(days=days))
    counts = [(day, a_day * n) for n, day in enumerate(midnights(period.start, period.end))]
    done = bill(period, counts, nominal=nominal)
    assert done.charges_cents == sum(line.amount_cents for line in done.lines)
    assert sum(segment.units for segment in done.segments) == a_day * days
    assert [segment.start for segment in done.segments[1:]] == [segment.end for segment in done.segments[:-1]]
    for line in done.lines:
        assert line.line is not None
        exact = line.line.amount * 100
        assert abs(line.amount_cents - exact) <= Fraction(1, 2)


@relaxed
@given(
    start=st.dates(date(2023, 8, 3), date(2023, 8, 31)),
    days=st.integers(28, 31),
    a_day=st.integers(0, 2_000),
    book=st.sampled_from(["norman", "flat"]),
)
def test_at_constant_daily_use_parts_sum_exactly_to_the_versions_bills_weighted_by_days(
    start: date, days: int, a_day: int, book: str
) -> None:
    """2023-09-01 lies inside: each version's bill for the whole period, times its share of the days."""
    period = Period(start, start + timedelta(days=days))
    counts = [(day, a_day * n) for n, day in enumerate(midnights(period.start, period.end))]
    done = bill(period, counts, book=book)
    exact = sum((line.line.amount for line in done.lines if line.line), Fraction(0))
    weighted = Fraction(0)
    for first, last in parts_of(period.start, period.end, [date(2023, 9, 1)]):
        whole = BOOKS[book].price(
            PriceRequest(
                "residential", Fraction(a_day * days), first, first.month, days, days, {}, frozenset({"water"})
            )
        )
        weighted += sum((line.amount for line in whole.lines), Fraction(0)) * Fraction((last - first).days, days)
    assert exact == weighted


@relaxed
@given(before=st.integers(0, 40_000), after=st.integers(0, 40_000), days=st.integers(28, 31), turn=st.integers(1, 27))
def test_an_untiered_price_is_exact_for_any_use(before: int, after: int, days: int, turn: int) -> None:
    """However the water is spread: each version's price on what was used while it held, the base fees by days."""
    change = date(2023, 9, 1)
    period = Period(change - timedelta(days=turn), change - timedelta(days=turn) + timedelta(days=days))
    counts = [(period.start, 0), (change, before), (period.end, before + after)]
    done = bill(period, counts, book="flat")
    exact = sum((line.line.amount for line in done.lines if line.line), Fraction(0))
    fees = Fraction("10.90") * Fraction(turn, days) + Fraction("12.40") * Fraction(days - turn, days)
    assert exact == fees + Fraction("4.50") * before / 1000 + Fraction("5.25") * after / 1000


@st.composite
def years(draw: st.DrawFn) -> list[tuple[Period, list[MeteredPart]]]:
    """Twelve periods of a service point where meters of all kinds follow each other, some of them rolling over."""
    firsts = [date(2024 + (8 + n) // 12, (8 + n) % 12 + 1, 1) for n in range(13)]
    swaps = sorted(draw(st.sets(st.dates(firsts[0] + timedelta(days=1), firsts[-1] - timedelta(days=1)), max_size=4)))
    spans = list(zip([firsts[0], *swaps], [*swaps, firsts[-1]], strict=True))
    hung = []
    for number, (start, end) in enumerate(spans, 1):
        unit, scale = draw(st.sampled_from(UNITS))
        row = register(number, unit, scale, draw(st.sampled_from([None, 10**4, 10**6])))
        count, counts = draw(st.integers(0, 9_999)), list[tuple[date, int]]()
        for day in sorted({start, end, *(first for first in firsts if start < first < end)}):
            counts.append((day, count))
            count += draw(st.integers(0, 9_000))
        hung.append((row, counts))
    result = []
    for start, end in zip(firsts, firsts[1:], strict=False):
        parts = []
        for row, counts in hung:
            inside = [(day, count) for day, count in counts if start <= day <= end]
            if len(inside) > 1:
                parts.append(part(row, inside))
        result.append((Period(start, end), parts))
    return result


@relaxed
@given(year=years(), moves=st.sets(st.integers(1, 11)))
def test_a_year_of_bills_is_the_years_difference_of_the_registers(
    year: list[tuple[Period, list[MeteredPart]]], moves: set[int]
) -> None:
    """Across swaps, roll-overs and moves: what is less than a gallon is carried on and never lost."""
    carried, billed, volume, first = None, 0, Fraction(0), None
    for number, (period, parts) in enumerate(year):
        account = facts(period, parts, carried)
        done = calculate(replace(account, account=1 + sum(move <= number for move in moves)), shelf("norman"))
        assert not done.held, done.findings
        for one in parts:
            worth = count_value(Unit(one.register.unit), one.register.scale)
            volume += worth * (one.counts[-1].count - one.counts[0].count)
        if first is None:
            row, shown = parts[0].register, parts[0].counts[0].shown
            first = count_value(Unit(row.unit), row.scale) * shown
        billed += sum(segment.units for segment in done.segments)
        carried = done.segments[-1].carried
    gallon = Unit.GALLON.litres
    assert first is not None
    dial = first % gallon
    assert billed == (dial + volume) // gallon
    assert carried is not None
    assert carried.litres == (dial + volume) % gallon


@relaxed
@given(
    use=st.integers(0, 60_000),
    more=st.integers(1, 3_000),
    rate_class=st.sampled_from(["residential", "commercial"]),
    month=st.integers(1, 12),
    days=st.integers(3, 62),
)
def test_more_water_never_costs_less(use: int, more: int, rate_class: str, month: int, days: int) -> None:
    start = date(2024, month, 1)
    period = Period(start, start + timedelta(days=days))
    row = register(1, Unit.GALLON, 0, None)

    def cost(units: int) -> int:
        account = facts(period, [part(row, [(period.start, 0), (period.end, units)])], nominal=30)
        terms = tuple(replace(terms, rate_class=rate_class, services=()) for terms in account.terms)
        done = calculate(replace(account, terms=terms), shelf("norman"))
        assert not done.held, done.findings
        return done.charges_cents

    assert cost(use) <= cost(use + more)


def test_a_wrong_input_holds_the_bill_and_says_which() -> None:
    period = Period(date(2024, 5, 1), date(2024, 6, 1))
    row = register(1, Unit.GALLON, 0, None)
    account = facts(period, [part(row, [(period.start, 0), (period.end, 10)])])
    wrong = tuple(replace(terms, rate_class="royal") for terms in account.terms)
    done = calculate(replace(account, terms=wrong), shelf("norman"))
    assert done.held
    assert "royal" in str(done.findings)


@pytest.mark.parametrize(("days", "full_days"), [(27, 27), (33, 33), (26, 30), (34, 30), (11, 30)])
def test_a_period_within_a_tenth_of_its_cycle_is_a_full_one(days: int, full_days: int) -> None:
    period = Period(date(2024, 6, 1), date(2024, 6, 1) + timedelta(days=days))
    done = bill(period, [(period.start, 0), (period.end, 3_000)], nominal=30)
    assert {segment.full_days for segment in done.segments} == {full_days}

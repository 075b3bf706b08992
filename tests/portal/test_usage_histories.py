"""Whatever became of a home's meters: chart, table, comparison, cost and file say what the dials turned."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from domain.units import Unit
from portal.billing.models import BillingAccount, ServiceAgreement
from portal.billing.projection import cost_so_far
from portal.metering.usage import Cut, usages
from portal.resident import services
from portal.resident.compare import Compare, other_period
from portal.resident.periods import By, Period, period_of
from tests.portal import billed
from tests.portal.histories import (
    CHICAGO,
    Past,
    Place,
    added,
    midnight,
    pasts,
    some,
    undone,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.core.models import User
    from portal.resident.page import UsagePage
    from tests.portal.histories import Lived

pytestmark = pytest.mark.django_db
UNITS = (Unit.GALLON, Unit.LITRE, Unit.CUBIC_FOOT, Unit.CCF, Unit.CUBIC_METRE)


def any_moment(rng: random.Random, past: Past) -> datetime:
    """Return a moment of the past: every other time on a day of 23 or 25 hours or the day after, where there is one."""
    days = [past.first + timedelta(days=n) for n in range(past.days)]
    changed = [day for day in days if midnight(day + timedelta(days=1)) - midnight(day) != timedelta(hours=24)]
    if changed and rng.random() < 0.5:
        start = midnight(changed[0]) + timedelta(days=rng.randrange(2))
        return min(start + timedelta(seconds=rng.randrange(86_400)), past.end - timedelta(seconds=1))
    return past.start + timedelta(seconds=rng.randrange(int((past.end - past.start).total_seconds())))


def volumes(places: Sequence[Place], edges: Sequence[datetime], unit: Unit) -> list[Decimal | None]:
    """What the dials of places counted between the edges."""
    return [
        added(place.volume(start, end, unit) for place in places)
        for start, end in zip(edges[:-1], edges[1:], strict=True)
    ]


@some(10)
@given(past=pasts(), seed=st.integers(0, 2**16))
def test_any_rows_are_what_the_dials_turned(past: Past, seed: int, lived: Lived) -> None:
    """Every row, in every unit, cut by each view and anywhere; counts exact; the worst of the reads it rests on."""
    rng = random.Random(seed)
    with undone():
        known = lived(past)
        moments = sorted({any_moment(rng, past) for _ in range(6)})
        periods = [period_of(by, (at := any_moment(rng, past)).astimezone(CHICAGO).date(), CHICAGO, at=at) for by in By]
        whole = Cut((past.start, past.end), "hour")
        cuts = [*(Cut(period.edges, period.by.resolution) for period in periods), Cut(tuple(moments), "hour"), whole]
        for place in known.places:
            unit = rng.choice(UNITS)
            for cut, series in zip(cuts, usages(place.point, cuts, zone=CHICAGO, unit=unit), strict=True):
                assert [row.volume for row in series.rows] == volumes([place], cut.edges, unit)
                assert series.total == place.volume(cut.edges[0], cut.edges[-1], unit)
                for row in series.rows:
                    of_dials = [(dial.counted(row.start, row.end), dial) for dial in place.dials]
                    counts = [counts for counts, _ in of_dials if counts is not None]
                    if counts and series.counts_unit is not None:
                        assert row.counts == sum(counts)
                    qualities = set().union(*(dial.qualities(row.start, row.end) for dial in place.dials))
                    assert not qualities or row.quality in qualities


@some(10)
@given(past=pasts(), seed=st.integers(0, 2**16))
def test_a_page_adds_up_to_the_registers(past: Past, seed: int, lived: Lived) -> None:
    """One meter's page and the page of all meters, in a random view: chart, table, headline, comparison."""
    rng = random.Random(seed)
    with undone():
        known = lived(past)
        user = known.user
        unit = services.prefer_unit(user, rng.choice(UNITS).value)
        for number, place in enumerate(known.places):
            together = number > 0 or rng.random() < 0.5
            places = known.places if together else [place]
            compare = rng.choice((None, Compare.PREVIOUS, Compare.PREVIOUS, Compare.YEAR))
            by, at = rng.choice((By.HOUR, *By)), any_moment(rng, past)
            day = at.astimezone(CHICAGO).date()
            hour = at if by is By.MINUTE else None
            page = services.usage_page(
                known.user, place.point, by=by, day=day, at=hour, compare=compare, all_meters=together
            )
            shown_is_what_the_dials_turned(page, places, unit)
            headline_is_what_the_dials_turned(page, places, unit, known.now)
            if page.comparison is not None and compare is not None:
                comparison_is_what_the_dials_turned(page, places, unit, compare, known.now)
            if number == 0:
                html_says_the_same(page, by, at, compare, user, together=together)


def number(text: str) -> Decimal:
    """The number that somebody reads."""
    return Decimal(text.split(" ")[0].replace(",", "").replace("\N{MINUS SIGN}", "-"))


def shown_is_what_the_dials_turned(page: UsagePage, places: Sequence[Place], unit: Unit) -> None:
    edges = page.period.edges
    expected = volumes(places, edges, unit)
    assert [None if row.volume is None else Decimal(row.volume) for row in page.rows] == expected
    total = added(place.volume(edges[0], edges[-1], unit) for place in places)
    if total is None:
        assert page.total is None
        return
    assert page.total is not None
    assert Decimal(page.total.exact) == total
    # What is read, row by row, adds up to the total that is read.
    read = sum(number(row.text) for row in page.table_rows if row.volume is not None)
    assert read == number(page.total.text) == total
    chart = page.chart()["rows"]
    assert isinstance(chart, list)
    for row, bar in zip(page.rows, chart, strict=True):
        assert bar["text"] == row.text
        assert bar["volume"] == (None if row.volume is None else max(0.0, float(row.volume)))
    if len(page.boundary_dials) == 2 and len(places[0].dials) == 1:
        (dial,) = places[0].dials
        found = dial.inside(edges[0], edges[-1])
        assert found is not None
        turn = dial.register.modulus or 10**18
        shown = [Decimal(dial.at(at) % turn).scaleb(dial.register.scale) for at in found]
        assert [number(one.text) for one in page.boundary_dials] == shown


def headline_is_what_the_dials_turned(page: UsagePage, places: Sequence[Place], unit: Unit, now: datetime) -> None:
    assert page.headline is not None
    today = period_of(By.HOUR, now.astimezone(CHICAGO).date(), CHICAGO)
    month = period_of(By.DAY, today.first, CHICAGO)
    for figure, start, end in (
        (page.headline.today, today.start, today.end),
        (page.headline.yesterday, today.previous().start, today.start),
        (page.headline.month, month.start, today.end),
    ):
        (expected,) = volumes(places, (start, end), unit)
        assert (None if figure is None else Decimal(figure.exact)) == expected


def comparison_is_what_the_dials_turned(
    page: UsagePage, places: Sequence[Place], unit: Unit, compare: Compare, now: datetime
) -> None:
    """Each bar stands beside its counterpart; a percentage is that of the two sums."""
    assert page.comparison is not None
    other = other_period(page.period, compare)
    edges = other.edges
    expected = dict(zip(_names(other), volumes(places, edges, unit), strict=True))
    assert page.comparison.volumes == tuple(expected.get(name) for name in _names(page.period))
    if page.comparison.percent is not None and not page.period.start <= now < page.period.end:
        own, before = (volumes(places, (one.start, one.end), unit)[0] for one in (page.period, other))
        assert own is not None
        assert before is not None
        percent = ((own - before) * 100 / before).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        assert page.comparison.percent == percent


def _names(period: Period) -> list[object]:
    """What a bar is found by in another period: the hour's name on a clock, else its place."""
    if period.by is not By.HOUR:
        return list(range(len(period.edges) - 1))
    local = [edge.astimezone(CHICAGO) for edge in period.edges[:-1]]
    return [(one.hour, one.fold) for one in local]


def html_says_the_same(
    page: UsagePage, by: By, at: datetime, compare: Compare | None, ana: User, *, together: bool
) -> None:
    """The page as it is sent: the table under the chart, and what the chart is drawn from."""
    client = Client()
    client.force_login(ana)
    query = {"by": by.value, "date": page.period.first.isoformat()}
    query |= {"at": at.isoformat()} if by is By.MINUTE else {}
    query |= {"compare": compare.value} if compare else {}
    query |= {"meters": "all"} if together else {}
    answer = client.get(f"/usage/{page.service_point.public_id}/", query)
    assert answer.status_code == 200
    root = html.fromstring(answer.content.decode())
    (data,) = root.xpath("//script[@id='usage-data']")
    drawn = json.loads(data.text or "")
    assert drawn["rows"] == json.loads(json.dumps(page.chart()["rows"]))
    rows = [(row.get("data-value") or None, row.xpath("string(td[1])")) for row in root.xpath("//tbody/tr[@data-mark]")]
    if page.total is None:
        assert rows == []
        return
    assert rows == [(row.volume, row.text) for row in page.table_rows]
    bars = [row["text"] for row in drawn["rows"] if row["mark"] not in ("before", "ahead")]
    assert [text for _, text in rows] == bars
    (foot,) = root.xpath("//tfoot/tr/td[1]")
    assert number(foot.text) == sum(number(text) for value, text in rows if value is not None)


@some(8)
@given(past=pasts())
def test_the_running_bill_counts_what_the_chart_shows(past: Past, lived: Lived) -> None:
    """Its whole units, of every meter, are what the dials turned since the period began, less than a unit left over."""
    with undone():
        known = lived(past)
        billed.rate_book()
        BillingAccount.objects.create(account=known.account, cycle=billed.cycle(), email="ana@example.org")
        for place in known.places:
            ServiceAgreement.objects.create(
                account=known.account, service_point=place.point, rate_class="residential", start=past.first
            )
        cost = cost_so_far(known.account, known.now)
        if cost is None:
            month = max(past.start, period_of(By.DAY, known.now.astimezone(CHICAGO).date(), CHICAGO).start)
            assert not all(place.whole_gallons(month, known.now)[1] for place in known.places)
            return
        start = max(past.start, period_of(By.DAY, cost.period.start, CHICAGO).start)
        units, sure = 0, True
        for place in known.places:
            more, of_this = place.whole_gallons(start, known.now)
            units, sure = units + more, sure and of_this
        if sure:
            assert cost.units == units

"""Whatever became of a home's meters: its Green Button file is valid, and a stranger reads from it what they turned."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from domain.reading import ReadQuality
from domain.units import Unit
from portal.billing.models import Bill, BillingAccount, ServiceAgreement
from portal.downloads.series import Every
from portal.downloads.services import Form, bills_within, usage_file, wanted_usage
from portal.metering.usage import usage
from tests.portal import billed
from tests.portal.green_button_reader import feed_schema, points_read
from tests.portal.histories import (
    CHICAGO,
    LITRES,
    Dial,
    Past,
    Place,
    Street,
    added,
    midnight,
    pasts,
    some,
    undone,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lxml.etree import XMLSchema

    from portal.downloads.series import Wanted
    from tests.portal.histories import Lived

pytestmark = pytest.mark.django_db
ESPI = "{http://naesb.org/espi}"
UOM = {128: LITRES[Unit.GALLON], 119: LITRES[Unit.CUBIC_FOOT], 42: LITRES[Unit.CUBIC_METRE], 134: Fraction(1)}
QUALITY = {ReadQuality.EDITED: 7, ReadQuality.ESTIMATED: 8, ReadQuality.SUSPECT: 10}
WORST = (ReadQuality.SUSPECT, ReadQuality.ESTIMATED, ReadQuality.EDITED, ReadQuality.MEASURED)
DERIVED, RAW, VALIDATED = 11, 14, 17
LONG = 260
"""Days from a change of the clocks to past the next one."""


@pytest.fixture(scope="module")
def schema(data_dir: Path) -> XMLSchema:
    return feed_schema(data_dir / "greenbutton" / "schema")


@some(8)
@given(past=pasts(lengths=(2, 5, 12, 40, LONG)), seed=st.integers(0, 2**16))
def test_a_stranger_reads_what_the_dials_turned(
    past: Past, seed: int, lived: Lived, schema: XMLSchema, tmp_path: Path
) -> None:
    """Each interval of each meter: when, how much, how good; in all what page, CSV and bill say."""
    rng = random.Random(seed)
    with undone():
        known = lived(past)
        bills = _billed(known) if rng.random() < 0.4 else []
        every = rng.choice([Every.HOUR, *Every] if past.days <= 12 else [Every.DAY, Every.DAY, Every.MONTH, Every.READ])
        first = past.first + timedelta(days=rng.randrange(-1, past.days))
        last = first + timedelta(days=past.days if past.days == LONG else rng.randrange(past.days))
        points = [place.point for place in known.places]
        start, end = midnight(first), midnight(last + timedelta(days=1))
        if end <= past.start:
            return
        wanted = wanted_usage(known.user, points, start=start, end=end, every=every, unit=rng.choice(list(Unit)))
        feed = b"".join(usage_file(wanted, Form.GREEN_BUTTON, bills=bills_within(known.user, wanted)).pieces)
        root = etree.fromstring(feed)
        schema.assertValid(root)
        read = {point.title: point for point in points_read(feed, tmp_path)}
        rows = list(csv.DictReader(io.StringIO(b"".join(usage_file(wanted, Form.CSV).pieces).decode(), newline="")))
        for place in known.places:
            title = "12 Elm Street" + ("" if place.point.label == "water" else f", {place.point.label}")
            of_place = [row for row in rows if row["service_point"] == place.point.public_id]
            the_place_is_read(place, read.pop(title), wanted, of_place)
        assert not read
        _blocks_are_as_long_as_their_days(root, every)
        for bill in bills:
            _the_bill_is_what_the_dials_turned(root, bill, known)


def the_place_is_read(place: Place, point: Any, wanted: Wanted, rows: list[dict[str, str]]) -> None:
    """What is read of a place: every meter that hung there, in its own unit, and in all what page and CSV say."""
    start, end = max(wanted.start, wanted.places[0].spans[0].start), wanted.end
    readings = {reading.title: reading for reading in point.meterReadings}
    for dial in place.dials:
        hung = max(start, dial.start), min(end, dial.end or end)
        reading = readings.pop(f"Meter {dial.register.meter_id}, register total", None)
        assert (reading is None) == (hung[0] >= hung[1])
        if reading is None:
            continue
        worth = UOM[reading.readingType.uom.value] * Fraction(10) ** reading.readingType.powerOfTenMultiplier
        found = [
            (one.timePeriod.start, one.timePeriod.duration, one._value * worth, _quality(one))
            for one in reading.intervalReadings
        ]
        turned = dial.counted(*hung)
        assert sum(litres for *_, litres, _ in found) == (turned or 0) * _worth(dial)
        if wanted.every is not Every.READ:
            assert found == _expected(dial, hung, wanted)
    assert not readings
    page = usage(place.point, start=start, end=end, resolution=wanted.every.resolution, unit=wanted.unit)
    assert page.total == place.volume(start, end, wanted.unit)
    assert added(Decimal(row["volume"]) if row["volume"] else None for row in rows) == page.total


def _expected(
    dial: Dial, hung: tuple[datetime, datetime], wanted: Wanted
) -> list[tuple[datetime, timedelta, Fraction, int]]:
    edges = _edges(*hung, wanted.every)
    return [
        (low, high - low, counts * _worth(dial), _expected_quality(dial, low, high, wanted.now))
        for low, high in zip(edges, edges[1:], strict=False)
        if (counts := dial.counted(low, high)) is not None
    ]


def _edges(start: datetime, end: datetime, every: Every) -> list[datetime]:
    """Cut a stretch at the hours, days or months of Chicago, counted in its own calendar."""
    if every is Every.HOUR:
        hours = (end - start) // timedelta(hours=1) + 2
        whole = start.replace(minute=0, second=0, microsecond=0)
        inner = [whole + timedelta(hours=n) for n in range(hours)]
    else:
        day, inner = start.astimezone(CHICAGO).date(), []
        while midnight(day) < end:
            if every is Every.DAY or day.day == 1:
                inner.append(midnight(day))
            day += timedelta(days=1)
    return [start, *(edge for edge in inner if start < edge < end), end]


def _expected_quality(dial: Dial, low: datetime, high: datetime, now: datetime) -> int:
    found = dial.qualities(low, high)
    worst = next(quality for quality in WORST if quality in found)
    if worst in QUALITY:
        return QUALITY[worst]
    ends = dial.inside(low, high)
    assert ends is not None
    if not all(dial.read_at(end) for end in ends):
        return DERIVED
    return VALIDATED if high <= now - timedelta(hours=2) else RAW


def _quality(reading: Any) -> int:
    (found,) = reading.readingQualities
    return int(found.quality.value)


def _worth(dial: Dial) -> Fraction:
    return LITRES[dial.register.unit] * Fraction(10) ** dial.register.scale


def _blocks_are_as_long_as_their_days(root: Any, every: Every) -> None:
    """A block from midnight to midnight is a day of 23, 24 or 25 hours."""
    for block in root.iter(f"{ESPI}IntervalBlock"):
        start = datetime.fromtimestamp(int(block.findtext(f"{ESPI}interval/{ESPI}start")), UTC)
        length = timedelta(seconds=int(block.findtext(f"{ESPI}interval/{ESPI}duration")))
        day = start.astimezone(CHICAGO).date()
        if every in (Every.HOUR, Every.DAY):
            assert length <= midnight(day + timedelta(days=1)) - midnight(day)


def _billed(known: Street) -> list[Bill]:
    """Bill the home up to the end of its first month, when its past reaches so far and nothing holds the bill."""
    billed.rate_book()
    BillingAccount.objects.create(account=known.account, cycle=billed.cycle(), email="ana@example.org")
    for place in known.places:
        ServiceAgreement.objects.create(
            account=known.account, service_point=place.point, rate_class="residential", start=known.past.first
        )
    month = (known.past.first.replace(day=1) + timedelta(days=32)).replace(day=1)
    if midnight(month) > known.past.end:
        return []
    return [bill for bill in billed.run(month) if bill.state == Bill.State.ISSUED]


def _the_bill_is_what_the_dials_turned(root: Any, bill: Bill, known: Street) -> None:
    found = [
        one
        for one in root.iter(f"{ESPI}UsageSummary")
        if int(one.findtext(f"{ESPI}billLastPeriod")) == bill.charges_cents * 1000
    ]
    for place, summary in zip(known.places, found, strict=False):
        use = summary.find(f"{ESPI}overallConsumptionLastPeriod")
        if bill.estimated or use is None:
            continue
        units, sure = place.whole_gallons(midnight(bill.period_start), midnight(bill.period_end))
        value, power = int(use.findtext(f"{ESPI}value")), int(use.findtext(f"{ESPI}powerOfTenMultiplier"))
        assert not sure or value * Fraction(10) ** power * UOM[int(use.findtext(f"{ESPI}uom"))] == units * UOM[128]

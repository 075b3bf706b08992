"""Usage as Green Button XML (ESPI in an Atom feed), for water: the register's own counts, exact, read by read.

Each counter of each meter is a MeterReading with a ReadingType of its own, so that a meter swap or a compound meter
never mixes units; one IntervalBlock is one day of the utility's zone, of 23, 24 or 25 hours. A gap is an interval that
is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.customers.services import Span
from portal.downloads import espi
from portal.downloads.atom import ATOM, ESPI, Feed, atom_time
from portal.downloads.clock_rules import clock_rules
from portal.downloads.csv_file import place_name
from portal.downloads.series import Every, Wanted, pieces
from portal.downloads.summaries import summary
from portal.metering.usage import Counter, counters_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from portal.billing.models import Bill
    from portal.downloads.series import Place
    from portal.metering.usage import UsageRow

CONTENT_TYPE = "application/atom+xml; charset=utf-8"
_ROOT = "/espi/1_1/resource"
_SCREENED_AFTER = timedelta(hours=2)
"""By then the worker has looked at every read twelve times."""


def green_button_file(wanted: Wanted, bills: Sequence[Bill] = ()) -> Iterator[bytes]:
    """Yield the feed; bills: those of the period that the person may see, each told once."""
    feed, clock = Feed(), espi.entry_id("clock", str(wanted.zone))
    feed.start("feed", {"xmlns": ATOM, "xmlns:espi": ESPI})
    names = "/".join(place.service_point.public_id for place in wanted.places)
    feed.text("id", espi.entry_id("feed", names, str(wanted.start), str(wanted.end), wanted.every.value).urn)
    feed.text("title", "Green Button: water use")
    feed.text("updated", atom_time(wanted.now))
    clock_link = f"{_ROOT}/LocalTimeParameters/{clock}"
    with feed.entry(clock, f"Clock of {wanted.zone}", wanted.now, self_link=clock_link):
        _clock(feed, wanted)
    told: set[int] = set()
    for place in wanted.places:
        here = [bill for bill in bills if bill.pk not in told and _is_of(bill, place)]
        told.update(bill.pk for bill in here)
        yield from _place(feed, wanted, place, here, clock_link)
    feed.end("feed")
    yield feed.taken()


def _is_of(bill: Bill, place: Place) -> bool:
    return any(row.agreement.service_point_id == place.service_point.pk for row in bill.segments.all())


def _clock(feed: Feed, wanted: Wanted) -> None:
    rules = clock_rules(wanted.zone, wanted.end.astimezone(wanted.zone).year)
    with feed.inside("espi:LocalTimeParameters"):
        feed.text("espi:dstEndRule", f"{rules.end_rule:08X}")
        feed.text("espi:dstOffset", rules.dst_offset_s)
        feed.text("espi:dstStartRule", f"{rules.start_rule:08X}")
        feed.text("espi:tzOffset", rules.zone_offset_s)


def _place(feed: Feed, wanted: Wanted, place: Place, bills: Sequence[Bill], clock_link: str) -> Iterator[bytes]:
    point = place.service_point
    identity = espi.entry_id("usage-point", point.public_id)
    link = f"{_ROOT}/UsagePoint/{identity}"
    related = [f"{link}/MeterReading", *([f"{link}/UsageSummary"] if bills else []), clock_link]
    with feed.entry(identity, place_name(place), wanted.now, self_link=link, related=related):  # noqa: SIM117
        with feed.inside("espi:UsagePoint"), feed.inside("espi:ServiceCategory"):
            feed.text("espi:kind", espi.SERVICE_WATER)
    for counter in _counters(wanted, place):
        yield from _counter(feed, wanted, place, counter, link)
    for bill in bills:
        title = f"Bill {bill.number}: all services and places of the account"
        made = espi.entry_id("summary", point.public_id, bill.public_id)
        with feed.entry(made, title, wanted.now, self_link=f"{link}/UsageSummary/{made}"):
            summary(feed, bill, place, wanted.zone, wanted.now)
        yield feed.taken()


def _counters(wanted: Wanted, place: Place) -> list[Counter]:
    """Return what counted at a place in the person's times, each once."""
    found: dict[tuple[int, int], Counter] = {}
    for span in place.spans:
        if (inside := span.intersection(Span(wanted.start, wanted.end))) is not None:
            for counter in counters_at(place.service_point, inside):
                found.setdefault((counter.installation.pk, counter.registers[0].pk), counter)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Reading:
    """One MeterReading: the address of its blocks, and how its counts are written."""

    link: str
    names: tuple[str, str]
    measure: espi.Measure


def _counter(feed: Feed, wanted: Wanted, place: Place, counter: Counter, point_link: str) -> Iterator[bytes]:
    register = counter.registers[0]
    names = (counter.installation.public_id, register.public_id)
    identity, kind = espi.entry_id("reading", *names), espi.entry_id("type", *names, wanted.every.value)
    measure = espi.measure(Unit(register.unit), register.scale)
    reading = _Reading(f"{point_link}/MeterReading/{identity}", names, measure)
    type_link = f"{_ROOT}/ReadingType/{kind}"
    title = f"Meter {register.meter.meter_id}, register {register.register_id}"
    related = [f"{reading.link}/IntervalBlock", type_link]
    with feed.entry(identity, title, wanted.now, self_link=reading.link, related=related):  # noqa: SIM117
        with feed.inside("espi:MeterReading"):
            pass
    with feed.entry(kind, f"{title}, in {register.unit} x 10^{register.scale}", wanted.now, self_link=type_link):
        _reading_type(feed, wanted.every, measure)
    yield feed.taken()
    for piece in pieces(wanted, place, only=counter):
        for _, series in piece.series:
            for day, rows in groupby(series.rows, key=lambda row: row.start.astimezone(wanted.zone).date()):
                _block(feed, wanted, reading, day, list(rows))
        yield feed.taken()


def _reading_type(feed: Feed, every: Every, measure: espi.Measure) -> None:
    with feed.inside("espi:ReadingType"):
        feed.text("espi:accumulationBehaviour", espi.ACCUMULATION_DELTA)
        feed.text("espi:commodity", espi.COMMODITY_POTABLE_WATER)
        feed.text("espi:dataQualifier", espi.QUALIFIER_NORMAL)
        feed.text("espi:flowDirection", espi.FLOW_FORWARD)
        if every.seconds:
            feed.text("espi:intervalLength", every.seconds)
        feed.text("espi:powerOfTenMultiplier", measure.power)
        feed.text("espi:uom", measure.uom)


def _block(feed: Feed, wanted: Wanted, reading: _Reading, day: date, rows: Sequence[UsageRow]) -> None:
    """Write the intervals that start on one day of the zone, when anything is known of them."""
    known = [row for row in rows if row.counts is not None]
    if not known:
        return
    start = rows[0].start
    identity = espi.entry_id("block", *reading.names, wanted.every.value, str(start))
    with (
        feed.entry(identity, str(day), wanted.now, self_link=f"{reading.link}/IntervalBlock/{identity}"),
        feed.inside("espi:IntervalBlock"),
    ):
        feed.period("espi:interval", start, rows[-1].end)
        for row in known:
            _interval(feed, row, reading.measure, screened_before=wanted.now - _SCREENED_AFTER)


def _interval(feed: Feed, row: UsageRow, measure: espi.Measure, *, screened_before: datetime) -> None:
    assert row.counts is not None
    with feed.inside("espi:IntervalReading"):
        with feed.inside("espi:ReadingQuality"):
            feed.text("espi:quality", espi.quality_of(row, screened=row.end <= screened_before))
        feed.period("espi:timePeriod", row.start, row.end)
        feed.text("espi:value", row.counts * measure.factor)

"""Downloads of one's usage: CSV, Excel and Green Button say what the page and the bill say, whatever is asked for."""

from __future__ import annotations

import csv
import io
import random
import tracemalloc
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from lxml import etree

from domain.units import Unit, as_decimal, counts_to
from portal.core.errors import Refused
from portal.core.files import safe_text
from portal.core.models import User
from portal.customers.models import Premise
from portal.customers.services import move_out
from portal.downloads import csv_file, excel, green_button, series
from portal.downloads.clock_rules import clock_rules
from portal.downloads.green_button import green_button_file
from portal.downloads.series import Every, Wanted
from portal.downloads.services import Form, between_days, bills_within, usage_file, wanted_usage
from portal.metering.calendar import midnight
from portal.metering.models import RecentRead
from portal.metering.reads import from_us, to_us
from portal.metering.usage import PLACES, usage
from tests.portal import billed
from tests.portal.building import home as building_home
from tests.portal.building import person, total
from tests.portal.green_button_reader import feed_schema, points_read
from tests.portal.metered_homes import Home, metered_home

if TYPE_CHECKING:
    from lxml.etree import XMLSchema

pytestmark = pytest.mark.django_db
CHICAGO = ZoneInfo("America/Chicago")
NOW = datetime(2027, 6, 1, tzinfo=UTC)
SEED = 23
ESPI = "{http://naesb.org/espi}"
_FORM = {form.value: form for form in Form}


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("portal.downloads.services.now", "portal.metering.usage.now", "portal.metering.spans.now"):
        monkeypatch.setattr(name, lambda: NOW)


@pytest.fixture(scope="module")
def schema(data_dir: Path) -> XMLSchema:
    """The published schemas, on their own: the network is not there."""
    return feed_schema(data_dir / "greenbutton" / "schema")


def read_often(home: Home, days: int, *, seed: int = SEED, every: timedelta = timedelta(minutes=30)) -> None:
    """Reads about every so often, never quite on the hour, with a night that nobody read."""
    random_ = random.Random(seed)
    rows: list[RecentRead] = []
    until = home.at + timedelta(days=days)
    while home.at < until:
        if home.at.day != 7 or not 2 <= home.at.hour <= 5:
            rows.append(
                RecentRead(
                    register=home.register.pk,
                    read_us=to_us(home.at),
                    raw_count=home.count,
                    epoch=1,
                    append_seq=len(rows) + 1,
                    quality=0,
                    reason=0,
                    flags=0,
                )  # fmt: skip
            )
        home.count += random_.choice((0, 0, 1, 7, 30))
        home.at += every + timedelta(seconds=random_.choice((-20, 0, 0, 20)))
    RecentRead.objects.bulk_create(rows)
    home.newest(from_us(rows[-1].read_us), rows[-1].raw_count)


def content(wanted: Wanted, form: Form) -> bytes:
    return b"".join(usage_file(wanted, form).pieces)


def csv_of(wanted: Wanted) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(wanted, Form.CSV).decode(), newline="")))


def green(wanted: Wanted, *bills: object) -> bytes:
    return b"".join(green_button_file(wanted, bills))  # type: ignore[arg-type]


def counted(feed: bytes, tmp_path: Path) -> list[tuple[datetime, timedelta, int, int, int]]:
    """What the independent reader gets: start, length, counts, power of ten, unit."""
    return [
        (
            reading.timePeriod.start,
            reading.timePeriod.duration,
            reading._value,
            meter.readingType.powerOfTenMultiplier,
            meter.readingType.uom.value,
        )
        for point in points_read(feed, tmp_path)
        for meter in point.meterReadings
        for reading in meter.intervalReadings
    ]


@pytest.fixture
def ana() -> User:
    return person("ana@example.org")


@pytest.fixture
def home(ana: User) -> Home:
    """From the evening before clocks go forward until spring; Ana moved in at the start."""
    found = metered_home(datetime(2026, 3, 7, 6, tzinfo=UTC), user=ana)
    read_often(found, 34)
    return found


def ask(who: User, home: Home, first: date, last: date, every: Every = Every.HOUR, unit: Unit = Unit.GALLON) -> Wanted:
    start, end = between_days(first.isoformat(), last.isoformat())
    return wanted_usage(who, [home.service_point], start=start, end=end, every=every, unit=unit)


def test_every_form_says_what_the_page_says(ana: User, home: Home, tmp_path: Path, schema: XMLSchema) -> None:
    """Random ranges, resolutions and units: rows sum to the page's total, and Green Button to its counts."""
    random_ = random.Random(SEED)
    print(f"seed {SEED}")
    for number in range(10):
        first = date(2026, 3, 1) + timedelta(days=random_.randrange(6, 30))
        last = first + timedelta(days=random_.randrange(12))
        every, unit = random_.choice(list(Every)), random_.choice(list(Unit))
        wanted = ask(ana, home, first, last, every, unit)
        page = usage(
            home.service_point,
            start=wanted.start,
            end=wanted.end,
            resolution=every.resolution,
            unit=unit,
            spans=wanted.places[0].spans,
        )
        rows = csv_of(wanted)
        known = [row for row in rows if row["volume"]]
        case = (number, first, last, every, unit)
        assert sum(Decimal(row["volume"]) for row in known) == (page.total or 0), case
        assert sum(int(row["counts"]) for row in known) == (page.total_counts or 0), case
        for left, right in zip(rows, rows[1:], strict=False):
            assert left["end_utc"] == right["start_utc"], case
        feed = green(wanted)
        schema.assertValid(etree.fromstring(feed))
        readings = counted(feed, tmp_path)
        assert len(readings) == len(known), case
        assert sum(reading[2] for reading in readings) == (page.total_counts or 0), case
        if every is not Every.READ:
            shown = [row for row in page.rows if row.volume is not None]
            assert [Decimal(row["volume"]) for row in known] == [row.volume for row in shown], case
            assert [(start, start + length) for start, length, *_ in readings] == [
                (row.start if row.start > home.installation.start else home.installation.start, row.end)
                for row in shown
            ], case


def test_from_read_to_read_every_row_ends_with_a_read(ana: User, home: Home) -> None:
    rows = csv_of(ask(ana, home, date(2026, 3, 29), date(2026, 4, 8), Every.READ))
    lengths = [datetime.fromisoformat(row["end_utc"]) - datetime.fromisoformat(row["start_utc"]) for row in rows[1:-1]]
    night = [length for length in lengths if length > timedelta(minutes=31)]
    assert min(lengths) >= timedelta(minutes=29)
    assert [length // timedelta(hours=1) for length in night] == [4]
    assert {row["interpolated"] for row in rows[1:-1]} == {"no"}
    month_end = midnight(date(2026, 4, 1), CHICAGO).isoformat().replace("+00:00", "Z")
    assert month_end not in {row["start_utc"] for row in rows}


def test_reads_at_the_edges_of_a_file_make_no_row_without_length(ana: User) -> None:
    daily = metered_home(datetime(2026, 3, 10, 5, tzinfo=UTC), user=ana).read_daily(4, reads_a_day=1)
    rows = csv_of(ask(ana, daily, date(2026, 3, 11), date(2026, 3, 12), Every.READ))
    assert [(row["start_utc"], row["end_utc"]) for row in rows] == [
        ("2026-03-11T05:00:00Z", "2026-03-12T05:00:00Z"),
        ("2026-03-12T05:00:00Z", "2026-03-13T05:00:00Z"),
    ]


def test_a_file_ends_with_the_running_hour_and_its_newest_reads_are_raw(ana: User) -> None:
    home = metered_home(NOW - timedelta(hours=4), user=ana)
    for hour in range(5):
        home.read(home.installation.start + timedelta(hours=hour), 100 * hour, fold=False)
    wanted = ask(ana, home, date(2027, 5, 31), date(2027, 6, 3))
    assert csv_of(wanted)[-1]["end_utc"] == "2027-06-01T01:00:00Z"
    qualities = etree.fromstring(green(wanted)).findall(f".//{ESPI}IntervalReading/{ESPI}ReadingQuality/{ESPI}quality")
    assert [quality.text for quality in qualities] == ["17", "17", "14", "14"]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 3, 9), 24)])
def test_a_day_has_the_hours_that_it_has(ana: User, home: Home, tmp_path: Path, day: date, hours: int) -> None:
    wanted = ask(ana, home, day, day)
    rows = csv_of(wanted)
    assert len(rows) == hours
    readings = counted(green(wanted), tmp_path)
    assert [start for start, *_ in readings] == [midnight(day, CHICAGO) + timedelta(hours=n) for n in range(hours)]
    assert {length for _, length, *_ in readings} == {timedelta(hours=1)}
    block = etree.fromstring(green(wanted)).find(f".//{ESPI}IntervalBlock/{ESPI}interval/{ESPI}duration")
    assert block is not None
    assert block.text == str(hours * 3600)
    assert rows[0]["start_local"].endswith("-06:00" if hours == 23 else "-05:00")


def test_the_hour_that_comes_twice_is_two_rows(ana: User, tmp_path: Path) -> None:
    home = metered_home(datetime(2026, 10, 31, 5, tzinfo=UTC), user=ana)
    read_often(home, 4)
    wanted = ask(ana, home, date(2026, 11, 1), date(2026, 11, 1))
    rows = csv_of(wanted)
    assert len(rows) == 25
    assert [row["start_local"][11:] for row in rows[1:3]] == ["01:00:00-05:00", "01:00:00-06:00"]
    readings = counted(green(wanted), tmp_path)
    assert len({start for start, *_ in readings}) == 25
    day = ask(ana, home, date(2026, 11, 1), date(2026, 11, 1), Every.DAY)
    assert [length for _, length, *_ in counted(green(day), tmp_path)] == [timedelta(hours=25)]


def test_a_gap_is_no_zero(ana: User, home: Home, tmp_path: Path) -> None:
    home.read(home.at + timedelta(days=20), home.count + 500)
    early = ask(ana, home, date(2026, 3, 1), date(2026, 3, 7))
    assert csv_of(early)[0]["start_local"] == "2026-03-07T00:00:00-06:00"
    late = ask(ana, home, date(2026, 5, 6), date(2026, 5, 8))
    assert {(row["volume"], row["counts"], row["quality"]) for row in csv_of(late)[-24:]} == {("", "", "missing")}
    assert all(start < home.at + timedelta(days=20) for start, *_ in counted(green(late), tmp_path))


def test_a_swap_to_another_unit_is_another_reading_type(ana: User, tmp_path: Path, schema: XMLSchema) -> None:
    home = metered_home(datetime(2026, 3, 7, 6, tzinfo=UTC), user=ana)
    home.read_daily(5)
    end = home.at
    home.installation.end = end
    home.installation.save()
    register = total("MTR-2", unit=Unit.CCF, scale=-6)  # 10**-4 ft3 a count: the standard has no name for that power
    second, _ = building_home(register, end, address="1 Elm Street")
    assert second == home.service_point
    from portal.metering.models import Installation, MeterRegister

    later = Home(
        second,
        Installation.objects.get(meter__meter_id="MTR-2"),
        MeterRegister.objects.get(meter__meter_id="MTR-2"),
        7,
        end,
    )
    later.read_daily(5, 300)
    wanted = ask(ana, home, date(2026, 3, 7), date(2026, 3, 17), Every.DAY)
    feed = green(wanted)
    schema.assertValid(etree.fromstring(feed))
    readings = counted(feed, tmp_path)
    litres = sum(value for *_, value, power, uom in readings if (power, uom) == (0, 134))
    feet = sum(value for *_, value, power, uom in readings if (power, uom) == (-6, 119))
    assert (litres, feet) == (5 * 600, 5 * 300 * 100)
    page = usage(home.service_point, start=wanted.start, end=wanted.end, resolution="day")
    assert page.counts_unit is None
    rows = csv_of(wanted)
    assert sum(Decimal(row["volume"]) for row in rows if row["volume"]) == page.total
    assert {row["counts_unit"] for row in rows} >= {"l", "ccf"}


def test_only_ones_own_time_is_in_the_file(ana: User, home: Home) -> None:
    moved = datetime(2026, 3, 20, 17, 30, tzinfo=UTC)
    move_out(home.service_point.occupancies.get(), moved)
    rows = csv_of(ask(ana, home, date(2026, 3, 19), date(2026, 3, 25)))
    assert rows[-1]["end_utc"] == "2026-03-20T17:30:00Z"
    with pytest.raises(Refused, match="no water use"):
        ask(ana, home, date(2026, 3, 21), date(2026, 3, 25))
    with pytest.raises(Refused, match="no water use"):
        ask(person("ben@example.org"), home, date(2026, 3, 8), date(2026, 3, 9))


@pytest.mark.parametrize(
    ("first", "last", "code"),
    [
        ("", "2026-03-01", "first"),
        ("2026-02-30", "2026-03-01", "first"),
        ("2026-03-02", "01.03.2026", "last"),
        ("2026-03-02", "2026-03-01", "last"),
        ("0001-01-01", "2026-03-01", "first"),
        ("2026-01-01", "9999-12-31", "last"),
        ("2026-01-01", "2029-02-01", "span"),
    ],
)
def test_bad_days_are_refused_by_name(ana: User, home: Home, first: str, last: str, code: str) -> None:
    def asked() -> Wanted:
        start, end = between_days(first, last)
        return wanted_usage(ana, [home.service_point], start=start, end=end, every=Every.DAY, unit=Unit.GALLON)

    with pytest.raises(Refused) as refused:
        asked()
    assert refused.value.code == code


def test_no_cell_is_a_formula(ana: User, home: Home) -> None:
    Premise.objects.update(address='=HYPERLINK("http://x.example","12 Elm")\x07')
    home.service_point.refresh_from_db()
    wanted = ask(ana, home, date(2026, 3, 8), date(2026, 3, 8))
    rows = csv_of(wanted)
    assert rows[0]["place"] == '\'=HYPERLINK("http://x.example","12 Elm")'
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\x00=1", "\uff1d1+1", "\n-1"):
        assert safe_text(text).startswith("'")
    with zipfile.ZipFile(io.BytesIO(content(wanted, Form.EXCEL))) as book:
        sheets = [book.read(name) for name in book.namelist() if name.startswith("xl/worksheets/")]
    assert len(sheets) == 2
    assert not any(b"<f>" in sheet or b"<hyperlink" in sheet for sheet in sheets)


def test_water_that_flowed_back_is_a_number_and_no_text(ana: User) -> None:
    back = metered_home(datetime(2026, 5, 1, 5, tzinfo=UTC), user=ana, number=7)
    for hour, count in enumerate((10_000, 10_300, 10_250, 10_250)):
        back.read(back.at + timedelta(hours=hour), count, fold=False)
    wanted = ask(ana, back, date(2026, 5, 1), date(2026, 5, 1), unit=Unit.LITRE)
    said = [(row["volume"], row["counts"]) for row in csv_of(wanted)]
    assert said[:3] == [("300.000", "300"), ("-50.000", "-50"), ("0.000", "0")]
    with zipfile.ZipFile(io.BytesIO(content(wanted, Form.EXCEL))) as book:
        rows = etree.fromstring(book.read("xl/worksheets/sheet2.xml"))
    cells = {cell.get("r"): cell for cell in rows.iter("{*}c")}
    assert [(cells[name].get("t"), cells[name].findtext("{*}v")) for name in ("F3", "H3")] == [
        (None, "-50.000"),
        (None, "-50"),
    ]


def test_characters_that_xml_forbids_do_not_break_the_feed(ana: User, home: Home, schema: XMLSchema) -> None:
    Premise.objects.update(address="12 Elm <Street> & \x01\x0b\ufffe]]>")
    home.service_point.refresh_from_db()
    home.service_point.premise.refresh_from_db()
    root = etree.fromstring(green(ask(ana, home, date(2026, 3, 8), date(2026, 3, 8))))
    schema.assertValid(root)
    titles = [entry.findtext("{*}title") for entry in root.findall("{*}entry")]
    assert "12 Elm <Street> & \ufffd\ufffd\ufffd]]>" in titles


def test_the_schema_sees_what_is_wrong_inside_an_entry(ana: User, home: Home, schema: XMLSchema) -> None:
    feed = green(ask(ana, home, date(2026, 3, 8), date(2026, 3, 8)))
    assert schema.validate(etree.fromstring(feed))
    for right, wrong in (
        (b"espi:uom>", b"espi:unit>"),
        (b"<espi:kind>2</espi:kind>", b"<espi:kind>water</espi:kind>"),
        (b"<espi:value>", b"<espi:value>x"),
        (b"<espi:dstEndRule>", b"<espi:dstEndRule>Z"),
    ):
        assert right in feed
        assert not schema.validate(etree.fromstring(feed.replace(right, wrong))), wrong


def test_the_feed_holds_together(ana: User, home: Home) -> None:
    """Ids are UUIDs that stay the same; each up is where its related resources say they are."""
    wanted = ask(ana, home, date(2026, 3, 8), date(2026, 3, 9))
    root = etree.fromstring(green(wanted))
    ids = [entry.findtext("{*}id") or "" for entry in root.findall("{*}entry")]
    assert len(set(ids)) == len(ids) == 1 + 1 + 2 + 2
    assert all(one.startswith("urn:uuid:") and one[23] == "5" for one in ids)
    links = [
        (link.get("rel"), link.get("href")) for entry in root.findall("{*}entry") for link in entry.findall("{*}link")
    ]
    known = {href for rel, href in links if rel in ("self", "up")}
    assert {href for rel, href in links if rel == "related"} <= known
    assert home.service_point.public_id.encode() not in green(wanted)


def test_the_clock_rules_are_those_of_the_zone() -> None:
    chicago = clock_rules(CHICAGO, 2026)
    assert (f"{chicago.start_rule:08X}", f"{chicago.end_rule:08X}") == ("360E2000", "B40E2000")
    assert (chicago.dst_offset_s, chicago.zone_offset_s) == (3600, -21600)
    phoenix = clock_rules(ZoneInfo("America/Phoenix"), 2026)
    assert (phoenix.start_rule, phoenix.end_rule, phoenix.dst_offset_s, phoenix.zone_offset_s) == (
        0xFFFFFFFF,
        0xFFFFFFFF,
        0,
        -25200,
    )
    berlin = clock_rules(ZoneInfo("Europe/Berlin"), 2026)
    assert (f"{berlin.start_rule:08X}", f"{berlin.end_rule:08X}") == ("3E0E2000", "AE0E3000")
    sydney = clock_rules(ZoneInfo("Australia/Sydney"), 2026)
    assert (sydney.start_rule >> 28, sydney.end_rule >> 28) == (10, 4)


def test_bill_page_and_file_have_one_total(tmp_path: Path, schema: XMLSchema) -> None:
    """A billed month: the bill's dials, the file's counts and the bill's money, in 1/100,000 of a dollar."""
    billed.rate_book()
    user = person("pay@example.org")
    place = billed.home(1, date(2026, 1, 1))
    from portal.customers.services import grant_access

    grant_access(place.account, user, at=datetime(2026, 1, 1, tzinfo=UTC))
    billed.reads(place.register, billed.steady(date(2026, 1, 1), date(2026, 3, 2), 137))
    bill = billed.run(date(2026, 2, 1))[0]
    start, end = between_days("2026-01-01", "2026-01-31")
    wanted = wanted_usage(user, [place.service_point], start=start, end=end, every=Every.HOUR, unit=Unit.GALLON)
    bills = bills_within(user, wanted)
    assert [one.pk for one in bills] == [bill.pk]
    feed = green(wanted, *bills)
    schema.assertValid(etree.fromstring(feed))
    dial = bill.segments.get().dials.get()
    counts = sum(value for _, _, value, _, _ in counted(feed, tmp_path))
    assert counts == dial.last_count - dial.first_count == 31 * 137
    assert sum(Decimal(row["volume"]) for row in csv_of(wanted)) == as_decimal(
        counts_to(counts, unit=Unit.GALLON, scale=0, to=Unit.GALLON), PLACES[Unit.GALLON]
    )
    summary = etree.fromstring(feed).find(f".//{ESPI}UsageSummary")
    assert summary is not None
    assert int(summary.findtext(f"{ESPI}billLastPeriod") or 0) == bill.charges_cents * 1000
    amounts = [int(amount.text or 0) for amount in summary.iterfind(f".//{ESPI}amount")]
    assert sum(amounts) == bill.charges_cents * 1000
    use = summary.find(f"{ESPI}overallConsumptionLastPeriod")
    assert use is not None
    value, power = int(use.findtext(f"{ESPI}value") or 0), int(use.findtext(f"{ESPI}powerOfTenMultiplier") or 0)
    segment = bill.segments.get()
    litres = Fraction(value) * Fraction(10) ** power * Unit.GALLON.litres
    assert litres == segment.units * Fraction(10) ** segment.unit_scale * Unit(segment.unit).litres


def test_guests_without_bills_get_none_in_the_file() -> None:
    from portal.customers.models import AccountAccess
    from portal.customers.services import grant_access

    billed.rate_book()
    guest = person("guest@example.org")
    place = billed.home(1, date(2026, 1, 1))
    grant_access(place.account, guest, at=datetime(2026, 1, 1, tzinfo=UTC), level=AccountAccess.Level.VIEW_USAGE)
    billed.reads(place.register, billed.steady(date(2026, 1, 1), date(2026, 2, 2), 10))
    billed.run(date(2026, 2, 1))
    start, end = between_days("2026-01-01", "2026-01-31")
    wanted = wanted_usage(guest, [place.service_point], start=start, end=end, every=Every.DAY, unit=Unit.GALLON)
    assert bills_within(guest, wanted) == []


def test_memory_does_not_grow_with_the_file(ana: User, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A month's piece, repeated: whoever writes it keeps nothing of the months before."""
    wanted = ask(ana, home, date(2026, 3, 10), date(2026, 3, 13))
    made = list(series.pieces(wanted, wanted.places[0]))
    for module in (csv_file, excel, green_button):
        monkeypatch.setattr(module, "pieces", lambda *_, **__: (piece for _ in range(times) for piece in made))

    def peak(form: Form) -> int:
        tracemalloc.start()
        sizes = sum(len(piece) for piece in usage_file(wanted, form).pieces)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sizes > times * 500
        return top

    for form in Form:
        times = 1
        peak(form)  # what is loaded once is loaded now
        times = 3
        few = peak(form)
        times = 9
        assert peak(form) < few * 1.25, form


def test_a_piece_is_a_month_at_most(ana: User, home: Home) -> None:
    wanted = ask(ana, home, date(2026, 3, 7), date(2026, 5, 30))
    made = [len(piece.edges) - 1 for piece in series.pieces(wanted, wanted.places[0])]
    assert made == [25 * 24 - 1, 30 * 24, 30 * 24]


def test_all_ones_places_are_in_one_file(ana: User, home: Home) -> None:
    other = metered_home(datetime(2026, 3, 7, 6, tzinfo=UTC), number=2, user=ana)
    other.read_daily(5)
    start, end = between_days("2026-03-08", "2026-03-09")
    points = [home.service_point, other.service_point]
    wanted = wanted_usage(ana, points, start=start, end=end, every=Every.DAY, unit=Unit.LITRE)
    assert {row["place"] for row in csv_of(wanted)} == {"1 Elm Street", "2 Elm Street"}
    root = etree.fromstring(green(wanted))
    assert len(root.findall(f".//{ESPI}UsagePoint")) == 2


def test_the_workbook_has_numbers_dates_and_says_what_it_is(ana: User, home: Home) -> None:
    wanted = ask(ana, home, date(2026, 3, 8), date(2026, 3, 10))
    main = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(content(wanted, Form.EXCEL))) as book:
        names = [sheet.get("name") for sheet in etree.fromstring(book.read("xl/workbook.xml")).iter(f"{main}sheet")]
        about, rows = (etree.fromstring(book.read(f"xl/worksheets/sheet{number}.xml")) for number in (1, 2))
    assert names == ["About", "1 Elm Street"]
    page = usage(home.service_point, start=wanted.start, end=wanted.end, resolution="hour")
    cells = {cell.get("r", ""): cell for cell in rows.iter(f"{main}c")}
    numbers = [cell for name, cell in cells.items() if name[0] == "F" and name != "F1"]
    assert {cell.get("t") for cell in numbers} <= {None, "n"}
    assert len(numbers) == 71
    assert sum(Decimal(cell.findtext(f"{main}v") or "") for cell in numbers) == page.total
    first = datetime(1899, 12, 30) + timedelta(days=float(cells["A2"].findtext(f"{main}v") or 0))  # noqa: DTZ001
    assert first == datetime(2026, 3, 8)  # noqa: DTZ001
    assert rows.find(f".//{main}pane[@state='frozen']") is not None
    said = "|".join(text.text or "" for text in about.iter(f"{main}t"))
    for words in ("Total (gal)", "As of", "Time zone", "America/Chicago", "First reading of EFE-00000001", "Last read"):
        assert words in said
    values = [Decimal(value.text or "0") for value in about.iter(f"{main}v")]
    assert page.total in [value.quantize(Decimal("0.001")) for value in values]
    assert page.first is not None
    assert page.last is not None
    assert {page.first.value, page.last.value} <= set(values)

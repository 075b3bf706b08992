"""The rules of validation without a database: the worked tables of docs/algorithms/vee.md, each threshold by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.reading import ReadQuality
from portal.metering.models import MeterRegister
from portal.metering.reads import to_us
from portal.metering.spans import BoundaryCount, MeteredPart
from portal.metering.validation.gathering import Counter, Place, Volume
from portal.metering.validation.rules import RULES
from portal.metering.validation.steps import Allowance, off_track
from portal.metering.validation.thresholds import DEFAULTS
from portal.metering.validation.thresholds import RULES as RULE_NAMES

if TYPE_CHECKING:
    from portal.metering.validation.findings import Finding

PAGE = Path(__file__).parents[2] / "docs/algorithms/vee.md"
START, DAYS = datetime(2026, 6, 1, 5, 0, tzinfo=UTC), 30
END = START + timedelta(days=DAYS)
QUARTER_US = 15 * 60 * 1_000_000


def table(heading: str) -> list[list[str]]:
    """The rows of the table of the page whose first column is headed so."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            next(lines)
            rows = []
            for row in lines:
                if not row.startswith("|"):
                    return rows
                rows.append([cell.strip() for cell in row.strip("|").split("|")])
    raise AssertionError(f"the page has no table {heading!r}")


def count(at: datetime, raw: int, shown: int, *, gap_days: int = 0, quality: int = 0) -> BoundaryCount:
    read_us = (to_us(at - timedelta(days=gap_days)), to_us(at)) if gap_days else (to_us(at),)
    return BoundaryCount(at, raw, shown, ReadQuality(quality), bool(gap_days), read_us)


def a_place(**changes: object) -> Place:
    """A place where nothing is wrong, with some things changed: fields of its counter, and lived_since, occupied."""
    register = MeterRegister(pk=7, unit="l", scale=0, modulus=100_000)
    part = MeteredPart(1, 3, register, START, END, (count(START, 5000, 5000), count(END, 23_000, 23_000)))
    counter = Counter(
        register=7,
        registers=(7,),
        meter=2,
        start=START,
        end=END,
        worth_l=Fraction(1),
        period=Volume(18_000, DAYS, 300, 900, 0, 0, date(2026, 6, 30)),
        recent=Volume(54_600, 91, 300, 900, 0, 0, date(2026, 5, 31)),
        last_year=Volume(18_600, DAYS, 300, 900, 0, 0, date(2025, 7, 1)),
        read_days=31,
        estimates=0,
        by_collector=True,
        all_days=True,
        unfolded_us=None,
        identity_events=0,
        parts=[part],
    )
    own = {name: changes.pop(name) for name in list(changes) if name in ("lived_since", "occupied", "size")}
    counter = replace(counter, **changes)  # type: ignore[arg-type]
    values = {"lived_since": datetime(2020, 1, 1, tzinfo=UTC), "occupied": True, "size": ""} | own
    return Place(1, START, END, date(2026, 6, 1), DAYS, counters=[counter], **values)  # type: ignore[arg-type]


def findings(place: Place) -> list[Finding]:
    return [finding for rule in RULES for finding in rule(place, DEFAULTS)]


def names(place: Place) -> list[str]:
    return [finding.rule for finding in findings(place)]


def parts(first: BoundaryCount, last: BoundaryCount) -> list[MeteredPart]:
    register = MeterRegister(pk=7, unit="l", scale=0, modulus=100_000)
    return [MeteredPart(1, 3, register, START, END, (first, last))]


@pytest.mark.parametrize("row", table("case"), ids=lambda row: row[0])
def test_worked_cases(row: list[str]) -> None:
    case, use, most, least, used, recent, year, lives, dial, gap, expected = row
    recent_days, recent_sum, recent_zeros = map(int, recent.split("/"))
    year_days, year_sum, year_zeros = (*map(int, year.split("/")), 0)[:3]
    first, last = map(int, dial.split())
    turned = last if last >= first else last + 100_000
    place = a_place(
        period=Volume(
            int(use), DAYS, int(least), int(most), 0, 0,
            date(2026, 6, int(used)) if int(used) else None,
        ),
        recent=Volume(recent_sum, recent_days, 0, 0, recent_zeros, 0, None),
        last_year=Volume(year_sum, year_days, 0, 0, year_zeros, 0, None),
        parts=parts(count(START, first, first), count(END, turned, last, gap_days=int(gap))),
        occupied=lives == "yes",
        lived_since=datetime(2020, 1, 1, tzinfo=UTC) if lives == "yes" else None,
    )  # fmt: skip
    assert sorted(names(place)) == sorted([] if expected == "-" else expected.split()), case


def test_the_page_lists_every_rule_with_its_severity() -> None:
    listed = {row[0]: row[1] for row in table("rule")}
    # misread and wrong-meter also come from screening; every other rule is one of the functions.
    assert listed == {name: DEFAULTS.severity(name) for name in RULE_NAMES}


@pytest.mark.parametrize("row", table("#"), ids=lambda row: row[0])
def test_worked_steps(row: list[str]) -> None:
    _, reads, expected = row
    modulus = 100_000 if "rolls over" in reads else None
    counts = [int(word) for word in reads.split(" (")[0].split()]
    allowance = Allowance(Fraction(DEFAULTS.step_l), Fraction(DEFAULTS.flow_max_l_per_min), modulus)
    track = [(n * QUARTER_US, number) for n, number in enumerate(counts)]
    found = []
    for run in off_track(track, allowance):
        left_out = [str(number) for at, number in track if run.first_us <= at and (run.open or at <= run.last_us)]
        found.append(f"{' '.join(left_out)} {'wrong-meter' if run.open else 'misread'}")
    assert ", ".join(found) == ("" if expected == "none" else expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 500), min_size=3, max_size=30),
    st.integers(0, 99_999),
    st.integers(2_000, 50_000),
)
def test_an_honest_dial_is_never_off_track_and_another_dial_always_is(
    steps: list[int], first: int, fallen: int
) -> None:
    allowance = Allowance(Fraction(1000), Fraction(606), 100_000)
    track, at, total = [], 0, first
    for step in steps:
        track.append((at, total % 100_000))
        at, total = at + QUARTER_US, total + step
    assert off_track(track, allowance) == []
    other = [(at + n * QUARTER_US, (track[-1][1] - fallen + n) % 100_000) for n in range(5)]
    runs = off_track([*track, *other], allowance)
    assert [(run.first_us, run.open) for run in runs] == [(at, True)]


def test_what_somebody_has_looked_at_is_on_the_track() -> None:
    allowance = Allowance(Fraction(1000), Fraction(606), None)
    track = [(n * QUARTER_US, number) for n, number in enumerate([5000, 5010, 120, 130, 140, 150])]
    assert off_track(track, allowance)
    assert off_track(track, allowance, trusted={2 * QUARTER_US}) == []


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"read_days": 27}, "gap"),
        ({"estimates": 3}, "estimates"),
        ({"identity_events": 1}, "wrong-meter"),
        ({"period": Volume(18_000, DAYS, 300, 900, 0, 2, date(2026, 6, 30))}, "suspect"),
        ({"parts": []}, "no-boundary"),
        ({"parts": parts(count(START, 5000, 5000), count(END, 23_000, 23_000, quality=3))}, "suspect-boundary"),
        ({"parts": parts(count(START, 5000, 5000, quality=1), count(END, 23_000, 23_000))}, "estimated"),
    ],
)
def test_a_rule_fires(changes: dict[str, object], rule: str) -> None:
    assert rule in names(a_place(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"read_days": 28},
        {"read_days": 0, "by_collector": False},
        {"estimates": 2},
        {"parts": parts(count(START, 5000, 5000), count(END, 23_000, 23_000, gap_days=40)), "by_collector": False},
        # A large meter of a size that nobody wrote down, which always runs like this.
        {
            "period": Volume(27_000_000, DAYS, 800_000, 900_000, 0, 0, date(2026, 6, 30)),
            "recent": Volume(81_000_000, 91, 800_000, 900_000, 0, 0, date(2026, 5, 31)),
            "last_year": Volume(27_000_000, DAYS, 800_000, 900_000, 0, 0, date(2025, 7, 1)),
            "unfolded_us": to_us(END) - 1,
        },
        # The days are not all rolled up yet: nothing can be said of their sum.
        {"period": Volume(17_000, 29, 300, 900, 0, 0, date(2026, 6, 29)), "unfolded_us": to_us(END) - 1},
    ],
)
def test_nothing_to_say(changes: dict[str, object]) -> None:
    assert names(a_place(**changes)) == []


def test_the_size_of_the_meter_decides_what_is_possible() -> None:
    period = Volume(200_000, DAYS, 300, 150_000, 0, 0, date(2026, 6, 30))
    assert "impossible" in names(a_place(period=period, size='5/8"'))
    assert "impossible" not in names(a_place(period=period, size="2"))


def test_a_place_without_a_meter_has_no_boundary() -> None:
    place = a_place()
    place.counters = []
    assert names(place) == ["no-boundary"]


def test_last_year_counts_for_those_who_lived_there_then() -> None:
    period = Volume(120_000, DAYS, 300, 3_900, 0, 0, date(2026, 6, 30))
    ends = parts(count(START, 5000, 5000), count(END, 125_000, 25_000))
    pool = Volume(114_000, DAYS, 300, 3_900, 0, 0, None)
    assert names(a_place(period=period, parts=ends, last_year=pool)) == []
    since = a_place(period=period, parts=ends, last_year=pool, lived_since=START - timedelta(days=200))
    assert [(f.rule, f.detail) for f in findings(since)] == [("high", {"mean_day_l": 4000, "recent_day_l": 600})]

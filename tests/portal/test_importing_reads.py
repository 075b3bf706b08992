"""Reads from elsewhere: a dry run lists every problem with its line, an import goes in whole or not at all."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from domain.reading import ReadQuality
from portal.cli import portal
from portal.core.models import AuditEntry
from portal.importing.errors import ImportRefused
from portal.importing.services import apply, check
from portal.metering.models import DailyVolume, OfficeRead
from portal.metering.usage import usage
from tests.portal.building import person
from tests.portal.metered_homes import JUNE, MAY, Home, metered_home

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db
HEADER = "meter,read_at,count,reading,unit,source,quality,reason\n"


def file_of(*lines: str) -> bytes:
    return (HEADER + "\n".join(lines) + "\n").encode()


@pytest.fixture
def elm() -> Home:
    """A home read until the 1st of June, at 28,600; it rolls over at 100,000,000."""
    return metered_home(user=person()).read_daily(31)


def problems(*lines: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.column) for problem in check("reads", file_of(*lines)).problems]


def test_a_good_file_goes_in_and_again_changes_nothing(elm: Home) -> None:
    data = file_of(
        "EFE-00000001,2026-06-03 10:30,29000,,,manual,,gate locked before",
        "EFE-00000001,2026-06-10,,30.5,m3,drive-by,measured,",
        "EFE-00000001,2026-06-20T12:00-05:00,36000,,l,head-end,suspect,",
    )
    assert (check("reads", data).new, OfficeRead.objects.count()) == (3, 0)
    assert apply("reads", data, file="june.csv", label="command line").new == 3
    again = apply("reads", data)
    assert (again.new, again.unchanged, again.problems) == (0, 3, ())
    rows = [(row.raw_count, row.source, row.quality, row.evidence) for row in OfficeRead.objects.order_by("read_at")]
    assert rows == [
        (29_000, "manual", ReadQuality.MEASURED, {"line": 2}),
        (30_500, "drive-by", ReadQuality.MEASURED, {"line": 3}),
        (36_000, "head-end", ReadQuality.SUSPECT, {"line": 4}),
    ]
    assert AuditEntry.objects.filter(action="read.enter").count() == 3
    series = usage(elm.service_point, start=JUNE, end=JUNE + timedelta(days=20), resolution="day")
    rolled_up = DailyVolume.objects.filter(register=elm.register.pk, day__gte="2026-06-01").order_by("day")
    shown = [row.counts for row in series.rows if row.counts is not None]
    assert shown[:19] == [row.counts for row in rolled_up][:19]
    assert ReadQuality.SUSPECT in {row.quality for row in series.rows}


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("EFE-99999999,2026-06-03,29000,,,,,", "meter"),
        ("EFE-00000001,2026-06-03,29000,,gal,,,", "unit"),
        ("EFE-00000001,2026-06-03,,30.5001,m3,,,", "reading"),
        ("EFE-00000001,2026-06-03,,30.5,,,,", "unit"),
        ("EFE-00000001,2026-06-03,,,,,,", "count"),
        ("EFE-00000001,2026-06-03,29x00,,,,,", "count"),
        ("EFE-00000001,2026-06-03,-5,,,,,", "count"),
        ("EFE-00000001,2026-06-03,,nan,m3,,,", "reading"),
        ("EFE-00000001,2026-06-03,,1e5,m3,,,", "reading"),
        ("EFE-00000001,2026-06-03,100000000,,,,,", "count"),
        ("EFE-00000001,2099-06-03,29000,,,,,", "read_at"),
        ("EFE-00000001,2026-03-08 02:30,29000,,,,,", "read_at"),
        ("EFE-00000001,someday,29000,,,,,", "read_at"),
        ("EFE-00000001,2026-04-30,29000,,,,,", "read_at"),
        ("EFE-00000001,2026-06-03,28599,,,,,", "count"),
        ("EFE-00000001,2026-05-10 10:00,99000,,,,,", "count"),
        ("EFE-00000001,2026-06-03,9000000,,,,,", "count"),
        ("EFE-00000001,2026-05-10,15401,,,,,", "count"),
        ("EFE-00000001,2026-06-03,29000,,,guess,,", "source"),
        ("EFE-00000001,2026-06-03,29000,,,,good,", "quality"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(elm: Home, line: str, column: str) -> None:
    good = "EFE-00000001,2026-06-02,28900,,,,,"
    assert problems(good, line) == [(3, column)]
    with pytest.raises(ImportRefused):
        apply("reads", file_of(good, line))
    assert not OfficeRead.objects.exists()


def test_lines_are_compared_with_each_other(elm: Home) -> None:
    assert problems(
        "EFE-00000001,2026-06-02,28900,,,,,",
        "EFE-00000001,2026-06-02,28900,,,,,",
        "EFE-00000001,2026-06-05,29900,,,,,",
        "EFE-00000001,2026-06-05,29901,,,,,",
        "EFE-00000001,2026-06-04,29950,,,,,",
    ) == [(3, "read_at"), (4, "count"), (5, "count")]


def test_a_roll_over_is_no_fall_and_a_read_that_a_collector_brought_is_there_already() -> None:
    home = metered_home(number=7, modulus=100_000, first=99_000, user=person()).read_daily(2, 400)
    assert problems("EFE-00000007,2026-05-04,300,,,,,") == []
    report = check("reads", file_of(f"EFE-00000007,{(MAY + timedelta(days=1)).isoformat()},99400,,,,,"))
    assert (report.new, report.unchanged, home.count) == (0, 1, 99_800)


def test_a_withdrawn_read_may_be_entered_again(elm: Home) -> None:
    from portal.metering.validation import office

    line = file_of("EFE-00000001,2026-06-02,28900,,,,,")
    apply("reads", line)
    office.withdraw(OfficeRead.objects.get(), reason="of the neighbour")
    assert apply("reads", line).new == 1
    assert [row.withdrawn for row in office.versions(OfficeRead.objects.latest("pk"))] == [False, True, False]


def test_the_command_lists_every_problem_and_writes_only_when_told(elm: Home, tmp_path: Path) -> None:
    path = tmp_path / "reads.csv"
    path.write_bytes(file_of("EFE-00000001,2026-06-02,28900,,,,,", "EFE-00000001,2026-06-03,1,,,,,"))
    refused = CliRunner().invoke(portal, ["reads", "import", str(path), "--json"])
    assert isinstance(refused.exception, ImportRefused)
    assert (refused.exception.exit_code, OfficeRead.objects.count()) == (3, 0)
    report = refused.exception.as_json()["report"]
    assert [(problem["line"], problem["column"]) for problem in report["problems"]] == [(3, "count")]  # type: ignore[index]
    path.write_bytes(file_of("EFE-00000001,2026-06-02,28900,,,,,"))
    looked = json.loads(CliRunner().invoke(portal, ["reads", "import", str(path), "--json"]).stdout)
    assert (looked["new"], looked["applied"], OfficeRead.objects.count()) == (1, False, 0)
    done = json.loads(CliRunner().invoke(portal, ["reads", "import", str(path), "--apply", "--json"]).stdout)
    assert (done["new"], done["applied"], OfficeRead.objects.count()) == (1, True, 1)


def test_the_command_validates_every_place(elm: Home) -> None:
    ran = CliRunner().invoke(portal, ["reads", "validate", "--from", "2026-05-01", "--to", "2026-06-20", "--json"])
    found = json.loads(ran.stdout)
    assert (found["places"], {row["rule"] for row in found["findings"]}) == (1, {"no-boundary", "gap"})

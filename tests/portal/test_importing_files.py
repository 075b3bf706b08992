"""Imports of CSV files: what a spreadsheet does to a table is recognised, refused where unclear, and said by line."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal.importing import cells
from portal.importing.cells import BadCell, Reading
from portal.importing.columns import Findings, read_rows
from portal.importing.csv_file import CsvFile, read_csv
from portal.importing.errors import ImportRefused
from portal.importing.services import KINDS, check, template

CHICAGO = Reading(ZoneInfo("America/Chicago"))


@pytest.mark.parametrize(
    ("data", "encoding", "name"),
    [
        ("number,name\n1,Peña\n".encode(), "UTF-8", "Peña"),
        ("\ufeffnumber,name\n1,Peña\n".encode(), "UTF-8", "Peña"),
        ("number,name\n1,Peña\n".encode("cp1252"), "Windows-1252", "Peña"),
        ("number\tname\r\n1\tPeña\r\n".encode("utf-16"), "UTF-16", "Peña"),
        ("sep=;\r\nnumber;name\r\n1;Peña\r\n".encode(), "UTF-8", "Peña"),
        ('number;name\n1;"Peña"\n'.encode(), "UTF-8", "Peña"),
        ("\n\nnumber|name\n1|Peña\n".encode(), "UTF-8", "Peña"),
        ("number,name\r1,Peña\r".encode(), "UTF-8", "Peña"),
    ],
)
def test_encodings_separators_and_line_ends_are_recognised(data: bytes, encoding: str, name: str) -> None:
    table = read_csv(data)
    assert table.encoding == encoding
    assert [row for _line, row in table.rows] == [["1", name]]
    assert any("1252" in note for note in table.notes) is (encoding == "Windows-1252")


def test_lines_are_counted_as_an_editor_does_over_quoted_line_breaks() -> None:
    table = read_csv(b'number,mail\n1,"PO Box 1\nTown"\n\n2,x\n"sep=\n",y\n')
    assert [line for line, _row in table.rows] == [2, 5, 6]
    assert read_csv(b"sep=,\nnumber\n1\n").rows == ((3, ["1"]),)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"PK\x03\x04rest", "Excel workbook"),
        (b"number,na\x00me\n", "zero bytes"),
        (b'number,name\n1,"Smith\n2,x\n', "line 2: a quotation mark opens"),
        (b'number,name\n1,"a"b\n', "line 2: a quotation mark stands inside"),
        (b"number,name\n1,\x81\n", "line 2: neither UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(data: bytes, says: str) -> None:
    with pytest.raises(ImportRefused, match=says):
        read_csv(data)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        table = read_csv(data)
    except ImportRefused:
        return
    assert isinstance(table, CsvFile)


@pytest.mark.parametrize(
    ("cell", "amount"),
    [
        ("61.25", 6125), ("$1,234.56", 123456), ("1.234,56", 123456), ("1234,5", 123450), ("-12.34", -1234),
        ("(12.34)", -1234), ("12.34-", -1234), ("12.34 CR", -1234), ("7", 700), ("1,234,567", 123456700), ("+3.1", 310),
        ("0.00", 0), (".5", None), ("1,234", None), ("1.234", None), ("12.345", None), ("1E+05", None), ("--1", None),
        ("(-1)", None), ("1 234.00", None), ("12,34.56", None), ("1,23.45", None), ("", None), ("NaN", None),
    ],
)  # fmt: skip
def test_money_is_read_only_where_it_is_clear(cell: str, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(BadCell):
            cells.cents(cell, CHICAGO)
    else:
        assert cells.cents(cell, CHICAGO) == amount


@given(st.integers(-(10**13), 10**13))
@settings(max_examples=100, deadline=None)
def test_an_amount_written_in_any_usual_way_is_the_same(amount: int) -> None:
    whole, rest = divmod(abs(amount), 100)
    sign = "-" if amount < 0 else ""
    for text in (
        f"{sign}{whole}.{rest:02}",
        f"{sign}${whole:,}.{rest:02}",
        f"{sign}{whole:,}".replace(",", ".") + f",{rest:02}",
    ):
        if whole < 10**12:
            assert cells.cents(text, CHICAGO) == amount


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("1.00001E+06", "rounded this number"), ("1,2E+11", "rounded this number"), ("4-Mar", "into a date"),
        ("Mar-04", "into a date"), ("1000001.0", "as a decimal"), ("0000", "zeros only"), ("€12", "letters, digits"),
        ("x" * 33, "at most 32"),
    ],
)  # fmt: skip
def test_an_account_number_that_a_spreadsheet_has_spoilt_is_refused(cell: str, says: str) -> None:
    with pytest.raises(BadCell, match=says):
        cells.account_number(cell, CHICAGO)


def test_leading_zeros_and_signs_stay_and_formulas_are_unwrapped() -> None:
    assert cells.account_number("0010-2345", CHICAGO) == "0010-2345"
    assert cells.account_number("'00102", CHICAGO) == "00102"
    assert cells.cleaned(' ="00102" ') == "00102"
    assert cells.cleaned("\u00a0 12 Elm ") == "12 Elm"
    for fault in ("#N/A", "#REF!", "########"):
        with pytest.raises(BadCell, match="spreadsheet's fault"):
            cells.cleaned(fault)


@pytest.mark.parametrize(
    ("cells_", "first"),
    [
        (["3/4/2025", "3/31/2025"], "2025-03-04"),
        (["3/4/2025", "31/3/2025"], "2025-04-03"),
        (["4/4/2025"], "2025-04-04"),
        (["2025-03-04"], "2025-03-04"),
        (["2025-03-04 00:00:00"], "2025-03-04"),
        (["3/4/2025", "5/6/2025"], None),
        (["3/31/2025", "31/3/2025", ], "2025-03-31"),
        (["45717"], None),
        (["2025-02-30"], None),
        (["3/4/25"], None),
        (["2025-03-04 14:00"], None),
    ],
)  # fmt: skip
def test_days_are_read_in_the_order_that_their_column_shows(cells_: list[str], first: str | None) -> None:
    reading = Reading(CHICAGO.zone, cells.order_of(cells_))
    if first is None:
        with pytest.raises(BadCell):
            cells.day(cells_[0], reading)
    else:
        assert cells.day(cells_[0], reading).isoformat() == first


@pytest.mark.parametrize(
    ("cell", "utc"),
    [
        ("2026-01-31", "2026-01-31T06:00:00+00:00"),
        ("2026-07-31 14:30", "2026-07-31T19:30:00+00:00"),
        ("2026-07-31T14:30:05Z", "2026-07-31T14:30:05+00:00"),
        ("2026-07-31 02:30 PM", "2026-07-31T19:30:00+00:00"),
        ("2026-07-31 12:00 am", "2026-07-31T05:00:00+00:00"),
        ("2025-11-02 01:30-05:00", "2025-11-02T06:30:00+00:00"),
        ("2025-11-02 01:30", None),
        ("2026-03-08 02:30", None),
        ("2026-03-08 24:30", None),
        ("2026-03-08 noon", None),
    ],
)
def test_moments_are_in_the_utilitys_zone_unless_they_say_otherwise(cell: str, utc: str | None) -> None:
    if utc is None:
        with pytest.raises(BadCell):
            cells.moment(cell, CHICAGO)
    else:
        assert cells.moment(cell, CHICAGO).isoformat() == utc


def test_units_multipliers_and_counts_have_their_usual_names() -> None:
    assert cells.unit("Cubic Feet", CHICAGO).value == "ft3"
    assert cells.unit("HCF", CHICAGO).value == "ccf"
    assert [cells.power_of_ten(cell, CHICAGO) for cell in ("1", "100", "0.1", "1.0")] == [0, 2, -1, 0]
    for cell in ("7", "0", "-10", "x", "1.5"):
        with pytest.raises(BadCell):
            cells.power_of_ten(cell, CHICAGO)
    assert cells.whole("0012", CHICAGO) == 12
    with pytest.raises(BadCell, match="1234"):
        cells.whole("1,234", CHICAGO)


@pytest.mark.django_db
def test_headers_are_forgiving_and_a_slip_of_the_pen_is_asked_about() -> None:
    findings = Findings()
    columns = KINDS["accounts"].columns
    table = read_csv(b" ACCT #,E-MAIL,Customer_Name,Remark\n001,A@Example.org,Ana,x\n")
    [row] = read_rows(table, columns, findings)
    assert (row["number"], row["email"], row["name"]) == ("001", "a@example.org", "Ana")
    assert "Remark" in findings.notes[0]
    report = check("accounts", b"number,languge,number,Account\n1,en,1,2\n")
    assert [problem.text.partition(";")[0] for problem in report.problems] == [
        "unknown column",
        "the columns “number” and “number” mean the same",
        "the columns “number” and “Account” mean the same",
    ]
    [missing] = check("accounts", b"name\nAna\n").problems
    assert "“number” is missing" in missing.text


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS)
def test_every_template_can_be_read_back(kind: str) -> None:
    table = read_csv(template(kind).encode())
    findings = Findings()
    rows = read_rows(table, KINDS[kind].columns, findings, extra=KINDS[kind].extra)
    assert findings.problems == []
    assert len(rows) == 1

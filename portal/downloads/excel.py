"""Usage as an Excel workbook: a sheet of what the file is, and a sheet a place with real dates and numbers."""

from __future__ import annotations

import re
from datetime import UTC
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import xlsxwriter

from portal.core.files import safe_text
from portal.downloads.csv_file import place_name
from portal.downloads.series import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from portal.downloads.series import CountedRow, Piece, Place, Wanted
    from portal.metering.usage import DialReading

CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_CHUNK_BYTES = 64 * 1024
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\']|[\x00-\x1f]")
_NAME_CHARS = 28  # 31 less a number behind it
_WIDTHS = (19, 19, 9, 19, 19, 14, 8, 14, 12, 12, 12, 12)


def excel_file(wanted: Wanted) -> Iterator[bytes]:
    """Yield the workbook; rows go to a temporary file as they come, so that memory does not grow with them."""
    with TemporaryFile(prefix="headwater-usage-") as file:
        _write(wanted, file)
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _write(wanted: Wanted, file: IO[bytes]) -> None:
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(file, {**options, "default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
        book.set_properties({"title": "Water use"})
        about = book.add_worksheet("About")
        facts = [_sheet(book, wanted, place, number) for number, place in enumerate(wanted.places, 1)]
        _about(book, about, wanted, facts)


def _sheet(book: Any, wanted: Wanted, place: Place, number: int) -> list[tuple[str, object]]:
    """Write one place's sheet and return what the first sheet says of it."""
    name = safe_text(_NOT_IN_NAMES.sub(" ", place_name(place)))[:_NAME_CHARS].strip(" '") or "Place"
    sheet = book.add_worksheet(f"{name} {number}" if len(wanted.places) > 1 or name == "About" else name)
    for column, width in enumerate(_WIDTHS):
        sheet.set_column(column, column, width)
    sheet.freeze_panes(1, 0)
    bold = book.add_format({"bold": True, "bottom": 1})
    header = (
        "Start (local)", "End (local)", "UTC offset", "Start (UTC)", "End (UTC)", f"Volume ({wanted.unit.value})",
        "Unit", "Counts", "Counts unit", "Counts scale", "Quality", "Interpolated",
    )  # fmt: skip
    for column, text in enumerate(header):
        sheet.write_string(0, column, text, bold)
    seen = _Seen()
    line = 0
    for piece in pieces(wanted, place):
        seen.add(piece)
        for row in piece.rows():
            line += 1
            _row(sheet, line, wanted, row)
            if row.usage.volume is not None:
                seen.total = row.usage.volume + (seen.total or 0)
    return seen.facts(place, wanted)


class _Seen:
    """What the pieces of a place said together: total, newest read, first and last reading of each dial."""

    def __init__(self) -> None:
        self.total: Any = None
        self.as_of: datetime | None = None
        self.first: dict[tuple[str, str, str, int], DialReading] = {}
        self.last: dict[tuple[str, str, str, int], DialReading] = {}

    def add(self, piece: Piece) -> None:
        """Note what a piece says."""
        self.as_of = max((moment for moment in (self.as_of, piece.as_of) if moment), default=None)
        for _, series in piece.series:
            for reading in (series.first, series.last):
                if reading is not None:
                    key = (reading.meter_id, reading.register_id, reading.unit.value, reading.scale)
                    self.first.setdefault(key, reading)
                    self.last[key] = reading

    def facts(self, place: Place, wanted: Wanted) -> list[tuple[str, object]]:
        """Return the lines of the first sheet."""
        lines: list[tuple[str, object]] = [
            ("Place", safe_text(place_name(place))),
            ("Service point", place.service_point.public_id),
            (f"Total ({wanted.unit.value})", "" if self.total is None else self.total),
            ("As of", "" if self.as_of is None else _local(self.as_of, wanted)),
        ]
        for key, first in self.first.items():
            for text, reading in (("First", first), ("Last", self.last[key])):
                name = safe_text(f"{reading.meter_id} {reading.register_id}")
                lines.append((f"{text} reading of {name} ({reading.unit.value})", reading.value))
                lines.append((f"{text} reading at", _local(reading.at, wanted)))
        return lines


def _about(book: Any, sheet: Any, wanted: Wanted, facts: list[list[tuple[str, object]]]) -> None:
    bold = book.add_format({"bold": True})
    sheet.set_column(0, 0, 44)
    sheet.set_column(1, 1, 30)
    lines: list[tuple[str, object]] = [
        ("From", _local(wanted.start, wanted)),
        ("To", _local(wanted.end, wanted)),
        ("Each row is", {"read": "from one read to the next"}.get(wanted.every.value, f"one {wanted.every.value}")),
        ("Unit", wanted.unit.value),
        ("Time zone", str(wanted.zone)),
        ("Made at", _local(wanted.now, wanted)),
    ]
    for line, (text, value) in enumerate([*lines, *(fact for place in facts for fact in place)]):
        sheet.write_string(line, 0, text, bold)
        if hasattr(value, "tzinfo"):
            sheet.write_datetime(line, 1, value)
        elif isinstance(value, str):
            sheet.write_string(line, 1, value)
        else:
            sheet.write_number(line, 1, value)


def _row(sheet: Any, line: int, wanted: Wanted, row: CountedRow) -> None:
    use = row.usage
    start, end = use.start.astimezone(wanted.zone), use.end.astimezone(wanted.zone)
    sheet.write_datetime(line, 0, start.replace(tzinfo=None))
    sheet.write_datetime(line, 1, end.replace(tzinfo=None))
    sheet.write_string(line, 2, f"{start:%z}")
    sheet.write_datetime(line, 3, _naive_utc(use.start))
    sheet.write_datetime(line, 4, _naive_utc(use.end))
    if use.volume is not None:
        sheet.write_number(line, 5, use.volume)
    sheet.write_string(line, 6, wanted.unit.value)
    if use.counts is not None and row.counts_unit is not None and row.counts_scale is not None:
        sheet.write_number(line, 7, use.counts)
        sheet.write_string(line, 8, row.counts_unit.value)
        sheet.write_number(line, 9, row.counts_scale)
    sheet.write_string(line, 10, use.quality.name.lower())
    sheet.write_string(line, 11, "yes" if use.interpolated else "no")


def _local(moment: datetime, wanted: Wanted) -> datetime:
    """Return a moment as a workbook keeps it: the local clock, without a zone."""
    return moment.astimezone(wanted.zone).replace(tzinfo=None)


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)

"""Reads a table out of the bytes of a CSV file: encoding and separator recognised, lines counted as an editor does."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass

from django.utils.translation import gettext as _

from portal.importing.errors import ImportRefused

BYTES_MAX = 64 * 2**20
_SEPARATORS = ",;\t|"
_CELL_CHARS_MAX = 20_000
SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


@dataclass(frozen=True, slots=True)
class CsvFile:
    """The cells as they stand in the file.

    header  of the columns, in the file's order, at header_line. rows: (line on which the row starts, cells).
    """

    digest: str
    encoding: str
    separator: str
    header: tuple[str, ...]
    header_line: int
    rows: tuple[tuple[int, list[str]], ...]
    notes: tuple[str, ...]


def read_csv(data: bytes) -> CsvFile:
    """Return the table in a file's bytes; raises ImportRefused when there is none, and says why."""
    if len(data) > BYTES_MAX:
        raise ImportRefused(_("the file has more than 64 MB; split it and import the parts one after the other"))
    if data[:4] == b"PK\x03\x04" or data[:4] == b"\xd0\xcf\x11\xe0":
        raise ImportRefused(_("this is an Excel workbook; open it and save the sheet as “CSV UTF-8”"))
    text, encoding, notes = _decoded(data)
    text, separator, first = _separator(text)
    rows = _rows(text, separator, first)
    header = next(((line, cells) for line, cells in rows if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise ImportRefused(_("the file is empty; the first line must name the columns"))
    line, names = header
    body = tuple((at, cells) for at, cells in rows if at > line and any(cell.strip() for cell in cells))
    while (
        names
        and not names[-1].strip()
        and not any(len(cells) >= len(names) and cells[len(names) - 1].strip() for _, cells in body)
    ):
        names = names[:-1]
    return CsvFile(
        digest=hashlib.sha256(data).hexdigest(),
        encoding=encoding,
        separator=SEPARATOR_NAMES[separator],
        header=tuple(names),
        header_line=line,
        rows=body,
        notes=tuple(notes),
    )


def _decoded(data: bytes) -> tuple[str, str, list[str]]:
    """Return the text, the encoding's name and what is worth saying about it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return data.decode("utf-16"), "UTF-16", [_("The file is UTF-16 (Excel's “Unicode text”).")]
        except UnicodeDecodeError as error:
            raise ImportRefused(_("the file starts as UTF-16 and does not go on so; save it as UTF-8")) from error
    if b"\0" in data:
        raise ImportRefused(_("the file has zero bytes: it is no text file; save the table as “CSV UTF-8”"))
    try:
        return data.decode("utf-8-sig"), "UTF-8", []
    except UnicodeDecodeError as fault:
        line = data[: fault.start].count(b"\n") + 1
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ImportRefused(
            _("line %(line)d: neither UTF-8 nor Windows-1252; save the file as “CSV UTF-8”") % {"line": line}
        ) from error
    note = _("The file is not UTF-8 (see line %(line)d); it was read as Windows-1252. Check names with accents.")
    return text, "Windows-1252", [note % {"line": line}]


def _separator(text: str) -> tuple[str, str, int]:
    """Return the text without Excel's `sep=` line, the separator, and the number of the text's first line."""
    first, _sep, rest = text.partition("\n")
    marker = first.strip().strip('"').lower()
    if marker.startswith("sep=") and len(first.strip().strip('"')) == 5 and first.strip().strip('"')[4] in _SEPARATORS:
        return rest, first.strip().strip('"')[4], 2
    if marker == "sep=":
        return rest, "\t", 2
    header = next((line for line in text.splitlines() if line.strip()), "")
    bare = "".join(part for number, part in enumerate(header.split('"')) if number % 2 == 0)
    return text, max(_SEPARATORS, key=lambda mark: (bare.count(mark), -_SEPARATORS.index(mark))), 1


def _rows(text: str, separator: str, first: int) -> list[tuple[int, list[str]]]:
    """Return every row with the line on which it starts; a quoted cell may run over several lines."""
    csv.field_size_limit(_CELL_CHARS_MAX)
    reader = csv.reader(
        io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline=""), delimiter=separator, strict=True
    )
    rows: list[tuple[int, list[str]]] = []
    starts = first
    try:
        for cells in reader:
            rows.append((starts, cells))
            starts = reader.line_num + first
    except csv.Error as error:
        raise ImportRefused(_csv_fault(str(error), starts)) from error
    return rows


def _csv_fault(fault: str, line: int) -> str:
    if "unexpected end" in fault or "field larger" in fault:
        text = _(
            "line %(line)d: a quotation mark opens a cell and none closes it; close it, or double it inside a text"
        )
    else:
        text = _("line %(line)d: a quotation mark stands inside a cell; write it twice inside a quoted cell")
    return text % {"line": line}

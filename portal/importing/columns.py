"""The columns that a kind of file has, and the rows read through them: headers by any of their usual names."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from portal.core.services import utility_zone
from portal.importing.cells import BadCell, Reading, cleaned, input_text, order_of
from portal.importing.report import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portal.importing.csv_file import CsvFile

_ALIKE = 0.8


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    read     turns a cell that is not empty into its value, or raises BadCell.
    also     other names of it; what is behind `|` in a header's spelling does not matter: case, blanks, dashes.
    example  for the template; about: for the guide.
    """

    name: str
    read: Callable[[str, Reading], Any]
    also: tuple[str, ...] = ()
    required: bool = False
    example: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by the column's name; None where the cell is empty or the file has no such column.

    extra  cells of the columns that are inputs of the rate book, by name.
    """

    line: int
    values: dict[str, Any]
    extra: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return one value."""
        return self.values.get(name)


class Findings:
    """Collects problems and notes.

    headers    the file's own, by the kind's names, so that problems name what stands there.
    bad_lines  lines that have a problem.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.headers: dict[str, str] = {}
        self.bad_lines: set[int] = set()

    def add(self, line: int, column: str, text: str, *, value: object = "") -> None:
        """Write down a problem; column is the kind's own name of it."""
        self.problems.append(Problem(line, self.headers.get(column, column), str(value)[:80], text))
        self.bad_lines.add(line)


def _plain(header: str) -> str:
    bare = re.sub(r"[^a-z0-9]+", "", header.lower().replace("#", "number"))
    return re.sub(r"(?<=[a-z])(no|num|nr)$", "number", bare)


def read_rows(table: CsvFile, columns: Sequence[Column], findings: Findings, *, extra: bool = False) -> list[Row]:
    """Return the rows whose cells could all be read; everything else is among the findings."""
    places, others = _places(table, columns, findings, extra=extra)
    if findings.problems:
        return []
    zone = utility_zone()
    readings = {
        column.name: Reading(zone, order_of([cells[place] for _line, cells in table.rows if place < len(cells)]))
        for column, place in places
    }
    result = []
    for line, cells in table.rows:
        before = len(findings.problems)
        if surplus := [cell for cell in cells[len(table.header) :] if cell.strip()]:
            findings.add(
                line,
                "",
                _("more cells than columns: put quotation marks around a text with a separator in it"),
                value=surplus[0],
            )
        values = {column.name: _read(line, column, cells, place, readings, findings) for column, place in places}
        inputs = {
            name: _read(line, Column(name, input_text), cells, place, {name: Reading(zone)}, findings)
            for name, place in others
        }
        if len(findings.problems) == before:
            result.append(Row(line, values, {name: text for name, text in inputs.items() if text is not None}))
    return result


def _places(
    table: CsvFile, columns: Sequence[Column], findings: Findings, *, extra: bool
) -> tuple[list[tuple[Column, int]], list[tuple[str, int]]]:
    """Return where each column stands, and the other columns as inputs."""
    names = {_plain(name): column for column in columns for name in (*column.also, column.name)}
    found: dict[str, int] = {}
    others: list[tuple[str, int]] = []
    unused = []
    for place, header in enumerate(table.header):
        column = names.get(_plain(header))
        if column is not None and column.name in found:
            text = _("the columns “%(one)s” and “%(two)s” mean the same; leave one of them out")
            findings.add(table.header_line, header, text % {"one": table.header[found[column.name]], "two": header})
        elif column is not None:
            found[column.name] = place
            findings.headers[column.name] = header.strip()
        elif near := difflib.get_close_matches(
            _plain(header), [name for name in names if len(name) > 3], n=1, cutoff=_ALIKE
        ):
            text = _("unknown column; did you mean “%(name)s”? Rename it, or leave the column out")
            findings.add(table.header_line, header.strip(), text % {"name": names[near[0]].name})
        elif extra and header.strip():
            others.append((re.sub(r"[^a-z0-9]+", "_", header.strip().lower()).strip("_"), place))
        else:
            unused.append(header.strip() or _("without a name, the %(n)dth") % {"n": place + 1})
    if unused:
        findings.notes.append(_("These columns were not used: %(names)s.") % {"names": ", ".join(unused)})
    for column in columns:
        if column.required and column.name not in found:
            text = _("the column “%(name)s” is missing; `headwater portal import template` shows all columns")
            findings.add(table.header_line, column.name, text % {"name": column.name})
    known = [(column, found[column.name]) for column in columns if column.name in found]
    return sorted(known, key=lambda pair: pair[1]), others


def _cleaned(line: int, name: str, cells: list[str], place: int, findings: Findings) -> str:
    if place >= len(cells):
        return ""
    try:
        return cleaned(cells[place])
    except BadCell as fault:
        findings.add(line, name, str(fault), value=cells[place].strip())
        return ""


def _read(
    line: int, column: Column, cells: list[str], place: int, readings: dict[str, Reading], findings: Findings
) -> Any:
    """Return one cell's value, None when it is empty."""
    before = len(findings.problems)
    text = _cleaned(line, column.name, cells, place, findings)
    if not text:
        if column.required and len(findings.problems) == before:
            findings.add(line, column.name, _("a value is needed here"))
        return None
    try:
        return column.read(text, readings[column.name])
    except BadCell as fault:
        findings.add(line, column.name, str(fault), value=text)
        return None

"""Reads that no collector brought: walked routes, drive-by rounds, photos of dials, another head-end's export."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.importing.cells import BadCell, line_of, moment, register_id, unit, whole
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome
from portal.importing.references import METER, chunks, meters_of
from portal.metering.models import MeterRegister, OfficeRead
from portal.metering.validation.incoming import NewRead, Opinion, enter_many, examine

if TYPE_CHECKING:
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row

_QUALITIES = {
    "measured": ReadQuality.MEASURED,
    "actual": ReadQuality.MEASURED,
    "estimated": ReadQuality.ESTIMATED,
    "edited": ReadQuality.EDITED,
    "suspect": ReadQuality.SUSPECT,
}
_SOURCES = {choice.value: choice for choice in OfficeRead.Source if choice not in ("edit", "estimate")}


def _source(cell: str, reading: Reading) -> OfficeRead.Source:
    word = cell.lower().replace(" ", "-").replace("_", "-")
    if word not in _SOURCES:
        raise BadCell(_("write one of %(words)s") % {"words": ", ".join(_SOURCES)})
    return _SOURCES[word]


def _quality(cell: str, reading: Reading) -> ReadQuality:
    if (word := cell.lower()) not in _QUALITIES:
        raise BadCell(_("write measured, estimated, edited or suspect"))
    return _QUALITIES[word]


def _decimal(cell: str, reading: Reading) -> Fraction:
    try:
        value = Decimal(cell)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0 or len(cell) > 24 or "e" in cell.lower():
        raise BadCell(_("not a number; write digits, with a point before decimals"))
    return Fraction(value)


COLUMNS = (
    METER,
    Column(
        "read_at",
        moment,
        ("read date", "date", "time", "timestamp", "read time", "reading date", "reading time"),
        required=True,
        example="2026-06-01 10:30",
        about="when it was read; without an offset in the utility's zone",
    ),
    Column(
        "count",
        whole,
        ("raw count", "register count", "dial"),
        example="123456",
        about="what the register counts, whole; or give reading and unit",
    ),
    Column("reading", _decimal, ("read", "value", "consumption total"), example="", about="in the unit beside it"),
    Column("unit", unit, ("uom", "units"), example="", about="of the reading; must fit the register"),
    Column("register", register_id, ("register id", "counter"), example="", about="when the meter has several"),
    Column(
        "source",
        _source,
        ("read type", "method"),
        example="manual",
        about="manual, drive-by, dial-photo, move-in, move-out, head-end",
    ),
    Column("quality", _quality, ("status", "read quality"), example="measured", about="measured when left out"),
    Column("reason", line_of(200), ("note", "comment", "remark"), example=""),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the reads that are there."""
    meters = meters_of(rows, findings)
    registers = _registers({meter.pk for meter in meters.values()})
    reads: list[NewRead] = []
    lines: list[int] = []
    for row in rows:
        if row.line in findings.bad_lines or row.line not in meters:
            continue
        register = _register(row, registers.get(meters[row.line].pk, []), findings)
        count = None if register is None else _count(row, register, findings)
        if register is not None and count is not None:
            reads.append(_new(row, register, count))
            lines.append(row.line)
    opinions = examine(reads)
    for row_line, read, opinion in zip(lines, reads, opinions, strict=True):
        if opinion.code not in ("", "same"):
            column = "read_at" if opinion.code in ("future", "not-installed", "duplicate") else "count"
            value = read.read_at.isoformat() if column == "read_at" else read.raw_count
            findings.add(row_line, column, opinion.text, value=value)
    outcome = Outcome(
        new=sum(not opinion.code for opinion in opinions),
        unchanged=sum(opinion.code == "same" for opinion in opinions),
    )
    outcome.write = lambda by: _write(reads, opinions, by)
    return outcome


def _registers(meters: set[int]) -> dict[int, list[MeterRegister]]:
    """Return the claimed registers of meters, one for each counter: the definition that was read, else the first."""
    found: dict[int, dict[tuple[str, str, int], MeterRegister]] = defaultdict(dict)
    for ids in chunks(sorted(meters)):
        rows = MeterRegister.objects.filter(meter__in=ids, claimed=True, in_usage=True)
        for row in rows.select_related("meter", "state").order_by("pk"):
            key = row.register_id, row.unit, row.scale
            if key not in found[row.meter_id] or not hasattr(found[row.meter_id][key], "state"):
                found[row.meter_id][key] = row
    return {meter: list(counters.values()) for meter, counters in found.items()}


def _register(row: Row, registers: list[MeterRegister], findings: Findings) -> MeterRegister | None:
    named = [register for register in registers if row["register"] in (None, register.register_id)]
    if len(named) == 1:
        return named[0]
    if not registers:
        findings.add(row.line, "meter", _("the office knows no register of this meter; import the meters first"))
    else:
        known = ", ".join(register.register_id for register in registers)
        text = _("which register is it? Name one in the column “register”: %(known)s") % {"known": known}
        findings.add(row.line, "register", text, value=row["register"] or "")
    return None


def _count(row: Row, register: MeterRegister, findings: Findings) -> int | None:
    """Return the count in the register's own unit and scale; what is not a whole number of counts is a problem."""
    own = Unit(register.unit)
    if (row["count"] is None) == (row["reading"] is None):
        findings.add(row.line, "count", _("give either the count, or a reading with its unit"))
        return None
    if row["count"] is not None:
        if row["unit"] is not None and row["unit"] is not own:
            text = _("the register counts in %(own)s, not in %(unit)s") % {"own": own.value, "unit": row["unit"].value}
            findings.add(row.line, "unit", text, value=row["unit"].value)
            return None
        return int(row["count"])
    if row["unit"] is None:
        findings.add(row.line, "unit", _("a reading needs its unit"))
        return None
    counts = row["reading"] * row["unit"].litres / count_value(own, register.scale)
    if counts.denominator != 1:
        text = _("no whole number of counts: the register counts in %(scale)s %(own)s; check the unit")
        findings.add(row.line, "reading", text % {"scale": f"10^{register.scale}", "own": own.value})
        return None
    return int(counts)


def _new(row: Row, register: MeterRegister, count: int) -> NewRead:
    evidence: dict[str, Any] = {"line": row.line}
    return NewRead(
        register=register,
        read_at=row["read_at"],
        raw_count=count,
        source=row["source"] or OfficeRead.Source.MANUAL,
        quality=row["quality"] or ReadQuality.MEASURED,
        reason=row["reason"] or "",
        evidence=evidence,
    )


def _write(reads: list[NewRead], opinions: list[Opinion], by: By) -> None:
    enter_many(reads, opinions, actor=by.user, label=by.label)


KIND = Kind("reads", gettext_lazy("Reads"), COLUMNS, compare)

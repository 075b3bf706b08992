"""Meters and their registers: what one count is worth, and where the dial rolls over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domain.ids import MeterId, RegisterId
from domain.reading import Register
from domain.units import Unit
from portal.fleet.models import Meter
from portal.importing.cells import BadCell, line_of, power_of_ten, register_id, signed_whole, unit, whole, yes_no
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome
from portal.importing.references import METER, chunks, doubled
from portal.metering.bulk import claim_registers, name_models
from portal.metering.models import MeterRegister

if TYPE_CHECKING:
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row

_TOTAL = "total"


def _scale(cell: str, reading: Reading) -> int:
    if not -9 <= (number := signed_whole(cell, reading)) <= 9:
        raise BadCell(_("a power of ten from -9 to 9: with -3 one count is a thousandth of the unit"))
    return number


def _digits(cell: str, reading: Reading) -> int:
    if not 3 <= (number := whole(cell, reading)) <= 18:
        raise BadCell(_("3 to 18: how many digits the register counts before it starts again at zero"))
    return number


COLUMNS = (
    METER,
    Column(
        "register",
        register_id,
        ("register id", "counter"),
        example="total",
        about="total when left out; a compound meter has two lines, such as total_high and total_low",
    ),
    Column(
        "unit",
        unit,
        ("units", "unit of measure", "uom"),
        required=True,
        example="gal",
        about="what it counts in: l, m3, gal, ft3, ccf or kgal",
    ),
    Column(
        "scale",
        _scale,
        ("exponent", "power of ten"),
        example="1",
        about="one count is 10 to this power of the unit (1: ten gallons); give this or the multiplier",
    ),
    Column("multiplier", power_of_ten, ("factor", "count value"), example="", about="the same as 1, 10, 100, 0.1, ..."),
    Column(
        "digits",
        _digits,
        ("dials", "number of digits", "register digits", "number of dials"),
        example="7",
        about="digits that are transmitted or read, before the roll-over",
    ),
    Column("model", line_of(60), ("meter model", "make", "type"), example="iPERL 5/8"),
    Column(
        "in_usage",
        yes_no,
        ("usage", "counts as usage"),
        example="yes",
        about="no for a register that is not consumption (a reverse total)",
    ),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the registers that are there."""
    doubled(rows, {row.line: (row["meter"], row["register"] or _TOTAL) for row in rows}, "meter", findings)
    meters, registers = _present(rows)
    wanted: dict[Register, bool] = {}
    models: dict[str, str] = {}
    outcome = Outcome()
    for row in rows:
        _check_scale(row, findings)
        known = registers.get((row["meter"], row["register"] or _TOTAL), [])
        scale = next((value for value in (row["scale"], row["multiplier"]) if value is not None), 0)
        _check_kind(row, scale, known, findings)
        if row.line in findings.bad_lines:
            continue
        register = _register(row, scale, known)
        in_usage = not register.register_id.startswith("reverse") if row["in_usage"] is None else row["in_usage"]
        same = next((r for r in known if r.modulus == register.modulus), None)
        meter = meters.get(row["meter"])
        is_named = bool(row["model"]) and (meter is None or meter.model != row["model"])
        if same is None or not same.claimed or same.in_usage != in_usage:
            wanted[register] = in_usage
        if is_named:
            models[row["meter"]] = row["model"]
        outcome.new += same is None
        outcome.changed += same is not None and (register in wanted or is_named)
        outcome.unchanged += same is not None and register not in wanted and not is_named

    def write(by: By) -> None:
        claim_registers(wanted, at=by.at)
        name_models(models)

    outcome.write = write
    return outcome


def _present(rows: list[Row]) -> tuple[dict[str, Meter], dict[tuple[str, str], list[MeterRegister]]]:
    meters: dict[str, Meter] = {}
    registers: dict[tuple[str, str], list[MeterRegister]] = {}
    for ids in chunks(sorted({row["meter"] for row in rows})):
        meters.update((meter.meter_id, meter) for meter in Meter.objects.filter(meter_id__in=ids))
        for register in MeterRegister.objects.filter(meter__meter_id__in=ids).select_related("meter").order_by("pk"):
            registers.setdefault((register.meter.meter_id, register.register_id), []).append(register)
    return meters, registers


def _register(row: Row, scale: int, known: list[MeterRegister]) -> Register:
    """Return the register that a row declares; without digits, as it is known already."""
    modulus = None if row["digits"] is None else 10 ** row["digits"]
    if modulus is None and known:
        modulus = next((r.modulus for r in known if r.claimed), known[0].modulus)
    name = RegisterId(row["register"] or _TOTAL)
    return Register(MeterId(row["meter"]), name, row["unit"], scale, modulus)


def _check_scale(row: Row, findings: Findings) -> None:
    if row["scale"] is not None and row["multiplier"] is not None and row["scale"] != row["multiplier"]:
        findings.add(row.line, "multiplier", _("scale and multiplier say different things; give one of them"))
    elif not -9 <= (row["multiplier"] or 0) <= 9:
        findings.add(row.line, "multiplier", _("a multiplier from 0.000000001 to 1000000000"), value=row["multiplier"])


def _check_kind(row: Row, scale: int, known: list[MeterRegister], findings: Findings) -> None:
    """Refuse another unit or scale than the register has: residents would see ten or a thousand times the volume."""
    others = [r for r in known if (Unit(r.unit), r.scale) != (row["unit"], scale)]
    if not others:
        return
    other = others[0]
    says = _("the office knows this register") if other.claimed else _("the meter itself declares this register")
    text = _(
        "%(says)s in %(unit)s with scale %(scale)d, and this line in %(here)s with scale %(this)d; find out at the "
        "meter which is right"
    )
    parts = {"says": says, "unit": other.unit, "scale": other.scale, "here": row["unit"].value, "this": scale}
    findings.add(row.line, "unit", text % parts, value=row["unit"].value)


KIND = Kind("meters", gettext_lazy("Meters"), COLUMNS, compare)

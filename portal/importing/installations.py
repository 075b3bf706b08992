"""Which meter hung where from when to when, with what its dial showed then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.importing.cells import moment, register_id, whole
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome, audit_changes
from portal.importing.references import METER, PLACE, chunks, doubled, meters_of, service_points_of
from portal.importing.timeline import Comparison, check_end
from portal.metering.bulk import install_meters
from portal.metering.models import Installation, MeterRegister

if TYPE_CHECKING:
    from typing import Any

    from portal.customers.models import ServicePoint
    from portal.fleet.models import Meter
    from portal.importing.columns import Findings, Row

COLUMNS = (
    METER,
    *PLACE,
    Column(
        "start",
        moment,
        ("installed", "install date", "installed at", "installed on", "from", "date set"),
        required=True,
        example="2019-04-01 10:30",
        about="a day alone is its first moment, in the utility's zone",
    ),
    Column(
        "first_count",
        whole,
        ("start count", "install read", "first read", "starting read", "initial read"),
        example="0",
        about="all digits that the register counts, as a whole number",
    ),
    Column("end", moment, ("removed", "removal date", "removed at", "removed on", "to", "until"), example=""),
    Column("last_count", whole, ("end count", "removal read", "last read", "final read", "ending read"), example=""),
    Column(
        "register",
        register_id,
        ("register id", "counter"),
        example="",
        about="which register the counts are of, when the meter has several",
    ),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the installations that are there."""
    meters, points = meters_of(rows, findings), service_points_of(rows, findings)
    keys = {row.line: (meters[row.line].pk, row["start"]) for row in rows if row.line in meters}
    doubled(rows, keys, "meter", findings)
    registers = _registers(meters)
    present = _present(meters, points)
    by_key = {(row.meter_id, row.start): row for row in present}
    compared = Comparison[Installation]()
    for row in rows:
        if row.line in findings.bad_lines:
            continue
        meter, point = meters[row.line], points[row.line]
        register = _register(row, registers.get(meter.pk, []), findings)
        check_end(row, findings)
        standing = by_key.get((meter.pk, row["start"]))
        change = {} if standing is None else _change(row, standing, point, register, findings)
        if row.line in findings.bad_lines:
            continue
        places = ((("meter", meter.pk), "meter"), (("point", point.pk), "start"))
        compared.meet(row, standing, change, f"{meter} @ {point.premise}", *places)
        if standing is None:
            counts = {"first_count": row["first_count"], "last_count": row["last_count"]}
            compared.new.append(
                Installation(
                    meter=meter, service_point=point, start=row["start"], end=row["end"], register=register, **counts
                )
            )
    for other in present:
        says = f"{other.meter} @ {other.service_point.premise}"
        compared.leave(other, says, ("meter", other.meter_id), ("point", other.service_point_id))
    return compared.outcome(findings, _write)


def _registers(meters: dict[int, Meter]) -> dict[int, list[MeterRegister]]:
    """Return the claimed registers of the meters, one for each counter (definitions differ in the roll-over only)."""
    found: dict[int, dict[str, MeterRegister]] = {}
    for ids in chunks(sorted({meter.pk for meter in meters.values()})):
        rows = MeterRegister.objects.filter(meter__in=ids, claimed=True, in_usage=True).order_by("pk")
        for register in rows:
            counter = found.setdefault(register.meter_id, {}).setdefault(register.register_id, register)
            if register.modulus is not None and (counter.modulus is None or register.modulus < counter.modulus):
                found[register.meter_id][register.register_id] = register
    return {meter: list(counters.values()) for meter, counters in found.items()}


def _present(meters: dict[int, Meter], points: dict[int, ServicePoint]) -> list[Installation]:
    """Return the installations of these meters and at these service points."""
    found: dict[int, Installation] = {}
    sides = (("meter__in", meters), ("service_point__in", points))
    for where, rows in sides:
        for ids in chunks(sorted({row.pk for row in rows.values()})):
            there = Installation.objects.filter(Q(**{where: ids}))
            found.update((row.pk, row) for row in there.select_related("meter", "service_point__premise"))
    return list(found.values())


def _register(row: Row, registers: list[MeterRegister], findings: Findings) -> MeterRegister | None:
    """Return the register that a row's counts are of; None when it gives none."""
    named = [r for r in registers if row["register"] in (None, r.register_id)]
    if row["first_count"] is None and row["last_count"] is None:
        return None
    if len(named) != 1:
        known = ", ".join(register.register_id for register in registers)
        text = _("which register are the counts of? Name one in the column “register”: %(known)s")
        if not registers:
            text = _("the office knows no register of this meter; import the meters first")
        findings.add(row.line, "register", text % {"known": known}, value=row["register"] or "")
        return None
    for column in ("first_count", "last_count"):
        count, modulus = row[column], named[0].modulus
        if count is not None and modulus is not None and count >= modulus:
            text = _("the register counts to %(most)d only; give what it showed, in its own digits")
            findings.add(row.line, column, text % {"most": modulus - 1}, value=count)
    return named[0]


def _change(
    row: Row, standing: Installation, point: ServicePoint, register: MeterRegister | None, findings: Findings
) -> dict[str, list[Any]]:
    """Return what a row adds to an installation; what stands there is not changed, since bills may rest on it."""
    if standing.service_point_id != point.pk:
        text = _("the meter hangs at “%(place)s” since then; correct the place or the start")
        findings.add(row.line, "meter", text % {"place": standing.service_point.premise}, value=row["meter"])
    change = {}
    for name in ("end", "first_count", "last_count"):
        now, then = getattr(standing, name), row[name]
        if then is not None and now is None:
            change[name] = [None, then]
        elif then is not None and now != then:
            text = _("%(now)s stands in the portal; what bills may rest on is not changed by an import")
            findings.add(row.line, name, text % {"now": now}, value=then)
    if register is not None and standing.register_id is None:
        change["register"] = [None, register]
    return change


def _write(new: list[Installation], changed: list[tuple[Installation, dict[str, list[Any]]]], by: By) -> None:
    for row, change in changed:
        for name, (_before, value) in change.items():
            setattr(row, name, value)
    install_meters(new, [row for row, _change in changed])
    audit_changes("meter.import", changed, by)


KIND = Kind("installations", gettext_lazy("Installations of meters"), COLUMNS, compare)

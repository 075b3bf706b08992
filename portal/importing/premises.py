"""Premises and their service points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models.functions import Upper
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.customers.models import Premise, ServicePoint
from portal.importing.cells import identifier, line_of
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE, By, Kind, Outcome, audit_changes, differences
from portal.importing.references import chunks, doubled, place_key

if TYPE_CHECKING:
    from typing import Any

    from portal.importing.columns import Findings, Row

_WATER = "water"

COLUMNS = (
    Column(
        "address",
        line_of(200),
        ("service address", "premise", "street address", "street"),
        required=True,
        example="12 Elm Street",
        about="of the premise; two premises have two addresses",
    ),
    Column("city", line_of(80), ("town",), example="Cedar Valley"),
    Column("postal_code", identifier, ("zip", "zip code", "zipcode", "post code", "postcode"), example="73070"),
    Column(
        "service_point",
        identifier,
        ("sp", "service point number", "location", "location id", "location number"),
        example="SP-100",
        about="the office's number of the service point, if it has one",
    ),
    Column(
        "label",
        line_of(60),
        ("service label", "service point label"),
        example="water",
        about="tells several service points at one premise apart; water when left out",
    ),
)


@dataclass(slots=True)
class _Plan:
    premises: dict[str, Premise] = field(default_factory=dict)
    points: list[tuple[str, ServicePoint]] = field(default_factory=list)
    changed_premises: dict[int, tuple[Premise, dict[str, list[Any]]]] = field(default_factory=dict)
    changed_points: list[tuple[ServicePoint, dict[str, list[Any]]]] = field(default_factory=list)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the premises that are there."""
    doubled(rows, {row.line: row["service_point"] for row in rows}, "service_point", findings)
    places = {row.line: (place_key(row["address"]), (row["label"] or _WATER).lower()) for row in rows}
    doubled(rows, places, "address", findings)
    premises = _premises(rows)
    by_code, by_place = _points(rows, premises)
    plan, outcome = _Plan(), Outcome()
    for row in rows:
        key = place_key(row["address"])
        point = by_code.get(row["service_point"] or "") or by_place.get((key, (row["label"] or _WATER).lower()))
        if point is not None and place_key(point.premise.address) != key and key in premises:
            text = _(
                "the service point is at “%(address)s”; a meter's place does not move: give the new place a new number"
            )
            findings.add(
                row.line, "service_point", text % {"address": point.premise.address}, value=row["service_point"]
            )
        elif point is not None and row["service_point"] and point.code and point.code != row["service_point"]:
            text = _("the service point here has the number %(code)s; correct the number, or give another label")
            findings.add(row.line, "service_point", text % {"code": point.code}, value=row["service_point"])
        if row.line not in findings.bad_lines:
            _place(row, premises.get(key), point, plan, outcome)
    outcome.write = lambda by: _write(plan, by)
    return outcome


def _premises(rows: list[Row]) -> dict[str, Premise]:
    found: dict[str, Premise] = {}
    for keys in chunks(sorted({place_key(row["address"]) for row in rows})):
        named = Premise.objects.annotate(place=Upper("address")).filter(place__in=keys)
        found.update((place_key(premise.address), premise) for premise in named)
    return found


def _points(
    rows: list[Row], premises: dict[str, Premise]
) -> tuple[dict[str, ServicePoint], dict[tuple[str, str], ServicePoint]]:
    """Return the service points by their number, and by (address, label)."""
    by_code: dict[str, ServicePoint] = {}
    for codes in chunks(sorted({row["service_point"] for row in rows if row["service_point"]})):
        found = ServicePoint.objects.filter(code__in=codes).select_related("premise")
        by_code.update((point.code, point) for point in found)
    by_place: dict[tuple[str, str], ServicePoint] = {}
    for ids in chunks(premise.pk for premise in premises.values()):
        for point in ServicePoint.objects.filter(premise__in=ids).select_related("premise"):
            by_place[place_key(point.premise.address), point.label.lower()] = point
    return by_code, by_place


def _place(row: Row, premise: Premise | None, point: ServicePoint | None, plan: _Plan, outcome: Outcome) -> None:
    key = place_key(row["address"])
    values = {"city": row["city"], "postal_code": row["postal_code"]}
    if point is None:
        if premise is None:
            given = {name: value for name, value in values.items() if value is not None}
            plan.premises.setdefault(key, Premise(address=row["address"], **given))
        elif change := differences(premise, values):
            plan.changed_premises[premise.pk] = (premise, change)
        plan.points.append((key, ServicePoint(label=row["label"] or _WATER, code=row["service_point"] or "")))
        if premise is not None:
            plan.points[-1][1].premise = premise
        outcome.new += 1
        return
    if place_key(point.premise.address) != key:
        values["address"] = row["address"]
    of_premise = differences(point.premise, values)
    of_point = differences(point, {"code": row["service_point"], "label": row["label"]})
    if of_premise:
        plan.changed_premises[point.premise.pk] = (point.premise, of_premise)
    if of_point:
        plan.changed_points.append((point, of_point))
    outcome.changed += bool(of_premise or of_point)
    outcome.unchanged += not (of_premise or of_point)


def _write(plan: _Plan, by: By) -> None:
    Premise.objects.bulk_create(plan.premises.values(), batch_size=AT_ONCE)
    for key, point in plan.points:
        if key in plan.premises:
            point.premise = plan.premises[key]
    for premise, change in plan.changed_premises.values():
        _set(premise, change)
    _save(Premise, [premise for premise, _change in plan.changed_premises.values()], ["address", "city", "postal_code"])
    for point, change in plan.changed_points:
        _set(point, change)
    _save(ServicePoint, [point for point, _change in plan.changed_points], ["code", "label"])
    ServicePoint.objects.bulk_create([point for _key, point in plan.points], batch_size=AT_ONCE)
    audit_changes("premise.import", [*plan.changed_premises.values(), *plan.changed_points], by)


def _set(row: Premise | ServicePoint, change: dict[str, list[Any]]) -> None:
    for name, (_before, value) in change.items():
        setattr(row, name, value)


def _save(model: type[Premise | ServicePoint], rows: list[Any], fields: list[str]) -> None:
    model._default_manager.bulk_create(
        rows, batch_size=AT_ONCE, update_conflicts=True, unique_fields=["id"], update_fields=fields
    )


KIND = Kind("premises", gettext_lazy("Premises and service points"), COLUMNS, compare)

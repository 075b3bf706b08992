"""Billing cycles: which accounts are billed together, and on which day their periods end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.billing.models import Cycle
from portal.importing.cells import BadCell, identifier, line_of, whole
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome, audit_changes, differences
from portal.importing.references import doubled

if TYPE_CHECKING:
    from typing import Any

    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row


def _code(cell: str, reading: Reading) -> str:
    if len(text := identifier(cell, reading)) > 16:
        raise BadCell(_("at most 16 characters fit"))
    return text


def _day(cell: str, reading: Reading) -> int:
    if not 1 <= (number := whole(cell, reading)) <= 28:
        raise BadCell(_("a day from 1 to 28, which every month has"))
    return number


def _months(cell: str, reading: Reading) -> int:
    if (number := whole(cell, reading)) not in (1, 2, 3, 6, 12):
        raise BadCell(_("a period has 1, 2, 3, 6 or 12 months"))
    return number


def _month(cell: str, reading: Reading) -> int:
    if not 1 <= (number := whole(cell, reading)) <= 12:
        raise BadCell(_("a month from 1 to 12"))
    return number


COLUMNS = (
    Column("code", _code, ("cycle", "cycle code"), required=True, example="01"),
    Column("name", line_of(80), ("description",), example="North side"),
    Column(
        "read_day", _day, ("day", "billing day"), example="5", about="day of the month on which a period ends, 1 to 28"
    ),
    Column("months", _months, ("period", "months per period"), example="1", about="length of a period"),
    Column("anchor_month", _month, ("anchor",), example="1", about="a month in which a period ends, 1 to 12"),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the cycles that are there."""
    doubled(rows, {row.line: row["code"].lower() for row in rows}, "code", findings)
    present = {cycle.code.lower(): cycle for cycle in Cycle.objects.all()}
    made: list[Cycle] = []
    changed: list[tuple[Cycle, dict[str, list[Any]]]] = []
    outcome = Outcome()
    for row in rows:
        if row.line in findings.bad_lines:
            continue
        values = {name: row[name] for name in ("name", "read_day", "months", "anchor_month")}
        cycle = present.get(row["code"].lower())
        if cycle is None:
            made.append(Cycle(code=row["code"], **{n: v for n, v in values.items() if v is not None}))
        elif change := differences(cycle, values):
            changed.append((cycle, change))
        else:
            outcome.unchanged += 1
    outcome.new, outcome.changed = len(made), len(changed)

    def write(by: By) -> None:
        Cycle.objects.bulk_create(made)
        for cycle, change in changed:
            Cycle.objects.filter(pk=cycle.pk).update(**{name: value for name, (_now, value) in change.items()})
        audit_changes("cycle.import", changed, by)

    outcome.write = write
    return outcome


KIND = Kind("cycles", gettext_lazy("Billing cycles"), COLUMNS, compare)

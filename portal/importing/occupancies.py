"""Which account was at which service point from when to when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.customers.models import Occupancy
from portal.importing.cells import moment
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE, By, Kind, Outcome, audit_changes
from portal.importing.references import ACCOUNT, PLACE, accounts_of, chunks, doubled, service_points_of
from portal.importing.timeline import Comparison, check_end

if TYPE_CHECKING:
    from typing import Any

    from portal.customers.models import Account, ServicePoint
    from portal.importing.columns import Findings, Row

COLUMNS = (
    ACCOUNT,
    *PLACE,
    Column(
        "start",
        moment,
        ("from", "move in", "moved in", "occupied from", "start date"),
        required=True,
        example="2019-04-01",
        about="a day alone is its first moment, in the utility's zone",
    ),
    Column("end", moment, ("to", "until", "move out", "moved out", "end date"), example=""),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the occupancies that are there."""
    accounts, points = accounts_of(rows, findings), service_points_of(rows, findings)
    doubled(
        rows, {row.line: (points[row.line].pk, row["start"]) for row in rows if row.line in points}, "start", findings
    )
    present = _present(points)
    by_key = {(row.service_point_id, row.start): row for row in present}
    compared = Comparison[Occupancy]()
    for row in rows:
        if row.line in findings.bad_lines:
            continue
        account, point = accounts[row.line], points[row.line]
        check_end(row, findings)
        standing = by_key.get((point.pk, row["start"]))
        change = {} if standing is None else _change(row, standing, account, findings)
        if row.line in findings.bad_lines:
            continue
        compared.meet(row, standing, change, f"{account} @ {point.premise}", (point.pk, "start"))
        if standing is None:
            compared.new.append(Occupancy(account=account, service_point=point, start=row["start"], end=row["end"]))
    for other in present:
        compared.leave(other, f"{other.account} @ {other.service_point.premise}", other.service_point_id)
    return compared.outcome(findings, _write)


def _present(points: dict[int, ServicePoint]) -> list[Occupancy]:
    found: list[Occupancy] = []
    for ids in chunks(sorted({point.pk for point in points.values()})):
        there = Occupancy.objects.filter(service_point__in=ids)
        found += there.select_related("account", "service_point__premise")
    return found


def _change(row: Row, standing: Occupancy, account: Account, findings: Findings) -> dict[str, list[Any]]:
    if standing.account_id != account.pk:
        text = _("account %(number)s is there since then; correct the account or the start")
        findings.add(row.line, "account", text % {"number": standing.account.number}, value=row["account"])
    if row["end"] is None or row["end"] == standing.end:
        return {}
    if standing.end is not None:
        text = _("%(now)s stands in the portal; what bills may rest on is not changed by an import")
        findings.add(row.line, "end", text % {"now": standing.end}, value=row["end"])
    return {"end": [None, row["end"]]}


def _write(new: list[Occupancy], changed: list[tuple[Occupancy, dict[str, list[Any]]]], by: By) -> None:
    for row, change in changed:
        row.end = change["end"][1]
    Occupancy.objects.bulk_create(
        [row for row, _change in changed],
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["end"],
    )
    Occupancy.objects.bulk_create(new, batch_size=AT_ONCE)
    audit_changes("occupancy.import", changed, by)


KIND = Kind("occupancies", gettext_lazy("Occupancies"), COLUMNS, compare)

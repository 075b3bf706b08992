"""What each account gets at a service point, in which class and with which inputs of the rate book."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.billing.agreements import Terms, check_terms
from portal.billing.models import BillSegment, ServiceAgreement
from portal.billing.shelf import standing_shelf
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.importing.cells import BadCell, day, line_of
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE, By, Kind, Outcome, audit_changes, differences
from portal.importing.references import ACCOUNT, PLACE, accounts_of, chunks, doubled, service_points_of
from portal.importing.timeline import Comparison, check_end
from rates.errors import InputError

if TYPE_CHECKING:
    from datetime import date
    from typing import Any

    from portal.billing.shelf import Shelf
    from portal.customers.models import Account, ServicePoint
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row
    from rates.book import Book


def _services(cell: str, reading: Reading) -> list[str]:
    names = [name.strip().lower() for name in re.split(r"[;|,\n]", cell) if name.strip()]
    if any(not re.fullmatch(r"[a-z][a-z0-9_-]*", name) for name in names):
        raise BadCell(_("names of services with ; between them, such as water;sewer"))
    return sorted(set(names), key=names.index)


COLUMNS = (
    ACCOUNT,
    *PLACE,
    Column(
        "class",
        line_of(40),
        ("rate class", "rate", "rate code", "tariff"),
        required=True,
        example="residential",
        about="as the rate book names it",
    ),
    Column(
        "services",
        _services,
        ("service",),
        example="",
        about="names in the rate book with ; between them; all that the class has when left out",
    ),
    Column("start", day, ("from", "start date", "effective", "effective date"), required=True, example="2019-04-01"),
    Column("end", day, ("to", "until", "end date"), example="", about="first day on which it no longer holds"),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the agreements that are there."""
    accounts, points = accounts_of(rows, findings), service_points_of(rows, findings)
    keys = {row.line: (points[row.line].pk, row["start"]) for row in rows if row.line in points}
    doubled(rows, keys, "start", findings)
    _check_terms(rows, findings)
    present = _present(points)
    by_key = {(row.service_point_id, row.start): row for row in present}
    billed = _billed(present)
    compared = Comparison[ServiceAgreement]()
    for row in rows:
        check_end(row, findings)
        if row.line in findings.bad_lines:
            continue
        account, point = accounts[row.line], points[row.line]
        standing = by_key.get((point.pk, row["start"]))
        change = {} if standing is None else _change(row, standing, account, billed, findings)
        if row.line in findings.bad_lines:
            continue
        compared.meet(row, standing, change, f"{account} @ {point.premise}", (point.pk, "start"))
        if standing is None:
            terms = {"rate_class": row["class"], "services": row["services"] or [], "inputs": row.extra}
            compared.new.append(
                ServiceAgreement(account=account, service_point=point, start=row["start"], end=row["end"], **terms)
            )
    for other in present:
        compared.leave(other, f"{other.account} @ {other.service_point.premise}", other.service_point_id)
    return compared.outcome(findings, _write)


def _check_terms(rows: list[Row], findings: Findings) -> None:
    """Compare class, services and inputs with the rate book in force, once for each combination."""
    seen: dict[tuple[Any, ...], str] = {}
    shelf, today = standing_shelf(), now().astimezone(utility_zone()).date()
    if rows and _book_on(today, shelf) is None:
        findings.notes.append(_("No rate book is approved: classes and inputs were not checked."))
    for row in rows:
        # An agreement of long ago goes on under the book of today: that one must know its class.
        on = max(row["start"], today) if row["end"] is None else row["start"]
        terms = Terms(row["class"], row.extra, tuple(row["services"] or ()))
        key = (terms.rate_class, tuple(sorted(row.extra.items())), terms.services, on)
        if key not in seen:
            try:
                check_terms(terms, on, _book_on(on, shelf))
            except Refused as refused:
                seen[key] = str(refused)
            else:
                seen[key] = ""
        if seen[key]:
            findings.add(row.line, "class", seen[key], value=row["class"])


def _book_on(day: date, shelf: Shelf) -> Book | None:
    """Return the book that is used from a day on; None when there is none: then any terms will do."""
    try:
        return shelf.on(day).book
    except InputError:
        return None


def _present(points: dict[int, ServicePoint]) -> list[ServiceAgreement]:
    found: list[ServiceAgreement] = []
    for ids in chunks(sorted({point.pk for point in points.values()})):
        there = ServiceAgreement.objects.filter(service_point__in=ids)
        found += there.select_related("account", "service_point__premise")
    return found


def _billed(present: list[ServiceAgreement]) -> set[int]:
    """Return the agreements by which something was billed."""
    found: set[int] = set()
    for ids in chunks(row.pk for row in present):
        segments = BillSegment.objects.filter(agreement__in=ids, bill__state="issued")
        found.update(segments.values_list("agreement", flat=True))
    return found


def _change(
    row: Row, standing: ServiceAgreement, account: Account, billed: set[int], findings: Findings
) -> dict[str, list[Any]]:
    """Return what a row changes; an agreement by which something was billed keeps its terms and may only end."""
    if standing.account_id != account.pk:
        text = _("account %(number)s has the agreement of that day; correct the account or the start")
        findings.add(row.line, "account", text % {"number": standing.account.number}, value=row["account"])
    inputs = {**standing.inputs, **row.extra}
    terms = differences(standing, {"rate_class": row["class"], "services": row["services"], "inputs": inputs})
    if terms and standing.pk in billed:
        text = _("bills were made by this agreement; end it and start another one on a later day instead")
        findings.add(row.line, "class", text, value=row["class"])
    ended = differences(standing, {"end": row["end"]})
    if ended and standing.end is not None and standing.pk in billed:
        text = _("%(now)s stands in the portal; what bills may rest on is not changed by an import")
        findings.add(row.line, "end", text % {"now": standing.end}, value=row["end"])
    return {**terms, **ended}


def _write(new: list[ServiceAgreement], changed: list[tuple[ServiceAgreement, dict[str, list[Any]]]], by: By) -> None:
    for row, change in changed:
        for name, (_before, value) in change.items():
            setattr(row, name, value)
    ServiceAgreement.objects.bulk_create(
        [row for row, _change in changed],
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["rate_class", "services", "inputs", "end"],
    )
    ServiceAgreement.objects.bulk_create(new, batch_size=AT_ONCE)
    audit_changes("agreement.import", changed, by)


KIND = Kind(
    "agreements",
    gettext_lazy("Service agreements"),
    COLUMNS,
    compare,
    extra=True,
    extra_examples=(("meter_size", "5/8"), ("dwelling_units", "1")),
)

"""Finds the accounts, service points and meters that rows speak of: a few statements for a chunk of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.db.models.functions import Upper
from django.utils.translation import gettext as _

from portal.customers.models import Account, ServicePoint
from portal.customers.numbers import find_accounts, number_key
from portal.fleet.models import Meter
from portal.importing.cells import account_number, identifier, line_of, meter_id
from portal.importing.columns import Column
from portal.importing.kind import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from portal.importing.columns import Findings, Row

_Item = TypeVar("_Item")

ACCOUNT = Column(
    "account",
    account_number,
    ("account number", "acct", "acct no", "account no", "number"),
    required=True,
    example="0010-2345",
    about="account number, now or formerly; zeros, dashes and blanks do not matter",
)
PLACE = (
    Column(
        "service_point",
        identifier,
        ("sp", "service point number", "location", "location id", "location number"),
        example="SP-100",
        about="the office's number of the service point; or give the address",
    ),
    Column(
        "address",
        line_of(200),
        ("service address", "premise", "street address"),
        example="12 Elm Street",
        about="address of the premise, when there is no number",
    ),
    Column(
        "label",
        line_of(60),
        ("service label", "service point label"),
        example="water",
        about="which one, at an address with several (water, irrigation); left out when there is one",
    ),
)
METER = Column(
    "meter",
    meter_id,
    ("meter id", "meter number", "meter no", "meter serial", "serial", "serial number"),
    required=True,
    example="SEN12345678",
    about="the meter's id as it states it itself, or as on its body",
)


def chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yield the items in pieces that one statement takes."""
    everything = list(items)
    for start in range(0, len(everything), AT_ONCE):
        yield everything[start : start + AT_ONCE]


def accounts_of(rows: Sequence[Row], findings: Findings) -> dict[int, Account]:
    """Return the account of each row, by line; who is not found is a problem."""
    found = find_accounts(row["account"] for row in rows)
    result = {}
    for row in rows:
        candidates = found.get(number_key(row["account"]), [])
        exact = [account for account in candidates if account.number == row["account"]]
        if len(candidates) == 1 or len(exact) == 1:
            result[row.line] = (exact or candidates)[0]
        elif candidates:
            text = _("%(numbers)s differ in zeros or dashes only; write the one that is meant exactly")
            numbers = ", ".join(account.number for account in candidates)
            findings.add(row.line, "account", text % {"numbers": numbers}, value=row["account"])
        else:
            text = _("no account has this number; import the accounts first, or correct the number")
            findings.add(row.line, "account", text, value=row["account"])
    return result


def place_key(address: str) -> str:
    """Return what of an address counts when it is looked up: letters in capitals, single blanks."""
    return " ".join(address.split()).upper()


def service_points_of(rows: Sequence[Row], findings: Findings) -> dict[int, ServicePoint]:
    """Return the service point of each row, by line, by its number or its address and label."""
    by_code: dict[str, ServicePoint] = {}
    for codes in chunks(sorted({row["service_point"] for row in rows if row["service_point"]})):
        points = ServicePoint.objects.filter(code__in=codes).select_related("premise")
        by_code.update((point.code, point) for point in points)
    by_address: dict[str, list[ServicePoint]] = {}
    for keys in chunks(sorted({place_key(row["address"]) for row in rows if row["address"]})):
        named = ServicePoint.objects.annotate(place=Upper("premise__address")).filter(place__in=keys)
        for found in named.select_related("premise").order_by("pk"):
            by_address.setdefault(place_key(found.premise.address), []).append(found)
    result: dict[int, ServicePoint] = {}
    for row in rows:
        point: ServicePoint | None = _service_point(row, by_code, by_address, findings)
        if point is not None:
            result[row.line] = point
    return result


def _service_point(
    row: Row, by_code: dict[str, ServicePoint], by_address: dict[str, list[ServicePoint]], findings: Findings
) -> ServicePoint | None:
    code, address, label = row["service_point"], row["address"], row["label"]
    if code and code in by_code:
        point = by_code[code]
        if address and place_key(address) != place_key(point.premise.address):
            text = _("the service point is at “%(address)s”; correct the number, or leave the address out")
            findings.add(row.line, "service_point", text % {"address": point.premise.address}, value=code)
            return None
        return point
    if not address:
        text = _("give the service point by its number or its address")
        if code:
            text = _("no service point has this number; import the premises first, or correct it")
        findings.add(row.line, "service_point", text, value=code or "")
        return None
    points = by_address.get(place_key(address), [])
    matching = [point for point in points if label is None or point.label.lower() == label.lower()]
    if len(matching) == 1 and not code:
        return matching[0]
    labels = ", ".join(point.label for point in points)
    if code:
        text = _("no service point has this number; import the premises first, or leave the number out")
        findings.add(row.line, "service_point", text, value=code)
    elif not points:
        text = _("no premise has this address; import the premises first, or correct the address")
        findings.add(row.line, "address", text, value=address)
    elif matching:
        text = _("several service points are here: %(labels)s; name one in the column “label”") % {"labels": labels}
        findings.add(row.line, "address", text, value=address)
    else:
        text = _("no service point here has this label; there are: %(labels)s") % {"labels": labels}
        findings.add(row.line, "label", text, value=label or "")
    return None


def meters_of(rows: Sequence[Row], findings: Findings) -> dict[int, Meter]:
    """Return the meter of each row, by line."""
    found: dict[str, Meter] = {}
    for ids in chunks(sorted({row["meter"] for row in rows})):
        found.update((meter.meter_id, meter) for meter in Meter.objects.filter(meter_id__in=ids))
    result = {}
    for row in rows:
        if (meter := found.get(row["meter"])) is not None:
            result[row.line] = meter
        else:
            text = _("no such meter; import the meters first, or correct the id (capitals count)")
            findings.add(row.line, "meter", text, value=row["meter"])
    return result


def doubled(rows: Sequence[Row], keys: dict[int, Any], column: str, findings: Findings) -> None:
    """Make a problem of every row whose key stands on an earlier line too."""
    first: dict[Any, int] = {}
    for row in rows:
        key = keys.get(row.line)
        if key is None:
            continue
        if key in first:
            text = _("the same as on line %(line)d; leave one of them out")
            findings.add(row.line, column, text % {"line": first[key]}, value=row[column] or "")
        else:
            first[key] = row.line

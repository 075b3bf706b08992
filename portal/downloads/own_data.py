"""Everything that is held about a person as one zip, made while it is sent: JSON and CSV of each kind of data."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

from domain.units import Unit
from portal.billing.visible import visible_bills
from portal.core.clock import now
from portal.core.files import safe_text
from portal.core.personal_data import PersonalData, personal_data
from portal.core.services import audit, utility_zone
from portal.customers.services import visible_service_points, visible_spans
from portal.downloads.csv_file import csv_file, csv_rows
from portal.downloads.series import Every, Place, Wanted, newest_edge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portal.core.models import User

CONTENT_TYPE = "application/zip"
_README = """This is everything that the portal holds about you.

For each kind of data there are two files with the same rows: JSON for programs, CSV for spreadsheets.
usage/ has your water use hour by hour, one file a place, for the times when the place was yours.
bills.csv and bills.json list your bills; the bills themselves are on the page "Bills" as PDF.
Moments are UTC unless a column says otherwise.
"""


class _Sink(io.RawIOBase):
    """Where the zip is written: keeps what nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def taken(self) -> bytes:
        """Return what was written since, and forget it."""
        written = bytes(self._waiting)
        self._waiting.clear()
        return written


def export(user: User) -> Iterator[bytes]:
    """Yield the zip of a person's data, written down in the log (that, not what was in it)."""
    audit("person.exported", actor=user, target=user)
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        for name, pieces in _files(user):
            with archive.open(name, "w") as file:
                for piece in pieces:
                    file.write(piece)
                    yield sink.taken()
        archive.writestr("README.txt", _README)
    yield sink.taken()


def _files(user: User) -> Iterator[tuple[str, Iterator[bytes]]]:
    for kind in (*personal_data(), BILLS):
        yield f"{kind.name}.json", _as_json(kind.rows(user))
        yield f"{kind.name}.csv", _as_csv(kind.rows(user))
    for wanted in _usage(user):
        yield f"usage/{wanted.places[0].service_point.public_id}.csv", csv_file(wanted)


def _usage(user: User) -> Iterator[Wanted]:
    moment, zone = now(), utility_zone()
    end = newest_edge(moment, Every.HOUR, zone)
    for point in visible_service_points(user):
        spans = tuple(visible_spans(user, point))
        if spans and spans[0].start < end:
            place = Place(point, spans)
            yield Wanted((place,), spans[0].start, end, Every.HOUR, Unit.GALLON, zone, moment)


def _bills(user: User) -> Iterator[Mapping[str, object]]:
    for bill in visible_bills(user).select_related("account").order_by("bill_date", "pk").iterator(chunk_size=100):
        yield {
            "number": bill.number,
            "account": bill.account.number,
            "state": bill.state,
            "period_start": bill.period_start,
            "period_end": bill.period_end,
            "bill_date": bill.bill_date,
            "due_date": bill.due_date,
            "charges_cents": bill.charges_cents,
            "due_cents": bill.due_cents,
            "estimated": bill.estimated,
        }


BILLS = PersonalData("bills", _bills, lambda user: 0)


def _as_json(rows: Any) -> Iterator[bytes]:
    yield b"["
    for number, row in enumerate(rows):
        text = json.dumps(row, ensure_ascii=False, default=_plain, indent=1)
        yield (",\n" if number else "\n").encode() + text.encode()
    yield b"\n]\n"


def _as_csv(rows: Any) -> Iterator[bytes]:
    for number, row in enumerate(rows):
        if not number:
            yield csv_rows([list(row)])
        yield csv_rows([[_cell(value) for value in row.values()]])


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool | int | Decimal):
        return value
    if isinstance(value, list | tuple | dict):
        return safe_text(json.dumps(value, ensure_ascii=False, default=_plain))
    return safe_text(value if isinstance(value, str) else _plain(value))


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)

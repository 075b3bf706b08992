"""The journal for other programs: a line a posting, streamed in the order of posting, with control sums at the end."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from portal.ledger.models import Posting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

COLUMNS = (
    "entry",
    "date",
    "posted_at",
    "kind",
    "key",
    "memo",
    "reverses",
    "ledger_account",
    "account",
    "service",
    "due_on",
    "debit_cents",
    "credit_cents",
)
_ROWS_AT_ONCE = 2000


@dataclass(slots=True)
class ControlSums:
    """What an export must add up to, so that its reader knows it has all of it."""

    postings: int = 0
    entries: int = 0
    debit_cents: int = 0
    credit_cents: int = 0


def rows(start: date | None, end: date | None, sums: ControlSums) -> Iterator[dict[str, Any]]:
    """Yield a row for each posting of entries dated from start to end, both inclusive, and count them into sums."""
    found = Posting.objects.order_by("entry_id", "pk")
    if start is not None:
        found = found.filter(entry__date__gte=start)
    if end is not None:
        found = found.filter(entry__date__lte=end)
    last = None
    for entry, day, posted_at, kind, key, memo, reverses, code, account, service, due_on, cents in found.values_list(
        "entry__public_id",
        "entry__date",
        "entry__posted_at",
        "entry__kind",
        "entry__key",
        "entry__memo",
        "entry__reverses__public_id",
        "ledger_account__code",
        "account__number",
        "service",
        "due_on",
        "amount_cents",
    ).iterator(chunk_size=_ROWS_AT_ONCE):
        sums.postings += 1
        sums.entries += entry != last
        sums.debit_cents += max(cents, 0)
        sums.credit_cents += max(-cents, 0)
        last = entry
        yield {
            "entry": entry,
            "date": day.isoformat(),
            "posted_at": posted_at.isoformat(),
            "kind": kind,
            "key": key,
            "memo": memo,
            "reverses": reverses or "",
            "ledger_account": code,
            "account": account or "",
            "service": service,
            "due_on": due_on.isoformat() if due_on else "",
            "debit_cents": max(cents, 0),
            "credit_cents": max(-cents, 0),
        }


def write_csv(out: IO[str], start: date | None, end: date | None) -> ControlSums:
    """Write a heading, the rows, and a last row TOTAL with the number of postings and entries and both sums."""
    sums = ControlSums()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(start, end, sums):
        # A cell that starts like a formula would be run by a spreadsheet.
        writer.writerow({key: _plain(value) for key, value in row.items()})
    memo = f"{sums.postings} postings, {sums.entries} entries"
    last = {"entry": "TOTAL", "memo": memo, "debit_cents": sums.debit_cents, "credit_cents": sums.credit_cents}
    writer.writerow(last)
    return sums


def write_json_lines(out: IO[str], start: date | None, end: date | None) -> ControlSums:
    """Write an object a posting, and a last object `{"total": {...}}`."""
    sums = ControlSums()
    for row in rows(start, end, sums):
        out.write(json.dumps(row) + "\n")
    out.write(json.dumps({"total": asdict(sums)}) + "\n")
    return sums


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

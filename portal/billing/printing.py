"""Bills on paper: one print-ready PDF of a run, in the order of the route, with the address file for the envelopes.

What is waiting is put into a batch once; asked for again, a batch is written again, byte for byte the same. A bill
whose email did not arrive goes with whatever is printed next, of its own run or another.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from portal.billing.documents.facts import facts_for
from portal.billing.documents.pdf import render_print
from portal.billing.models import Bill, BillDelivery, BillRun, PrintBatch
from portal.core.clock import now
from portal.core.errors import ReconciliationDifference
from portal.core.files import safe_text, write_private
from portal.core.services import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from portal.billing.documents.facts import BillFacts
    from portal.core.models import User

_HEAD = ["sequence", "bill", "account", "name", "line1", "line2", "line3", "line4", "line5", "pages", "sheets"]
_ADDRESS_LINES = 5


@dataclass(frozen=True, slots=True)
class Printed:
    """What goes to the printer."""

    batch: PrintBatch
    pdf: Path
    addresses: Path


def print_run(run: BillRun | None, *, actor: User | None = None, label: str = "") -> list[Printed]:
    """Put what is waiting of a run (None: of no run, such as corrected bills) into a batch; write all its batches.

    With it go the bills of any run whose email did not arrive. Usually there is one batch; bills that were held and
    issued later make another. Nothing is ever printed twice unasked.
    """
    with transaction.atomic():
        waiting = list(_deliveries(run).filter(print_batch__isnull=True).select_for_update(of=("self",)))
        if waiting:
            _make_batch(run, waiting, actor=actor, label=label)
    return [write(batch) for batch in PrintBatch.objects.filter(run=run).order_by("pk")]


def write(batch: PrintBatch) -> Printed:
    """Write a batch's files, unless they lie there as they were made.

    raises  ReconciliationDifference when they come out otherwise than at first (another version of the template).
    """
    folder = Path(settings.PORTAL_DIR) / "print" / batch.public_id
    pdf, addresses = folder / "bills.pdf", folder / "addresses.csv"
    if _digest_of(pdf) == batch.pdf_digest and _digest_of(addresses) == batch.addresses_digest:
        return Printed(batch, pdf, addresses)
    made, table, _ = _made(list(_in_order(BillDelivery.objects.filter(print_batch=batch))))
    if (_digest(made), _digest(table)) != (batch.pdf_digest, batch.addresses_digest):
        raise ReconciliationDifference(
            f"print batch {batch.public_id} comes out otherwise than when it was made; use the files of that day"
        )
    write_private(pdf, made)
    write_private(addresses, table)
    return Printed(batch, pdf, addresses)


def _deliveries(run: BillRun | None) -> QuerySet[BillDelivery]:
    lost = Exists(BillDelivery.objects.filter(bill=OuterRef("bill"), channel="email"))
    waiting = BillDelivery.objects.filter(Q(bill__run=run) | Q(lost), channel="paper", bill__state=Bill.State.ISSUED)
    return _in_order(waiting)


def _in_order(rows: QuerySet[BillDelivery]) -> QuerySet[BillDelivery]:
    order = ("bill__account__billing__route", "bill__account__billing__stop", "bill__account__number", "bill__pk")
    return rows.order_by(*order)


def _make_batch(
    run: BillRun | None, waiting: Sequence[BillDelivery], *, actor: User | None, label: str
) -> PrintBatch:  # fmt: skip
    made, table, sheets = _made(waiting)
    moment = now()
    batch = PrintBatch.objects.create(
        run=run,
        made_at=moment,
        bills=len(waiting),
        sheets=sheets,
        pdf_digest=_digest(made),
        addresses_digest=_digest(table),
    )
    ids = [delivery.pk for delivery in waiting]
    BillDelivery.objects.filter(pk__in=ids).update(print_batch=batch, done_at=moment)
    audit("bills.print", actor=actor, label=label, target=batch, detail={"bills": len(waiting), "sheets": sheets})
    folder = Path(settings.PORTAL_DIR) / "print" / batch.public_id
    write_private(folder / "bills.pdf", made)
    write_private(folder / "addresses.csv", table)
    return batch


def _made(deliveries: Sequence[BillDelivery]) -> tuple[bytes, bytes, int]:
    """Return the PDF, the address file and the number of sheets of deliveries in their order."""
    ids = [delivery.bill_id for delivery in deliveries]
    bills = Bill.objects.in_bulk(ids)
    facts = facts_for([bills[pk] for pk in ids])
    pdf, pages = render_print([(item, item.language) for item in facts])
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(_HEAD)
    for n, (item, count) in enumerate(zip(facts, pages, strict=True), start=1):
        writer.writerow([n, *_address_row(item), count, (count + 1) // 2])
    return pdf, table.getvalue().encode("utf-8"), sum((count + 1) // 2 for count in pages)


def _address_row(facts: BillFacts) -> list[str]:
    """Return number, account, name and five address lines; what a spreadsheet would run as a formula is made text."""
    lines = list(facts.mail_to or (facts.name, *facts.addresses[:1]))
    lines = [*lines[: _ADDRESS_LINES - 1], ", ".join(lines[_ADDRESS_LINES - 1 :])]
    lines += [""] * (_ADDRESS_LINES - len(lines))
    row = [facts.number, facts.account_number, facts.name, *lines]
    return [safe_text(text) for text in row]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str:
    return _digest(path.read_bytes()) if path.is_file() else ""

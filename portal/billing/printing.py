"""Bills on paper: one print-ready PDF of a run, in the order of the route, with the address file for the envelopes.

What is waiting is put into a batch once; asked for again, a batch is written again, byte for byte the same. A bill
whose email did not arrive goes with whatever is printed next, of its own run or another, and so do the letters that
tell homes of new sign-ins (portal.billing.letters): they lie behind the bills.
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
from portal.billing.documents.letter import LetterFacts
from portal.billing.documents.pdf import render_print
from portal.billing.letters import in_order, waiting
from portal.billing.models import Bill, BillDelivery, BillRun, Letter, PrintBatch
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
_LETTER = "letter"
"""What a letter has in the column of the bill's number."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What goes to the printer."""

    batch: PrintBatch
    pdf: Path
    addresses: Path


def print_run(run: BillRun | None, *, actor: User | None = None, label: str = "") -> list[Printed]:
    """Put what is waiting of a run (None: of no run, such as corrected bills) into a batch; write all its batches.

    With it go the bills of any run whose email did not arrive, and every letter that waits. Usually there is one batch;
    bills that were held and issued later make another, and so do letters written since. Nothing is ever printed twice
    unasked.
    """
    with transaction.atomic():
        bills = list(_deliveries(run).filter(print_batch__isnull=True).select_for_update(of=("self",)))
        letters = list(waiting().select_for_update(of=("self",)))
        if bills or letters:
            _make_batch(run, bills, letters, actor=actor, label=label)
    return [write(batch) for batch in PrintBatch.objects.filter(run=run).order_by("pk")]


def write(batch: PrintBatch) -> Printed:
    """Write a batch's files, unless they lie there as they were made.

    raises  ReconciliationDifference when they come out otherwise than at first (another version of the template).
    """
    folder = Path(settings.PORTAL_DIR) / "print" / batch.public_id
    pdf, addresses = folder / "bills.pdf", folder / "addresses.csv"
    if _digest_of(pdf) == batch.pdf_digest and _digest_of(addresses) == batch.addresses_digest:
        return Printed(batch, pdf, addresses)
    bills, letters = BillDelivery.objects.filter(print_batch=batch), Letter.objects.filter(print_batch=batch)
    made, table, _ = _made(list(_in_order(bills)), list(in_order(letters)))
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
    run: BillRun | None,
    bills: Sequence[BillDelivery],
    letters: Sequence[Letter],
    *,
    actor: User | None,
    label: str,
) -> PrintBatch:
    made, table, sheets = _made(bills, letters)
    moment = now()
    batch = PrintBatch.objects.create(
        run=run,
        made_at=moment,
        bills=len(bills),
        letters=len(letters),
        sheets=sheets,
        pdf_digest=_digest(made),
        addresses_digest=_digest(table),
    )
    BillDelivery.objects.filter(pk__in=[row.pk for row in bills]).update(print_batch=batch, done_at=moment)
    Letter.objects.filter(pk__in=[row.pk for row in letters]).update(print_batch=batch, done_at=moment)
    detail = {"bills": len(bills), "letters": len(letters), "sheets": sheets}
    audit("bills.print", actor=actor, label=label, target=batch, detail=detail)
    folder = Path(settings.PORTAL_DIR) / "print" / batch.public_id
    write_private(folder / "bills.pdf", made)
    write_private(folder / "addresses.csv", table)
    return batch


def _made(deliveries: Sequence[BillDelivery], enclosed: Sequence[Letter]) -> tuple[bytes, bytes, int]:
    """Return the PDF, the address file and the number of sheets of bills in their order, and of letters behind them."""
    ids = [delivery.bill_id for delivery in deliveries]
    bills = Bill.objects.in_bulk(ids)
    facts = facts_for([bills[pk] for pk in ids])
    letters = [LetterFacts.from_json(letter.facts) for letter in enclosed]
    pdf, pages = render_print([(item, item.language) for item in facts], letters)
    rows = [_bill_row(item) for item in facts] + [_letter_row(item) for item in letters]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\r\n")
    writer.writerow(_HEAD)
    for n, (row, count) in enumerate(zip(rows, pages, strict=True), start=1):
        writer.writerow([n, *row, count, (count + 1) // 2])
    return pdf, table.getvalue().encode("utf-8"), sum((count + 1) // 2 for count in pages)


def _bill_row(facts: BillFacts) -> list[str]:
    lines = facts.mail_to or (facts.name, *facts.addresses[:1])
    return _address_row(facts.number, facts.account_number, facts.name, lines)


def _letter_row(facts: LetterFacts) -> list[str]:
    return _address_row(_LETTER, facts.account_number, facts.name, facts.mail_to)


def _address_row(number: str, account: str, name: str, mail_to: Sequence[str]) -> list[str]:
    """Return number, account, name and five address lines; what a spreadsheet would run as a formula is made text."""
    lines = [*mail_to[: _ADDRESS_LINES - 1], ", ".join(mail_to[_ADDRESS_LINES - 1 :])]
    lines += [""] * (_ADDRESS_LINES - len(lines))
    return [safe_text(text) for text in (number, account, name, *lines)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of(path: Path) -> str:
    return _digest(path.read_bytes()) if path.is_file() else ""

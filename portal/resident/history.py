"""Two pages of an account's money: every transaction with what was owed after it, and every payment; both as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from portal.access.viewing import viewer_of
from portal.billing.documents.figures import money, short_day
from portal.billing.models import Bill
from portal.core.files import safe_text
from portal.customers.permissions import Permission, allowed_accounts
from portal.downloads.csv_file import csv_rows
from portal.downloads.streaming import streamed
from portal.ledger import history
from portal.ledger.services import balance_cents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.http import StreamingHttpResponse

    from portal.customers.models import Account
    from portal.ledger.history import Receipt, Transaction
    from portal.ledger.models import JournalEntry

ROWS_A_PAGE = 25
PAGES_MAX = 10_000
_CSV_ROWS = 200
_METHODS = {
    "cash": gettext_lazy("cash"),
    "check": gettext_lazy("check"),
    "phone": gettext_lazy("by telephone"),
    "card": gettext_lazy("card"),
    "transfer": gettext_lazy("bank transfer"),
}
_REFERENCE_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One transaction in words. bill: public id of the bill that it is, empty for all else."""

    day: str
    text: str
    note: str
    amount: str
    balance: str
    cents: int
    bill: str


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment in words; note: that it came back, or is held as a deposit."""

    day: str
    method: str
    reference: str
    amount: str
    note: str


@require_GET
@never_cache
@login_required
def transactions(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show every entry of an account, the newest first, with what was owed after it."""
    account, number = _account_of(request, public_id), _page_number(request)
    found = history.transactions(account, first=(number - 1) * ROWS_A_PAGE, most=ROWS_A_PAGE + 1)
    return _page(request, account, "transactions", _rows(found[:ROWS_A_PAGE]), number, more=len(found) > ROWS_A_PAGE)


@require_GET
@never_cache
@login_required
def payments(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show every payment of an account, the newest first."""
    account, number = _account_of(request, public_id), _page_number(request)
    first = (number - 1) * ROWS_A_PAGE
    found = history.payments(account, first=first, most=ROWS_A_PAGE + 1)
    rows = [_payment(receipt) for receipt in found[:ROWS_A_PAGE]]
    return _page(request, account, "payments", rows, number, more=len(found) > ROWS_A_PAGE)


@require_GET
@never_cache
@login_required
def transactions_csv(request: HttpRequest, public_id: str) -> StreamingHttpResponse:
    """Stream every entry of an account, the oldest first."""
    account = _account_of(request, public_id)
    return _csv(request, _transaction_pieces(account), f"transactions-{account.number}.csv")


@require_GET
@never_cache
@login_required
def payments_csv(request: HttpRequest, public_id: str) -> StreamingHttpResponse:
    """Stream every payment of an account, the newest first."""
    account = _account_of(request, public_id)
    return _csv(request, _payment_pieces(account), f"payments-{account.number}.csv")


def _account_of(request: HttpRequest, public_id: str) -> Account:
    """Return an account whose bills a person may see; any other does not exist for them."""
    found = allowed_accounts(viewer_of(request), Permission.BILLS).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _page_number(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    return min(int(text), PAGES_MAX) if text.isascii() and text.isdecimal() and len(text) < 7 and int(text) else 1


def _page(
    request: HttpRequest, account: Account, which: str, rows: list[Row] | list[Payment], number: int, *, more: bool
) -> HttpResponse:
    owed = balance_cents(account)
    context = {
        "tab": "bills",
        "which": which,
        "account": account,
        "owed_cents": owed,
        "owed": money(abs(owed)),
        "rows": rows,
        "number": number,
        "previous": number - 1,
        "following": number + 1 if more else 0,
    }
    return render(request, "resident/history.html", context)


def _rows(found: Sequence[Transaction]) -> list[Row]:
    keys = [entry.pk for row in found for entry in (row.entry, row.entry.reverses) if entry is not None]
    sent = Bill.objects.filter(entry__in=keys, number__isnull=False)
    found_bills = sent.values_list("entry", "public_id", "number")
    bills = {entry: (public_id, number or "") for entry, public_id, number in found_bills if entry is not None}
    return [_row(row, bills) for row in found]


def _row(row: Transaction, bills: dict[int, tuple[str, str]]) -> Row:
    bill, number = bills.get(row.entry.pk, ("", ""))
    note = ""
    if row.held_cents > 0:
        note = _("%(amount)s is held as a deposit and is not part of what you owe.") % {"amount": money(row.held_cents)}
    elif row.reversed_by is not None:
        note = _("Taken back on %(day)s.") % {"day": short_day(row.reversed_by.date)}
    return Row(
        day=short_day(row.entry.date),
        text=_text(row.entry, number, bills),
        note=note,
        amount=money(row.cents),
        balance=money(row.balance_cents),
        cents=row.cents,
        bill=bill,
    )


def _text(entry: JournalEntry, number: str, bills: dict[int, tuple[str, str]]) -> str:
    """Return what an entry is, in words."""
    if entry.reverses is not None:
        return _reversal(entry.reverses, bills)
    if entry.kind == "bill":
        return _("Bill %(number)s") % {"number": number} if number else _("Bill")
    if entry.kind == "payment":
        method = _method(entry)
        return _("Payment, %(method)s") % {"method": method} if method else _("Payment")
    texts = {
        "adjustment": _("Adjustment"),
        "deposit": _("Deposit paid"),
        "deposit-return": _("Deposit given back"),
        "opening": _("Balance brought forward"),
    }
    return texts.get(entry.kind, _("Other entry"))


def _reversal(of: JournalEntry, bills: dict[int, tuple[str, str]]) -> str:
    day = short_day(of.date)
    if of.kind == "payment":
        return _("Payment of %(day)s taken back") % {"day": day}
    if of.kind == "bill":
        number = bills.get(of.pk, ("", ""))[1]
        return _("Bill %(number)s cancelled") % {"number": number or day}
    return _("Entry of %(day)s taken back") % {"day": day}


def _method(entry: JournalEntry) -> str:
    """Return how a payment came in; those of before methods were kept have none."""
    code = entry.detail.get("method") or entry.memo.partition(" ")[0]
    return str(_METHODS.get(code, ""))


def _reference(entry: JournalEntry) -> str:
    """Return the end of a payment's reference: enough to find it on one's own papers."""
    text = str(entry.detail.get("reference") or entry.memo.partition(" ")[2]).strip()
    return text if len(text) <= _REFERENCE_SHOWN else f"…{text[-_REFERENCE_SHOWN:]}"


def _payment(receipt: Receipt) -> Payment:
    entry, back = receipt.entry, receipt.reversed_by
    if back is not None:
        note = _("Taken back on %(day)s.") % {"day": short_day(back.date)}
    else:
        note = _("Held as a deposit.") if entry.kind == "deposit" else ""
    return Payment(short_day(entry.date), _method(entry), _reference(entry), money(receipt.cents), note)


def _transaction_pieces(account: Account) -> Iterator[bytes]:
    head = _("Date"), _("Transaction"), _("Note"), _("Amount in dollars"), _("Balance in dollars")
    yield csv_rows([head])
    rows = history.all_transactions(account)
    while found := list(islice(rows, _CSV_ROWS)):
        yield csv_rows([_transaction_cells(row, words) for row, words in zip(found, _rows(found), strict=True)])


def _transaction_cells(row: Transaction, words: Row) -> tuple[object, ...]:
    day = row.entry.date.isoformat()
    return day, safe_text(words.text), safe_text(words.note), _dollars(row.cents), _dollars(row.balance_cents)


def _payment_pieces(account: Account) -> Iterator[bytes]:
    yield csv_rows([(_("Date"), _("Way"), _("Reference"), _("Amount in dollars"), _("Note"))])
    rows = history.all_payments(account)
    while found := list(islice(rows, _CSV_ROWS)):
        yield csv_rows([_payment_cells(receipt) for receipt in found])


def _payment_cells(receipt: Receipt) -> tuple[object, ...]:
    words, day = _payment(receipt), receipt.entry.date.isoformat()
    return day, safe_text(words.method), safe_text(words.reference), _dollars(receipt.cents), safe_text(words.note)


def _dollars(cents: int) -> str:
    """Return cents as a spreadsheet reads them: `-1234.05`."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def _csv(request: HttpRequest, pieces: Iterator[bytes], name: str) -> StreamingHttpResponse:
    """Send a file in the language of the page: its pieces are made when the page's own answer is long given."""
    said = _in_language(pieces, get_language() or "en")
    return streamed(request, name=name, content_type="text/csv; charset=utf-8", pieces=said)


def _in_language(pieces: Iterator[bytes], language: str) -> Iterator[bytes]:
    while True:
        with translation.override(language):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece

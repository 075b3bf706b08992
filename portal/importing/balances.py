"""What accounts owed when the portal took over: one ledger entry a line, posted once however often it is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.services import utility_zone
from portal.importing.cells import cents, day, line_of
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome
from portal.importing.references import ACCOUNT, accounts_of, chunks, doubled
from portal.ledger import chart
from portal.ledger.models import Posting
from portal.ledger.services import Leg, NewEntry, post_many

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from portal.customers.models import Account
    from portal.importing.columns import Findings, Row

COLUMNS = (
    ACCOUNT,
    Column(
        "amount",
        cents,
        ("balance", "amount due", "opening balance", "due"),
        required=True,
        example="61.25",
        about="in dollars and cents; -12.34 is a credit of the customer",
    ),
    Column(
        "due_date",
        day,
        ("due on", "due", "due by", "bill due date"),
        required=True,
        example="2026-05-31",
        about="from when on it ages",
    ),
    Column(
        "date",
        day,
        ("as of", "posting date", "balance date"),
        example="2026-06-01",
        about="day for which the ledger counts it; today when left out",
    ),
    Column("memo", line_of(200), ("note", "text", "reference"), example="taken over from the old system"),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the opening balances that were posted."""
    accounts = accounts_of(rows, findings)
    keys = {row.line: _key(accounts[row.line], row["due_date"]) for row in rows if row.line in accounts}
    doubled(rows, keys, "account", findings)
    standing_amounts = posted(keys.values())
    new: list[tuple[Row, Account, str]] = []
    outcome, total = Outcome(), 0
    for row in rows:
        if row.line in findings.bad_lines:
            continue
        key = keys[row.line]
        standing = standing_amounts.get(key)
        if standing is None and row["amount"]:
            new.append((row, accounts[row.line], key))
        elif standing is not None and standing != row["amount"]:
            text = _("%(amount)s was posted for this account and day; correct it by an adjustment, not by an import")
            findings.add(row.line, "amount", text % {"amount": money(standing)}, value=money(row["amount"]))
            continue
        else:
            outcome.unchanged += 1
        total += row["amount"]
    outcome.new = len(new)
    outcome.totals = {"amount": money(total), "new": money(sum(row["amount"] for row, _account, _key in new))}
    outcome.write = lambda by: _write(new, by)
    return outcome


def money(amount_cents: int) -> str:
    """Return cents as an amount with two decimals."""
    whole, rest = divmod(abs(amount_cents), 100)
    return f"{'-' if amount_cents < 0 else ''}{whole:,}.{rest:02}"


def _key(account: Account, due: date) -> str:
    return f"opening:{account.public_id}:{due.isoformat()}"


def posted(keys: Iterable[str]) -> dict[str, int]:
    """Return what was posted on receivables under these keys."""
    found: dict[str, int] = {}
    for some in chunks(keys):
        legs = Posting.objects.filter(entry__key__in=some, ledger_account__code=chart.RECEIVABLES)
        found.update(legs.values_list("entry__key", "amount_cents"))
    return found


def _write(new: list[tuple[Row, Account, str]], by: By) -> None:
    today = by.at.astimezone(utility_zone()).date()
    post_many(
        [
            NewEntry(
                kind="opening",
                date=row["date"] or today,
                legs=[
                    Leg(chart.RECEIVABLES, row["amount"], account=account.pk, due_on=row["due_date"]),
                    Leg(chart.OPENING, -row["amount"]),
                ],
                key=key,
                memo=row["memo"] or "",
                actor=by.user,
                label=by.label,
            )
            for row, account, key in new
        ]
    )


KIND = Kind("balances", gettext_lazy("Opening balances"), COLUMNS, compare)

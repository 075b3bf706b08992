"""Payments that a bank's or a counter's list names: one ledger entry a line, once however often it is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.core.errors import Refused
from portal.importing.balances import money, posted
from portal.importing.cells import BadCell, cents, day, line_of
from portal.importing.columns import Column
from portal.importing.kind import By, Kind, Outcome
from portal.importing.references import ACCOUNT, accounts_of, doubled
from portal.ledger.services import METHODS, NewEntry, payment_entry, post_many

if TYPE_CHECKING:
    from portal.importing.cells import Reading
    from portal.importing.columns import Findings, Row


def _method(cell: str, _reading: Reading) -> str:
    if (found := cell.strip().lower()) not in METHODS:
        raise BadCell(_("expected one of %(names)s") % {"names": ", ".join(METHODS)})
    return found


COLUMNS = (
    ACCOUNT,
    Column("amount", cents, ("payment", "paid", "amount paid"), required=True, example="61.25"),
    Column("method", _method, ("type", "paid by"), required=True, example="check", about=", ".join(METHODS)),
    Column("received", day, ("date", "received on", "payment date"), required=True, example="2026-06-12"),
    Column(
        "reference",
        line_of(60),
        ("check number", "check no", "receipt", "transaction"),
        required=True,
        example="4711",
        about="the check's number, the receipt's, the bank's: never the same twice for an account and a method",
    ),
)


def compare(rows: list[Row], findings: Findings) -> Outcome:
    """Compare the rows with the payments that were posted; one that stands with another amount is refused."""
    accounts = accounts_of(rows, findings)
    entries: dict[int, NewEntry] = {}
    for row in rows:
        if row.line not in accounts or row.line in findings.bad_lines:
            continue
        try:
            entries[row.line] = payment_entry(
                accounts[row.line],
                row["amount"],
                method=row["method"],
                received_on=row["received"],
                reference=row["reference"],
            )
        except Refused as error:
            findings.add(row.line, {"amount": "amount", "day": "received"}.get(error.code, "reference"), str(error))
    keys = {line: entry.key for line, entry in entries.items()}
    doubled(rows, keys, "reference", findings)
    standing, new, outcome = posted(keys.values()), [], Outcome()
    for row in rows:
        if row.line in findings.bad_lines or row.line not in entries:
            continue
        entry = entries[row.line]
        before = standing.get(entry.key)
        if before is None:
            new.append(entry)
        elif before != -row["amount"]:
            text = _("%(amount)s was posted under this reference; reverse it in the journal first if that was wrong")
            findings.add(row.line, "amount", text % {"amount": money(-before)}, value=money(row["amount"]))
        else:
            outcome.unchanged += 1
    outcome.new = len(new)
    outcome.totals = {"new": money(sum(entry.legs[0].amount_cents for entry in new))}
    outcome.write = lambda by: _write(new, by)
    return outcome


def _write(new: list[NewEntry], by: By) -> None:
    post_many([entry.by(by.user, by.label) for entry in new])


KIND = Kind("payments", gettext_lazy("Payments"), COLUMNS, compare)

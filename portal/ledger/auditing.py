"""The audit of the journal: plain SQL that shares nothing with the code that posts.

Each check is one statement that returns what must not be; an audit without a row is clean. What knows bills is in
portal/billing/auditing.py.
"""

# ruff: noqa: S608  (statements are made of our own constants)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection

from portal.ledger import chart, triggers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

SHOWN_MAX = 100
"""So many differences of one check are listed; one more row counts the rest."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that must not be: which check found it, what it is about, and what is wrong with it."""

    check: str
    about: str
    detail: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.check}: {self.about}: {self.detail}"


_CONTROL = ", ".join(f"'{code}'" for code in sorted(chart.OF_CUSTOMERS))
_OF = "ledger_posting p JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id"

CHECKS: Mapping[str, str] = {
    # The whole journal and each entry of it: debits equal credits, and there are two sides at least.
    "books balance": "SELECT 'all postings', SUM(amount_cents) FROM ledger_posting HAVING SUM(amount_cents) <> 0",
    "entry balances": """
        SELECT e.key, COALESCE(SUM(p.amount_cents), 0) FROM ledger_journalentry e
        LEFT JOIN ledger_posting p ON p.entry_id = e.id
        GROUP BY e.id, e.key HAVING COUNT(p.id) < 2 OR SUM(p.amount_cents) <> 0""",
    "entry sealed": """
        SELECT e.key, e.seal_id FROM ledger_journalentry e LEFT JOIN ledger_seal s ON s.entry_public_id = e.public_id
        WHERE s.entry_public_id IS NULL""",
    "posting has its entry": """
        SELECT p.id, p.entry_id FROM ledger_posting p LEFT JOIN ledger_journalentry e ON e.id = p.entry_id
        WHERE e.id IS NULL""",
    # The sub-ledger: what stands on a control account is the sum of what stands on customers' accounts, none left out.
    "control account": f"""
        SELECT a.code, SUM(p.amount_cents) - COALESCE(SUM(CASE WHEN c.id IS NOT NULL THEN p.amount_cents END), 0)
        FROM {_OF} LEFT JOIN customers_account c ON c.id = p.account_id
        WHERE a.code IN ({_CONTROL}) GROUP BY a.code HAVING COUNT(*) <> COUNT(c.id)""",
    "income names no customer": f"""
        SELECT a.code, COUNT(*) FROM {_OF}
        WHERE a.code NOT IN ({_CONTROL}) AND p.account_id IS NOT NULL GROUP BY a.code""",
    # What was taken back was taken back whole, once, and not before it happened; a reversal is not reversed.
    "reversal mirrors": """
        SELECT e.key, SUM(p.amount_cents) FROM ledger_journalentry e
        JOIN ledger_posting p ON p.entry_id IN (e.id, e.reverses_id) WHERE e.reverses_id IS NOT NULL
        GROUP BY e.id, e.key, p.ledger_account_id, p.account_id, p.service, p.due_on
        HAVING SUM(p.amount_cents) <> 0""",
    "reversed once": """
        SELECT MIN(e.key), COUNT(*) FROM ledger_journalentry e WHERE e.reverses_id IS NOT NULL
        GROUP BY e.reverses_id HAVING COUNT(*) > 1""",
    "reversal after its entry": """
        SELECT e.key, o.key FROM ledger_journalentry e JOIN ledger_journalentry o ON o.id = e.reverses_id
        WHERE e.date < o.date OR o.reverses_id IS NOT NULL""",
    "entry posted once": "SELECT key, COUNT(*) FROM ledger_journalentry GROUP BY key HAVING COUNT(*) > 1",
}


def audit_ledger() -> list[Difference]:
    """Return what is wrong with the journal; nothing when it is clean."""
    found = [difference for name, sql in CHECKS.items() for difference in run_check(name, sql)]
    standing = triggers.found(connection)
    found += [
        Difference("guarded", name, f"this trigger of {table} is missing, off or altered; run `headwater portal init`")
        for name, (table, sql) in triggers.expected(connection).items()
        if standing.get(name) != sql
    ]
    return found


def run_check(name: str, sql: str, parameters: Sequence[str | int | date] = ()) -> list[Difference]:
    """Return the rows of one check, whose first column says what is wrong and whose others say how."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows = cursor.fetchmany(SHOWN_MAX)
        left = len(cursor.fetchall())
    found = [Difference(name, str(about), ", ".join(str(part) for part in rest)) for about, *rest in rows]
    return [*found, Difference(name, "more", f"{left} not listed")] if left else found

"""The audit where bills meet the journal: plain SQL that shares nothing with the code that posts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.ledger.auditing import Difference, audit_ledger, run_check
from portal.ledger.errors import LedgerDifference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

CHECKS: Mapping[str, str] = {
    "bill is its lines": """
        SELECT COALESCE(b.number, b.public_id), b.charges_cents, SUM(COALESCE(l.amount_cents, 0)) FROM billing_bill b
        LEFT JOIN billing_billline l ON l.bill_id = b.id WHERE b.issued_at IS NOT NULL
        GROUP BY b.id, b.number, b.public_id, b.charges_cents
        HAVING SUM(COALESCE(l.amount_cents, 0)) <> b.charges_cents""",
    # What an account owes by a bill, at once or deferred by a budget plan, is what the bill says.
    "bill posted with its amount": """
        SELECT b.number, b.charges_cents, SUM(CASE WHEN a.code IN ('1200', '1210') THEN p.amount_cents ELSE 0 END)
        FROM billing_bill b LEFT JOIN ledger_posting p ON p.entry_id = b.entry_id AND p.account_id = b.account_id
        LEFT JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id
        WHERE b.issued_at IS NOT NULL GROUP BY b.id, b.number, b.charges_cents
        HAVING SUM(CASE WHEN a.code IN ('1200', '1210') THEN p.amount_cents ELSE 0 END) <> b.charges_cents""",
    "bill posted under its own key": """
        SELECT b.number, COALESCE(e.key, 'not posted') FROM billing_bill b
        LEFT JOIN ledger_journalentry e ON e.id = b.entry_id
        WHERE b.issued_at IS NOT NULL
        AND ((e.key IS NULL AND b.charges_cents <> 0) OR e.key <> 'bill:' || b.public_id)""",
    "entry of a bill has its bill": """
        SELECT e.key, COUNT(b.id) FROM ledger_journalentry e
        LEFT JOIN billing_bill b ON b.entry_id = e.id AND b.issued_at IS NOT NULL
        WHERE e.kind = 'bill' GROUP BY e.id, e.key HAVING COUNT(b.id) <> 1""",
    "cancelled bill is reversed": """
        SELECT b.number, b.state FROM billing_bill b
        LEFT JOIN ledger_journalentry r ON r.reverses_id = b.entry_id
        WHERE b.issued_at IS NOT NULL
        AND ((b.state = 'cancelled' AND r.id IS NULL) OR (b.state <> 'cancelled' AND r.id IS NOT NULL))""",
    "adjustment posted when approved": """
        SELECT d.public_id, d.state, COALESCE(e.key, 'not posted') FROM billing_adjustment d
        LEFT JOIN ledger_journalentry e ON e.key = 'adjustment:' || d.public_id
        WHERE (d.state = 'approved' AND e.id IS NULL) OR (d.state <> 'approved' AND e.id IS NOT NULL)""",
    "adjustment posted with its amount": """
        SELECT d.public_id, d.amount_cents, SUM(p.amount_cents) FROM billing_adjustment d
        JOIN ledger_journalentry e ON e.key = 'adjustment:' || d.public_id
        JOIN ledger_posting p ON p.entry_id = e.id AND p.account_id = d.account_id
        GROUP BY d.id, d.public_id, d.amount_cents HAVING SUM(p.amount_cents) <> d.amount_cents""",
    "charge billed with its amount": """
        SELECT c.key, c.amount_cents, l.amount_cents FROM billing_charge c JOIN billing_billline l ON l.id = c.line_id
        WHERE c.amount_cents <> l.amount_cents OR c.waived_at IS NOT NULL""",
    # Deposits held by account: what 2200 says, and what the rows say that were paid or billed and not given back.
    "deposits held": """
        SELECT n.number, SUM(n.cents) FROM (
            SELECT c.number, -p.amount_cents AS cents FROM ledger_posting p
            JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id AND a.code = '2200'
            JOIN customers_account c ON c.id = p.account_id
            UNION ALL
            SELECT c.number, -d.amount_cents FROM billing_deposit d JOIN customers_account c ON c.id = d.account_id
            LEFT JOIN billing_charge h ON h.key = 'deposit:' || d.public_id
            LEFT JOIN billing_billline l ON l.id = h.line_id LEFT JOIN billing_bill b ON b.id = l.bill_id
            WHERE d.returned_on IS NULL AND (d.entry_id IS NOT NULL OR b.state = 'issued')
        ) n GROUP BY n.number HAVING SUM(n.cents) <> 0""",
}


def audit_all() -> list[Difference]:
    """Return what is wrong with the books and with the bills in them; nothing when they are clean."""
    return audit_ledger() + [difference for name, sql in CHECKS.items() for difference in run_check(name, sql)]


def audit_nightly(moment: datetime) -> None:
    """Audit the books as a job; raises LedgerDifference, which the worker logs and keeps with the job."""
    if found := audit_all():
        shown = "; ".join(str(each) for each in found[:5])
        raise LedgerDifference(f"{len(found)} differences in the books: {shown}")

"""How old what is owed is: every receivable after payments, oldest first, in one statement for all accounts.

A receivable ages from its due day (its entry's, without one). Credits of any sort are set against the oldest receivable
first, and among those of one day in the utility's order of services, which names what is paid FIRST; what it does not
name is paid after that, by name. An entry that was reversed by the day counts as if it had never been, and so does its
reversal: a returned payment leaves the bill as old as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from typing import TYPE_CHECKING

from django.db import connection

from portal.ledger import chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ACCOUNTS_A_QUERY = 5000


@dataclass(frozen=True, slots=True)
class OpenItem:
    """What is left of the receivables of one account, due day and service."""

    account: int
    due_on: date
    service: str
    cents: int


@dataclass(frozen=True, slots=True)
class Ages:
    """What is owed by age in days past due, and what stands to the customer's credit (positive)."""

    current_cents: int = 0
    to_30_cents: int = 0
    to_60_cents: int = 0
    to_90_cents: int = 0
    over_90_cents: int = 0
    credit_cents: int = 0

    @property
    def past_due_cents(self) -> int:
        """What should have been paid by now."""
        return self.to_30_cents + self.to_60_cents + self.to_90_cents + self.over_90_cents

    @property
    def balance_cents(self) -> int:
        """What the account owes in all; negative: its credit."""
        return self.current_cents + self.past_due_cents - self.credit_cents

    def __add__(self, other: Ages) -> Ages:
        """Return the sums, age by age."""
        return Ages(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Aging:
    """Receivables by age on a day: of each account that owes or is owed something, and in all."""

    on: date
    accounts: dict[int, Ages]

    @property
    def total(self) -> Ages:
        """The sums."""
        made = Ages()
        for ages in self.accounts.values():
            made += ages
        return made


def aging(on: date, *, accounts: Sequence[int] | None = None) -> Aging:
    """Return receivables by age on a day, of all accounts or of these."""
    found: dict[int, dict[str, int]] = {}
    for item in open_items(on, accounts=accounts):
        ages = found.setdefault(item.account, {})
        name = _age((on - item.due_on).days)
        ages[name] = ages.get(name, 0) + item.cents
    for account, cents in _credits(on, accounts):
        found.setdefault(account, {})["credit_cents"] = cents
    return Aging(on, {account: Ages(**ages) for account, ages in sorted(found.items())})


def open_items(on: date, *, accounts: Sequence[int] | None = None, service_order: Sequence[str] = ()) -> list[OpenItem]:
    """Return what is left to pay on a day, by account, oldest first.

    service_order  services in the order in which a payment is set against them.
    """
    found = []
    for chosen, these in _chunks(accounts):
        rank = " ".join("WHEN %s THEN %s" for _ in service_order)
        ranked = f"CASE d.service {rank} ELSE %s END" if service_order else "0"
        ranks = [part for number, name in enumerate(service_order) for part in (name, number)]
        sql = f"""
            WITH live AS (
                SELECT p.account_id, p.service, p.amount_cents, COALESCE(p.due_on, e.date) AS due_on
                FROM ledger_posting p
                JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id AND a.code = %s
                JOIN ledger_journalentry e ON e.id = p.entry_id
                WHERE e.date <= %s AND e.reverses_id IS NULL{chosen} AND NOT EXISTS (
                    SELECT 1 FROM ledger_journalentry r WHERE r.reverses_id = e.id AND r.date <= %s)
            ), credits AS (
                SELECT account_id, -SUM(amount_cents) AS cents FROM live WHERE amount_cents < 0 GROUP BY account_id
            ), debits AS (
                SELECT account_id, due_on, service, SUM(amount_cents) AS cents FROM live WHERE amount_cents > 0
                GROUP BY account_id, due_on, service
            ), running AS (
                SELECT d.account_id, d.due_on, d.service, d.cents, {ranked} AS place,
                    SUM(d.cents) OVER (PARTITION BY d.account_id ORDER BY d.due_on, {ranked}, d.service)
                        - COALESCE(c.cents, 0) AS beyond
                FROM debits d LEFT JOIN credits c ON c.account_id = d.account_id
            )
            SELECT account_id, due_on, service, CASE WHEN beyond < cents THEN beyond ELSE cents END
            FROM running WHERE beyond > 0 ORDER BY account_id, due_on, place, service
        """  # noqa: S608  (values are parameters)
        places = [*ranks, len(service_order)] if service_order else []
        with connection.cursor() as cursor:
            cursor.execute(sql, [chart.RECEIVABLES, on, *these, on, *places, *places])
            found += [OpenItem(account, _day(due), service, int(cents)) for account, due, service, cents in cursor]
    return found


def _credits(on: date, accounts: Sequence[int] | None) -> list[tuple[int, int]]:
    found = []
    for chosen, these in _chunks(accounts):
        sql = f"""
            SELECT p.account_id, -SUM(p.amount_cents) FROM ledger_posting p
            JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id AND a.code = %s
            JOIN ledger_journalentry e ON e.id = p.entry_id
            WHERE e.date <= %s{chosen} GROUP BY p.account_id HAVING SUM(p.amount_cents) < 0
        """  # noqa: S608  (values are parameters)
        with connection.cursor() as cursor:
            cursor.execute(sql, [chart.RECEIVABLES, on, *these])
            found += [(account, int(cents)) for account, cents in cursor]
    return found


def _chunks(accounts: Sequence[int] | None) -> Iterable[tuple[str, Sequence[int]]]:
    """Yield a condition and its parameters for all accounts at once, or for so many of these at a time."""
    if accounts is None:
        yield "", ()
        return
    for begin in range(0, len(accounts), ACCOUNTS_A_QUERY):
        these = accounts[begin : begin + ACCOUNTS_A_QUERY]
        yield f" AND p.account_id IN ({', '.join(['%s'] * len(these))})", these


def _day(value: date | str) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _age(days_late: int) -> str:
    if days_late <= 0:
        return "current_cents"
    if days_late <= 30:
        return "to_30_cents"
    if days_late <= 60:
        return "to_60_cents"
    return "to_90_cents" if days_late <= 90 else "over_90_cents"

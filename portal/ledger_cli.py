"""`headwater portal ledger ...`: audit, aging, balance and export of the books."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portal.cli import _django, json_option

if TYPE_CHECKING:
    from datetime import date

    from portal.customers.models import Account

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group("ledger")
def ledger_group() -> None:
    """Audit and read the books: what was posted, who owes what since when."""


@ledger_group.command("audit")
@json_option
def audit_command(as_json: bool) -> None:
    """Check the books in plain SQL: balance, bills, sub-ledger, reversals, triggers. Exit 9 on a difference."""
    _django()
    from portal.billing.auditing import audit_all
    from portal.ledger.errors import LedgerDifference

    found = audit_all()
    if as_json:
        click.echo(json.dumps({"differences": [asdict(each) for each in found]}))
    else:
        for difference in found:
            click.echo(str(difference))
    if found:
        raise LedgerDifference(f"{len(found)} differences; nothing was changed: find what posted them")
    if not as_json:
        click.echo("The books agree.")


@ledger_group.command("aging")
@click.option("--on", type=_DAY, help="The day (default: today).")
@click.option("--account", "number", help="Only this account's number.")
@json_option
def aging_command(on: datetime | None, number: str | None, as_json: bool) -> None:
    """Print receivables by days past due, payments set against the oldest first."""
    _django()
    from portal.customers.models import Account
    from portal.ledger.services import aging, today

    found = aging(_day(on) or today(), accounts=None if number is None else [_account(number).pk])
    numbers = dict(Account.objects.values_list("pk", "number"))
    if as_json:
        total = {**asdict(found.total), "balance_cents": found.total.balance_cents}
        rows = [
            {"account": numbers[account], **asdict(ages), "balance_cents": ages.balance_cents}
            for account, ages in found.accounts.items()
        ]
        shown = {"date": found.on.isoformat(), "accounts": len(rows), "total": total, "by_account": rows}
        click.echo(json.dumps(shown))
        return
    heads = ("account", "current", "1-30", "31-60", "61-90", "over 90", "credit", "balance")
    click.echo("  ".join(f"{head:>12}" for head in heads))
    lines = [(numbers[account], ages) for account, ages in found.accounts.items()]
    for name, ages in [*sorted(lines, key=lambda line: line[0]), ("TOTAL", found.total)]:
        cents = [*asdict(ages).values(), ages.balance_cents]
        click.echo("  ".join([f"{name:>12}", *(f"{_money(each):>12}" for each in cents)]))


@ledger_group.command("balance")
@click.argument("number", metavar="ACCOUNT")
@click.option("--on", type=_DAY, help="As of the end of this day (default: everything posted).")
@json_option
def balance_command(number: str, on: datetime | None, as_json: bool) -> None:
    """Print what ACCOUNT owes; negative: its credit."""
    _django()
    from portal.ledger.services import balance_cents

    cents = balance_cents(_account(number), _day(on))
    click.echo(json.dumps({"account": number, "balance_cents": cents}) if as_json else _money(cents))


@ledger_group.command("export")
@click.option("--from", "start", type=_DAY, help="First day, inclusive.")
@click.option("--to", "end", type=_DAY, help="Last day, inclusive.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file, not to the screen.")
@json_option
def export_command(start: datetime | None, end: datetime | None, out: Path | None, as_json: bool) -> None:
    """Write the journal, a line a posting: CSV, or JSON lines with --json; the last line has the control sums."""
    _django()
    from portal.ledger.journal import write_csv, write_json_lines

    write = write_json_lines if as_json else write_csv
    if out is None:
        write(sys.stdout, _day(start), _day(end))
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        sums = write(file, _day(start), _day(end))
    click.echo(f"{sums.postings} postings of {sums.entries} entries, {_money(sums.debit_cents)} each side", err=True)


def _account(number: str) -> Account:
    from portal.core.errors import Refused
    from portal.customers.models import Account

    row = Account.objects.filter(number=number).first()
    if row is None:
        raise Refused("account", f"{number}: no account has this number")
    return row


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _money(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02}"

"""`headwater portal rates ...`: rate files into the portal, their approval by a second person, what is in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from portal.cli import _ACTOR, _django, _print, json_option

if TYPE_CHECKING:
    from portal.billing.models import RateBook
    from portal.core.models import User

_AS = "Email address of the member of staff who does this."


@click.group("rates")
def rates_group() -> None:
    """Load rate files, approve them as a second person, and list those in force."""


@rates_group.command("load")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="Name in the list.  [default: the file's]")
@click.option("--as", "email", metavar="EMAIL", help=f"{_AS}  [default: the command line]")
@json_option
def load_command(file: Path, name: str | None, email: str | None, as_json: bool) -> None:
    """Load a rate file; with any fault nothing is stored, and every fault is printed with its line (exit 3)."""
    _django()
    from portal.billing.rate_books import load
    from portal.core.errors import Refused

    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("encoding", f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    actor = None if email is None else _staff(email)
    row = load(text, name=name or "", file=file.name, actor=actor, label="" if actor else _ACTOR)
    _print(
        _row(row), as_json=as_json, text=f"{row.public_id} is loaded; it prices bills once somebody else approves it"
    )


@rates_group.command("approve")
@click.argument("book")
@click.option("--as", "email", metavar="EMAIL", required=True, help=_AS)
@json_option
def approve_command(book: str, email: str, as_json: bool) -> None:
    """Approve BOOK (its id, or the first digits of its digest) as a person other than the one who loaded it."""
    _django()
    from portal.billing.rate_books import approve, find

    row = approve(find(book), actor=_staff(email))
    _print(
        _row(row), as_json=as_json, text=f"{row.public_id} is approved: it prices bills from {row.effective_from} on"
    )


@rates_group.command("withdraw")
@click.argument("book")
@click.option("--as", "email", metavar="EMAIL", required=True, help=_AS)
@click.option("--reason", required=True, help="Why; it goes to the audit log.")
@json_option
def withdraw_command(book: str, email: str, reason: str, as_json: bool) -> None:
    """Withdraw BOOK: no further bill uses it. Bills that it priced stay."""
    _django()
    from portal.billing.rate_books import find, withdraw

    row = withdraw(find(book), actor=_staff(email), reason=reason)
    _print(_row(row), as_json=as_json, text=f"{row.public_id} is withdrawn")


@rates_group.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the rate books, the newest first."""
    _django()
    from portal.billing.models import RateBook

    books = RateBook.objects.select_related("loaded_by", "approved_by").order_by("-effective_from", "-loaded_at")
    rows = [_row(row) for row in books]
    if as_json:
        click.echo(json.dumps({"books": rows}))
        return
    for row in rows:
        click.echo(
            f"{row['id']}  {row['digest'][:8]}  {row['from']}  {row['state']:<9}  {row['format']:<20}  {row['name']}"
        )
    if not rows:
        click.echo("no rate book was loaded yet: headwater portal rates load FILE")


def _row(row: RateBook) -> dict[str, Any]:
    state = "withdrawn" if row.withdrawn_at else "approved" if row.approved_at else "loaded"
    return {
        "id": row.public_id,
        "name": row.name,
        "format": row.format,
        "digest": row.digest,
        "from": row.effective_from.isoformat(),
        "to": None if row.effective_to is None else row.effective_to.isoformat(),
        "state": state,
        "loaded_by": None if row.loaded_by is None else row.loaded_by.email,
        "approved_by": None if row.approved_by is None else row.approved_by.email,
    }


def _staff(email: str) -> User:
    from portal.core.errors import Refused
    from portal.core.models import User

    user = User.objects.filter(email=email.lower(), is_staff=True, is_active=True).first()
    if user is None:
        raise Refused("not-staff", f"{email}: no active member of staff has this address")
    return user

"""Rate books: loaded and checked by one person, approved by a second one, withdrawn with a reason; all is audited.

`standing_shelf` has the books in force, parsed once; `book_for` the one of a day.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from portal.billing.models import RateBook
from portal.billing.shelf import standing_shelf
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from rates.errors import RateFileError, RatesError
from rates.loading import load_book

if TYPE_CHECKING:
    from datetime import date

    from portal.billing.shelf import ShelfBook
    from portal.core.models import User
    from rates.book import Book

NAME_CHARS_MAX = 120
REASON_CHARS_MIN = 8
REASON_CHARS_MAX = 200


def checked(text: str, *, name: str) -> Book:
    """Return the book in a text that has no fault at all; raises RateFileError with every fault.

    An OWRS file with a faulty class can be quoted from, but a book that prices bills must be sound throughout.
    """
    book = load_book(text, name=name)
    faults = tuple(getattr(book, "faults", ()))
    if faults:
        raise RateFileError(name, faults)
    return book


def digest_of(text: str) -> str:
    """Return what tells one rate file from every other: SHA-256 of its UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@transaction.atomic
def load(text: str, *, name: str = "", file: str = "", actor: User | None = None, label: str = "") -> RateBook:
    """Store a rate file as it is. It prices nothing before a second person approved it.

    name  in lists and on bills; else the title that the file gives itself. file: its name, which faults are told of.
    raises  RateFileError with all faults, Refused(`not-staff`, `loaded` when the same file is there already).
    """
    _require_staff(actor, label)
    book = checked(text, name=file or name)
    digest = digest_of(text)
    known = RateBook.objects.filter(digest=digest).first()
    if known is not None:
        state = _("it was withdrawn: change the file, if only a comment") if known.withdrawn_at else known.public_id
        raise Refused("loaded", _("This very file was loaded before (%(state)s).") % {"state": state})
    versions = book.versions()
    row = RateBook.objects.create(
        name=" ".join((name or getattr(book, "title", "") or file).split())[:NAME_CHARS_MAX],
        format=book.format,
        text=text,
        digest=digest,
        effective_from=versions[0].start,
        effective_to=versions[-1].end,
        loaded_by=actor,
        loaded_at=now(),
    )
    detail = {"name": row.name, "digest": digest, "from": row.effective_from.isoformat()}
    audit("rates.load", actor=actor, label=label, target=row, detail=detail)
    return row


@transaction.atomic
def approve(row: RateBook, *, actor: User) -> RateBook:
    """Let a book price bills, as a person other than the one who loaded it.

    raises  Refused(`not-staff`, `second-person`, `approved`, `withdrawn`, `damaged`).
    """
    _require_staff(actor, "")
    row = RateBook.objects.select_for_update().get(pk=row.pk)
    if row.withdrawn_at is not None:
        raise Refused("withdrawn", _("These rates were withdrawn."))
    if row.approved_at is not None:
        raise Refused("approved", _("These rates are approved already."))
    if row.loaded_by_id == actor.pk:
        raise Refused("second-person", _("Somebody other than the person who loaded these rates must approve them."))
    if digest_of(row.text) != row.digest:
        raise Refused("damaged", _("The stored file is not the one that was loaded. Load it again."))
    try:
        checked(row.text, name=row.name)
    except RatesError as error:  # a newer program may be stricter than the one that loaded it
        raise Refused("damaged", _("The stored file has faults: %(faults)s") % {"faults": error}) from error
    row.approved_by, row.approved_at = actor, now()
    row.save(update_fields=["approved_by", "approved_at"])
    audit("rates.approve", actor=actor, target=row, detail={"name": row.name, "digest": row.digest})
    return row


@transaction.atomic
def withdraw(row: RateBook, *, actor: User, reason: str) -> RateBook:
    """Take a book out of use for every bill still to be made; bills that it priced stay as they are.

    raises  Refused(`not-staff`, `reason`, `withdrawn`).
    """
    _require_staff(actor, "")
    reason = " ".join(reason.split())
    if not REASON_CHARS_MIN <= len(reason) <= REASON_CHARS_MAX:
        raise Refused("reason", _("Please write why, in a few words that can be checked later."))
    row = RateBook.objects.select_for_update().get(pk=row.pk)
    if row.withdrawn_at is not None:
        raise Refused("withdrawn", _("These rates were withdrawn."))
    row.withdrawn_at = now()
    row.save(update_fields=["withdrawn_at"])
    detail = {"name": row.name, "digest": row.digest, "approved": row.approved_at is not None}
    audit("rates.withdraw", actor=actor, target=row, reason=reason, detail=detail)
    return row


def book_for(day: date) -> ShelfBook:
    """Return the approved book that prices a day; raises InputError when there is none."""
    return standing_shelf().on(day)


def find(text: str) -> RateBook:
    """Return a book by its id or the first eight or more digits of its digest; raises Refused(`rate-book`)."""
    rows = list(RateBook.objects.filter(public_id=text)[:1])
    if not rows and len(text) >= 8:
        rows = list(RateBook.objects.filter(digest__startswith=text.lower())[:2])
    if len(rows) != 1:
        raise Refused("rate-book", _("%(text)s: no such rate book, or more than one") % {"text": text})
    return rows[0]


def _require_staff(actor: User | None, label: str) -> None:
    if actor is None and not label:
        raise Refused("not-staff", _("Somebody must stand for the rates."))
    if actor is not None and not (actor.is_staff and actor.is_active):
        raise Refused("not-staff", _("Only staff may do this."))

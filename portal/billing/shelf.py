"""The rate books in force, by day. Several may follow each other; where two overlap the later one counts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from portal.billing.models import RateBook
from portal.core.prepared import Prepared
from portal.core.remembering import remembered
from rates.errors import InputError
from rates.loading import load_book

if TYPE_CHECKING:
    from rates.book import Book

_CHANGES_MOST = 10_000


@dataclass(frozen=True, slots=True)
class ShelfBook:
    """A book and the days on which it may be used. rate_book: RateBook's row id."""

    rate_book: int
    book: Book
    start: date
    end: date | None = None

    def holds_on(self, day: date) -> bool:
        """Tell whether it may be used on a day."""
        return self.start <= day and (self.end is None or day < self.end)


@dataclass(frozen=True, slots=True)
class Shelf:
    """Books in the order in which they take precedence: the last one that holds on a day is used."""

    books: tuple[ShelfBook, ...]
    _changes: dict[tuple[date, date], tuple[date, ...]] = field(default_factory=dict, compare=False, repr=False)

    def on(self, day: date) -> ShelfBook:
        """Return the book of a day; raises InputError when none holds."""
        for book in reversed(self.books):
            if book.holds_on(day):
                return book
        raise InputError(f"no approved rate book holds on {day}; load one and have it approved")

    def changes(self, after: date, before: date) -> tuple[date, ...]:
        """Return the days strictly between two on which any price changes: another book, or within a book."""
        if (after, before) not in self._changes:
            days = {day for book in self.books for day in (book.start, book.end) if day is not None}
            for book in self.books:
                days.update(day for day in book.book.changes(after, before) if book.holds_on(day))
            if len(self._changes) > _CHANGES_MOST:
                self._changes.clear()
            found = tuple(sorted(day for day in days if after < day < before and self._differs(day)))
            self._changes[after, before] = found
        return self._changes[after, before]

    def _differs(self, day: date) -> bool:
        """Tell whether a day may be priced in another way than the one before it."""
        try:
            today, before = self.on(day), self.on(day - timedelta(days=1))
        except InputError:
            return True
        return today is not before or day in today.book.changes(day - timedelta(days=1), day + timedelta(days=1))


def standing_shelf() -> Shelf:
    """Return the books that were approved and not withdrawn, the later one with precedence."""
    return remembered("shelf", _standing_shelf)


def _standing_shelf() -> Shelf:
    return _shelf_of(tuple(STANDING_BOOKS()))


STANDING_BOOKS: Prepared[tuple[int, str, date, date | None]] = Prepared(
    lambda: (
        RateBook.objects.filter(approved_at__isnull=False, withdrawn_at__isnull=True)
        .order_by("effective_from", "approved_at", "pk")
        .values_list("pk", "digest", "effective_from", "effective_to")
    )
)


@functools.lru_cache(maxsize=4)
def _shelf_of(found: tuple[tuple[int, str, date, date | None], ...]) -> Shelf:
    """Return the shelf of these rows; it keeps on which days prices change, which is the same for every account."""
    return Shelf(tuple(ShelfBook(pk, _loaded(pk, digest), start, end) for pk, digest, start, end in found))


@functools.lru_cache(maxsize=64)
def _loaded(rate_book: int, digest: str) -> Book:
    """Return a book, read once: its text never changes (the digest is part of the key)."""
    row = RateBook.objects.get(pk=rate_book, digest=digest)
    return load_book(row.text, name=row.name)

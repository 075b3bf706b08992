"""Rate books as the staff pages show them: versions in the order of their days, explained, and compared in words."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from portal.billing.shelf import standing_shelf
from portal.staff.listing import Cell
from rates.errors import InputError, RatesError
from rates.loading import load_book

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from portal.billing.models import RateBook
    from rates.book import Book, Version


@dataclass(frozen=True, slots=True)
class Sentences:
    """One heading and what is said under it."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoadedBook:
    """A stored rate book with its content; book is None when the stored text no longer loads, `fault` says why."""

    row: RateBook
    book: Book | None
    fault: str = ""

    @property
    def state(self) -> Cell:
        """Whether it prices bills."""
        if self.row.withdrawn_at is not None:
            return Cell(_("withdrawn"))
        if self.row.approved_at is None:
            return Cell(_("waits for a second person"), "warn")
        return Cell(_("approved"), "good")

    @property
    def versions(self) -> tuple[Version, ...]:
        """Its versions in the order of their start."""
        return self.book.versions() if self.book is not None else ()

    @property
    def choices(self) -> list[tuple[str, str]]:
        """Its versions as a form offers them: value, text."""
        return [
            (
                f"{self.row.public_id}:{version.id}",
                f"{self.row.name}, {version.start.isoformat()} {version.name}".strip(),
            )
            for version in self.versions
        ]


def book_on(day: date) -> Book | None:
    """Return the book that prices bills on a day; None when none was approved for it."""
    try:
        return standing_shelf().on(day).book
    except RatesError:
        return None


def loaded(row: RateBook) -> LoadedBook:
    """Return a stored rate book with its content."""
    try:
        return LoadedBook(row, load_book(row.text, name=row.name))
    except RatesError as error:
        return LoadedBook(row, None, str(error))


def _language() -> str:
    return (get_language() or "en")[:2]


def explained(book: Book, rate_class: str, on: date) -> list[Sentences]:
    """Return the prices of a class on a day in plain sentences under their headings; raises InputError."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in book.explain(rate_class, on, _language()):
        if line.startswith("  - "):
            found[-1][1].append(line[4:])
        elif line.endswith(":"):
            found.append((line[:-1], []))
        else:
            found.append(("", [line]))
    return [Sentences(heading, tuple(lines)) for heading, lines in found if lines]


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """What differs for one class: sentences that no longer hold, and those that hold instead."""

    rate_class: str
    gone: tuple[str, ...]
    new: tuple[str, ...]
    same: int

    @property
    def none(self) -> bool:
        """Whether nothing differs."""
        return not self.gone and not self.new


def difference(before: Book, on_before: date, after: Book, on_after: date) -> list[ClassDifference]:
    """Return in words what differs between two versions, class by class."""
    classes = dict.fromkeys([*_classes(before, on_before), *_classes(after, on_after)])
    return [_of_class(name, _said(before, name, on_before), _said(after, name, on_after)) for name in classes]


def _classes(book: Book, on: date) -> Sequence[str]:
    try:
        return book.classes(on)
    except InputError:
        return ()


def _said(book: Book, rate_class: str, on: date) -> list[str]:
    """Return the sentences of a class, each with its service; without the first, which names class and version."""
    try:
        parts = explained(book, rate_class, on)
    except InputError:
        return []
    return [f"{part.heading}: {line}" if part.heading else line for part in parts for line in part.lines][1:]


def _of_class(name: str, before: list[str], after: list[str]) -> ClassDifference:
    gone, new, same = [], [], 0
    for line in difflib.ndiff(before, after):
        mark, text = line[:2], line[2:]
        if mark == "- ":
            gone.append(text)
        elif mark == "+ ":
            new.append(text)
        elif mark == "  ":
            same += 1
    return ClassDifference(name, tuple(gone), tuple(new), same)

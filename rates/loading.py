"""Load a rate file of either format: our own (`format:`) or an Open Water Rate Specification (`rate_structure:`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rates.errors import Fault, RateFileError

if TYPE_CHECKING:
    from rates.book import Book

_OWN = re.compile(r"^(\{\s*)?['\"]?format['\"]?\s*:", re.MULTILINE)
_OWRS = re.compile(r"^\s*['\"]?rate_structure['\"]?\s*:", re.MULTILINE)


def load_book(text: str, *, name: str) -> Book:
    """Return the book in a file's text; raises RateFileError with every fault and its line."""
    if _OWN.search(text):
        from rates.reading import load_file

        return load_file(text, name=name)
    if _OWRS.search(text):
        from rates.owrs.book import OwrsBook

        return OwrsBook.load(text, name)
    reason = "neither a Headwater rate file (it has `format: headwater-rates/1`) nor an OWRS file (`rate_structure:`)"
    raise RateFileError(name, [Fault(1, 1, "", reason)])

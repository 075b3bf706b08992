"""Amounts and days as people type them from a bill: `$1,234.50`, `1234.5`, `1234`; `06/17/2026`, `June 17, 2026`."""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from django.utils.translation import gettext as _

from portal.core.errors import Refused

_CHARS_MAX = 40
_AMOUNT = re.compile(r"(\d{1,9}|\d{1,3}(?:,\d{3}){1,2})(?:\.(\d{1,2}))?")
_AMOUNT_COMMA = re.compile(r"(\d{1,9}|\d{1,3}(?:\.\d{3}){1,2}),(\d{2})")
_ISO = re.compile(r"(\d{4})[-/. ](\d{1,2})[-/. ](\d{1,2})")
_NUMBERS = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4}|\d{2})")
_MONTH_FIRST = re.compile(r"([a-z]+)\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})")
_DAY_FIRST = re.compile(r"(\d{1,2})\.?(?: de)? ([a-z]+)\.?(?: del?)?,? (\d{4})")
_MONTHS = (
    ("january", "enero"),
    ("february", "febrero"),
    ("march", "marzo"),
    ("april", "abril"),
    ("may", "mayo"),
    ("june", "junio"),
    ("july", "julio"),
    ("august", "agosto"),
    ("september", "septiembre", "setiembre"),
    ("october", "octubre"),
    ("november", "noviembre"),
    ("december", "diciembre"),
)


def cents_typed(text: str) -> int | None:
    """Return an amount in cents, None when nothing was typed; raises Refused(`amount`)."""
    bare = re.sub(r"\s|\$|USD|US", "", unicodedata.normalize("NFKC", text[:_CHARS_MAX]).upper())
    if not bare:
        return None
    found = _AMOUNT.fullmatch(bare) or _AMOUNT_COMMA.fullmatch(bare)
    if found is None or len(text.strip()) > _CHARS_MAX:
        raise Refused("amount", _("Write the amount as it stands on the bill, such as 61.25."))
    return int(re.sub(r"\D", "", found[1])) * 100 + int(((found[2] or "") + "00")[:2])


def day_typed(text: str, *, language: str) -> date | None:
    """Return a day, None when nothing was typed; numbers alone mean month first, in Spanish day first.

    raises  Refused(`date`).
    """
    bare = _plain(text[:_CHARS_MAX])
    if not bare:
        return None
    try:
        if found := _ISO.fullmatch(bare):
            return date(int(found[1]), int(found[2]), int(found[3]))
        if found := _NUMBERS.fullmatch(bare):
            return _from_numbers(int(found[1]), int(found[2]), int(found[3]), day_first=language.startswith("es"))
        if found := _MONTH_FIRST.fullmatch(bare):
            return date(int(found[3]), _month(found[1]), int(found[2]))
        if found := _DAY_FIRST.fullmatch(bare):
            return date(int(found[3]), _month(found[2]), int(found[1]))
    except ValueError:
        pass
    raise Refused(
        "date", _("Write the date as it stands on the bill, such as %(example)s.") % {"example": _example(language)}
    )


def _example(language: str) -> str:
    return "17/06/2026" if language.startswith("es") else "06/17/2026"


def _from_numbers(one: int, two: int, year: int, *, day_first: bool) -> date:
    """Return the day; what cannot be a month is the day, whatever the language."""
    first_is_day = one > 12 or (day_first and two <= 12)
    day, month = (one, two) if first_is_day else (two, one)
    return date(year + 2000 if year < 100 else year, month, day)


def _month(name: str) -> int:
    """Return the month's number; three letters are enough. Raises ValueError."""
    for number, names in enumerate(_MONTHS, start=1):
        if len(name) >= 3 and any(known.startswith(name) for known in names):
            return number
    raise ValueError(name)


def _plain(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.strip().casefold())
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())

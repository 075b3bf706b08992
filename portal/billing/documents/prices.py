"""What a bill says of the prices that it rests on: the version with its authority, the late fee of the policies."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from domain.errors import HeadwaterError
from portal.billing.documents.facts import LateFeeFacts, VersionFacts
from portal.billing.models import RateBook

if TYPE_CHECKING:
    from datetime import date

    from rates.book import Book


def version_facts(book: RateBook, version: str) -> VersionFacts:
    """Return a version as its rate file states it; only its name when the file cannot be read any more."""
    loaded = _loaded(book.pk, book.digest)
    found = next((item for item in loaded.versions() if item.id == version), None) if loaded else None
    if found is None:
        return VersionFacts(id=version, book=book.name)
    return VersionFacts(id=version, book=book.name, name=found.name, authority=found.authority, start=found.start)


def late_fee_on(book: RateBook, day: date) -> LateFeeFacts | None:
    """Return the late fee that the policies in force on a day know; None when there is none."""
    loaded = _loaded(book.pk, book.digest)
    rule = loaded.policies(day).late_fee if loaded else None
    if rule is None:
        return None
    return LateFeeFacts(
        percent=str(rule.percent),
        minimum_cents=rule.minimum_cents,
        threshold_cents=rule.threshold_cents,
        after_days=rule.after_days,
    )


@lru_cache(maxsize=16)
def _loaded(pk: int, digest: str) -> Book | None:  # noqa: ARG001 - the digest keeps the cache true
    from rates.loading import load_book

    row = RateBook.objects.get(pk=pk)
    try:
        return load_book(row.text, name=row.name)
    except HeadwaterError:
        return None

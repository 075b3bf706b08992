"""Writes XML a piece at a time: an Atom feed whose entries carry Green Button resources."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

ATOM, ESPI = "http://www.w3.org/2005/Atom", "http://naesb.org/espi"
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Feed:
    """One document: what was written since the last `taken` is all that it keeps in memory."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._xml = XMLGenerator(self._bytes, encoding="utf-8", short_empty_elements=True)
        self._xml.startDocument()

    def taken(self) -> bytes:
        """Return what was written since, and forget it."""
        written = self._bytes.getvalue()
        self._bytes.seek(0)
        self._bytes.truncate()
        return written

    @contextmanager
    def inside(self, name: str, attributes: Mapping[str, str] | None = None) -> Iterator[None]:
        """Write an element around what is written in the block."""
        self.start(name, attributes)
        yield
        self.end(name)

    def start(self, name: str, attributes: Mapping[str, str] | None = None) -> None:
        """Open an element that stays open over several pieces."""
        self._xml.startElement(name, AttributesImpl({key: clean(value) for key, value in (attributes or {}).items()}))

    def end(self, name: str) -> None:
        """Close it."""
        self._xml.endElement(name)

    def text(self, name: str, value: object) -> None:
        """Write an element with a text or number in it."""
        self.start(name)
        self._xml.characters(clean(str(value)))
        self._xml.endElement(name)

    @contextmanager
    def entry(
        self, identity: UUID, title: str, updated: datetime, *, self_link: str, related: Sequence[str] = ()
    ) -> Iterator[None]:
        """Write an entry around its content; the collection it lies in is its `up`."""
        with self.inside("entry"):
            self.text("id", identity.urn)
            self.link("self", self_link)
            self.link("up", self_link.rpartition("/")[0])
            for href in related:
                self.link("related", href)
            self.text("title", title)
            with self.inside("content", {"type": "text/xml"}):
                yield
            self.text("published", atom_time(updated))
            self.text("updated", atom_time(updated))

    def link(self, relation: str, href: str) -> None:
        """Write a link."""
        with self.inside("link", {"rel": relation, "href": href}):
            pass

    def period(self, name: str, start: datetime, end: datetime) -> None:
        """Write a DateTimeInterval: whole seconds since 1970 UTC."""
        first = seconds(start)
        with self.inside(name):
            self.text("espi:duration", seconds(end) - first)
            self.text("espi:start", first)


def clean(text: str) -> str:
    """Return a text without the characters that XML forbids."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def seconds(moment: datetime) -> int:
    """Return a moment as whole seconds since 1970 UTC."""
    return int(moment.timestamp() // 1)


def atom_time(moment: datetime) -> str:
    """Return a moment as Atom writes it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

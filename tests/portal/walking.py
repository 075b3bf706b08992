"""Every address of the portal, filled with identifiers; and what must never stand in a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser

from django.urls import URLPattern, URLResolver, get_resolver

ANY_ID = "bcdfghjkmnpqr"
_ROUTE_PART = re.compile(r"<(?:(\w+):)?(\w+)>")
_GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")


@dataclass(frozen=True)
class Address:
    """One address: its name with the namespace, its path with identifiers filled in, its view."""

    name: str
    path: str
    view: Callable[..., object]

    @property
    def is_exempt(self) -> bool:
        """Whether it takes a POST without a token against forged requests."""
        return bool(getattr(self.view, "csrf_exempt", False))


def addresses(known: Mapping[str, str] | None = None) -> list[Address]:
    """Return every address; known: what to fill in, by `namespace:name` or by the parameter's name."""
    return list(_walk(get_resolver().url_patterns, "", "", known or {}))


def _walk(
    patterns: list[URLPattern | URLResolver], before: str, space: str, known: Mapping[str, str]
) -> Iterator[Address]:
    for pattern in patterns:
        route = str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, before + route, pattern.namespace or space, known)
            continue
        name = f"{space}:{pattern.name}" if space else str(pattern.name)

        def filled(parameter: str, kind: str = "slug", name: str = name) -> str:
            return known.get(name) or known.get(parameter) or ("1" if kind == "int" else ANY_ID)

        path = _ROUTE_PART.sub(lambda part: filled(part[2], part[1]), _GROUP.sub(lambda part: filled(part[1]), route))
        yield Address(name, "/" + (before + path).replace(".*", "1/").replace("\\", ""), pattern.callback)


class Faults(HTMLParser):
    """Collects what a page must not hold: anything inline that a browser would run or apply."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one tag."""
        values = dict(attrs)
        if tag == "script" and "src" not in values and values.get("type") != "application/json":
            self.faults.append("inline script")
        if tag in ("style", "iframe", "object", "embed", "base", "frame"):
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name == "style" or name.startswith("on"):
                self.faults.append(f"{tag} {name}={value!r}")
            address = (value or "").strip().lower()
            if name in ("href", "src", "action", "formaction", "data") and address.startswith(
                ("javascript:", "data:text", "vbscript:")
            ):
                self.faults.append(f"{tag} {name}={value!r}")
        if tag == "form" and (values.get("action") or "").startswith(("http", "//")):
            self.faults.append(f"form leads away: {values['action']}")


def faults_of(page: str) -> list[str]:
    """Return what a page holds that it must not."""
    parser = Faults()
    parser.feed(page)
    return parser.faults

"""The addresses that a usage page leads to: each keeps what was chosen and changes one thing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING

from portal.resident.periods import Period

if TYPE_CHECKING:
    from portal.resident.compare import Compare


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several links, of which one is the present one."""

    name: str
    text: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class Links:
    """What the page shows, as its address says it. together: all meters of the home."""

    path: str
    period: Period
    compare: Compare | None = None
    together: bool = False

    @property
    def here(self) -> str:
        """The address of the page itself."""
        if self.period.hour is not None:
            when = f"at={self.period.hour.astimezone(UTC):%Y-%m-%dT%H%%3A%MZ}"
        else:
            when = f"date={self.period.first.isoformat()}"
        compare = "" if self.compare is None else f"&compare={self.compare.value}"
        return f"{self.path}?by={self.period.by.value}&{when}{compare}{'&meters=all' if self.together else ''}"

    def to(self, period: Period) -> str:
        """Return the address of another period."""
        return replace(self, period=period).here

    def comparing(self, compare: Compare | None) -> str:
        """Return the address with another comparison."""
        return replace(self, compare=compare).here

    @property
    def hidden(self) -> dict[str, str]:
        """What a form that asks for a date has to carry along."""
        fields = {"by": self.period.by.value}
        if self.compare is not None:
            fields["compare"] = self.compare.value
        return fields | ({"meters": "all"} if self.together else {})

"""What a reconciliation finds, in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Two records that must agree and do not.

    check  stable name of the rule; place: bill, account and address as people know them.
    """

    check: str
    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text} [{self.check}]"

    def as_json(self) -> dict[str, str]:
        """Return it for machines."""
        return {"check": self.check, "place": self.place, "text": self.text}

"""What a rule of validation found at a service point."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule saw between start and end.

    severity   hold: no bill before somebody resolved it; note: the bill may go out and says so.
    detail     the numbers that the rule compared, as text, whole numbers and lists of them.
    public_id  of its item in the work list; empty when nothing was written down.
    accepted   staff have looked at these very numbers and found them right.
    """

    rule: str
    severity: str
    detail: dict[str, Any]
    start: datetime
    end: datetime
    register_id: int | None = None
    public_id: str = ""
    accepted: bool = False

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end of what was looked at."""
        return self.start, self.end

    @property
    def holds(self) -> bool:
        """Whether the bill waits for it."""
        return self.severity == "hold"

    @property
    def fingerprint(self) -> str:
        """A hash of what the rule saw: other numbers, another finding."""
        seen = json.dumps([self.register_id, self.detail], sort_keys=True)
        return hashlib.sha256(seen.encode()).hexdigest()

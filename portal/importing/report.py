"""What a dry run finds: every problem with its place and what to do, and what an import would change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that must be put right first.

    line    of the file, counted from 1 as an editor shows it (the header is usually line 1).
    column  as the file's own header names it; empty when it is about the whole line.
    text    what is wrong and what to do about it.
    """

    line: int
    column: str
    value: str
    text: str

    def __str__(self) -> str:
        place = f"line {self.line}" + (f", {self.column}" if self.column else "")
        return f"{place}: {self.text}"

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"line": self.line, "column": self.column, "value": self.value, "text": self.text}


@dataclass(frozen=True, slots=True)
class Report:
    """One look at one file.

    kind       what the file holds; digest: SHA-256 of its bytes in hex.
    encoding, separator   as recognised.
    new, changed, unchanged   rows; counted without those that have a problem.
    notes      what was done or left out without being asked.
    applied    whether it was written.
    """

    kind: str
    file: str
    digest: str
    encoding: str
    separator: str
    rows: int
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    applied: bool = False
    totals: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        names = ("kind", "file", "digest", "encoding", "separator", "rows", "new", "changed", "unchanged", "applied")
        return {
            **{name: getattr(self, name) for name in names},
            "totals": self.totals,
            "notes": list(self.notes),
            "problems": [problem.as_json() for problem in self.problems],
        }

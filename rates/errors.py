"""The rates' branch of the error tree.

RatesError                 exit 3, permanent
  RateFileError(faults)    a rate file that cannot be used; every fault with its line
  FilesRefused(faults)     several checked files, with the faults of each
  InputError               a quote asked for a class, a date or an input that the file does not know, or left one out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import HeadwaterError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong in a file: line and column count from 1, `where` names the place (`a.b[2].c`)."""

    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.where + ': ' if self.where else ''}{self.message}"


class RatesError(HeadwaterError):
    """A rate file, or a question put to it, that will not do."""

    permanent = True
    exit_code = 3


class RateFileError(RatesError):
    """A rate file cannot be used. `faults` has all that was found, in the order of the lines."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        self.name, self.faults = name, tuple(sorted(faults))
        super().__init__("\n".join(f"{name}: {fault}" for fault in self.faults))

    def as_json(self) -> dict[str, object]:
        """Return the error with its faults, each with line, column, place and message."""
        rows = [{"line": f.line, "column": f.column, "where": f.where, "message": f.message} for f in self.faults]
        return {**super().as_json(), "file": self.name, "faults": rows}


class FilesRefused(RatesError):
    """Some of the files that were checked have faults: (file, fault) in the order of the files and their lines."""

    def __init__(self, faults: Sequence[tuple[str, Fault]]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(_placed(file, fault) for file, fault in self.faults))

    def as_json(self) -> dict[str, object]:
        """Return the error with its faults, each with file, line, column, place and message."""
        rows = [
            {"file": file, "line": f.line, "column": f.column, "where": f.where, "message": f.message}
            for file, f in self.faults
        ]
        return {**super().as_json(), "faults": rows}


def _placed(file: str, fault: Fault) -> str:
    return f"{file}:{fault.line}:{fault.column}: {fault.where + ': ' if fault.where else ''}{fault.message}"


class InputError(RatesError):
    """A class or an input is missing or unknown; the message names it and what would do."""

    exit_code = 2

"""A TOML table read key by key, every fault noted and none of them fatal: a person wants all of them at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_N = TypeVar("_N", int, float)


@dataclass(slots=True)
class Faults:
    """The faults found so far: where (with the value as written) and what was expected there."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        """Note one fault."""
        self.rows.append((where, what))

    def lines(self) -> list[str]:
        """Return one line a fault, the second halves aligned as far as that stays readable."""
        width = min(max((len(where) for where, _ in self.rows), default=0), 48)
        return [f"{where.ljust(width)}   {what}" for where, what in self.rows]


def shown(value: object) -> str:
    """Return a value as a person wrote it in TOML, cut to a readable length."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = f'"{value}"'
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_of(choices: Collection[object]) -> str:
    """Return the words for a choice."""
    return "expected " + ("" if len(choices) == 1 else "one of ") + ", ".join(str(choice) for choice in choices)


class Table:
    """One table of a TOML file: ask for each key, then `finish` to report the keys nobody asked for.

    Every method notes a fault and returns a harmless value of the right type when the key is missing or wrong.
    """

    def __init__(self, content: Mapping[str, object], *, where: str, faults: Faults) -> None:
        self.content, self.where, self.faults = content, where, faults
        self._asked: set[str] = set()

    def fault(self, key: str, expected: str) -> None:
        """Note a fault at a key, with its value when it has one."""
        value = f" = {shown(self.content[key])}" if key in self.content else ""
        self.faults.add(f"{self.at(key)}{value}", expected)

    def at(self, key: str) -> str:
        """Return the dotted path of a key."""
        return f"{self.where}.{key}" if self.where else key

    def _take(self, key: str, kind: type | tuple[type, ...], expected: str, *, required: bool) -> object | None:
        self._asked.add(key)
        if key not in self.content:
            if required:
                self.fault(key, f"missing; {expected}")
            return None
        value = self.content[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fault(key, expected)
            return None
        return value

    def text(self, key: str, *, default: str | None = None, choices: Collection[str] = (), expected: str = "") -> str:
        """Return a text; required when there is no default."""
        expected = expected or (one_of(choices) if choices else "expected a text in quotes")
        value = self._take(key, str, expected, required=default is None)
        if value is None:
            return default or ""
        if choices and value not in choices:
            self.fault(key, expected)
            return default or ""
        return str(value)

    def checked(self, key: str, make: Callable[[str], str], *, expected: str) -> str:
        """Return a required text that `make` (an id type) accepts; its ValueError becomes the fault."""
        value = self._take(key, (str, int), expected, required=True)
        if value is None:
            return ""
        try:
            return make(str(value))
        except ValueError:
            self.fault(key, expected)
            return ""

    def number(self, key: str, *, default: float | None = None, low: float, high: float) -> float:
        """Return a number of low to high, whole or not."""
        expected = f"expected a number from {low} to {high}"
        value = self._take(key, (int, float), expected, required=default is None)
        if value is None or not isinstance(value, (int, float)):
            return default if default is not None else low
        if not low <= value <= high:
            self.fault(key, expected)
            return default if default is not None else low
        return value

    def integer(
        self, key: str, *, default: int | None = None, low: int = 0, high: int = 0, choices: Collection[int] = ()
    ) -> int:
        """Return a whole number, one of `choices` or from low to high."""
        expected = one_of(choices) if choices else f"expected a whole number from {low} to {high}"
        value = self._take(key, int, expected, required=default is None)
        if not isinstance(value, int):
            return default if default is not None else low
        if value not in choices if choices else not low <= value <= high:
            self.fault(key, expected)
            return default if default is not None else low
        return value

    def optional(self, key: str, read: Callable[..., _N], *, low: float, high: float) -> _N | None:
        """Return what `read` (number or integer) makes of a key, None where the key is not there."""
        self._asked.add(key)
        return read(key, low=low, high=high) if key in self.content else None

    def ignore(self, *keys: str) -> None:
        """Let keys be there."""
        self._asked.update(keys)

    def path(self, key: str, *, folder: Path, default: str | None = None) -> Path | None:
        """Return a path, relative to `folder` unless absolute; None when empty or missing."""
        value = self.text(key, default=default, expected="expected a path in quotes")
        return (folder / value) if value else None

    def table(self, key: str) -> Mapping[str, object] | None:
        """Return an optional table below this one."""
        value = self._take(key, dict, f"expected a table, [{key}]", required=False)
        return value if isinstance(value, dict) else None

    def tables(self, key: str) -> list[Mapping[str, object]]:
        """Return an optional list of tables."""
        value = self._take(key, list, f"expected a list of tables, [[{key}]]", required=False)
        if not isinstance(value, list):
            return []
        if not all(isinstance(item, dict) for item in value):
            self.fault(key, f"expected a list of tables, [[{key}]]")
            return []
        return value

    def finish(self) -> None:
        """Note every key that nobody asked for, with the nearest one that exists."""
        for key in self.content:
            if key not in self._asked:
                near = difflib.get_close_matches(key, sorted(self._asked), n=1, cutoff=0.5)
                hint = f'did you mean "{near[0]}"?' if near else one_of(sorted(self._asked))
                self.faults.add(self.at(key), f"unknown key; {hint}")

"""The inputs that a rate file of ours declares: their types, their values, how what is given is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from rates.book import InputSpec
from rates.errors import InputError

YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
# A decimal or a fraction; an exponent of two digits at most, so that a number cannot fill the memory.
_NUMBER = re.compile(r"[+-]?[0-9]{1,60}(\.[0-9]{1,60}|/[0-9]{1,60})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
NUMERIC = frozenset({"number", "whole", "volume"})


@dataclass(frozen=True, slots=True)
class Declared:
    """One input. type: `choice`, `yes-no`, `number`, `whole` or `volume` (in billed units)."""

    name: str
    type: str
    values: tuple[str, ...] = ()
    default: str | None = None
    least: Fraction | None = None
    required: bool = True

    @property
    def numeric(self) -> bool:
        """Whether it can be calculated with."""
        return self.type in NUMERIC

    def spec(self, unit: str) -> InputSpec:
        """Return it as every book describes its inputs."""
        return InputSpec(self.name, self.values, self.required, unit if self.type == "volume" else "")

    def parse(self, given: object) -> str | Fraction:
        """Return what was given as text (a choice) or an exact number; raises InputError."""
        if not self.numeric:
            text = ("yes" if given else "no") if isinstance(given, bool) else str(given)
            text = YES_NO.get(text.lower(), text) if self.type == "yes-no" else text
            if text not in self.values:
                raise InputError(f"input {self.name} is {text!r}; expected one of: {', '.join(self.values)}")
            return text
        number = exact(given)
        if number is None:
            raise InputError(f"input {self.name} is {given!r}; expected a number")
        if self.type == "whole" and number.denominator != 1:
            raise InputError(f"input {self.name} is {given!r}; expected a whole number")
        least = self.least if self.least is not None else Fraction(0)
        if number < least:
            raise InputError(f"input {self.name} is {given!r}; the least is {least}")
        return number


def exact(given: object) -> Fraction | None:
    """Return a number that was given as text, integer, decimal or fraction; None when it is none of these."""
    if isinstance(given, bool):
        return None
    if isinstance(given, Fraction):
        return given
    if isinstance(given, (int, Decimal, str)) and _NUMBER.fullmatch(text := str(given).strip()):
        try:
            return Fraction(text)
        except (ValueError, ZeroDivisionError):
            return None
    return None

"""Read the numbers of rate files: plain ones, tables by inputs, budgets and bounds; each becomes a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rates.errors import InputError
from rates.file import NO_SEASON, Season
from rates.formula import Formula, FormulaError
from rates.lines import Amount, Pricing

if TYPE_CHECKING:
    from rates.document import Document, Path
    from rates.inputs import Declared

OTHERWISE = "otherwise"
Leaf = Callable[[Any, "Path"], Amount | None]


class AmountReader:
    """Reads the numbers of one class and remembers which inputs they use."""

    def __init__(
        self, document: Document, declared: Mapping[str, Declared], seasons: tuple[Season, ...], *, winter: bool
    ) -> None:
        self.document, self.declared, self.seasons, self.winter = document, declared, seasons, winter
        self.used: list[str] = []

    def use(self, name: str, path: Path) -> bool:
        """Note that an input is used; an unknown one is a fault."""
        if name not in self.declared:
            known = ", ".join(self.declared)
            self.document.fault(path, f"{name!r} is no input of this file; it has: {known}")
            return False
        if name == "winter_average" and not self.winter:
            self.document.fault(path, "the class has no winter_average rule; write how the average is made")
        if name not in self.used:
            self.used.append(name)
        return True

    def times(self, given: Any, path: Path) -> Amount | None:
        """Return a number, a table, or the value of a numeric input."""
        if isinstance(given, str) and not given[0].isdigit():
            if not self.use(given, path):
                return None
            if not self.declared[given].numeric:
                self.document.fault(path, f"input {given} is not a number")
            return _input(given)
        return self.amount(given, path)

    def amount(self, given: Any, path: Path, *, percent: bool = False) -> Amount | None:
        """Return how a number, or a table of numbers, is worked out."""
        if isinstance(given, dict):
            return self.lookup(given, path, self._percent_leaf if percent else self._leaf)
        return (self._percent_leaf if percent else self._leaf)(given, path)

    def _leaf(self, text: Any, path: Path) -> Amount | None:
        if not isinstance(text, str) or not is_number(text):
            self.document.fault(path, "expected a number such as 4.50")
            return None
        return _constant(Fraction(text))

    def _percent_leaf(self, text: Any, path: Path) -> Amount | None:
        if not isinstance(text, str) or not text.endswith("%") or not is_number(text[:-1]):
            self.document.fault(path, "expected a percentage such as 60%")
            return None
        return _constant(Fraction(text[:-1]))

    def lookup(self, given: Mapping[str, Any], path: Path, leaf: Leaf) -> Amount | None:
        """Return a table by one or several inputs; each must have a value for every key that can occur."""
        names = [given["by"]] if isinstance(given["by"], str) else list(given["by"])
        return self._table(names, given["values"], (*path, "values"), (*path, "by"), leaf)

    def _table(
        self,
        names: list[str],
        values: Any,
        path: Path,
        by_path: Path,
        leaf: Leaf,
    ) -> Amount | None:
        if not names:
            return leaf(values, path)
        name = names[0]
        known = self.keys(name, by_path)
        if known is None:
            return None
        if not isinstance(values, dict):
            self.document.fault(path, f"expected a table by {name}")
            return None
        found: dict[str, Amount] = {}
        for text, below in values.items():
            key = self.key(name, text)
            if known and key != OTHERWISE and key not in known:
                self.document.fault((*path, text), f"{text!r} is none of: {', '.join(known)}", key=True)
            amount = self._table(names[1:], below, (*path, text), by_path, leaf)
            if amount is not None:
                found[key] = amount
        missing = [key for key in known if key not in found]
        if OTHERWISE not in values and missing and len(found) == len(values):
            self.document.fault(path, f"has no value for {name}: {', '.join(missing)}")
        return _by_input(name, found)

    def keys(self, name: str, path: Path) -> tuple[str, ...] | None:
        """Return the values by which a table or condition can go; () when any will do, None for an unknown name."""
        if name == "season":
            if not self.seasons:
                self.document.fault(path, "the file has no seasons")
                return None
            return (*(season.name for season in self.seasons), NO_SEASON)
        if not self.use(name, path):
            return None
        if self.declared[name].type in ("number", "volume"):
            self.document.fault(path, f"input {name} is a measure; a table goes by a choice, yes-no or a whole number")
            return None
        return self.declared[name].values

    def key(self, name: str, text: str) -> str:
        """Return a value as it is compared: yes for true."""
        declared = self.declared.get(name)
        if declared is not None and declared.type == "yes-no":
            return {"true": "yes", "false": "no"}.get(text, text)
        return text

    def budget(self, line: Mapping[str, Any], path: Path) -> Amount | None:
        """Return the water budget of a line; None when it has none, or no usable one."""
        if "budget" not in line:
            return None
        try:
            formula = Formula(line["budget"])
        except FormulaError as error:
            self.document.fault((*path, "budget"), str(error))
            return None
        for name in sorted(formula.names - {"full_days"}):
            if self.use(name, (*path, "budget")) and not self.declared[name].numeric:
                self.document.fault((*path, "budget"), f"input {name} is not a number")
        rounding = ROUNDINGS[line.get("budget_rounding", "none")]
        return _budget_amount(formula, rounding)


class Bounds:
    """Reads the bounds of one line's tiers."""

    def __init__(self, reader: AmountReader, budget: Amount | None, widths: Amount | None) -> None:
        self.reader, self.budget, self.widths = reader, budget, widths
        self.budget_used = False

    def read(self, given: Any, path: Path, *, below: bool) -> Amount | None:
        """Return a bound for the part that is priced: shares and widths are already in it.

        below  the unit at the bound itself belongs to the next tier, so that this one ends a unit earlier.
        """
        if given == "winter_average":
            return Pricing.winter if self.reader.use(given, path) else None
        full = self.reader.lookup(given, path, self._leaf) if isinstance(given, dict) else self._leaf(given, path)
        if full is None:
            return None
        if below:
            full = _less_one(full)
        if self.widths is not None:
            full = _product(full, self.widths)
        return _shared(full)

    def _leaf(self, text: Any, path: Path) -> Amount | None:
        if isinstance(text, str) and is_number(text):
            return _constant(Fraction(text))
        if isinstance(text, str) and text.endswith("%") and is_number(text[:-1]):
            self.budget_used = True
            if self.budget is None:
                self.reader.document.fault(path, "is a percentage of a budget; the line has no (usable) budget")
                return None
            return _product(_constant(Fraction(text[:-1]) / 100), self.budget)
        if text == "winter_average":
            self.reader.document.fault(path, "winter_average stands alone as a bound, not in a table")
            return None
        if isinstance(text, str):
            return self.reader.times(text, path)
        self.reader.document.fault(path, "expected a number, a percentage of the budget or the name of an input")
        return None


def _half_up(value: Fraction) -> Fraction:
    return Fraction((value + Fraction(1, 2)).__floor__())


ROUNDINGS: Mapping[str, Callable[[Fraction], Fraction]] = {
    "none": lambda value: value,
    "down": lambda value: Fraction(value.__floor__()),
    "half-up": _half_up,
    "half-even": lambda value: Fraction(round(value)),
}


def _budget_amount(formula: Formula, rounding: Callable[[Fraction], Fraction]) -> Amount:
    def budget(pricing: Pricing) -> Fraction:
        for name in formula.names - {"full_days"}:
            pricing.number(name)
        try:
            return max(Fraction(0), rounding(formula(pricing.numbers())))
        except ZeroDivisionError as error:
            raise InputError(f"the budget {formula.text!r} divides by zero") from error

    return budget


def _constant(value: Fraction) -> Amount:
    return lambda _: value


def _input(name: str) -> Amount:
    return lambda pricing: pricing.number(name)


def _product(left: Amount, right: Amount) -> Amount:
    return lambda pricing: left(pricing) * right(pricing)


def _less_one(bound: Amount) -> Amount:
    return lambda pricing: max(Fraction(0), bound(pricing) - 1)


def _shared(full: Amount) -> Amount:
    return lambda pricing: pricing.share(full(pricing))


def _by_input(name: str, table: Mapping[str, Amount]) -> Amount:
    def look_up(pricing: Pricing) -> Fraction:
        value = pricing.values.get(name)
        if value is None:
            raise InputError(f"input {name} is missing; expected one of: {', '.join(table)}")
        amount = table.get(str(value)) or table.get(OTHERWISE)
        if amount is None:
            raise InputError(f"input {name} is {str(value)!r}; the table has: {', '.join(table)}")
        return amount(pricing)

    return look_up


def is_number(text: str) -> bool:
    """Say whether a text is a decimal number that is not negative."""
    whole, _, places = text.partition(".")
    return whole.isascii() and whole.isdigit() and len(text) <= 24 and (not places or places.isdigit())  # noqa: PLR2004

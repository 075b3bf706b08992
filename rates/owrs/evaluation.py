"""One class priced for one set of inputs: each part is computed when it is first asked for, in any order."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import TypeAlias

from rates.errors import Fault, InputError, RateFileError
from rates.owrs import formula, keys
from rates.owrs.structure import RateClass, synonyms
from rates.owrs.tiers import Tier, entries, rate_type, split, tier_fields
from rates.owrs.tree import Items, Node, Table, Text

USAGE = "usage_ccf"
MAX_CHAIN = 50
Value: TypeAlias = Fraction | str | Items


class Evaluation:
    """The values of a class's parts. An input wins over a part of the same name; `standing` only fills what is left.

    Raises RateFileError for what is wrong in the file, InputError for what is missing or unknown in the inputs.
    """

    def __init__(
        self,
        rate_class: RateClass,
        usage: Fraction,
        inputs: Mapping[str, object],
        *,
        file: str,
        standing: Mapping[str, object] | None = None,
    ) -> None:
        self.rate_class = rate_class
        self.usage = usage
        self.inputs = inputs
        self.standing = standing or {}
        self.file = file
        self.tiers: dict[str, tuple[Tier, ...]] = {}
        self._values: dict[str, Value] = {}
        self._open: list[str] = []

    def fault(self, name: str, message: str, node: Node | None = None) -> RateFileError:
        """Return the error for a part of the file."""
        line = node.line if node is not None else self.rate_class.lines.get(name, self.rate_class.line)
        column = node.column if node is not None else 1
        return RateFileError(self.file, [Fault(line, column, f"{self.rate_class.name}.{name}", message)])

    def input(self, name: str) -> object | None:
        """Return what was given for a name, or for its synonym."""
        for candidate in synonyms(name):
            given = keys.given_values(self.inputs, candidate)
            if given is not None:
                return given
        return None

    def number(self, name: str) -> Fraction:
        """Return a name's value where a number belongs."""
        value = self.value(name)
        if isinstance(value, str):
            number = formula.number_of(value)
            if number is not None:
                return number
            if self.input(name) is None and self.rate_class.part(name) is not None:
                raise self.fault(name, f"`{value}` stands where a number is needed")
            raise InputError(f"{name} is `{value}`: a number is needed")
        if isinstance(value, Items):
            raise self.fault(name, "a single number is needed here, not a list")
        return value

    def value(self, name: str) -> Value:
        """Return a name's value: a given input, a part of the class, or what goes without saying."""
        if name == USAGE:
            return self.usage
        given = self.input(name)
        if given is not None:
            return _given(given)
        part = self.rate_class.part(name)
        if part is None:
            standing = self.standing.get(name)
            if standing is None:
                raise self._missing(name)
            return _given(standing)
        if part not in self._values:
            self._values[part] = self._computed(part)
        return self._values[part]

    def _missing(self, name: str) -> InputError:
        needed = f", which {self._open[-1]} needs" if self._open else ""
        return InputError(f"{self.rate_class.name} has no part `{name}`{needed}: give it as an input, name=value")

    def _computed(self, part: str) -> Value:
        if part in self._open:
            circle = " -> ".join([*self._open[self._open.index(part) :], part])
            raise self.fault(part, f"goes in a circle: {circle}")
        if len(self._open) >= MAX_CHAIN:
            raise self.fault(part, f"hangs on a chain of more than {MAX_CHAIN} parts")
        if part in self.rate_class.twice:
            where = self.rate_class.twice[part]
            raise self.fault(part, f"stands twice with different contents (line {where}): which one holds?")
        self._open.append(part)
        try:
            return self._of_node(part, self.rate_class.parts[part])
        finally:
            self._open.pop()

    def _of_node(self, part: str, node: Node, *, in_map: bool = False) -> Value:
        if isinstance(node, Items):
            return self._of_node(part, node.items[0], in_map=in_map) if len(node.items) == 1 else node
        if isinstance(node, Table):
            return self._of_map(part, node)
        kind = rate_type(node, part)
        if kind is not None:
            return self._of_tiers(part, kind)
        if not node.text:
            raise self.fault(part, "is empty: a number or a formula is missing", node)
        number = formula.number_of(node.text)
        if number is not None and not (not in_map and "budget" in part.casefold()):
            return number
        if in_map and not self.is_formula(node.text):
            return node.text
        return self._of_formula(part, node, rounded="budget" in part.casefold() and not in_map)

    def is_formula(self, text: str) -> bool:
        """Say whether an entry of a map is to be computed: a formula whose names are all known, or a known name."""
        try:
            names = formula.names_in(formula.parse(text))
        except formula.FormulaError:
            return False
        return all(
            name == USAGE or self.rate_class.part(name) is not None or self.input(name) is not None for name in names
        )

    def _of_formula(self, part: str, node: Text, *, rounded: bool = False) -> Fraction:
        try:
            expression = formula.parse_budget(node.text) if rounded else formula.parse(node.text)
            return formula.evaluate(expression, self.number)
        except formula.FormulaError as error:
            raise self.fault(part, f"`{node.text}` is no formula: {error}", node) from error
        except formula.ArithmeticFault as error:
            raise self.fault(part, f"`{node.text}` {error}", node) from error

    def _of_map(self, part: str, node: Table) -> Value:
        names, table = map_of(node)
        if not names or table is None:
            raise self.fault(part, MAP_SHAPE, node)
        given = tuple(self._key_value(name, part, table, position, len(names)) for position, name in enumerate(names))
        found: Node = table
        if any(isinstance(entry, Table) and map_of(entry)[1] is None for entry in table.entries.values()):
            for position, key in enumerate(given):  # maps within maps, one level for each name
                found = self._entry(part, names[position : position + 1], (key,), found)
                if isinstance(found, Table) and map_of(found)[1] is not None:
                    break
        else:
            found = self._entry(part, names, given, table)
        return self._of_node(part, found, in_map=True)

    def _entry(self, part: str, names: tuple[str, ...], given: tuple[str, ...], node: Node) -> Node:
        if not isinstance(node, Table):
            raise self.fault(part, "the map is not as deep as depends_on has names", node)
        key = keys.find_key(given, node.entries, by_month=any("month" in name for name in names))
        if key is None:
            asked = ", ".join(f"{name}={value}" for name, value in zip(names, given, strict=True))
            known = ", ".join(node.entries)
            raise InputError(f"{self.rate_class.name}.{part} has no entry for {asked}: the file has {known}")
        if key in dict(node.twice):
            raise self.fault(part, f"the entry `{key}` stands twice with different contents", node)
        return node.entries[key]

    def _key_value(self, name: str, part: str, table: Table, position: int, positions: int) -> str:
        known = keys.values_at(table.entries, position, positions)
        try:
            value = self.value(name)
        except InputError:
            if self.rate_class.part(name) is not None:
                raise
            raise InputError(
                f"{self.rate_class.name}.{part} depends on {name}: give it as an input, one of {', '.join(known)}"
            ) from None
        if isinstance(value, Items):
            raise self.fault(name, "a list cannot choose an entry of a map")
        return keys.key_text(value)

    def _of_tiers(self, part: str, kind: str) -> Fraction:
        fields = tier_fields(self.rate_class, part)
        rows = []
        for what, name in (("tier_starts", fields.starts), ("tier_prices", fields.prices)):
            if name is None:
                own = f"{fields.stem}_{what}" if fields.stem else what
                raise self.fault(part, f"`{kind}` needs {own}, which is missing")
            rows.append((name, self._row(name)))
        (starts_name, starts), (prices_name, prices) = rows
        if len(starts) != len(prices):
            raise self.fault(part, f"{starts_name} has {len(starts)} entries, {prices_name} has {len(prices)}")
        budget = kind == "Budget"
        bounds = [self._start(starts_name, entry, fields.budget if budget else None) for entry in starts]
        amounts = [self._price(prices_name, entry) for entry in prices]
        self.tiers[part] = split(self.usage, bounds, amounts, budget=budget)
        return sum((tier.amount for tier in self.tiers[part]), Fraction(0))

    def _row(self, name: str) -> tuple[Text, ...]:
        value = self.value(name)
        if isinstance(value, Items):
            return entries(value)
        return entries(Text(str(value), self.rate_class.lines.get(name, self.rate_class.line), 1))

    def _start(self, name: str, entry: Text, budget: str | None) -> Fraction:
        text = entry.text
        if text.endswith("%"):
            percent = formula.number_of(text[:-1])
            if percent is None:
                raise self.fault(name, f"`{text}` is no share of the budget", entry)
            if budget is None and self.input("budget") is None:
                raise self.fault(name, f"`{text}` needs a budget, and the charge has none", entry)
            return percent / 100 * self.number(budget or "budget")
        return self.number(text.casefold()) if text.casefold() in ("indoor", "outdoor") else self._price(name, entry)

    def _price(self, name: str, entry: Text) -> Fraction:
        number = formula.number_of(entry.text)
        return number if number is not None else self._of_formula(name, entry)


MAP_SHAPE = "a map needs both depends_on (a name, or a list of names) and values (the entries)"


def map_of(node: Table) -> tuple[tuple[str, ...], Table | None]:
    """Return what a map depends on and its entries; no names or no entries when it is none."""
    depends, values = node.entries.get("depends_on"), node.entries.get("values")
    names: tuple[str, ...] = ()
    if isinstance(depends, Text) and depends.text:
        names = (depends.text,)
    elif isinstance(depends, Items):
        names = tuple(item.text for item in depends.items if isinstance(item, Text) and item.text)
    return names, values if isinstance(values, Table) and values.entries else None


def _given(value: object) -> Value:
    """Return an input as a number or a text; a text stays one, since it may be meant as a key."""
    if isinstance(value, float) and not isfinite(value):
        raise InputError(f"{value} is no number that a rate can use")
    if isinstance(value, int | float | Decimal | Fraction) and not isinstance(value, bool):
        return Fraction(Decimal(repr(value))) if isinstance(value, float) else Fraction(value)
    return str(value).strip()

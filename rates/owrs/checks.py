"""Every fault that can be seen in a file without inputs: syntax, missing tier fields, unequal lengths, circles."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from fractions import Fraction

from rates.errors import Fault
from rates.owrs import formula
from rates.owrs.evaluation import MAP_SHAPE, USAGE, map_of
from rates.owrs.structure import RateClass, Structure
from rates.owrs.tiers import entries, rate_type, tier_fields
from rates.owrs.tree import Items, Node, Table, Text

_OURS = ("charge", "surcharge", "rate", "price", "prices", "starts", "fee", "budget", "bill")


def faults_of(structure: Structure) -> tuple[Fault, ...]:
    """Return all faults of a file, in the order of the lines."""
    found = list(structure.faults)
    for rate_class in structure.classes.values():
        if rate_class.parts:
            found += _Checker(rate_class).faults()
    return tuple(sorted(set(found)))


class _Checker:
    """The faults of one class."""

    def __init__(self, rate_class: RateClass) -> None:
        self.rate_class = rate_class

    def fault(self, part: str, message: str, node: Node | None = None) -> Fault:
        line = node.line if node is not None else self.rate_class.lines.get(part, self.rate_class.line)
        return Fault(line, node.column if node is not None else 1, f"{self.rate_class.name}.{part}", message)

    def faults(self) -> Iterator[Fault]:
        for part, line in self.rate_class.twice.items():
            where = f"{self.rate_class.name}.{part}"
            yield Fault(line, 1, where, f"stands twice with different contents (line {self.rate_class.lines[part]})")
        if self.rate_class.part("bill") is None:
            yield self.fault("bill", "missing: it says what the parts add up to")
        for part, node in self.rate_class.parts.items():
            yield from self.part(part, node)
        yield from self.circles()

    def part(self, part: str, node: Node) -> Iterator[Fault]:
        kind = rate_type(node, part)
        if kind is not None:
            yield from self.tiered(part, kind)
        elif isinstance(node, Table):
            yield from self.map(part, node)
        elif isinstance(node, Items):
            for entry in node.items:
                yield from self.entry(part, entry)
        else:
            yield from self.formula(part, node)

    def entry(self, part: str, node: Node) -> Iterator[Fault]:
        if isinstance(node, Items):
            for item in node.items:
                yield from self.entry(part, item)
        elif isinstance(node, Table):
            yield from self.map(part, node)
        elif not node.text:
            yield self.fault(part, "is empty: a number is missing", node)

    def map(self, part: str, node: Table) -> Iterator[Fault]:
        names, values = map_of(node)
        if not names or values is None:
            yield self.fault(part, MAP_SHAPE, node)
            return
        for key, line in values.twice:
            where = f"{self.rate_class.name}.{part}"
            yield Fault(line, 1, where, f"the entry `{key}` stands twice with different contents")
        for entry in values.entries.values():
            if isinstance(entry, Table) and map_of(entry)[1] is None:
                for inner in entry.entries.values():
                    yield from self.entry(part, inner)
            else:
                yield from self.entry(part, entry)

    def formula(self, part: str, node: Text) -> Iterator[Fault]:
        if not node.text:
            yield self.fault(part, "is empty: a number or a formula is missing", node)
            return
        try:
            names = formula.names_in(formula.parse(node.text))
        except formula.FormulaError as error:
            if not self.is_row(part, node):
                yield self.fault(part, f"`{node.text}` is no formula: {error}", node)
            return
        for name in names:
            if name != USAGE and self.rate_class.part(name) is None and self.looks_like_a_part(name):
                close = get_close_matches(name, self.rate_class.parts, n=1, cutoff=0.8)
                hint = f": did you mean {close[0]}?" if close else ""
                yield self.fault(part, f"`{name}` is neither a part of this class nor an input{hint}", node)

    @staticmethod
    def is_row(part: str, node: Text) -> bool:
        """Say whether a text is a list of starts or prices written on one line."""
        return part.startswith(("tier_", "sewer_tier_")) and len(entries(node)) > 1

    def looks_like_a_part(self, name: str) -> bool:
        """Tell a misspelt or missing part from customer data: it is named like money, or nearly like a part."""
        if name.casefold().endswith(_OURS):
            return True
        return bool(get_close_matches(name, self.rate_class.parts, n=1, cutoff=0.92))

    def tiered(self, part: str, kind: str) -> Iterator[Fault]:
        fields = tier_fields(self.rate_class, part)
        for what, name in (("tier_starts", fields.starts), ("tier_prices", fields.prices)):
            if name is None:
                own = f"{fields.stem}_{what}" if fields.stem else what
                yield self.fault(part, f"`{kind}` needs {own}, which is missing")
        if fields.starts is None or fields.prices is None:
            return
        starts, prices = self.rate_class.parts[fields.starts], self.rate_class.parts[fields.prices]
        for row in _rows(starts).values():
            yield from self.starts(fields.starts, row, kind, fields.budget)
        yield from self.lengths(part, (fields.starts, starts), (fields.prices, prices))

    def starts(self, part: str, row: tuple[Text, ...], kind: str, budget: str | None) -> Iterator[Fault]:
        last: Fraction | None = None
        for entry in row:
            share = entry.text.endswith("%")
            if share and (kind == "Tiered" or budget is None):
                why = "only a `Budget` charge has shares" if kind == "Tiered" else "the class has no budget"
                yield self.fault(part, f"`{entry.text}`: {why}", entry)
            number = formula.number_of(entry.text)
            if number is not None and last is not None and number <= last:
                yield self.fault(part, f"{entry.text} does not lie above the start before it", entry)
            last = number if number is not None else last

    def lengths(self, part: str, starts: tuple[str, Node], prices: tuple[str, Node]) -> Iterator[Fault]:
        left, right = _rows(starts[1]), _rows(prices[1])
        depends = [map_of(node)[0] for node in (starts[1], prices[1]) if isinstance(node, Table)]
        same = len(depends) == 2 and depends[0] == depends[1]
        for key, row in left.items():
            for other_key, other in right.items():
                if len(row) == len(other) or (same and key != other_key):
                    continue
                where = " and ".join(sorted({f"`{name}`" for name in (key, other_key) if name}))
                at = f" for {where}" if where else ""
                message = f"{starts[0]} has {len(row)} entries, {prices[0]} has {len(other)}{at}"
                yield self.fault(part, message)

    def circles(self) -> Iterator[Fault]:
        """Yield one fault for each circle of parts."""
        state: dict[str, bool] = {}  # False: being followed, True: done

        def follow(part: str, way: tuple[str, ...]) -> Iterator[Fault]:
            state[part] = False
            for name in self.needs(part):
                below = self.rate_class.part(name)
                if below is None or state.get(below) is True or len(way) > 100:
                    continue
                if below in way:
                    yield self.fault(below, f"goes in a circle: {' -> '.join([*way[way.index(below) :], below])}")
                else:
                    yield from follow(below, (*way, below))
            state[part] = True

        for part in self.rate_class.parts:
            if part not in state:
                yield from follow(part, (part,))

    def needs(self, part: str) -> tuple[str, ...]:
        return needs_of(self.rate_class, part)


def needs_of(rate_class: RateClass, part: str) -> tuple[str, ...]:
    """Return the names that a part is made from, or chosen by."""
    node = rate_class.parts[part]
    kind = rate_type(node, part)
    if kind is not None:
        fields = tier_fields(rate_class, part)
        budget = (fields.budget,) if kind == "Budget" else ()
        return tuple(name for name in (fields.starts, fields.prices, *budget) if name)
    return tuple(dict.fromkeys(_names(rate_class, part, node)))


def _names(rate_class: RateClass, part: str, node: Node, *, in_map: bool = False) -> Iterator[str]:
    if isinstance(node, Table):
        names, values = map_of(node)
        yield from names
        for entry in (values or node).entries.values():
            yield from _names(rate_class, part, entry, in_map=True)
    elif isinstance(node, Items):
        for entry in node.items:
            yield from _names(rate_class, part, entry, in_map=in_map)
    elif node.text.casefold() in ("indoor", "outdoor"):
        yield node.text.casefold()
    elif rate_type(node, part) is None and not node.text.endswith("%"):
        try:
            names = formula.names_in(formula.parse(node.text))
        except formula.FormulaError:
            return
        if not in_map or all(name == USAGE or rate_class.part(name) is not None for name in names):
            yield from names


def _rows(node: Node) -> dict[str, tuple[Text, ...]]:
    """Return the rows of starts or prices by the key of their map; one under no key when there is no map."""
    if isinstance(node, Table):
        values = map_of(node)[1]
        return {
            key: entries(entry)
            for key, entry in (values.entries if values else {}).items()
            if not isinstance(entry, Table)
        }
    row = entries(node)
    return {"": row} if len(row) > 1 or isinstance(node, Items) else {}

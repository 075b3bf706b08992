"""The prices of a class in plain sentences, as they stand in the file."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from rates.owrs import formula
from rates.owrs.evaluation import map_of
from rates.owrs.structure import Metadata, RateClass
from rates.owrs.tiers import entries, rate_type, tier_fields
from rates.owrs.tree import Items, Node, Table, Text
from rates.owrs.wording import label_of

_WORDS = {
    "en": {
        "head": "{utility}: rates for {name} from {start} on. One unit of water is 1 {unit}.",
        "period": "One bill covers {months} month(s).",
        "tiers": "{label}: {rows}.",
        "tier": "{price} for each unit {bounds}",
        "between": "above {low} up to and including {high}",
        "first": "up to and including {high}",
        "above": "above {low}",
        "all": "of all use",
        "budget": "The bounds are shares of the household's own water budget: {formula}.",
        "map": "{label} goes by {names}: {rows}.",
        "fixed": "{label}: {amount}.",
        "formula": "{label} is computed as {formula}.",
        "bill": "The bill is {formula}.",
        "any": "{label}: {rows}.",
    },
    "es": {
        "head": "{utility}: tarifas de {name} desde el {start}. Una unidad de agua es 1 {unit}.",
        "period": "Una factura cubre {months} mes(es).",
        "tiers": "{label}: {rows}.",
        "tier": "{price} por cada unidad {bounds}",
        "between": "por encima de {low} hasta {high} inclusive",
        "first": "hasta {high} inclusive",
        "above": "por encima de {low}",
        "all": "de todo el consumo",
        "budget": "Los límites son partes del presupuesto de agua del hogar: {formula}.",
        "map": "{label} depende de {names}: {rows}.",
        "fixed": "{label}: {amount}.",
        "formula": "{label} se calcula como {formula}.",
        "bill": "La factura es {formula}.",
        "any": "{label}: {rows}.",
    },
}
_TIER_PARTS = ("tier_starts", "tier_prices")


def sentences(metadata: Metadata, rate_class: RateClass, language: str) -> tuple[str, ...]:
    """Return the sentences for one class; a language that is not there falls back to English."""
    speaker = _Speaker(rate_class, "es" if language.startswith("es") else "en")
    head = {"utility": metadata.utility, "name": rate_class.name, "start": metadata.start, "unit": metadata.unit}
    said = [speaker.say("head", **head)]
    if metadata.months:
        said.append(speaker.say("period", months=metadata.months))
    return tuple([*said, *speaker.parts()])


class _Speaker:
    """Says the parts of one class in one language."""

    def __init__(self, rate_class: RateClass, language: str) -> None:
        self.rate_class = rate_class
        self.language = language

    def say(self, what: str, **words: object) -> str:
        return _WORDS[self.language][what].format(**words)

    def label(self, part: str) -> str:
        return label_of(part)[self.language]

    def parts(self) -> Iterator[str]:
        for part, node in self.rate_class.parts.items():
            kind = rate_type(node, part)
            if kind is not None:
                yield from self.tiered(part, kind)
            elif not any(word in part for word in _TIER_PARTS) and shown(node) != "0":
                yield self.part(part, node)

    def part(self, part: str, node: Node) -> str:
        if isinstance(node, Table):
            names, values = map_of(node)
            rows = "; ".join(f"{key}: {shown(entry)}" for key, entry in (values or node).entries.items())
            return self.say("map", label=self.label(part), names=", ".join(names), rows=rows)
        text = shown(node)
        if formula.number_of(text) is not None:
            return self.say("fixed", label=self.label(part), amount=text)
        what = "bill" if part == "bill" else "formula"
        return self.say(what, label=self.label(part), formula=text)

    def tiered(self, part: str, kind: str) -> Iterator[str]:
        fields = tier_fields(self.rate_class, part)
        if fields.starts is None or fields.prices is None:
            return
        starts, prices = self.rate_class.parts[fields.starts], self.rate_class.parts[fields.prices]
        if isinstance(starts, Table) or isinstance(prices, Table):
            for name in (fields.starts, fields.prices):
                node = self.rate_class.parts[name]
                if isinstance(node, Table):
                    yield self.part(name, node)
                else:
                    yield self.say("any", label=self.label(name), rows=shown(node))
        else:
            rows = "; ".join(self.rows(entries(starts), entries(prices), kind))
            yield self.say("tiers", label=self.label(part), rows=rows)
        if kind == "Budget" and fields.budget is not None:
            yield self.say("budget", formula=shown(self.rate_class.parts[fields.budget]))

    def rows(self, starts: tuple[Text, ...], prices: tuple[Text, ...], kind: str) -> Iterator[str]:
        ends = [_end(entry.text, kind) for entry in starts[1:]]
        for index, price in enumerate(prices):
            low = ends[index - 1] if 0 < index <= len(ends) else "0"
            if index < len(ends):
                bounds = self.say("between" if index else "first", low=low, high=ends[index])
            else:
                bounds = self.say("above", low=low) if ends else self.say("all")
            yield self.say("tier", price=price.text, bounds=bounds)


def _end(start: str, kind: str) -> str:
    number = formula.number_of(start)
    if number is None or kind == "Budget":
        return start
    end = number - 1
    return str(end.numerator) if end.denominator == 1 else f"{float(end):g}"


def shown(node: Node) -> str:
    """Return a part as it stands in the file, on one line."""
    if isinstance(node, Text):
        number = formula.number_of(node.text)
        return "0" if number == Fraction(0) else node.text
    if isinstance(node, Items):
        return ", ".join(shown(item) for item in node.items)
    return "; ".join(f"{key}: {shown(entry)}" for key, entry in node.entries.items())

"""A class of our own rate files in plain sentences, in English and Spanish, from the text of the file itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from rates.book import LineKind
from rates.wording import MONTHS, WORDS

if TYPE_CHECKING:
    from rates.file import FileBook, RateClass
    from rates.lines import Charge
    from rates.winter import WinterRule


def sentences(book: FileBook, rate_class: str, on: date, language: str = "en") -> tuple[str, ...]:
    """Return the prices of a class on a day; a language that we do not have is given in English."""
    return tuple(_Speaker(book, book.rate_class(rate_class, on), on, language).speak())


class _Speaker:
    def __init__(self, book: FileBook, rate_class: RateClass, on: date, language: str) -> None:
        self.book, self.rate_class, self.on = book, rate_class, on
        self.language = language if language in WORDS else "en"
        self.words = WORDS[self.language]

    def speak(self) -> Iterator[str]:
        version = self.book.version_on(self.on)
        key = "heading" if version.end is None else "heading_end"
        authority = version.authority.rstrip(".")
        label = self.label(self.rate_class.label)
        name = version.name or version.id
        yield self.say(key, label=label, name=name, start=version.start, end=version.end, authority=authority)
        charges = {(charge.service, charge.code, charge.start): charge for charge, _ in self.rate_class.charges}
        for service, spec in self.rate_class.source["services"].items():
            yield f"{self.label(spec['label'])}:"
            for line in spec["lines"]:
                start = date.fromisoformat(line["from"]) if "from" in line else None
                yield f"  - {self.line(line, charges[service, line['code'], start])}"
        if self.rate_class.winter is not None and "winter_average" in self.rate_class.inputs:
            yield self.winter(self.rate_class.winter)
        yield self.say("proration")

    def say(self, key: str, **values: object) -> str:
        return self.words[key].format(**values)

    def label(self, label: Mapping[str, str]) -> str:
        return label.get(self.language) or label.get("en") or next(iter(label.values()))

    def line(self, line: Mapping[str, Any], charge: Charge) -> str:
        sentence = getattr(self, line["charge"])(line, charge)
        parts = [sentence]
        if charge.months is not None:
            parts.append(self.say("months", months=self.months(sorted(charge.months))))
        if charge.conditions:
            each = [self.condition(name, sorted(values)) for name, values in charge.conditions]
            parts.append(self.say("when", conditions=self.words["and"].join(each)))
        if charge.start is not None and charge.start > self.book.version_on(self.on).start:
            parts.append(self.say("from", day=charge.start))
        if charge.end is not None:
            parts.append(self.say("until", day=charge.end))
        text = " ".join(parts)
        return self.say("off", sentence=text) if charge.off else text

    def fixed(self, line: Mapping[str, Any], charge: Charge) -> str:
        times = ""
        if "times" in line:
            times = self.say("times", name=self.table(line["times"], self.plain))
        key = "credit" if charge.kind is LineKind.CREDIT else "fixed"
        text = self.say(key, label=self.label(line["label"]), price=self.table(line["price"], self.money), times=times)
        return f"{text} {self.say('at_most', of=self.of(line['at_most']))}" if "at_most" in line else text

    def usage(self, line: Mapping[str, Any], _: Charge) -> str:
        quantity = self.words[f"of_{line.get('basis', 'usage')}"]
        if "share" in line:
            quantity = self.say("of_share", share=line["share"], quantity=quantity)
        common = {"label": self.label(line["label"]), "per": self.volume(line["per"]), "quantity": quantity}
        if "tiers" in line:
            tiers = "; ".join(self.tier(row) for row in line["tiers"])
            text = self.say("whole" if line.get("method") == "whole" else "tiers", **common, tiers=tiers)
        else:
            price = self.table(line["price"], self.money)
            bound = self.table(line["above"], self.bound) if "above" in line else ""
            text = self.say("above" if bound else "flat", **common, price=price, bound=bound)
        if "budget" in line:
            text += " " + self.say("budget", formula=line["budget"])
        if "widths_times" in line:
            text += " " + self.say("widths", name=self.table(line["widths_times"], self.plain))
        return text

    def tier(self, row: Mapping[str, Any]) -> str:
        price = self.table(row["price"], self.money)
        for key in ("to", "below"):
            if key in row:
                return self.say(key, price=price, bound=self.table(row[key], self.bound))
        return self.say("rest", price=price)

    def percent(self, line: Mapping[str, Any], charge: Charge) -> str:
        key = "discount" if charge.kind is LineKind.CREDIT else "percent"
        percent = self.table(line["percent"], lambda text: text)
        return self.say(key, label=self.label(line["label"]), percent=percent, of=self.of(line["of"]))

    def minimum(self, line: Mapping[str, Any], _: Charge) -> str:
        price = self.table(line["amount"], self.money)
        return self.say("minimum", label=self.label(line["label"]), price=price, of=self.of(line["of"]))

    def winter(self, rule: WinterRule) -> str:
        lowest = self.say("lowest", count=rule.lowest) if rule.lowest is not None else ""
        reset = MONTHS[self.language][rule.reset_month - 1]
        parts = [self.say("average", months=self.months(rule.months), lowest=lowest, reset=reset)]
        if rule.default_units is None:
            parts.append(self.say("average_actual"))
        else:
            parts.append(self.say("average_default", units=self.volume(str(rule.default_units))))
        return " ".join([*parts, self.say("cap")] if rule.cap_actual else parts)

    def table(self, given: Any, word: Any) -> str:
        """Write a plain value, or every case of a table."""
        if not isinstance(given, dict):
            return str(word(given))
        names = [given["by"]] if isinstance(given["by"], str) else list(given["by"])
        return ", ".join(self.cases(names, given["values"], word, []))

    def cases(self, names: list[str], values: Any, word: Any, so_far: list[str]) -> Iterator[str]:
        if not names:
            joined = self.words["and"].join(so_far)
            yield f"{word(values)} ({joined})"
            return
        for key, below in values.items():
            here = [*so_far, self.condition(names[0], [key])]
            yield from self.cases(names[1:], below, word, here)

    def condition(self, name: str, values: list[str]) -> str:
        shown = self.words["or"].join(self.words.get(value, value) for value in values)
        if values == ["otherwise"]:
            return self.words["otherwise"]
        return self.say("is", name=self.plain(name), values=shown)

    def of(self, names: list[str]) -> str:
        return ", ".join(self.line_name(name) for name in names)

    def line_name(self, name: str) -> str:
        service, _, code = name.partition(".")
        if not code:
            return self.label(self.rate_class.service_labels[service])
        found = next(c for c, _ in self.rate_class.charges if (c.service, c.code) == (service, code))
        return self.label(found.label)

    def bound(self, text: str) -> str:
        if text.endswith("%"):
            return self.say("of_budget", share=text)
        if text[0].isdigit():
            return self.volume(text)
        return self.words["winter_average"] if text == "winter_average" else self.plain(text)

    def volume(self, text: str) -> str:
        scale = 10**self.book.quantity.scale
        unit = self.book.quantity.unit.value
        if scale == 1:
            return f"{grouped(text)} {unit}"
        return f"{grouped(text)} x {scale:g} {unit}"

    def plain(self, name: str) -> str:
        """Return an input as its label says it."""
        label = self.book.labels.get(name)
        return self.label(label) if label else name.replace("_", " ")

    def money(self, text: str) -> str:
        whole, _, places = text.partition(".")
        amount = f"{grouped(whole)}.{places.ljust(2, '0')}"
        return f"${amount}" if self.book.currency == "USD" else f"{amount} {self.book.currency}"

    def months(self, numbers: Any) -> str:
        return ", ".join(MONTHS[self.language][number - 1] for number in numbers)


def grouped(text: str) -> str:
    """Write the digits before the point in groups of three."""
    whole, point, places = text.partition(".")
    return f"{int(whole):,}{point}{places}"

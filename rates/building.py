"""Build the charges of a class from its text, and note what cannot be meant: unknown names, bounds that fall, ..."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rates.amounts import OTHERWISE, AmountReader, Bounds, is_number
from rates.book import LineKind
from rates.file import RateClass, Season
from rates.lines import Amount, Calculation, Charge, Fixed, Minimum, Percent, Tier, Usage
from rates.winter import WinterRule

if TYPE_CHECKING:
    from rates.book import Version
    from rates.document import Document, Path
    from rates.inputs import Declared

YES = frozenset({"yes", "true"})
KINDS = {"fixed": LineKind.FIXED, "usage": LineKind.USAGE, "minimum": LineKind.MINIMUM}
Key = tuple[str, str]


class ClassBuilder:
    """Builds one class of one version."""

    def __init__(
        self,
        document: Document,
        day: Callable[[str, Path], date],
        declared: Mapping[str, Declared],
        seasons: tuple[Season, ...],
        version: Version,
    ) -> None:
        self.document, self.day, self.version = document, day, version
        self.amounts = AmountReader(document, declared, seasons, winter=False)
        self.charges: list[tuple[Charge, Calculation]] = []
        self.minimums: dict[Key, tuple[Key, ...]] = {}
        self.credits: dict[Key, tuple[Key, ...]] = {}
        self.discounted: dict[Key, str] = {}
        self.named: set[Key] = set()
        self.decreasing = False
        self.winter: WinterRule | None = None

    def build(self, name: str, source: Mapping[str, Any]) -> RateClass:
        """Return the class; faults are noted in the document."""
        self.decreasing = source["decreasing"]
        if source["winter_average"] is not None:
            self.winter = self._winter(source["winter_average"], source["winter_path"])
            self.amounts.winter = True
        for service, spec in source["services"].items():
            for index, line in enumerate(spec["lines"]):
                self._line(service, line, (*spec["path"], "lines", index))
        return RateClass(
            name=name,
            label=source["label"],
            services=tuple(source["services"]),
            service_labels={service: spec["label"] for service, spec in source["services"].items()},
            charges=tuple(self.charges),
            inputs=tuple(self.amounts.used),
            winter=self.winter,
            named=frozenset(self.named),
            source=source,
        )

    def _winter(self, spec: Mapping[str, Any], path: Path) -> WinterRule:
        months = tuple(int(text) for text in spec.get("months", ("12", "1", "2")))
        lowest = int(spec["lowest"]) if "lowest" in spec else None
        least = int(spec.get("months_least", "1"))
        if len(set(months)) < len(months):
            self.document.fault((*path, "months"), "a month is listed twice")
        if lowest is not None and not 1 <= lowest <= len(months):
            self.document.fault((*path, "lowest"), f"must be from 1 to the {len(months)} months that count")
        if not 1 <= least <= len(months):
            self.document.fault((*path, "months_least"), f"must be from 1 to the {len(months)} months that count")
        return WinterRule(
            months=months,
            lowest=lowest,
            reset_month=int(spec.get("reset_month", "3")),
            default_units=int(spec["default"]) if "default" in spec else None,
            cap_actual=spec.get("cap_actual", "no") in YES,
            months_min=least,
            days_min=int(spec.get("days_least", "20")),
        )

    def _line(self, service: str, line: Mapping[str, Any], path: Path) -> None:
        charge = self._charge(service, line, path)
        key = (service, charge.code)
        for other, _ in self.charges:
            if (other.service, other.code) == key and _overlap(other, charge):
                self.document.fault((*path, "code"), f"{charge.code} is the code of another line on the same days")
                break
        build = {"fixed": self._fixed, "usage": self._usage, "percent": self._percent, "minimum": self._minimum}
        calculation = build[line["charge"]](charge, line, path)
        if calculation is not None:
            self.charges.append((charge, calculation))

    def _charge(self, service: str, line: Mapping[str, Any], path: Path) -> Charge:
        start = self.day(line["from"], (*path, "from")) if "from" in line else None
        end = self.day(line["until"], (*path, "until")) if "until" in line else None
        if start is not None and end is not None and end <= start:
            self.document.fault((*path, "until"), "must be later than from")
        outside = [
            (key, day)
            for key, day in (("from", start), ("until", end))
            if day is not None
            and (day < self.version.start or (self.version.end is not None and day > self.version.end))
        ]
        for key, day in outside:
            self.document.fault((*path, key), f"{day} is outside version {self.version.id}")
        return Charge(
            service=service,
            code=line["code"],
            label=line["label"],
            kind=LineKind(line["kind"]) if "kind" in line else KINDS[line["charge"]],
            start=start,
            end=end,
            off=line.get("off", "no") in YES,
            months=frozenset(map(int, line["months"])) if "months" in line else None,
            conditions=tuple(self._conditions(line.get("when", {}), (*path, "when"))),
        )

    def _conditions(self, when: Mapping[str, Any], path: Path) -> Iterator[tuple[str, frozenset[str]]]:
        for name, given in when.items():
            values = given if isinstance(given, list) else [given]
            known = self.amounts.keys(name, (*path, name))
            if known is None:
                continue
            values = [self.amounts.key(name, value) for value in values]
            for value in values:
                if known and value not in known:
                    self.document.fault((*path, name), f"{value!r} is none of: {', '.join(known)}")
            yield name, frozenset(values)

    def _fixed(self, charge: Charge, line: Mapping[str, Any], path: Path) -> Calculation | None:
        price = self.amounts.amount(line["price"], (*path, "price"))
        times = self.amounts.times(line["times"], (*path, "times")) if "times" in line else None
        at_most = self._of(charge, line["at_most"], (*path, "at_most")) if "at_most" in line else ()
        if "at_most" in line and charge.kind is not LineKind.CREDIT:
            self.document.fault((*path, "at_most"), "only a credit has at_most", key=True)
        if at_most and not self.decreasing:
            self._note_discounts(charge, at_most, (*path, "at_most"))
        return None if price is None else Fixed(price, times, at_most)

    def _usage(self, charge: Charge, line: Mapping[str, Any], path: Path) -> Calculation | None:
        if ("price" in line) == ("tiers" in line):
            self.document.fault(path, "a usage line has price or tiers, and not both")
            return None
        if "above" in line and "tiers" in line:
            self.document.fault((*path, "above"), "above goes with price; tiers have bounds of their own", key=True)
        winter = line.get("basis") == "winter_average"
        if winter:
            self.amounts.use("winter_average", path)
        if charge.kind is LineKind.CREDIT and not self.decreasing:
            self._note_decreasing((*path, "kind"), "a credit by usage makes more water cost less")
        widths = self.amounts.times(line["widths_times"], (*path, "widths_times")) if "widths_times" in line else None
        bounds = Bounds(self.amounts, self.amounts.budget(line, path), widths)
        skip = "above" in line
        if skip:
            bound = bounds.read(line["above"], (*path, "above"), below=False)
            zero: Amount = lambda _: Fraction(0)  # noqa: E731
            price = self.amounts.amount(line["price"], (*path, "price"))
            tiers = [Tier(bound, zero), Tier(None, price)] if price and bound else []
        elif "price" in line:
            price = self.amounts.amount(line["price"], (*path, "price"))
            tiers = [Tier(None, price)] if price else []
        else:
            tiers = self._tiers(line, path, bounds)
        if "budget" in line and not bounds.budget_used:
            self.document.fault((*path, "budget"), "no bound is a percentage of the budget", key=True)
        share = Fraction(line["share"].removesuffix("%")) / 100 if "share" in line else None
        whole = line.get("method") == "whole"
        return Usage(tuple(tiers), Fraction(line["per"]), winter, share, skip, whole) if tiers else None

    def _tiers(self, line: Mapping[str, Any], path: Path, bounds: Bounds) -> list[Tier]:
        rows, tiers = line["tiers"], []
        for index, row in enumerate(rows):
            at = (*path, "tiers", index)
            last = index == len(rows) - 1
            if last == ("to" in row or "below" in row) or ("to" in row and "below" in row):
                self.document.fault(at, "the last tier has no bound" if last else "needs one bound: to or below")
            key = "below" if "below" in row else "to"
            bound = bounds.read(row[key], (*at, key), below=key == "below") if key in row else None
            price = self.amounts.amount(row["price"], (*at, "price"))
            if price is not None:
                tiers.append(Tier(bound, price))
        _check_ascending(self.document, rows, path)
        if line.get("method") == "whole" and not self.decreasing:
            self._check_falling(rows, path)
        return tiers

    def _check_falling(self, rows: list[Mapping[str, Any]], path: Path) -> None:
        """With one price for all units a lower price above a bound makes more water cost less."""
        for index, (before, after) in enumerate(itertools.pairwise(rows), 1):
            for column in set(_columns(before["price"])) | set(_columns(after["price"])):
                low, high = _cell(before["price"], column), _cell(after["price"], column)
                if low is not None and high is not None and high < low:
                    at = (*path, "tiers", index, "price")
                    self._note_decreasing(at, f"falls from {float(low):g} for all units: more water would cost less")
                    return

    def _note_discounts(self, charge: Charge, of: tuple[Key, ...], path: Path) -> None:
        """See that what is taken off cannot grow faster than what it is taken from."""
        self.credits[charge.service, charge.code] = of
        self._note_beside_minimum(of, path)
        for key in of:
            if (earlier := self.discounted.setdefault(key, charge.code)) != charge.code:
                what = f"{key[0]}.{key[1]} has the discount {earlier} already: together they could overtake it"
                self._note_decreasing(path, what)

    def _note_beside_minimum(self, of: tuple[Key, ...], path: Path) -> None:
        """What a minimum has filled up must be taken with it: while it fills, only the two together are constant."""
        for key, filled in self.minimums.items():
            if key not in of and set(filled) & set(of):
                self._note_decreasing(
                    path, f"has lines that the minimum {key[0]}.{key[1]} fills up, but not the minimum"
                )

    def _note_decreasing(self, path: Path, what: str) -> None:
        self.document.fault(path, f"{what}; if that is meant, write decreasing: yes in the class")

    def _percent(self, charge: Charge, line: Mapping[str, Any], path: Path) -> Calculation | None:
        percent = self.amounts.amount(line["percent"], (*path, "percent"), percent=True)
        of = self._of(charge, line["of"], (*path, "of"))
        if charge.kind is LineKind.CREDIT and not self.decreasing:
            self._note_discounts(charge, of, (*path, "of"))
            for text in _leaves(line["percent"]):
                if Fraction(text.removesuffix("%")) > 100:  # noqa: PLR2004
                    self._note_decreasing((*path, "percent"), "a discount of more than 100%")
        return None if percent is None else Percent(percent, of)

    def _minimum(self, charge: Charge, line: Mapping[str, Any], path: Path) -> Calculation | None:
        amount = self.amounts.amount(line["amount"], (*path, "amount"))
        of = self._of(charge, line["of"], (*path, "of"))
        if not self.decreasing:
            self._note_beside_minimum(of, (*path, "of"))
        self.minimums[charge.service, charge.code] = of
        self.named.add((charge.service, charge.code))
        return None if amount is None else Minimum(amount, of)

    def _of(self, charge: Charge, names: list[str], path: Path) -> tuple[Key, ...]:
        """Return the lines that `of` names: they must stand above, so that they are worked out by then."""
        above = [(other.service, other.code) for other, _ in self.charges]
        found: list[Key] = []
        for index, name in enumerate(names):
            service, _, code = name.partition(".")
            keys = [key for key in above if key[0] == service and code in ("", key[1])]
            if not keys:
                self.document.fault((*path, index), f"{name!r} names no line above this one in the class")
            found += [key for key in keys if key not in found and key != (charge.service, charge.code)]
        for key, base in {**self.minimums, **self.credits}.items():
            if key in found and not set(base) <= set(found):
                left_out = ", ".join(f"{s}.{c}" for s, c in base if (s, c) not in found)
                kind = "minimum" if key in self.minimums else "discount"
                self.document.fault(path, f"has the {kind} {key[0]}.{key[1]} without its lines: {left_out}")
        self.named.update(found)
        return tuple(found)


def _overlap(one: Charge, other: Charge) -> bool:
    starts_before = one.end is None or other.start is None or other.start < one.end
    return starts_before and (other.end is None or one.start is None or one.start < other.end)


def _leaves(given: Any) -> Iterator[str]:
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        for below in given.get("values", given).values():
            yield from _leaves(below)


def _columns(given: Any) -> Iterator[tuple[str, ...]]:
    """Yield the ways through a table; one empty way for a plain number."""
    if not isinstance(given, dict):
        yield ()
        return
    for key, below in given.get("values", given).items():
        yield from ((key, *rest) for rest in _columns(below))


def _cell(given: Any, column: tuple[str, ...]) -> Fraction | None:
    """Return the number at one way through a table; a plain number is the same everywhere."""
    if isinstance(given, str):
        return Fraction(given) if is_number(given) else None
    if not isinstance(given, dict) or not column:
        return None
    table = given.get("values", given)
    below = table.get(column[0], table.get(OTHERWISE))
    return None if below is None else _cell(below, column[1:])


def _check_ascending(document: Document, rows: list[Mapping[str, Any]], path: Path) -> None:
    """See that bounds rise, for every way through their tables."""
    for index, (before, after) in enumerate(itertools.pairwise(rows), 1):
        low_key, high_key = ("below" if "below" in row else "to" for row in (before, after))
        if low_key not in before or high_key not in after:
            continue
        low_given, high_given = before[low_key], after[high_key]
        for column in {*_columns(low_given), *_columns(high_given)}:
            low, high = _bound_cell(low_given, column), _bound_cell(high_given, column)
            if low is not None and high is not None and low[1] == high[1] and high[0] <= low[0]:
                unit = "%" if low[1] else ""
                text = f"must be above {float(low[0]):g}{unit}, the bound before it"
                document.fault((*path, "tiers", index, high_key), text)
                break


def _bound_cell(given: Any, column: tuple[str, ...]) -> tuple[Fraction, bool] | None:
    """Return a bound as (number, whether it is a percentage); None when it is an input."""
    if isinstance(given, dict):
        table = given.get("values", given)
        below = table.get(column[0], table.get(OTHERWISE)) if column else None
        return None if below is None else _bound_cell(below, column[1:])
    if not isinstance(given, str):
        return None
    number = given.removesuffix("%")
    return (Fraction(number), number != given) if is_number(number) else None

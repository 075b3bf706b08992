"""What a file says, before anything is priced: its metadata, its classes and their parts, under every spelling."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date

from domain.units import Unit
from rates.book import Quantity
from rates.errors import Fault, RateFileError
from rates.owrs.tree import Items, Node, Table, Text

UNDATED = date(1900, 1, 1)
_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905
}
_UNITS = {
    "ccf": Quantity(Unit.CCF),
    "hcf": Quantity(Unit.CCF),
    "hundredcubicfeet": Quantity(Unit.CCF),
    "100cubicfeet": Quantity(Unit.CCF),
    "kgal": Quantity(Unit.KILOGALLON),
    "kgals": Quantity(Unit.KILOGALLON),
    "tgal": Quantity(Unit.KILOGALLON),
    "kilogallon": Quantity(Unit.KILOGALLON),
    "1000gallon": Quantity(Unit.KILOGALLON),
    "1000gal": Quantity(Unit.KILOGALLON),
    "thousandgallon": Quantity(Unit.KILOGALLON),
    "gal": Quantity(Unit.GALLON),
    "gallon": Quantity(Unit.GALLON),
    "cf": Quantity(Unit.CUBIC_FOOT),
    "ft3": Quantity(Unit.CUBIC_FOOT),
    "cubicfeet": Quantity(Unit.CUBIC_FOOT),
    "cubicfoot": Quantity(Unit.CUBIC_FOOT),
    "m3": Quantity(Unit.CUBIC_METRE),
    "cubicmeter": Quantity(Unit.CUBIC_METRE),
    "cubicmetre": Quantity(Unit.CUBIC_METRE),
    "kl": Quantity(Unit.CUBIC_METRE),
    "kiloliter": Quantity(Unit.CUBIC_METRE),
    "kilolitre": Quantity(Unit.CUBIC_METRE),
    "l": Quantity(Unit.LITRE),
    "liter": Quantity(Unit.LITRE),
    "litre": Quantity(Unit.LITRE),
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """Who charges, from when, how often and for what unit. months: in one period, None when the file does not say."""

    utility: str
    start: date
    months: int | None
    frequency: str
    quantity: Quantity
    unit: str


@dataclass(frozen=True, slots=True)
class RateClass:
    """One class: its parts by the name in the file, each with the line of its name."""

    name: str
    parts: dict[str, Node]
    lines: dict[str, int]
    line: int
    twice: dict[str, int] = field(default_factory=dict)

    def part(self, name: str) -> str | None:
        """Return the name under which a part stands in the file: as asked, or with or without `_commodity`."""
        for candidate in synonyms(name):
            if candidate in self.parts:
                return candidate
        folded = [part for part in self.parts if part.casefold() == name.casefold()]
        return folded[0] if len(folded) == 1 else None


@dataclass(frozen=True, slots=True)
class Structure:
    """A whole file. faults: what is wrong in its metadata and in the shape of its classes."""

    metadata: Metadata
    classes: dict[str, RateClass]
    faults: tuple[Fault, ...]


def synonyms(name: str) -> tuple[str, ...]:
    """Return a name and its synonym: `flat_rate_commodity` and `flat_rate` are one."""
    plain = name.removesuffix("_commodity")
    return (name, plain) if plain != name else (name, f"{name}_commodity")


def squeezed(text: str) -> str:
    """Return a spelling reduced to its letters and digits."""
    return re.sub(r"[\W_]+", "", text).casefold()


def structure_of(top: Table, *, name: str) -> Structure:
    """Read a file's tree; raises RateFileError when it has no classes at all."""
    faults = [Fault(line, 1, key, "stands twice: write it once, with all it holds") for key, line in top.twice]
    rates = _entry(top, "rate_structure")
    if not isinstance(rates, Table) or not rates.entries:
        line = rates.line if rates is not None else top.line
        where = "rate_structure"
        raise RateFileError(name, [*faults, Fault(line, 1, where, "missing: it must hold the classes and their rates")])
    metadata = _metadata(_entry(top, "metadata"), faults)
    faults += [Fault(line, 1, key, "this class stands twice with different contents") for key, line in rates.twice]
    classes = {}
    for key, node in rates.entries.items():
        rate_class = _class(key, node, rates.lines.get(key, node.line))
        classes[key] = rate_class
        if not rate_class.parts:
            faults.append(Fault(rate_class.line, 1, key, "this class has no parts: it needs at least `bill`"))
    return Structure(metadata, classes, tuple(faults))


def _entry(table: Table, name: str) -> Node | None:
    if name in table.entries:
        return table.entries[name]
    return next((node for key, node in table.entries.items() if key.casefold() == name), None)


def _class(name: str, node: Node, line: int) -> RateClass:
    tables = [node] if isinstance(node, Table) else []
    if isinstance(node, Items):  # the format's first examples write a class as a list of single parts
        tables = [item for item in node.items if isinstance(item, Table)]
    parts: dict[str, Node] = {}
    lines: dict[str, int] = {}
    twice: dict[str, int] = {}
    for table in tables:
        twice |= dict(table.twice)
        for key, part in table.entries.items():
            parts[key], lines[key] = part, table.lines.get(key, part.line)
    return RateClass(name, parts, lines, line, twice)


def _metadata(node: Node | None, faults: list[Fault]) -> Metadata:
    if not isinstance(node, Table):
        faults.append(Fault(node.line if node else 1, 1, "metadata", "missing: utility_name, effective_date, ..."))
        return Metadata("", UNDATED, None, "", Quantity(Unit.CCF), "ccf")
    says = {key.casefold(): entry for key, entry in node.entries.items() if isinstance(entry, Text)}

    def fault(key: str, message: str) -> None:
        line = says[key].line if key in says else node.line
        faults.append(Fault(line, 1, f"metadata.{key}", message))

    def text(key: str) -> str:
        return says[key].text if key in says else ""

    start = date_of(text("effective_date"))
    if start is None:
        fault("effective_date", f"`{text('effective_date')}` is no date: write 2017-07-01 or 07/01/2017")
    if not text("utility_name"):
        fault("utility_name", "missing")
    months = months_of(text("bill_frequency"))
    if months is None:
        fault(
            "bill_frequency", f"`{text('bill_frequency')}` is unknown: write monthly, bimonthly, quarterly or annually"
        )
    key = "unit_type" if "bill_unit" not in says and "unit_type" in says else "bill_unit"
    unit = text(key) or "ccf"
    quantity = unit_of(unit)
    if quantity is None:
        fault(key, f"`{unit}` is an unknown unit of volume: write ccf, kgal, gal, ft3, m3 or l")
    frequency = text("bill_frequency")
    return Metadata(text("utility_name"), start or UNDATED, months, frequency, quantity or Quantity(Unit.CCF), unit)


def unit_of(text: str) -> Quantity | None:
    """Return the billed unit that a file names, in any spelling; None when it is unknown."""
    key = squeezed(text)
    return _UNITS.get(key) or _UNITS.get(key.removesuffix("s"))


def months_of(text: str) -> int | None:
    """Return the months in one billing period, None when the text says none."""
    key = squeezed(text)
    if key.startswith(("semiann", "halfyear", "biann", "every6")):
        return 6
    if key.startswith(("bi", "every2", "everytwo", "everyother")):
        return 2
    for beginning, months in (("mon", 1), ("everymonth", 1), ("quart", 3), ("every3", 3), ("ann", 12), ("year", 12)):
        if key.startswith(beginning):
            return months
    return None


def date_of(text: str) -> date | None:
    """Return a day written year first, or in the American order, with any of - / . or the month's name."""
    words = re.findall(r"\d+|[A-Za-z]+", text)[:3]
    if len(words) != 3 or len(text) > 40:
        return None
    months = [(index, _MONTHS.get(word[:3].lower())) for index, word in enumerate(words) if word.isalpha()]
    if len(months) > 1 or (months and months[0][1] is None):
        return None
    try:
        if months:
            index, month = months[0]
            day, year = [int(word) for position, word in enumerate(words) if position != index]
            day, year = (year, day) if day > 31 else (day, year)
        elif len(words[0]) == 4:
            year, month, day = (int(word) for word in words)
        else:
            month, day, year = (int(word) for word in words)
        assert month is not None
        return date(year + 2000 if year < 100 else year, month, day)
    except ValueError:
        return None

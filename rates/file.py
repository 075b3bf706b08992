"""Our own rate files once they are loaded: the `Book` of format `headwater-rates/1`. docs/reference/rate-files.md."""

from __future__ import annotations

from bisect import bisect_right
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rates.book import InputSpec, Line, Priced, PriceRequest, Quantity, Version, cents_of
from rates.errors import InputError
from rates.explaining import sentences
from rates.lines import Calculation, Charge, Pricing
from rates.policies import Policies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.units import Unit
    from rates.inputs import Declared
    from rates.winter import WinterRule

FORMAT = "headwater-rates/1"
NO_SEASON = "otherwise"


@dataclass(frozen=True, slots=True)
class Season:
    """A part of the year: the bills of some months, or the days from first to last (month, day), both included."""

    name: str
    months: frozenset[int] | None = None
    first: tuple[int, int] | None = None
    last: tuple[int, int] | None = None

    def holds(self, day: date, month: int) -> bool:
        """Say whether a day, or the bill of a month, lies in it."""
        if self.months is not None:
            return month in self.months
        assert self.first is not None
        assert self.last is not None
        at = (day.month, day.day)
        if self.first <= self.last:
            return self.first <= at <= self.last
        return at >= self.first or at <= self.last

    def edges(self, year: int) -> tuple[date, ...]:
        """Return the days of a year on which a season by days begins, and on which it is over."""
        if self.first is None or self.last is None:
            return ()
        return date(year, *self.first), date(year, *self.last) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RateClass:
    """A class in one version: its charges in their order and what they need.

    inputs  the names that its prices depend on. named: (service, code) of lines that other lines are made of.
    source  the file's own text, for the explanation.
    """

    name: str
    label: Mapping[str, str]
    services: tuple[str, ...]
    service_labels: Mapping[str, Mapping[str, str]]
    charges: tuple[tuple[Charge, Calculation], ...]
    inputs: tuple[str, ...]
    winter: WinterRule | None
    named: frozenset[tuple[str, str]]
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DatedClasses:
    """A version and what it holds."""

    version: Version
    classes: Mapping[str, RateClass]


class FileBook:
    """A loaded rate file of ours."""

    format = FORMAT

    def __init__(
        self,
        *,
        name: str,
        title: str,
        currency: str,
        digest: str,
        quantity: Quantity,
        languages: tuple[str, ...],
        declared: Mapping[str, Declared],
        seasons: tuple[Season, ...],
        dated: tuple[DatedClasses, ...],
        policies: tuple[tuple[date, Policies], ...],
        labels: Mapping[str, Mapping[str, str]] | None = None,
        conversions: Mapping[Unit, Fraction] | None = None,
    ) -> None:
        self.name, self.title, self.currency, self.digest = name, title, currency, digest
        self._quantity, self.languages = quantity, languages
        self.declared, self.seasons, self.dated = declared, seasons, dated
        self._policies = policies
        self.labels, self.conversions = labels or {}, conversions or {}
        self._starts = [entry.version.start for entry in dated]
        self._edges = self._dated_edges()
        self._defaults = {d.name: d.parse(d.default) for d in declared.values() if d.default is not None}

    @property
    def quantity(self) -> Quantity:
        """What one billed unit is."""
        return self._quantity

    def versions(self) -> tuple[Version, ...]:
        """Return the versions in the order of their start."""
        return tuple(entry.version for entry in self.dated)

    def version_on(self, day: date) -> Version:
        """Return the version that holds on a day; raises InputError when there is none."""
        return self._on(day).version

    def changes(self, after: date, before: date) -> tuple[date, ...]:
        """Return the days strictly between two at which any price changes."""
        seasonal = {
            edge
            for season in self.seasons
            for year in range(after.year - 1, before.year + 1)
            for edge in season.edges(year)
        }
        return tuple(sorted(day for day in self._edges | seasonal if after < day < before))

    def classes(self, on: date) -> tuple[str, ...]:
        """Return the rate classes on a day."""
        return tuple(self._on(on).classes)

    def services(self, rate_class: str, on: date) -> tuple[str, ...]:
        """Return the services that a class has a price for."""
        return self.rate_class(rate_class, on).services

    def inputs(self, rate_class: str, on: date) -> tuple[InputSpec, ...]:
        """Return what a class's prices depend on besides the quantity."""
        unit = self.unit_name()
        return tuple(self.declared[name].spec(unit) for name in self.rate_class(rate_class, on).inputs)

    def winter_rule(self, rate_class: str, on: date) -> WinterRule | None:
        """Return how the winter average of a class is made; None when no price needs one."""
        found = self.rate_class(rate_class, on)
        return found.winter if "winter_average" in found.inputs else None

    def policies(self, on: date) -> Policies:
        """Return the rules that hold on a day; the defaults before the first."""
        holding = [policies for start, policies in self._policies if start <= on]
        return holding[-1] if holding else Policies()

    def rate_class(self, name: str, on: date) -> RateClass:
        """Return a class as it is on a day; raises InputError naming those that there are."""
        entry = self._on(on)
        if (found := entry.classes.get(name)) is None:
            raise InputError(f"class {name!r} is not in version {entry.version.id}; it has: {', '.join(entry.classes)}")
        return found

    def unit_name(self) -> str:
        """Return one billed unit in words, such as `gal` or `1000 gal`."""
        scale = self._quantity.scale
        return self._quantity.unit.value if scale == 0 else f"{10**scale:g} {self._quantity.unit.value}"

    def with_lines_on(self, names: frozenset[str]) -> FileBook:
        """Return the book with lines in force that are off in the file (`service.code`), to see what they would do."""
        other = copy(self)
        known = {
            _name(charge) for entry in self.dated for found in entry.classes.values() for charge, _ in found.charges
        }
        if unknown := names - known:
            raise InputError(f"line {min(unknown)!r} is not in {self.name}; it has: {', '.join(sorted(known))}")
        other.dated = tuple(
            replace(entry, classes={name: _turned_on(found, names) for name, found in entry.classes.items()})
            for entry in self.dated
        )
        other._edges = other._dated_edges()
        return other

    def units_of(self, volume: Fraction, unit: Unit) -> Fraction:
        """Return a volume in billed units: as the file counts them (748 gal for a ccf), or else exact."""
        if unit in self.conversions:
            return volume / self.conversions[unit]
        return volume * unit.litres / (self._quantity.unit.litres * Fraction(10) ** self._quantity.scale)

    def parse_inputs(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return inputs as text and exact numbers, defaults filled in; raises InputError for unknown ones."""
        values: dict[str, object] = dict(self._defaults)
        for name, value in given.items():
            if (declared := self.declared.get(name)) is None:
                raise InputError(f"input {name!r} is not known; known are: {', '.join(self.declared) or 'none'}")
            if value is not None:
                values[name] = declared.parse(value)
        return values

    def price(self, request: PriceRequest) -> Priced:
        """Price a quantity; raises InputError when an input is missing or has a value that the file does not know."""
        if request.units < 0 or request.days < 0 or request.full_days < 1 or not 1 <= request.month <= 12:  # noqa: PLR2004
            raise InputError("usage and days must not be negative, full_days at least 1, month 1 to 12")
        entry = self._on(request.on)
        found = self.rate_class(request.rate_class, request.on)
        values = self.parse_inputs(request.inputs)
        holding = frozenset(s.name for s in self.seasons if s.holds(request.on, request.month))
        values["season"] = next((s.name for s in self.seasons if s.name in holding), NO_SEASON)
        pricing = Pricing(
            units=Fraction(request.units),
            days=request.days,
            full_days=request.full_days,
            values=values,
            rule=found.winter,
            version=entry.version.id,
        )
        lines: list[Line] = []
        cents = 0
        for charge, calculation in found.charges:
            if request.services is not None and charge.service not in request.services:
                continue
            if charge.holds_on(request.on) and _meets(charge, values, holding, request.month):
                for line in calculation.lines(charge, pricing):
                    lines.append(line)
                    printed = cents_of(line.amount)
                    cents += printed
                    if (key := (charge.service, charge.code)) in found.named:
                        pricing.came_to(key, line.amount, printed)
        return Priced(tuple(lines), Fraction(cents, 100))

    def explain(self, rate_class: str, on: date, language: str = "en") -> tuple[str, ...]:
        """Return the prices of a class in plain sentences."""
        return sentences(self, rate_class, on, language)

    def _on(self, day: date) -> DatedClasses:
        index = bisect_right(self._starts, day) - 1
        entry = self.dated[index] if index >= 0 else None
        if entry is None or (entry.version.end is not None and day >= entry.version.end):
            held = ", ".join(version.id for version in self.versions())
            raise InputError(f"{self.name} has no rates on {day}; its versions: {held}")
        return entry

    def _dated_edges(self) -> frozenset[date]:
        edges: set[date] = set()
        for entry in self.dated:
            edges |= {entry.version.start} | ({entry.version.end} if entry.version.end else set())
            for found in entry.classes.values():
                for charge, _ in found.charges:
                    if not charge.off:
                        edges |= {day for day in (charge.start, charge.end) if day is not None}
        return frozenset(edges)


def _name(charge: Charge) -> str:
    return f"{charge.service}.{charge.code}"


def _turned_on(found: RateClass, names: frozenset[str]) -> RateClass:
    charges = tuple((replace(c, off=False) if _name(c) in names else c, how) for c, how in found.charges)
    return replace(found, charges=charges)


def _meets(charge: Charge, values: Mapping[str, object], seasons: frozenset[str], month: int) -> bool:
    if charge.months is not None and month not in charge.months:
        return False
    for name, wanted in charge.conditions:
        if name == "season":
            if not wanted & seasons:
                return False
        elif (value := values.get(name)) is None:
            raise InputError(f"input {name} is missing; {charge.service}.{charge.code} depends on it")
        elif str(value) not in wanted:
            return False
    return True

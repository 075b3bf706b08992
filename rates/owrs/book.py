"""A loaded file of the Open Water Rate Specification as a `Book`: one version, its classes, their prices."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction

from rates.book import InputSpec, Line, Priced, PriceRequest, Quantity, Version
from rates.errors import Fault, InputError, RateFileError
from rates.owrs import formula
from rates.owrs.checks import faults_of, needs_of
from rates.owrs.evaluation import USAGE, Evaluation, map_of
from rates.owrs.keys import given_values, values_at
from rates.owrs.lines import BILL, Share, lines_of
from rates.owrs.plain import sentences
from rates.owrs.structure import RateClass, Structure, squeezed, structure_of
from rates.owrs.tree import Table, read_tree
from rates.owrs.wording import service_of
from rates.policies import Policies
from rates.winter import WinterRule

FORMAT = "owrs"


@dataclass(frozen=True)
class OwrsBook:
    """One file. `faults` are those seen without inputs: a class that has none of them can be priced all the same."""

    name: str
    digest: str
    structure: Structure = field(repr=False)
    faults: tuple[Fault, ...] = ()
    format: str = FORMAT
    currency: str = "USD"

    @classmethod
    def load(cls, text: str, name: str) -> OwrsBook:
        """Read a file; raises RateFileError when it is no YAML or holds no classes."""
        structure = structure_of(read_tree(text, name=name), name=name)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return cls(name=name, digest=digest, structure=structure, faults=faults_of(structure))

    @property
    def quantity(self) -> Quantity:
        """What one billed unit is, by the file's `bill_unit`; 100 cubic feet when it names none."""
        return self.structure.metadata.quantity

    @property
    def months(self) -> int | None:
        """Months in one billing period, None when the file does not say."""
        return self.structure.metadata.months

    @property
    def utility(self) -> str:
        """The utility that the file names."""
        return self.structure.metadata.utility

    def versions(self) -> tuple[Version, ...]:
        """Return the one version: from the file's effective date on."""
        start = self.structure.metadata.start
        return (Version(start.isoformat(), start, None, self.structure.metadata.utility),)

    def version_on(self, day: date) -> Version:
        """Return the version; raises InputError before its first day."""
        version = self.versions()[0]
        if day < version.start:
            raise InputError(f"{self.name} has no rates for {day}: they hold from {version.start} on")
        return version

    def changes(self, after: date, before: date) -> tuple[date, ...]:
        """Return the first day of the rates when it lies strictly between two days: the format dates nothing else."""
        start = self.versions()[0].start
        return (start,) if after < start < before else ()

    def classes(self, on: date) -> tuple[str, ...]:
        """Return the classes by the names in the file."""
        self.version_on(on)
        return tuple(self.structure.classes)

    def rate_class(self, name: str) -> RateClass:
        """Return a class by its name in any spelling; raises InputError with those that exist."""
        classes = self.structure.classes
        if name in classes:
            return classes[name]
        alike = [candidate for candidate in classes if squeezed(candidate) == squeezed(name)]
        if len(alike) != 1:
            raise InputError(f"{self.name} has no class {name}: it has {', '.join(classes)}")
        return classes[alike[0]]

    def services(self, rate_class: str, on: date) -> tuple[str, ...]:
        """Return the services that the parts of a class's bill belong to."""
        self.version_on(on)
        found = self.rate_class(rate_class)
        names = _reached(found) if found.part(BILL) else ()
        charges = [name for name in names if "charge" in name or "rate" in name]
        return tuple(dict.fromkeys(["water", *(service_of(name) for name in charges)]))

    def inputs(self, rate_class: str, on: date) -> tuple[InputSpec, ...]:
        """Return the names that a class's bill needs and the file does not define, with the values of its maps."""
        self.version_on(on)
        found = self.rate_class(rate_class)
        needed: dict[str, tuple[str, ...]] = {}
        for part in _reached(found) if found.part(BILL) else ():
            values = _map_values(found, part)
            for name in needs_of(found, part):
                if name != USAGE and found.part(name) is None:
                    needed[name] = tuple(dict.fromkeys([*needed.get(name, ()), *values.get(name, ())]))
        return tuple(InputSpec(name, values, name not in _STANDING) for name, values in needed.items())

    def winter_rule(self, rate_class: str, on: date) -> WinterRule | None:
        """Return None: the format has no winter average."""
        return None

    def policies(self, on: date) -> Policies:
        """Return the defaults: the format has no rules for fees, due dates or adjustments."""
        return Policies()

    def price(self, request: PriceRequest) -> Priced:
        """Price a use. The total is the exact value of `bill`, for a part of a period its share of it.

        A part of the period is priced as its share of a full period at the same daily use: fixed charges, budgets and
        the widths of tiers shrink by days/full_days, prices of use do not.
        """
        version = self.version_on(request.on)
        found = self.rate_class(request.rate_class)
        if found.part(BILL) is None:
            fault = Fault(found.line, 1, f"{found.name}.bill", "missing: it says what the parts add up to")
            raise RateFileError(self.name, [fault])
        if request.days <= 0 or request.full_days <= 0:
            raise InputError("days and full_days must be above nothing")
        share = Share(request.days, request.full_days)
        usage = _usage(request) / share.of_period
        standing = _standing(request)
        evaluation = Evaluation(found, usage, request.inputs, file=self.name, standing=standing)
        try:
            lines, total = lines_of(evaluation, share, version.id)
        except (formula.FormulaError, RecursionError) as error:
            reason = str(error) if isinstance(error, formula.FormulaError) else "is nested too deep"
            raise RateFileError(self.name, [Fault(found.line, 1, found.name, reason)]) from error
        return _of_services(lines, total, request.services)

    def explain(self, rate_class: str, on: date, language: str = "en") -> tuple[str, ...]:
        """Return a class's prices in plain sentences, in English or Spanish."""
        self.version_on(on)
        found = self.rate_class(rate_class)
        return sentences(self.structure.metadata, found, language)


_STANDING = frozenset({"usage_month", "month", "usage_year", "days_in_period"})


def _standing(request: PriceRequest) -> Mapping[str, object]:
    """Return what goes without saying when neither the inputs nor the file have it."""
    known: dict[str, object] = {"usage_month": request.month, "month": request.month, "usage_year": request.on.year}
    if request.full_days > 1:  # a quote that names no days has one of one: that is no length of a period
        known["days_in_period"] = request.full_days
    return known


def _usage(request: PriceRequest) -> Fraction:
    given = given_values(request.inputs, USAGE)
    if given is None:
        return request.units
    number = formula.number_of(str(given)) if not isinstance(given, Fraction | int) else Fraction(given)
    if number is None:
        raise InputError(f"{USAGE} is `{given}`: a number of billed units is needed")
    return number


def _of_services(lines: tuple[Line, ...], total: Fraction, services: frozenset[str] | None) -> Priced:
    if services is None:
        return Priced(lines, total)
    kept = tuple(line for line in lines if line.service in services)
    return Priced(kept, sum((line.amount for line in kept), Fraction(0)))


def _reached(rate_class: RateClass) -> tuple[str, ...]:
    """Return the parts that the bill is made from, itself included."""
    found: dict[str, None] = {}
    waiting = [str(rate_class.part(BILL))]
    while waiting:
        part = waiting.pop(0)
        if part in found:
            continue
        found[part] = None
        waiting += [below for name in needs_of(rate_class, part) if (below := rate_class.part(name)) is not None]
    return tuple(found)


def _map_values(rate_class: RateClass, part: str) -> dict[str, tuple[str, ...]]:
    node = rate_class.parts[part]
    if not isinstance(node, Table):
        return {}
    names, values = map_of(node)
    if values is None:
        return {}
    return {name: values_at(values.entries, index, len(names)) for index, name in enumerate(names)}

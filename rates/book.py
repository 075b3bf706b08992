"""What every rate file offers once it is loaded, whatever format it was written in.

A `Book` holds prices with dates. `price` turns a quantity into lines; it knows nothing of meters, accounts or payments.
Amounts are exact fractions of the currency's unit; a line is rounded to cents once, half up, and never again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from domain.units import Unit
    from rates.policies import Policies
    from rates.winter import WinterRule


def cents_of(amount: Fraction) -> int:
    """Return an amount of the currency in whole cents, half up (away from zero when it is negative)."""
    numerator, denominator = amount.numerator, amount.denominator
    rounded = (200 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


class LineKind(Enum):
    """What sort of charge a line is."""

    FIXED = "fixed"
    USAGE = "usage"
    SURCHARGE = "surcharge"
    TAX = "tax"
    MINIMUM = "minimum"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What one billed unit is: 10**scale of a unit of volume (Norman: 1 gal; 100 ft3: ccf with scale 0)."""

    unit: Unit
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """The part of a book that holds on a day.

    id         stable name for bills, such as `2023-09-01`; authority: the ordinance or vote that made it law.
    end        first day on which it no longer holds; None while no later one is known.
    """

    id: str
    start: date
    end: date | None = None
    name: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill.

    service     `water`, `sewer`, `sanitation`, ...; code: its stable name there; revenue accounts go by both.
    label       by language (`en`, `es`).
    amount      exact, in the currency's unit, after proration.
    tier        counted from 1 for a tiered price; lower, upper: its bounds in billed units (upper None: no end), as
                they stood for this part of the period.
    quantity    billed units at this price, or dwelling units and the like for a fixed charge; price: for `per` of it.
    days, full_days  the share of the period, when the line was prorated by it.
    """

    service: str
    code: str
    label: Mapping[str, str]
    kind: LineKind
    amount: Fraction
    tier: int | None = None
    lower: Fraction | None = None
    upper: Fraction | None = None
    quantity: Fraction | None = None
    price: Fraction | None = None
    per: Fraction = Fraction(1)
    days: int | None = None
    full_days: int | None = None
    version: str = ""

    @property
    def cents(self) -> int:
        """The amount in whole cents, half up."""
        return cents_of(self.amount)


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """What is to be priced: one service point's use in one part of a period in which nothing changes.

    units      billed units used in this part (whole ones on a bill; a quote may ask for a fraction).
    on         a day of the part: it chooses the version. month: of the bill, 1 to 12, for what goes by season.
    days, full_days  of the part, and of the full period: fixed charges and the widths of tiers shrink by their ratio.
    inputs     what the prices depend on besides: meter_size, dwelling_units, winter_average, ... as the file names it.
    services   only these; None for all that the class has.
    """

    rate_class: str
    units: Fraction
    on: date
    month: int
    days: int = 1
    full_days: int = 1
    inputs: Mapping[str, object] = field(default_factory=dict)
    services: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Priced:
    """The lines and their total: the sum of the lines' cents, or what the file's own formula gives, exact (OWRS)."""

    lines: tuple[Line, ...]
    total: Fraction


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input that a class needs: its name, the values it may have (empty: any), whether it may be left out."""

    name: str
    values: tuple[str, ...] = ()
    required: bool = True
    unit: str = ""


class Book(Protocol):
    """One loaded rate file."""

    @property
    def name(self) -> str:
        """The name under which it was loaded."""
        ...

    @property
    def format(self) -> str:
        """The format that it was written in."""
        ...

    @property
    def currency(self) -> str:
        """Three letters, such as USD."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text, in hex."""
        ...

    @property
    def quantity(self) -> Quantity:
        """What one billed unit is."""
        ...

    def versions(self) -> tuple[Version, ...]:
        """Return the versions in the order of their start."""
        ...

    def version_on(self, day: date) -> Version:
        """Return the version that holds on a day; raises InputError when there is none."""
        ...

    def changes(self, after: date, before: date) -> tuple[date, ...]:
        """Return the days strictly between two at which any price changes: a version, a dated line, a season."""
        ...

    def classes(self, on: date) -> tuple[str, ...]:
        """Return the rate classes on a day."""
        ...

    def services(self, rate_class: str, on: date) -> tuple[str, ...]:
        """Return the services that a class has a price for."""
        ...

    def inputs(self, rate_class: str, on: date) -> tuple[InputSpec, ...]:
        """Return what a class's prices depend on besides the quantity."""
        ...

    def winter_rule(self, rate_class: str, on: date) -> WinterRule | None:
        """Return how the winter average of a class is made; None when no price needs one."""
        ...

    def policies(self, on: date) -> Policies:
        """Return the rules for fees, due dates, adjustments and so on that hold on a day."""
        ...

    def price(self, request: PriceRequest) -> Priced:
        """Price a quantity; raises InputError when an input is missing or has a value that the file does not know."""
        ...

    def explain(self, rate_class: str, on: date, language: str = "en") -> tuple[str, ...]:
        """Return the prices of a class in plain sentences."""
        ...

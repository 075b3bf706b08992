"""The charges of our own rate files, ready to be priced: built once by file.py, then only arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from rates.book import Line, LineKind, cents_of
from rates.errors import InputError

if TYPE_CHECKING:
    from datetime import date

    from rates.winter import WinterRule

ZERO, ONE = Fraction(0), Fraction(1)


class Pricing:
    """One request on its way through a class: what is known, and what its lines came to so far.

    ratio    days / full_days. values: inputs, as text or Fraction; `season`: the first that the part lies in.
    exact    by (service, code) the exact amounts as far as percentages are concerned; cents: as printed.
    """

    __slots__ = (
        "cents",
        "days",
        "exact",
        "fixed_exact",
        "full_days",
        "prorated",
        "ratio",
        "rule",
        "units",
        "values",
        "version",
    )

    def __init__(
        self,
        *,
        units: Fraction,
        days: int,
        full_days: int,
        values: dict[str, object],
        rule: WinterRule | None,
        version: str,
    ) -> None:
        self.units, self.days, self.full_days = units, days, full_days
        self.prorated = days != full_days
        self.ratio = Fraction(days, full_days)
        self.values, self.rule, self.version = values, rule, version
        self.exact: dict[tuple[str, str], Fraction] = {}
        self.cents: dict[tuple[str, str], int] = {}
        self.fixed_exact: set[tuple[str, str]] = set()

    def came_to(self, key: tuple[str, str], exact: Fraction, cents: int) -> None:
        """Add a line to what its charge came to; what looks at cents says itself what it counts as."""
        self.cents[key] = self.cents.get(key, 0) + cents
        if key not in self.fixed_exact:
            self.exact[key] = self.exact.get(key, ZERO) + exact

    def counts_as(self, charge: Charge, exact: Fraction) -> None:
        """Say what percentages take a charge for that looks at printed cents: roundings below cannot move them."""
        self.exact[charge.service, charge.code] = exact
        self.fixed_exact.add((charge.service, charge.code))

    def exact_sum(self, keys: tuple[tuple[str, str], ...]) -> Fraction:
        """Return what charges came to, exact."""
        return sum((self.exact.get(key, ZERO) for key in keys), ZERO)

    def printed_sum(self, keys: tuple[tuple[str, str], ...]) -> Fraction:
        """Return the sum of charges as printed."""
        return Fraction(sum(self.cents.get(key, 0) for key in keys), 100)

    def share(self, amount: Fraction) -> Fraction:
        """Return the part of an amount (or a width) for a full period that falls on these days."""
        return amount * self.ratio if self.prorated else amount

    def number(self, name: str) -> Fraction:
        """Return a numeric input; raises InputError when it was not given."""
        value = self.values.get(name)
        if value is None:
            raise InputError(f"input {name} is missing; give it a number")
        assert isinstance(value, Fraction)
        return value

    def winter(self) -> Fraction:
        """Return the winter average for these days; without one the rule's default, or the actual use."""
        average = self.values.get("winter_average")
        if average is None and self.rule is not None and self.rule.default_units is not None:
            average = Fraction(self.rule.default_units)
        if average is None:
            return self.units
        assert isinstance(average, Fraction)
        return self.share(average)

    def numbers(self) -> Mapping[str, Fraction]:
        """Return what formulas may name."""
        known = {name: value for name, value in self.values.items() if isinstance(value, Fraction)}
        return {**known, "full_days": Fraction(self.full_days), "usage": self.units}


Amount = Callable[[Pricing], Fraction]


@dataclass(frozen=True, slots=True)
class Charge:
    """What every charge has: its names, the days on which it holds, the conditions under which it does.

    conditions  by input (or season) the values of which one must hold; months: of the bill; None: all.
    """

    service: str
    code: str
    label: Mapping[str, str]
    kind: LineKind
    start: date | None
    end: date | None
    off: bool
    months: frozenset[int] | None
    conditions: tuple[tuple[str, frozenset[str]], ...]

    def holds_on(self, day: date) -> bool:
        """Say whether the charge is in force on a day, whoever the customer is."""
        return not self.off and (self.start is None or self.start <= day) and (self.end is None or day < self.end)


class Calculation(Protocol):
    """How a charge is worked out."""

    def lines(self, charge: Charge, pricing: Pricing) -> Iterator[Line]:
        """Yield the charge's lines."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """An amount for a full period, for each of `times`; a credit is taken off, at most down to zero of `of`."""

    price: Amount
    times: Amount | None
    at_most: tuple[tuple[str, str], ...]

    def lines(self, charge: Charge, pricing: Pricing) -> Iterator[Line]:
        """Yield one line."""
        price = self.price(pricing)
        times = self.times(pricing) if self.times else ONE
        amount = pricing.share(price if times == 1 else price * times)
        if charge.kind is LineKind.CREDIT:
            if self.at_most:
                pricing.counts_as(charge, -min(amount, pricing.exact_sum(self.at_most)))
                amount = min(amount, pricing.printed_sum(self.at_most))
            amount = -amount
        days = (pricing.days, pricing.full_days) if pricing.prorated else (None, None)
        yield Line(
            charge.service,
            charge.code,
            charge.label,
            charge.kind,
            amount,
            quantity=times,
            price=price,
            days=days[0],
            full_days=days[1],
            version=pricing.version,
        )


@dataclass(frozen=True, slots=True)
class Tier:
    """One price. `bound`: the last billed unit at it in these days (already prorated); None: no end."""

    bound: Amount | None
    price: Amount


@dataclass(frozen=True, slots=True)
class Usage:
    """A price per `per` billed units, by tiers.

    winter  price the winter average in place of the use; capped: no more than the use.
    share   of the quantity that is priced (80 % of the water). skip: leave out the first tier (it has no price).
    whole   the price of the tier that was reached holds for all units, in place of tier by tier.
    """

    tiers: tuple[Tier, ...]
    per: Fraction
    winter: bool
    share: Fraction | None
    skip: bool
    whole: bool

    def quantity(self, pricing: Pricing) -> Fraction:
        """Return how many units are to be priced."""
        if not self.winter:
            units = pricing.units
        else:
            units = pricing.winter()
            if pricing.rule is not None and pricing.rule.cap_actual:
                units = min(units, pricing.units)
        return units if self.share is None else units * self.share

    def lines(self, charge: Charge, pricing: Pricing) -> Iterator[Line]:
        """Yield a line for each tier that was reached; none for no use."""
        units, lower = self.quantity(pricing), ZERO
        for number, tier in enumerate(self.tiers, 1):
            if units <= lower:
                return
            upper = None if tier.bound is None else max(lower, tier.bound(pricing))
            reached = units if upper is None or units < upper else upper
            silent = (self.whole and reached < units) or (self.skip and number == 1) or reached == lower
            if not silent:
                yield self._line(charge, pricing, number, tier, lower, upper, reached)
            if upper is None:
                return
            lower = upper

    def _line(
        self,
        charge: Charge,
        pricing: Pricing,
        number: int,
        tier: Tier,
        lower: Fraction,
        upper: Fraction | None,
        reached: Fraction,
    ) -> Line:
        quantity, price = reached if self.whole else reached - lower, tier.price(pricing)
        per = self.per
        # One fraction in place of two operations: a bill run prices hundreds of thousands of lines.
        amount = Fraction(
            quantity.numerator * price.numerator * per.denominator,
            quantity.denominator * price.denominator * per.numerator,
        )
        tiered = len(self.tiers) > 1
        prorated = pricing.prorated and (tiered or self.winter)
        return Line(
            charge.service,
            charge.code,
            charge.label,
            charge.kind,
            -amount if charge.kind is LineKind.CREDIT else amount,
            tier=number if tiered and not self.skip else None,
            lower=lower if tiered else None,
            upper=upper,
            quantity=quantity,
            price=price,
            per=per,
            days=pricing.days if prorated else None,
            full_days=pricing.full_days if prorated else None,
            version=pricing.version,
        )


@dataclass(frozen=True, slots=True)
class Percent:
    """A percentage of other lines: of their exact amounts; a discount of what is printed, so it never overtakes."""

    percent: Amount
    of: tuple[tuple[str, str], ...]

    def lines(self, charge: Charge, pricing: Pricing) -> Iterator[Line]:
        """Yield one line."""
        percent = self.percent(pricing)
        base, sign = pricing.exact_sum(self.of), 1
        if charge.kind is LineKind.CREDIT:
            pricing.counts_as(charge, -base * percent / 100)
            base, sign = pricing.printed_sum(self.of), -1
        yield Line(
            charge.service,
            charge.code,
            charge.label,
            charge.kind,
            sign * base * percent / 100,
            quantity=base,
            price=percent,
            per=Fraction(100),
            version=pricing.version,
        )


@dataclass(frozen=True, slots=True)
class Minimum:
    """What is missing from the printed sum of some lines to a least amount for the period."""

    amount: Amount
    of: tuple[tuple[str, str], ...]

    def lines(self, charge: Charge, pricing: Pricing) -> Iterator[Line]:
        """Yield one line, or none when the lines come to enough."""
        least = pricing.share(self.amount(pricing))
        missing = cents_of(least) - int(pricing.printed_sum(self.of) * 100)
        pricing.counts_as(charge, max(ZERO, least - pricing.exact_sum(self.of)))
        if missing > 0:
            days = (pricing.days, pricing.full_days) if pricing.prorated else (None, None)
            yield Line(
                charge.service,
                charge.code,
                charge.label,
                charge.kind,
                Fraction(missing, 100),
                price=least,
                days=days[0],
                full_days=days[1],
                version=pricing.version,
            )

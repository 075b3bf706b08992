"""Tiers: which fields a `Tiered` or `Budget` charge takes them from, and how a use falls into them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rates.owrs.formula import number_of, round_half_even
from rates.owrs.structure import RateClass
from rates.owrs.tree import Items, Node, Text

_NO_STEM = frozenset({"charge", "charges", "surcharge", "variable", "fixed", "commodity", "rate", "usage", "water"})
OWN_PRICES = frozenset({"sewer", "wastewater", "drought"})


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of a charge: its bounds in billed units (upper None: no end), the use in it, its price for one unit."""

    number: int
    lower: Fraction
    upper: Fraction | None
    quantity: Fraction
    price: Fraction

    @property
    def amount(self) -> Fraction:
        """What the use in this tier comes to."""
        return self.quantity * self.price


@dataclass(frozen=True, slots=True)
class TierFields:
    """The names, as they stand in the class, of what a tiered charge is made of; None where there is none."""

    starts: str | None
    prices: str | None
    budget: str | None
    stem: str


def rate_type(node: Node | None, part: str) -> str | None:
    """Return `Tiered` or `Budget` when that is what a part says; a plain `budget` may mean the part of that name."""
    if isinstance(node, Items) and len(node.items) == 1:
        node = node.items[0]
    if not isinstance(node, Text) or node.text.casefold() not in ("tiered", "budget"):
        return None
    return None if node.text == "budget" and "charge" not in part.casefold() else node.text.capitalize()


def tier_fields(rate_class: RateClass, charge: str) -> TierFields:
    """Find the fields of a tiered charge: `sewer_tier_starts` and `tier_starts_sewer` for a sewer charge, and so on."""
    words = [word for word in charge.casefold().split("_") if word not in _NO_STEM]
    stem = "_".join(words)

    def named(field: str, *, shared: bool) -> str | None:
        candidates = [f"{stem}_{field}", f"{field}_{stem}"] if stem else []
        if shared or not stem:
            candidates.append(field)
        found = (rate_class.part(candidate) for candidate in candidates)
        return next((name for name in found if name is not None), None)

    own = any(word in OWN_PRICES for word in words)
    return TierFields(
        starts=named("tier_starts", shared=True),
        prices=named("tier_prices", shared=not own),
        budget=named("budget", shared=True),
        stem=stem,
    )


def entries(node: Node) -> tuple[Text, ...]:
    """Return the single values of a list of starts or prices; a text with blanks or line ends in it is a list too."""
    if isinstance(node, Items):
        return tuple(text for item in node.items for text in entries(item))
    if isinstance(node, Text):
        text = re.sub(r"\s+%", "%", node.text)
        if not re.search(r"\s", text) or number_of(text) is not None:
            return (Text(text, node.line, node.column),)
        words = [word for word in re.split(r"[\s|]+", text) if word]
        if all(number_of(word) is not None or word.endswith("%") or word.isalpha() for word in words):
            return tuple(Text(word, node.line, node.column) for word in words)
        return (node,)
    return ()


def split(usage: Fraction, starts: Sequence[Fraction], prices: Sequence[Fraction], *, budget: bool) -> tuple[Tier, ...]:
    """Return a use by tiers; the first start is taken as nothing.

    budget  False: a start is the first whole unit at the new price, the tier below ends one unit under it, for any use.
            True: the tier below ends at the start, rounded to whole units, a half to the even one.
    """
    found = []
    lower, used = Fraction(0), Fraction(0)
    for index, price in enumerate(prices):
        last = index == len(prices) - 1
        upper = None if last else (round_half_even(starts[index + 1]) if budget else starts[index + 1] - 1)
        quantity = max((usage if upper is None else min(usage, upper)) - used, Fraction(0))
        end = None if upper is None else max(upper, lower)
        found.append(Tier(index + 1, lower, end, quantity, price))
        used += quantity
        lower = lower if end is None else end
    return tuple(found)

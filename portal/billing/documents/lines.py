"""The lines of a bill in words: tier by tier, with quantity, price, bounds and the share of the period."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.billing.documents import figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.billing.documents.facts import BillFacts, LineFacts, SegmentFacts, VersionFacts


@dataclass(frozen=True, slots=True)
class LineWords:
    """One line: its name, what led to the amount, the amount."""

    label: str
    details: tuple[str, ...]
    amount: str


@dataclass(frozen=True, slots=True)
class SectionWords:
    """The lines of one service with their sum."""

    title: str
    lines: tuple[LineWords, ...]
    total: str


def in_language(texts: Mapping[str, str], language: str) -> str:
    """Return a text in a language, else in English, else in any that there is."""
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), "")


def sections(facts: BillFacts, language: str) -> tuple[SectionWords, ...]:
    """Return the charges by service, in the order in which services first appear; charges of the account come last."""
    found: dict[str, list[LineFacts]] = {}
    for line in facts.lines:
        found.setdefault("" if line.segment is None else line.service, []).append(line)
    ordered = [*(name for name in found if name), *(name for name in found if not name)]
    return tuple(
        SectionWords(
            title=service_name(name),
            lines=tuple(_line(line, facts, language) for line in found[name]),
            total=figures.money(sum(line.amount_cents for line in found[name])),
        )
        for name in ordered
    )


def service_name(service: str) -> str:
    """Return a service's name; empty: what is charged to the account itself."""
    names = {
        "": _("Other charges and credits"),
        "water": _("Water"),
        "sewer": _("Sewer"),
        "sanitation": _("Sanitation"),
        "stormwater": _("Stormwater"),
        "recycling": _("Recycling"),
        "tax": _("Taxes"),
    }
    return names.get(service) or service.replace("-", " ").replace("_", " ").capitalize()


def _line(line: LineFacts, facts: BillFacts, language: str) -> LineWords:
    segment = facts.segments[line.segment] if line.segment is not None else None
    when = ", ".join(part for part in (_share(line), _part(segment, facts)) if part)
    details = [_calculation(line, segment), _bounds(line, segment), _winter(line, segment), when]
    return LineWords(
        label=in_language(line.label, language) or line.code,
        details=tuple(detail for detail in details if detail),
        amount=figures.money(line.amount_cents),
    )


def _calculation(line: LineFacts, segment: SegmentFacts | None) -> str:
    """Return `5,000 gal at $3.46 per 1,000 gal`, `2 × $10.90`; nothing where the label says it all."""
    if not line.price or not line.quantity:
        return ""
    price, quantity = figures.price(line.price), Fraction(line.quantity)
    if segment is None or not _by_volume(line):
        if quantity == 1:
            return price if _prorated(line) else ""
        return f"{figures.amount(quantity)} × {price}"
    worth = Fraction(10) ** segment.unit_scale
    per = Fraction(line.per) * worth
    symbol = figures.symbol(segment.unit)
    values = {
        "quantity": f"{figures.amount(quantity * worth)} {symbol}",
        "price": price,
        "per": symbol if per == 1 else f"{figures.amount(per)} {symbol}",
    }
    return _("%(quantity)s at %(price)s per %(per)s") % values


def _by_volume(line: LineFacts) -> bool:
    return line.kind == "usage" or line.tier is not None or Fraction(line.per) != 1


def _winter(line: LineFacts, segment: SegmentFacts | None) -> str:
    """Say of a quantity that is not what was used that it is the winter average."""
    average = None if segment is None else segment.inputs.get("winter_average")
    if segment is None or average is None or line.kind != "usage" or line.tier is not None or not line.quantity:
        return ""
    share = Fraction(segment.days, segment.full_days)
    quantity = Fraction(line.quantity)
    return _("Your winter average") if quantity == Fraction(str(average)) * share != segment.units else ""


def _bounds(line: LineFacts, segment: SegmentFacts | None) -> str:
    """Return `Tier 2: over 5,000 to 15,000 gal`."""
    if line.tier is None or segment is None:
        return ""
    worth, symbol = Fraction(10) ** segment.unit_scale, figures.symbol(segment.unit)
    lower = Fraction(line.lower or 0) * worth
    values = {"tier": line.tier, "lower": figures.amount(lower), "unit": symbol}
    if not line.upper:
        return _("Tier %(tier)s: over %(lower)s %(unit)s") % values
    values["upper"] = figures.amount(Fraction(line.upper) * worth)
    if lower == 0:
        return _("Tier %(tier)s: 0 to %(upper)s %(unit)s") % values
    return _("Tier %(tier)s: over %(lower)s to %(upper)s %(unit)s") % values


def _prorated(line: LineFacts) -> bool:
    return line.days is not None and line.full_days is not None and line.days != line.full_days


def _share(line: LineFacts) -> str:
    if not _prorated(line):
        return ""
    return _("for %(days)s of %(full)s days") % {"days": line.days, "full": line.full_days}


def _part(segment: SegmentFacts | None, facts: BillFacts) -> str:
    """Return which part of the period a line is for, when there are several, and where, when there are several."""
    if segment is None:
        return ""
    parts = []
    if len({(item.start, item.end) for item in facts.segments}) > 1:
        parts.append(span(segment))
    if len(facts.addresses) > 1:
        parts.append(segment.address)
    elif len({item.place for item in facts.segments}) > 1:
        parts.append(segment.place)
    return ", ".join(parts)


def span(part: SegmentFacts) -> str:
    """Return the days of a part, both included."""
    from datetime import timedelta

    values = {"first": figures.short_day(part.start), "last": figures.short_day(part.end - timedelta(days=1))}
    return _("%(first)s to %(last)s") % values


def price_basis(facts: BillFacts) -> tuple[str, ...]:
    """Return where the prices come from: one sentence for each version of them, with its ordinance or vote."""
    return tuple(_basis(version) for version in facts.versions)


def _basis(version: VersionFacts) -> str:
    values = {"book": version.book or version.id, "authority": version.authority, "version": version.id}
    if version.start is None:
        return _("Prices: %(book)s, version %(version)s.") % values
    values["since"] = figures.day(version.start)
    if version.authority:
        return _("Prices: %(book)s, by %(authority)s, in force since %(since)s.") % values
    return _("Prices: %(book)s, in force since %(since)s.") % values

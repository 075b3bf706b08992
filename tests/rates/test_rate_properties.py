"""What must hold for any rate file: generated ones, and the pilot's."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rates.book import LineKind, Priced
from rates.file import FileBook
from rates.formula import Formula
from rates.reading import load_file
from tests.rates.texts import NORMAN, price

# A failure is shown as it was found: shrinking a whole rate file takes minutes.
PHASES = (Phase.explicit, Phase.generate)
EXAMPLES = settings(max_examples=25, deadline=None, phases=PHASES)
FEWER = settings(max_examples=8, deadline=None, phases=PHASES)
prices = st.decimals("0", "20", places=3).map(lambda number: f"{number:f}")
labels = {"en": "Line"}


@st.composite
def usage_lines(draw: st.DrawFn, code: str) -> dict[str, Any]:
    bounds = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    word = draw(st.sampled_from(["to", "below"]))
    tiers = [{word: str(bound), "price": draw(prices)} for bound in bounds] + [{"price": draw(prices)}]
    line: dict[str, Any] = {"code": code, "charge": "usage", "label": labels, "per": draw(st.sampled_from(["1", "10"]))}
    line["tiers"] = tiers
    if draw(st.booleans()):
        line["widths_times"] = "units"
    if draw(st.booleans()):
        line["share"] = draw(st.sampled_from(["80%", "33.3%"]))
    if draw(st.booleans()):
        line["method"] = "whole"
        for tier, number in zip(tiers, sorted(Fraction(tier["price"]) for tier in tiers), strict=True):
            tier["price"] = str(float(number))
    return line


@st.composite
def files(draw: st.DrawFn, *, linear: bool = False) -> dict[str, Any]:
    """Return a rate file as data. linear: without what looks at printed cents (minimums, discounts)."""
    fixed = {"charge": "fixed", "label": labels, "times": "units"}
    lines: list[dict[str, Any]] = [{"code": "base", **fixed, "price": draw(prices)}]
    lines += [draw(usage_lines(f"use{number}")) for number in range(draw(st.integers(1, 3)))]
    lines.append({"code": "peak", "charge": "usage", "kind": "surcharge", "label": labels, "per": "1"})
    lines[-1] |= {"above": str(draw(st.integers(0, 70))), "price": draw(prices), "months": ["7"]}
    if not linear:
        least = {"charge": "minimum", "label": labels, "amount": draw(prices), "of": ["water"]}
        lines.append({"code": "least", **least})
    tax = {"charge": "percent", "kind": "tax", "label": labels, "of": ["water"]}
    if not linear and draw(st.booleans()):
        discount = {"charge": "percent", "kind": "credit", "label": labels, "of": ["water"]}
        lines.append({"code": "discount", **discount, "percent": draw(st.sampled_from(["5%", "33.3%", "100%"]))})
    elif not linear and draw(st.booleans()):
        credit = {"charge": "fixed", "kind": "credit", "label": labels, "at_most": ["water"]}
        lines.append({"code": "credit", **credit, "price": draw(prices)})
    lines.insert(draw(st.integers(len(lines) - 1, len(lines))), {"code": "tax", **tax, "percent": f"{draw(prices)}%"})
    home = {"label": {"en": "Home"}, "services": {"water": {"label": {"en": "Water"}, "lines": lines}}}
    return {
        "format": "headwater-rates/1",
        "name": "Generated",
        "currency": "USD",
        "billed_unit": {"unit": "ccf"},
        "inputs": {"units": {"type": "whole", "default": "1"}},
        "versions": [{"start": "2026-01-01", "authority": "Ordinance 1", "classes": {"home": home}}],
    }


def loaded(file: dict[str, Any]) -> FileBook:
    return load_file(json.dumps(file), name="generated.yaml")


def exact(priced: Priced) -> Fraction:
    return sum((line.amount for line in priced.lines), Fraction(0))


@given(file=files(), use=st.integers(0, 200), units=st.integers(1, 5), month=st.integers(6, 7))
@EXAMPLES
def test_the_total_is_the_sum_of_the_printed_lines(file: dict[str, Any], use: int, units: int, month: int) -> None:
    priced = price(loaded(file), use, units=units, month=month)
    assert priced.total == Fraction(sum(line.cents for line in priced.lines), 100)
    for line in priced.lines:
        if line.kind is LineKind.USAGE:
            assert line.quantity is not None
            assert line.price is not None
            assert line.amount == line.quantity * line.price / line.per
    for number in range(3):
        tiers = [line for line in priced.lines if line.code == f"use{number}"]
        assert [line.tier for line in tiers] == sorted({line.tier for line in tiers}, key=lambda tier: tier or 0)


@given(
    file=files(),
    uses=st.lists(st.integers(0, 200), min_size=8, max_size=8),
    units=st.integers(1, 4),
    days=st.integers(1, 31),
)
@EXAMPLES
def test_more_water_never_costs_less(file: dict[str, Any], uses: list[int], units: int, days: int) -> None:
    book = loaded(file)
    for month in (6, 7):
        steps = sorted({*uses, *(use + 1 for use in uses)})
        totals = [price(book, use, units=units, month=month, days=days, full_days=31).total for use in steps]
        assert totals == sorted(totals)


@pytest.mark.parametrize("rate_class", ["residential", "apartments", "commercial"])
@given(
    use=st.integers(0, 40_000),
    more=st.integers(1, 50),
    winter=st.none() | st.integers(0, 20_000),
    month=st.integers(1, 12),
)
@EXAMPLES
def test_more_water_never_costs_less_in_norman(
    rate_class: str, use: int, more: int, winter: int | None, month: int
) -> None:
    low, high = (price(NORMAN_BOOK, u, rate_class, month=month, winter_average=winter) for u in (use, use + more))
    assert low.total <= high.total


NORMAN_BOOK = load_file(NORMAN.read_text(), name="norman.yaml")


@given(
    file=files(linear=True),
    daily=st.fractions(0, 10, max_denominator=50),
    cuts=st.sets(st.integers(1, 30), max_size=4),
    units=st.integers(1, 4),
    month=st.integers(6, 7),
)
@EXAMPLES
def test_parts_at_constant_daily_use_sum_exactly(
    file: dict[str, Any], daily: Fraction, cuts: set[int], units: int, month: int
) -> None:
    book, edges = loaded(file), [0, *sorted(cuts), 31]
    whole = price(book, daily * 31, units=units, month=month, days=31, full_days=31)
    parts = [
        price(book, daily * (after - before), units=units, month=month, days=after - before, full_days=31)
        for before, after in zip(edges, edges[1:], strict=False)
    ]
    assert sum((exact(part) for part in parts), Fraction(0)) == exact(whole)


@given(
    uses=st.lists(st.integers(0, 5000), min_size=2, max_size=5),
    days=st.lists(st.integers(1, 9), min_size=5, max_size=5),
)
@EXAMPLES
def test_a_price_without_tiers_is_exact_for_any_use(uses: list[int], days: list[int]) -> None:
    """Commercial sewer and its 60 % go by the use alone; what is fixed goes by days alone."""
    full, services = sum(days[: len(uses)]), frozenset({"sewer", "sanitation"})
    parts = [
        price(NORMAN_BOOK, use, "commercial", services=services, days=count, full_days=full)
        for use, count in zip(uses, days, strict=False)
    ]
    whole = price(NORMAN_BOOK, sum(uses), "commercial", services=services, days=full, full_days=full)
    assert sum((exact(part) for part in parts), Fraction(0)) == exact(whole)


class WrittenOut(yaml.SafeDumper):
    """Writes every value where it stands."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@given(file=files(), use=st.fractions(0, 100, max_denominator=1000))
@FEWER
def test_a_file_means_the_same_however_yaml_writes_it(file: dict[str, Any], use: Fraction) -> None:
    quoted = loaded(file)
    block, flow = (yaml.dump(file, Dumper=WrittenOut, default_flow_style=style) for style in (False, True))
    plain = block.replace("'", "")  # every number and yes and no without its quotes
    expected = price(quoted, use, units=2)
    for text in (block, flow, plain):
        assert price(load_file(text, name="generated.yaml"), use, units=2) == expected


expressions = st.recursive(
    st.integers(0, 99).map(str) | st.sampled_from(["x", "y"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


@given(text=expressions, x=st.integers(0, 50), y=st.integers(0, 50))
@EXAMPLES
def test_formulas_are_arithmetic(text: str, x: int, y: int) -> None:
    assert Formula(text)({"x": Fraction(x), "y": Fraction(y)}) == eval(text, {"x": x, "y": y})

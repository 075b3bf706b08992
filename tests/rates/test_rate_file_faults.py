"""Files that must be refused: each with the line, the place and the reason. The example of the reference, broken."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from typing import Any

import pytest
import yaml

from rates.errors import Fault, InputError, RateFileError
from rates.file import FileBook
from rates.loading import load_book
from rates.reading import load_file
from tests.rates.texts import HEAD, example, price, small_text

# (what stands in the example, what is put in its place, a piece of the line that must be named, place, reason)
BROKEN = [
    ("headwater-rates/1", "headwater-rates/2", "headwater-rates/2", "format", "expected headwater-rates/1"),
    ("currency: USD", "currency: dollars", "currency:", "currency", "is 'dollars'; expected a currency of three"),
    ("currency: USD\n", "", "format:", "", "currency is missing"),
    ("unit: ccf", "unit: cubit", "cubit", "billed_unit.unit", "expected one of gal, kgal, ccf"),
    ("step: 1,", "step: 7,", "step: 7", "billed_unit.step", "expected a power of ten"),
    ("to: 12, price: 2.00", "to: 12, price: 2,00", "2,00", "tiers[0].00", "unknown key; known are: to, below, price"),
    ("to: 12, price: 2.00", "to: 12, price: two", "two", "tiers[0].price", "is 'two'; expected a number such as 4.50"),
    ("to: 12, price: 2.00", "to: 12, price: -2.00", "-2.00", "tiers[0].price", "expected a number"),
    ("to: 12, price: 2.00", "to: 12, price: 1e3", "1e3", "tiers[0].price", "expected a number"),
    ("to: 12, price: 2.00", "to: 12, pirce: 2.00", "pirce", "pirce", "unknown key; did you mean 'price'?"),
    ("to: 12, price: 2.00", "to: 12", "to: 12}", "tiers[0]", "price is missing"),
    (
        "to: 12, price: 2.00",
        "to: 30, price: 2.00",
        "values: {summer",
        "tiers[1].to",
        "must be above 30, the bound before",
    ),
    ("to: 12, price: 2.00", "price: 2.00", "- {price: 2.00}", "tiers[0]", "needs one bound: to or below"),
    ("- {price: 5.00}", "- {to: 90, price: 5.00}", "to: 90", "tiers[2]", "the last tier has no bound"),
    ("to: 12, price: 2.00", "to: 50%, price: 2.00", "50%", "tiers[0].to", "the line has no (usable) budget"),
    ("to: 12, price: 2.00", "to: twelve, price: 2.00", "twelve", "tiers[0].to", "'twelve' is no input of this file"),
    ("to: 12, price: 2.00", "to: zone, price: 2.00", "to: zone", "tiers[0].to", "input zone is not a number"),
    ("widths_times: dwelling_units", "widths_times: low_income", "low_income", "widths_times", "is not a number"),
    ("by: [meter_size, zone]", "by: [meter_size, area]", "[meter_size, area]", "price.by", "'area' is no input"),
    ("1: {inside: 16.00", "3/4: {inside: 16.00", "3/4:", "values.3/4", "'3/4' is none of: 5/8, 1, 2"),
    ("1: {inside: 16.00", "3/4: {inside: 16.00", "5/8: {inside", "price.values", "has no value for meter_size: 1"),
    ("outside: 24.00", "otuside: 24.00", "otuside", "values.1.otuside", "is none of: inside, outside"),
    ("{summer: 3.50, otherwise: 3.00}", "{summer: 3.50}", "{summer: 3.50}", "values", "no value for season: drought"),
    ("when: {season: drought}", "when: {season: dry}", "dry", "when.season", "'dry' is none of: summer, drought"),
    ("when: {low_income: yes}", "when: {low_incom: yes}", "low_incom:", "low_incom", "no input of this file"),
    ("of: [water.meter, water.use]", "of: [water.meter, water.usage]", "water.usage", "of[1]", "names no line above"),
    ("of: [water, sewer.use]", "of: [water, tax.city]", "tax.city", "of[1]", "names no line above this one"),
    (
        "of: [water, sewer.use]",
        "of: [water.least]",
        "of: [water.least]",
        "of",
        "without its lines: water.meter, water.use",
    ),
    ("percent: 3.5%", "percent: 3.5", "percent: 3.5", "percent", "expected a percentage such as 60%"),
    ("kind: tax", "kind: levy", "levy", "kind", "expected one of surcharge, tax, credit"),
    ("                kind: tax\n", "", "- code: city", "lines[0]", "kind is missing"),
    ("charge: minimum", "charge: least", "charge: least", "charge", "expected one of fixed, usage, percent, minimum"),
    ("from: 2026-07-01", "from: 2026-13-01", "2026-13-01", "from", "expected a date such as 2026-07-01"),
    ("from: 2026-07-01", "from: 2026-06-31", "2026-06-31", "from", "the calendar has no such day"),
    ("until: 2027-07-01", "until: 2026-07-01", "until:", "until", "must be later than from"),
    ("from: 2026-07-01", "from: 2025-07-01", "2025-07-01", "from", "2025-07-01 is outside version 2026-01-01"),
    ("end: 2028-01-01", "end: 2025-01-01", "end:", "versions[0].end", "must be later than start"),
    ("months: [6, 7, 8, 9]", "months: [6, 13]", "13", "seasons.summer.months[1]", "expected a month from 1 to 12"),
    ("months: [6, 7, 8, 9]", "months: []", "months: []", "seasons.summer.months", "must not be empty"),
    ("first_day: 07-01", "first_day: 02-30", "02-30", "seasons.drought.first_day", "the calendar has no such day"),
    ("first_day: 07-01, ", "", "drought:", "seasons.drought", "a season has months, or first_day and last_day"),
    ("{en: Water use, es: Consumo de agua}", "{en: Water use}", "{en: Water use}", "label", "has no text for: es"),
    ("default: inside", "default: within", "within", "inputs.zone.default", "expected one of: inside, outside"),
    ("default: 1, least: 1", "default: 0, least: 1", "default: 0", "dwelling_units.default", "the least is 1"),
    ("like: residential", "like: resident", "like: resident", "like", "'resident' names no class"),
    ("like: residential", "like: commercial", "like: commercial", "like", "'commercial' leads back here"),
    ("lowest: 3", "lowest: 5", "lowest: 5", "winter_average.lowest", "must be from 1 to the 4 months"),
    ("residents * 55", "resident * 55", "budget: resident", "budget", "'resident' is no input of this file"),
    ("residents * 55", "residents * * 55", "budget: residents", "budget", "'*' was not expected"),
    ("residents * 55", "(residents * 55", "budget: (", "budget", "a parenthesis is not closed"),
    ("to: 100%, price: 1.50", "to: 160%, price: 1.50", "to: 150%", "tiers[1].to", "must be above 160%"),
    ("code: meter", "code: use", "code: use", "lines[1].code", "use is the code of another line on the same days"),
    ("code: meter", "code: Meter", "Meter", "code", "expected a name of small letters"),
    ("late_fee: {percent: 2", "late_fee: {procent: 2", "procent", "procent", "unknown key; did you mean 'percent'?"),
    ("minimum: 5.00", "minimum: 5.001", "5.001", "late_fee.minimum", "expected an amount of money"),
    ("divisor: 11", "divisor: 0", "divisor: 0", "budget_billing.divisor", "must be at least 1"),
    ("share: 50%", "share: 150%", "150%", "leak_adjustment.share", "must not be more than 100%"),
    ("price: 1.25\n", "price: {by: zone}\n", "{by: zone}", "price", "values is missing"),
    (
        "name: Rates of 2026\n",
        "name: Rates of 2026\n    name: Rates\n",
        "name: Rates\n",
        "name",
        "given twice; first on",
    ),
    ("name: Rates of 2026\n", "name: &a Rates\n", "&a", "", "anchors (&) and aliases (*) are not allowed"),
    ("name: Rates of 2026\n", "name: !!python/name:os.system x\n", "!!python", "", "the tag"),
    ("name: Rates of 2026\n", "name: [Rates\n", "authority: Ordinance", "", "not YAML"),
    ("name: Rates of 2026\n", "name: Rates\tof\x07\n", "name: Rates\t", "", "not YAML"),
    ("name: Rates of 2026\n", "name: Rates\n---\n", "---", "", "a second document begins here"),
]


@pytest.mark.parametrize(("old", "new", "piece", "place", "reason"), BROKEN, ids=[f"{r[1]!r:.50}" for r in BROKEN])
def test_a_broken_file_is_refused_with_line_and_reason(old: str, new: str, piece: str, place: str, reason: str) -> None:
    whole = example()
    assert old in whole
    broken = whole.replace(old, new, 1)
    with pytest.raises(RateFileError) as refused:
        load_file(broken, name="broken.yaml")
    said = [fault for fault in refused.value.faults if reason in fault.message and fault.where.endswith(place)]
    assert said, str(refused.value)
    shown = broken.splitlines()[said[0].line - 1]
    assert piece.strip("\n") in shown, (said[0], shown)
    assert said[0].column <= len(shown) + 1


def test_all_faults_are_reported_together_in_the_order_of_their_lines() -> None:
    broken = example().replace("currency: USD", "currency: $").replace("price: 5.00}", "price: x}").replace("3.5%", "3")
    with pytest.raises(RateFileError) as refused:
        load_file(broken, name="broken.yaml")
    assert [fault.message.partition(";")[0] for fault in refused.value.faults] == ["is '$'", "is 'x'", "is '3'"]
    meant = example().replace("to: 12,", "to: nowhere,").replace("[water, sewer.use]", "[water, heat]")
    with pytest.raises(RateFileError) as refused:
        load_file(meant, name="broken.yaml")
    lines = [fault.line for fault in refused.value.faults]
    assert len(lines) == 2
    assert lines == sorted(lines)
    assert str(refused.value).startswith(
        f"broken.yaml: line {lines[0]}: versions[0].classes.residential.services.water"
    )
    assert refused.value.as_json()["file"] == "broken.yaml"


DECREASING = [
    "code: use, charge: usage, per: 1, method: whole, tiers: [{to: 10, price: 2}, {price: 1}]",
    "code: use, charge: usage, per: 1, method: whole,"
    " tiers: [{to: 10, price: {by: zone, values: {inner: 2, outer: 5}}}, {price: 3}]",
    "code: back, charge: usage, kind: credit, per: 1, price: 0.10",
]


@pytest.mark.parametrize("line", DECREASING)
def test_more_water_costs_less_only_if_the_file_says_so(line: str) -> None:
    with pytest.raises(RateFileError, match="if that is meant, write decreasing: yes in the class"):
        load_file(small_text(line), name="small.yaml")
    meant = HEAD.replace("label: {en: Home}", "label: {en: Home}\n        decreasing: yes")
    load_file(small_text(line, head=meant), name="small.yaml")


def test_two_discounts_on_one_line_could_overtake_it() -> None:
    use = "code: use, charge: usage, per: 1, price: 1"
    first = "code: one, charge: percent, kind: credit, percent: 60%, of: [water.use]"
    second = "code: two, charge: percent, kind: credit, percent: 60%, of: [water.use]"
    load_file(small_text(use, first), name="small.yaml")
    beside = "code: tax, charge: percent, kind: tax, percent: 5%, of: [water.one]"
    with pytest.raises(RateFileError, match="has the discount water.one without its lines: water.use"):
        load_file(small_text(use, first, beside), name="small.yaml")
    third = "code: two, charge: fixed, kind: credit, price: 5, at_most: [water.use]"
    for other in (second, third):
        with pytest.raises(RateFileError, match="water.use has the discount one already"):
            load_file(small_text(use, first, other), name="small.yaml")


@pytest.mark.parametrize(
    "line",
    [
        "code: two, charge: percent, kind: credit, percent: 5%, of: [water.use]",
        "code: two, charge: fixed, kind: credit, price: 5, at_most: [water.use]",
        "code: two, charge: minimum, amount: 30, of: [water.use]",
    ],
)
def test_what_a_minimum_fills_up_is_taken_with_it(line: str) -> None:
    use = "code: use, charge: usage, per: 1, price: 1"
    least = "code: least, charge: minimum, amount: 20, of: [water.use]"
    with pytest.raises(RateFileError, match="fills up, but not the minimum"):
        load_file(small_text(use, least, line), name="small.yaml")
    together = load_file(small_text(use, least, line.replace("[water.use]", "[water]")), name="small.yaml")
    totals = [price(together, used).total for used in range(40)]
    assert totals == sorted(totals)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: neither a Headwater rate file"),
        ("format: headwater-rates/1\n" + "a: {" * 40, "line 2: nested deeper than 24"),
        ("format: headwater-rates/1\n" + "#" * 2_000_001, "line 1: the file is longer than 2000000 characters"),
        ("format: headwater-rates/1\nname: *x\n", "line 2: anchors"),
        ("- format: 1\n", "line 1: neither a Headwater rate file"),
        ("format: [1]\n", "line 1: format: a list is here; expected headwater-rates/1"),
        ("format: headwater-rates/1\n? {a: 1}\n: 2\n", "line 2: a key must be plain text"),
        ("format: headwater-rates/1\nversions:\n", "line 2: versions: nothing is here"),
    ],
)
def test_what_is_no_rate_file_at_all(text: str, message: str) -> None:
    with pytest.raises(RateFileError) as refused:
        load_book(text, name="x.yaml")
    assert f"x.yaml: {message}" in str(refused.value)


def test_a_chain_of_likes_is_cut() -> None:
    one = "      c{0}:\n        label: {{en: C}}\n        like: c{1}\n        services:\n"
    one += "          s{0}: {{like: c{1}/w}}\n"
    classes = "".join(one.format(n, n + 1) for n in range(80))
    tail = "      c80:\n        label: {en: C}\n        like: home\n"
    with pytest.raises(RateFileError, match="leads back here"):
        load_file(small_text("code: a, charge: fixed, price: 1") + classes + tail, name="small.yaml")


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(*path, key) for key, _ in below] + [p for key, value in below for p in _places(value, (*path, key))]


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_broken_is_a_fault_with_its_line(seed: int) -> None:
    """Values of the example fall out, move, change their kind: it is refused in words, or it can be priced."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = yaml.load(example(), Loader=yaml.BaseLoader)
    texts = ["", "0", "-1", "5%", "otherwise", "season", "water", "winter_average", "1/0", [], {}, {"by": "zone"}]
    for _ in range(25):
        tree = copy.deepcopy(whole)
        path = chance.choice(_places(tree))
        around = _at(tree, path[:-1])
        if chance.random() < 0.3:
            del around[path[-1]]
        else:
            other = _at(whole, chance.choice(_places(whole)))
            around[path[-1]] = copy.deepcopy(chance.choice([*texts, other]))
        faults, book = _loaded(json.dumps(tree, indent=1))
        assert (book is None) == bool(faults)
        assert all(fault.line >= 1 and "something else" not in fault.message for fault in faults)
        if book is None:
            continue
        version = book.versions()[0]
        for name in book.classes(version.start):
            assert book.explain(name, version.start)
            with contextlib.suppress(InputError):  # an input may have lost its default
                assert price(book, 50, name, on=version.start, meter_size="1").total >= 0


def _loaded(text: str) -> tuple[tuple[Fault, ...], FileBook | None]:
    try:
        return (), load_file(text, name="broken.yaml")
    except RateFileError as refused:
        return refused.faults, None

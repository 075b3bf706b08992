"""The bill's facts, words, page and PDF: all say the same, in both languages, to everybody who reads them."""

from __future__ import annotations

import ast
import io
import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pikepdf
import pytest
from django.template.loader import render_to_string
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st
from pdfua import validate

from portal.billing.documents import chart, figures
from portal.billing.documents.facts import (
    BillFacts,
    BudgetFacts,
    DialFacts,
    LateFeeFacts,
    LineFacts,
    Movement,
    PeriodFacts,
    SegmentFacts,
    UtilityFacts,
    VersionFacts,
    facts_for,
    facts_of,
    freeze,
)
from portal.billing.documents.pdf import page_count, render_pdf, render_print
from portal.billing.documents.words import words_of
from portal.core.errors import Refused
from portal.core.models import UtilitySettings
from tests.portal.bills import make_account, make_bill, pay

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

UTILITY = UtilityFacts(
    "City Water",
    contact_phone="405-555-0139",
    contact_email="bills@example.org",
    portal_url="https://water.example.org",
    postal_address=("PO Box 1234", "Norman, OK 73070"),
    ways_to_pay=({"label": {"en": "By mail", "es": "Por correo"}, "detail": {"en": "A check", "es": "Un cheque"}},),
    dispute={"en": "Call before the due date.", "es": "Llame antes de la fecha de pago."},
)


def _monthly(units: list[int]) -> tuple[PeriodFacts, ...]:
    """Months that end with May 2026."""
    edges = [date(2025 + (4 + n) // 12, (4 + n) % 12 + 1, 1) for n in range(13 - len(units), 14)]
    return tuple(PeriodFacts(a, b, used) for a, b, used in zip(edges, edges[1:], units, strict=False))


def sample(**changes: Any) -> BillFacts:
    """A bill with a rolled-over dial in another unit than the billed one, and a year of history."""
    facts = BillFacts(
        public_id="bcdfghjkmnpqr",
        number="202606-0000123",
        kind="regular",
        state="issued",
        language="en",
        account_number="1000001",
        name="Ana Morales",
        mail_to=("Ana Morales", "12 Elm Street", "Norman, OK 73069"),
        period_start=date(2026, 5, 1),
        period_end=date(2026, 6, 1),
        bill_date=date(2026, 6, 3),
        due_date=date(2026, 6, 24),
        charges_cents=6125,
        balance_before_cents=1000,
        due_cents=7125,
        utility=UTILITY,
        previous_cents=9845,
        movements=(Movement(date(2026, 5, 20), "payment", -8845),),
        segments=(
            SegmentFacts(
                date(2026, 5, 1), date(2026, 6, 1), 31, 31, 12345, "gal", address="12 Elm Street", remainder="2.3"
            ),
        ),
        lines=(
            LineFacts("water", "base", "fixed", {"en": "Base fee", "es": "Cargo base"}, 1090, 0, quantity="1"),
            LineFacts("water", "t1", "usage", {"en": "Use"}, 1730, 0, 1, "0", "5000", "5000", "3.46", "1000"),
            LineFacts("water", "t2", "usage", {"en": "Use"}, 3305, 0, 2, "5000", "15000", "7345", "4.50", "1000"),
        ),
        dials=(
            DialFacts(
                0, "EFE-1", "total", "m3", -3, date(2026, 5, 1), date(2026, 6, 1), 99_981_000, 100_027_731,
                99_981_000, 27_731, 10**8, first_interpolated=True,
            ),
        ),
        versions=(VersionFacts("2023-09-01", "Norman", authority="the vote of 2023", start=date(2023, 9, 1)),),
        periods=_monthly([14210, 18344, 21980, 20110, 15422, 9876, 7012, 6544, 6123, 6890, 8123, 9010, 12345]),
        late_fee=LateFeeFacts("3/2", threshold_cents=2500, after_days=1),
    )  # fmt: skip
    return replace(facts, **changes)


# facts


@pytest.mark.django_db
def test_facts_hold_the_year_the_payments_and_the_dials() -> None:
    account = make_account()
    for n in range(14):
        make_bill(account, period_start=date(2025 + (3 + n) // 12, (3 + n) % 12 + 1, 1), units=1000 * (n + 1))
    pay(account, 2_000, date(2026, 6, 5))
    bill = make_bill(account)
    facts = facts_of(bill)
    assert [period.units for period in facts.periods] == [*range(3000, 15000, 1000), 12_345]
    assert facts.period_end == facts.periods[-1].end == bill.period_end
    assert facts.movements == (Movement(date(2026, 6, 5), "payment", -2_000),)
    assert facts.previous_cents - 2_000 == facts.balance_before_cents == bill.balance_before_cents
    assert sum(line.amount_cents for line in facts.lines) == facts.charges_cents == bill.charges_cents
    [dial] = facts.dials
    assert dial.last_count - dial.first_count == facts.segments[0].units
    assert facts.addresses == (facts.mail_to[1],)
    assert BillFacts.from_json(facts.as_json()) == facts


@pytest.mark.django_db
def test_an_issued_bill_looks_the_same_for_ever() -> None:
    UtilitySettings.objects.update_or_create(pk=1, defaults={"name": "Old Name", "dispute": {"en": "Call us."}})
    bill = make_bill()
    freeze([bill])
    bill.save()
    before = facts_of(bill)
    UtilitySettings.objects.update(name="New Name")
    bill.account.billing.mail_to = "Somewhere else"
    bill.account.billing.save()
    bill.refresh_from_db()
    assert facts_of(bill) == before
    assert before.utility.name == "Old Name"
    bill.state = "cancelled"
    assert facts_of(bill) == replace(before, state="cancelled")


@pytest.mark.django_db
def test_many_bills_take_as_many_queries_as_one(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    bills = [make_bill() for _ in range(5)]
    bills += [make_bill(bill.account) for bill in bills]
    facts_for(bills[:1])
    with django_assert_max_num_queries(15) as one:
        facts_for(bills[:1])
    with django_assert_max_num_queries(len(one)):
        facts_for(bills)


def test_facts_of_another_schema_are_refused() -> None:
    with pytest.raises(Refused, match="schema 99"):
        BillFacts.from_json({**sample().as_json(), "schema": 99})


# words


def test_a_bill_says_what_is_due_and_how_it_comes_about() -> None:
    words = words_of(sample(), "en")
    assert (words.due_amount, words.due_by) == ("$71.25", "June 24, 2026")
    assert [(row.label, row.value) for row in words.balance] == [
        ("Balance of your last bill", "$98.45"),
        ("Payment, thank you, May 20, 2026", "−$88.45"),
        ("Balance before this bill", "$10.00"),
        ("Charges of this bill", "$61.25"),
        ("Amount due", "$71.25"),
    ]
    [section] = words.sections
    assert [line.details for line in section.lines] == [
        (),
        ("5,000 gal at $3.46 per 1,000 gal", "Tier 1: 0 to 5,000 gal"),
        ("7,345 gal at $4.50 per 1,000 gal", "Tier 2: over 5,000 to 15,000 gal"),
    ]
    assert words.price_basis == ("Prices: Norman, by the vote of 2023, in force since September 1, 2023.",)
    assert words.late_fee == (
        "What is still unpaid after June 24, 2026 costs a late fee of 1.5%. Who owes less than $25.00 pays none."
    )
    assert words.comparison == "You used 13% less water a day than in the same period last year."


def test_readings_are_as_the_dial_shows_them() -> None:
    words = words_of(sample(), "en")
    [dial] = words.dials
    assert (dial.first, dial.last) == ("99981.000 m³", "00027.731 m³")
    assert (dial.difference, dial.converted) == ("46.731 m³", "12,345.0 gal")
    assert dial.remarks == ("the dial passed zero",)
    assert words.dial_notes[1] == "Only whole units of 1 gal are billed: 0.608 gal are carried into your next bill."


def test_a_dial_that_goes_on_over_a_price_change_is_one_row() -> None:
    first = DialFacts(0, "EFE-1", "total", "gal", 0, date(2026, 5, 1), date(2026, 5, 13), 10, 20, 10, 20)
    second = replace(first, start=date(2026, 5, 13), end=date(2026, 6, 1), first_count=20, last_count=55, last_shown=55)
    [row] = words_of(sample(dials=(first, second)), "en").dials
    assert (row.first, row.last, row.difference) == ("10 gal", "55 gal", "45 gal")
    apart = replace(second, first_count=21)
    assert len(words_of(sample(dials=(first, apart)), "en").dials) == 2


def test_a_share_of_the_period_is_said_in_days() -> None:
    whole = sample().segments[0]
    parts = (replace(whole, end=date(2026, 5, 13), days=12), replace(whole, start=date(2026, 5, 13), days=19))
    line = LineFacts(
        "water", "base", "fixed", {"en": "Base"}, 422, 0, quantity="1", price="10.90", days=12, full_days=31
    )
    tier = LineFacts("water", "t1", "usage", {}, 670, 0, 1, "0", "60000/31", "60000/31", "3.46", "1000", 12, 31)
    [section] = words_of(sample(segments=parts, lines=(line, tier)), "en").sections
    assert section.lines[0].details == ("$10.90", "for 12 of 31 days, May 1, 2026 to May 12, 2026")
    assert section.lines[1].details[:2] == ("1,935.48 gal at $3.46 per 1,000 gal", "Tier 1: 0 to 1,935.48 gal")
    assert section.lines[1].label == "t1"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "draft"}, "not issued"),
        ({"state": "cancelled"}, "taken back"),
        ({"estimated": True}, "estimated reading"),
        ({"replaces": "202605-0000001"}, "place of bill 202605-0000001"),
        ({"kind": "final"}, "final bill"),
    ],
)
def test_what_must_be_seen_first_stands_first(changes: dict[str, Any], expected: str) -> None:
    assert not words_of(sample(), "en").banners
    [banner] = words_of(sample(**changes), "en").banners
    assert expected in banner.text


def test_a_credit_asks_for_nothing() -> None:
    words = words_of(sample(balance_before_cents=-9000, due_cents=-2875), "en")
    assert (words.due_label, words.due_amount, words.due_by, words.late_fee) == ("Your credit", "$28.75", "", "")
    assert words.stub == ()


def test_a_budget_plan_says_where_it_stands() -> None:
    plan = BudgetFacts(9000, date(2026, 1, 1), date(2027, 1, 1), 1234)
    words = words_of(sample(budget=plan, due_cents=10_000), "en")
    assert words.budget.endswith("So far you have used $12.34 more than you were asked to pay.")
    assert words.balance[-2].value == "$28.75"


def test_nothing_is_shown_that_does_not_exist() -> None:
    words = words_of(sample(utility=UtilityFacts("City Water"), late_fee=None, periods=(), dials=()), "en")
    assert (words.ways_to_pay, words.contact, words.dispute, words.stub, words.late_fee) == ((), (), "", (), "")
    assert page_count(render_pdf(sample(utility=UtilityFacts("City Water"), periods=(), dials=()), "en")) >= 1


def test_every_text_of_a_bill_is_there_in_spanish() -> None:
    from django.utils.translation import trans_real

    import portal

    root = Path(portal.__file__).parent
    texts: set[str] = set()
    for file in [*(root / "billing" / "documents").glob("*.py"), root / "billing" / "delivery.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_":
                texts.add(ast.literal_eval(node.args[0]))
    for name in ("billing/bill.html", "notifications/bill.txt", "notifications/bill.html"):
        source = (root / "templates" / name).read_text(encoding="utf-8")
        texts |= set(re.findall(r'{% translate "(.+?)" %}', source))
        blocks = re.findall(r"{% blocktranslate.*?%}(.+?){% endblocktranslate %}", source)
        texts |= {re.sub(r"{{ (\w+) }}", r"%(\1)s", text) for text in blocks}
    assert len(texts) > 100
    with translation.override("es"):
        catalog = trans_real.catalog()
        assert {text for text in texts if not catalog._catalog.get(text)} == set()


@pytest.mark.parametrize("language", ["en", "es"])
def test_both_languages_say_the_same_numbers(language: str) -> None:
    words = words_of(sample(), language)
    assert words.language == language
    assert (words.due_amount, words.used, words.charges_total) == ("$71.25", "12,345 gal", "$61.25")
    if language == "es":
        assert (words.due_by, words.due_label) == ("24 de junio de 2026", "Importe a pagar")
        assert [way.label for way in words.ways_to_pay] == ["Por correo"]


# the chart


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=13))
def test_bars_stand_in_their_scale(units: list[int]) -> None:
    facts = sample(periods=_monthly(units))
    found, ticks = chart.bars(facts)
    assert len(found) == len(units)
    assert all(0 <= bar.share <= 1 for bar in found)
    assert (ticks[0].share, ticks[-1].share) == (0, 1)
    assert 2 <= len(ticks) <= 6
    if max(units):
        assert max(bar.share for bar in found) > 0.39
        expected = [used / max(units) for used in units]
        top = max(bar.share for bar in found)
        assert [bar.share / top for bar in found] == pytest.approx(expected, abs=0.001)


def test_money_and_prices_keep_their_decimals() -> None:
    assert [figures.money(cents) for cents in (0, 5, -5, 123_456)] == ["$0.00", "$0.05", "−$0.05", "$1,234.56"]
    assert [figures.price(text) for text in ("3.46", "2.595", "14", "1/3")] == [
        "$3.46",
        "$2.595",
        "$14.00",
        "$0.333333",
    ]


# the page


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_has_headings_captions_and_no_inline_code(language: str) -> None:
    words = words_of(sample(), language)
    with translation.override(language):
        page = render_to_string("billing/bill.html", {"bill": words})
    assert " style=" not in page
    assert "<script" not in page
    assert f'lang="{language}"' in page
    assert page.count("<table") == page.count("<caption") + page.count('<table class="table bill-balance" aria') + 1
    assert len(re.findall(r"<th(?! scope)", page.replace("<thead", ""))) == 0
    [label] = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', page)
    assert words.used in label
    for row in words.period_rows:
        assert f'<th scope="row">{row.period}</th>' in page
    heights = [float(text) for text in re.findall(r'<rect [^>]*height="([\d.]+)"', page)]
    assert heights == [bar.height for bar in words.bars]


# the PDF


def structure(pdf: bytes) -> list[tuple[str, bool, bool]]:
    """Return every element of a PDF's structure tree as (role, whether it heads a column, whether it has a text)."""
    found = []
    with pikepdf.open(io.BytesIO(pdf)) as document:
        stack = [document.Root.StructTreeRoot.K]
        while stack:
            node = stack.pop()
            if isinstance(node, pikepdf.Array):
                stack.extend(node)
            elif isinstance(node, pikepdf.Dictionary):
                if "/S" in node:
                    heads = any(str(item.get("/Scope", "")) == "/Column" for item in _attributes(node))
                    found.append((str(node.S), heads, len(str(node.get("/Alt", ""))) > 20))
                if "/K" in node:
                    stack.append(node.K)
    return found


def tagging_faults(pdf: bytes, language: str) -> list[str]:
    """Return what a bill's PDF lacks for those who read it by its tags."""
    faults = []
    with pikepdf.open(io.BytesIO(pdf)) as document:
        root = document.Root
        if str(root.get("/Lang", "")) != language:
            faults.append("language")
        if not root.get("/MarkInfo", {}).get("/Marked", False):
            faults.append("marked")
        if "/StructTreeRoot" not in root:
            return [*faults, "structure"]
        if "/Outlines" not in root:
            faults.append("bookmarks")
        if not root.get("/ViewerPreferences", {}).get("/DisplayDocTitle", False):
            faults.append("title shown")
        with document.open_metadata() as metadata:
            if metadata.get("pdfuaid:part") != "1":
                faults.append("PDF/UA identifier")
            if "202606-0000123" not in metadata.get("dc:title", ""):
                faults.append("title")
    elements = structure(pdf)
    roles = Counter(role for role, _, _ in elements)
    if roles["/H1"] < 4 or not roles["/H2"]:
        faults.append("headings")
    if roles["/Table"] < 4:
        faults.append("tables")
    if not roles["/TH"] or not all(heads for role, heads, _ in elements if role == "/TH"):
        faults.append("table headers")
    if not roles["/Figure"] or not all(text for role, _, text in elements if role == "/Figure"):
        faults.append("alternative text")
    return faults


def _attributes(element: Any) -> list[Any]:
    found = element.get("/A")
    if found is None:
        return []
    return list(found) if isinstance(found, pikepdf.Array) else [found]


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_pdf_is_tagged_for_everybody(language: str, tmp_path: Path) -> None:
    pdf = render_pdf(sample(), language)
    assert tagging_faults(pdf, language) == []
    file = tmp_path / "bill.pdf"
    file.write_bytes(pdf)
    report = validate(str(file))
    assert (report.exit_code, [finding.message for finding in report.findings]) == (0, [])
    assert page_count(pdf) == 2


def test_the_check_finds_what_is_broken() -> None:
    whole = render_pdf(sample(), "en")
    assert tagging_faults(whole, "es") == ["language"]
    untagged, _ = render_print([(sample(), "en")])
    assert "structure" in tagging_faults(untagged, "en")
    with pikepdf.open(io.BytesIO(whole)) as document:
        cells = [document.Root.StructTreeRoot.K]
        while cells:  # every table header loses its scope, the chart its text
            node = cells.pop()
            if isinstance(node, pikepdf.Array):
                cells.extend(node)
            elif isinstance(node, pikepdf.Dictionary):
                if node.get("/S") == "/TH":
                    del node["/A"]
                if node.get("/S") == "/Figure":
                    del node["/Alt"]
                cells.extend([node.K] if "/K" in node else [])
        broken = io.BytesIO()
        document.save(broken)
    assert tagging_faults(broken.getvalue(), "en") == ["table headers", "alternative text"]


def test_the_blank_back_of_a_sheet_says_nothing_of_anybody() -> None:
    long = sample(lines=sample().lines * 14)
    pdf, pages = render_print([(long, "en"), (sample(number="202606-0000124"), "es"), (long, "en")])
    assert [count % 2 for count in pages] == [1, 0, 1], "the test needs bills that leave a back blank"
    with pikepdf.open(io.BytesIO(pdf)) as document:
        written = [
            any(str(part.operator) in ("Tj", "TJ") for part in pikepdf.parse_content_stream(page))
            for page in document.pages
        ]
    blank = [False] if pages[0] % 2 else []
    assert written == [*[True] * pages[0], *blank, *[True] * (pages[1] + pages[2])]


def test_the_same_facts_give_the_same_bytes() -> None:
    assert render_pdf(sample(), "en") == render_pdf(sample(), "en")
    assert render_pdf(sample(), "en") != render_pdf(sample(charges_cents=1), "en")


def test_the_largest_chart_text_says_what_the_bars_show() -> None:
    words = words_of(sample(), "en")
    assert words.chart_alt == (
        "Bar chart of your water use in the last 13 periods. This period: 12,345 gal. "
        "The most was 21,980 gal, from Jul 1, 2025 to Jul 31, 2025."
    )

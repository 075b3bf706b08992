"""A resident's bills in a browser: on a phone and a desk, with the keyboard alone, in both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import pages
from tests.browser.my_bills import HOLDER, NEWCOMER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit


@pytest.fixture(scope="module")
def _bills(portal: ServedPortal) -> None:
    """The portal's homes, and bills for two of its people."""
    portal.happens("my_bills")


pytestmark = pytest.mark.usefixtures("_bills")


def _spanish(page: Page) -> None:
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")


def _english_again(page: Page) -> None:
    """Leave the person as the next test expects them: their language is kept."""
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=en]")


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_list_and_a_bill_have_no_fault_on_a_phone_and_a_desk(visit: Visit, language: str) -> None:
    page = visit.open("/bills/", as_=HOLDER, size=pages.PHONE)
    if language == "es":
        _spanish(page)
    page.wait_for_selector("#bill-history")
    page.wait_for_selector("#cost-expected")
    assert pages.faults(page) == []
    pages.follow(page, "#current-bill")
    page.wait_for_selector("#bill-due")
    assert pages.faults(page) == []
    if language == "es":
        _english_again(page)


def test_an_account_without_bills_and_somebody_without_an_account(visit: Visit) -> None:
    page = visit.open("/bills/", as_=NEWCOMER)
    page.wait_for_selector("#no-bills")
    assert pages.faults(page) == []
    page = visit.open("/bills/", as_="nobody@example.org")
    assert "no bills" in page.inner_text("h1")
    assert pages.faults(page) == []


def test_what_is_owed_leads_to_the_bill_and_its_pdf(visit: Visit) -> None:
    page = visit.open("/bills/", as_=HOLDER)
    owed = page.inner_text("#owed")
    pages.follow(page, "#current-bill")
    page.wait_for_selector("#bill-charges-total")
    assert page.inner_text("#bill-due") == owed
    with page.expect_download() as waiting:
        page.click("#bill-pdf")
    assert waiting.value.suggested_filename.startswith("water-bill-2026")
    with waiting.value.path().open("rb") as file:
        assert file.read(5) == b"%PDF-"


def test_a_cancelled_bill_leads_to_the_one_in_its_place(visit: Visit) -> None:
    page = visit.open("/bills/", as_=HOLDER)
    pages.follow(page, "#bill-history tr.is-cancelled a >> nth=0")
    pages.follow(page, "#replaced-by a")
    page.wait_for_selector("#bill-due")
    assert "takes the place of bill" in page.inner_text("article.bill .note >> nth=0")


def test_the_way_bills_come_is_changed_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit.open("/bills/", as_=HOLDER)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.className") == "usa-skipnav"
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.name") == "way":
            break
    page.keyboard.press("ArrowDown")
    assert page.is_checked("#way-paper")
    page.keyboard.press("Tab")
    page.keyboard.type("Esp")
    assert page.input_value("#bill-language") == "es"
    page.keyboard.press("Tab")
    pages.enter(page)
    page.wait_for_selector("[role=status]")
    assert page.is_checked("#way-paper")
    assert page.input_value("#bill-language") == "es"
    page.check("#way-1")
    page.select_option("#bill-language", "en")
    pages.follow(page, "#delivery button")
    page.wait_for_selector("[role=status]")


def test_the_tab_leads_from_the_usage_page_and_back(visit: Visit) -> None:
    page = visit.open("/bills/", as_=HOLDER)
    pages.follow(page, "#tab-usage")
    page.wait_for_selector('#tab-usage[aria-current="page"]')
    assert page.inner_text("#cost-so-far").startswith("$")
    assert pages.faults(page) == []
    pages.follow(page, "#tab-bills")
    page.wait_for_selector('#tab-bills[aria-current="page"]')
    pages.follow(page, "#pay-help")
    assert page.is_visible("#troubleshooting summary >> nth=0")

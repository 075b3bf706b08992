"""The staff's journeys through billing, on a phone and on a desk, in a Chromium."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser.conftest import ServedPortal, Visit

STAFF, SECOND = "staff@example.org", "second@example.org"
SIZES = {"phone": pages.PHONE, "desk": pages.DESK}
RATES = """\
format: headwater-rates/1
name: Town of tests YEAR
currency: USD
languages: [en, es]
billed_unit: {unit: gal}
inputs: {}
policies:
  - from: YEAR-01-01
    proration: {tolerance_percent: 10}
    due: {days: 20, next_business_day: yes}
    estimation: {max_consecutive: 2}
versions:
  - id: YEAR-01-01
    start: YEAR-01-01
    name: Rates of YEAR
    authority: A vote of tests
    classes:
      residential:
        label: {en: Residential, es: Residencial}
        services:
          water:
            label: {en: Water, es: Agua}
            lines:
              - code: base
                charge: fixed
                label: {en: Water base fee, es: Cargo base de agua}
                price: 9.00
"""


@pytest.fixture(scope="session")
def billed(portal: ServedPortal) -> Callable[[str], str]:
    """Let something happen to the billed homes, which are loaded first."""

    print(portal.happens("billed", "load"))
    return partial(portal.happens, "billed")


@pytest.mark.parametrize("size", SIZES)
def test_from_the_search_box_to_the_signed_batch(visit: Visit, billed: Callable[[str], str], size: str) -> None:
    page = visit.open("/staff/", as_=STAFF, size=SIZES[size])
    assert pages.faults_now(page) == []
    page.fill("#search", "court cedar")
    page.press("#search", "Enter")
    page.wait_for_selector("#staff-table")
    assert page.locator("#staff-table tbody tr").count() == 3
    assert pages.faults_now(page) == []
    page.fill("#search", "20 00101 00")
    page.press("#search", "Enter")
    page.wait_for_selector("#account-number")
    assert page.inner_text("#account-number") == "20-00101-00"
    assert page.inner_text("h1") == "Rosa Delgado"
    assert pages.faults_now(page) == []
    pages.follow(page, "#bills-table tbody th a")
    page.wait_for_selector("#bill-number")
    assert page.get_attribute("#bill-state", "data-state") == "issued"
    assert pages.faults_now(page) == []
    pages.follow(page, "#lines tbody tr:nth-child(2) th a")
    page.wait_for_selector(".batch")
    tags = page.locator(".batch .tag").all_inner_texts()
    assert "valid" in tags
    assert "the read is in it" in tags
    assert "in force" in tags
    assert not [tag for tag in tags if "invalid" in tag]
    assert "nor-tower-1" in page.inner_text(".batch >> nth=0")
    assert pages.faults_now(page) == []


@pytest.mark.parametrize(("size", "cycle", "held"), [("phone", "N1", "20-00103-00"), ("desk", "N2", "20-00106-00")])
def test_from_a_run_over_a_held_bill_to_the_issue(
    visit: Visit, billed: Callable[[str], str], size: str, cycle: str, held: str
) -> None:
    page = visit.open("/staff/runs/", as_=STAFF, size=SIZES[size])
    assert pages.faults_now(page) == []
    page.select_option("#cycle", cycle)
    pages.follow(page, "#start-run button")
    page.wait_for_selector('#run-state[data-state="calculating"]')
    assert "0 of 3" in page.inner_text("#run-progress")
    assert pages.faults_now(page) == []
    address = page.url
    assert billed("work") == "1"
    # Nobody reloads: the page asks again by itself and stops asking when there is nothing more to see.
    page.wait_for_selector('#run-state[data-state="calculated"]')
    assert "3 of 3" in page.inner_text("#run-progress")
    assert held in page.inner_text("#exceptions-table")
    assert "no read near an end of the period" in page.inner_text("#exceptions-table")
    pictures.keep(page, "staff-run")
    assert pages.faults_now(page) == []
    pages.follow(page, "#held-link")
    page.wait_for_selector("#held")
    item = page.locator("#held > li", has_text=held)
    item.locator("input[name=reason]").fill("read by telephone, the use is right")
    assert pages.faults_now(page) == []
    pages.follow(page, item.get_by_role("button", name="Release as it is"))
    page.wait_for_selector(".note-good")
    assert held not in page.inner_text("#content")
    page.goto(address)
    page.check("#sure")
    pages.follow(page, "#issue-run button")
    page.wait_for_selector("#run")
    billed("work")
    page.wait_for_selector('#run-state[data-state="issued"]')
    assert pages.faults_now(page) == []
    page.goto(f"{visit.portal.url}/staff/?q={held}")
    pages.follow(page, "#bills-table tbody th a >> nth=0")
    page.wait_for_selector('#bill-state[data-state="issued"]')
    assert "read by telephone" in page.inner_text("#content")
    page.fill("#rebill-reason", "the class was wrong")
    pages.follow(page, "#rebill button")
    page.wait_for_selector(".note-good")
    assert "In the place of bill" in page.inner_text("#content")
    assert pages.faults_now(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_from_a_faulty_rate_file_to_its_approval_by_a_second_person(
    visit: Visit, billed: Callable[[str], str], size: str
) -> None:
    sound = RATES.replace("YEAR", {"phone": "2041", "desk": "2042"}[size])
    page = visit.open("/staff/rates/", as_=STAFF, size=SIZES[size])
    assert pages.faults_now(page) == []
    pages.follow(page, "text=Load a rate file")
    page.fill("#text", sound.replace("price: 9.00", "price: nine"))
    pages.follow(page, "form[enctype] button")
    page.wait_for_selector("#faults")
    at = next(n for n, line in enumerate(sound.splitlines(), start=1) if "9.00" in line)
    assert f"Line {at}, " in page.inner_text("#faults")
    assert "price: nine" in page.inner_text("#faults")
    assert pages.faults_now(page) == []
    page.fill("#text", page.input_value("#text").replace("price: nine", "price: 9.00"))
    pages.follow(page, "form[enctype] button")
    page.wait_for_selector("#rate-state")
    address = page.url
    assert page.inner_text("#rate-state") == "waits for a second person"
    assert page.get_by_role("button", name="Approve as second person").count() == 0
    assert pages.faults_now(page) == []
    other = visit.open(address.removeprefix(visit.portal.url), as_=SECOND, size=SIZES[size])
    assert "$9.00" in other.inner_text("#said")
    assert pages.faults_now(other) == []
    other.check("#sure")
    pages.follow(other, other.get_by_role("button", name="Approve as second person"))
    other.wait_for_selector(".note-good")
    assert other.inner_text("#rate-state") == "approved"
    other.goto(f"{visit.portal.url}/staff/rates/")
    pages.follow(other, other.get_by_role("button", name="What is different?"))
    other.wait_for_selector(".new, .gone")
    assert pages.faults_now(other) == []


def test_what_hangs_on_an_account(visit: Visit, billed: Callable[[str], str]) -> None:
    page = visit.open("/staff/?q=20+00101+00", as_=STAFF, size=pages.PHONE)
    parts = ("next-bill/", "final/", "delivery/", "agreements/")
    links = page.eval_on_selector_all("main a[href]", "links => links.map(link => link.href)")
    bill = next(link for link in links if "/staff/bills/" in link)
    found = [next(link for link in links if part in link) for part in parts]
    for link in (*found, f"{bill}sheet/"):
        page.goto(link)
        assert pages.faults(page, axe_at=pages.PHONE) == [], link


@pytest.mark.parametrize(
    "path",
    ["bills/", "bills/?state=issued&cycle=N1&month=2026-05", "bills/held/", "cycles/", "rates/new/", "rates/compare/"],
)
def test_the_other_pages(visit: Visit, billed: Callable[[str], str], path: str) -> None:
    page = visit.open(f"/staff/{path}", as_=STAFF, size=pages.PHONE)
    assert pages.faults_now(page) == []
    pictures.resize(page, pages.DESK)
    assert pages.faults_now(page) == []


@pytest.mark.parametrize("size", SIZES)
def test_what_staff_change_on_an_account(visit: Visit, billed: Callable[[str], str], size: str) -> None:
    number = {"phone": "20-00102-00", "desk": "20-00105-00"}[size]
    page = visit.open(f"/staff/?q={number}", as_=STAFF, size=SIZES[size])
    pages.follow(page, "text=Change email, paper or language")
    page.check("#way-paper")
    page.fill("#mail_to", "")
    pages.follow(page, "main form button")
    page.wait_for_selector("#form-error")
    assert pages.faults_now(page) == []
    page.fill("#mail_to", "Box 7\nNorman, OK 73069")
    page.select_option("#language", "es")
    pages.follow(page, "main form button")
    page.wait_for_selector(".note-good")
    assert "Box 7" in page.inner_text("#content")
    pages.follow(page, "text=Change the terms")
    page.select_option("#input-low_income", "yes")
    page.fill("#reason", "papers of the state")
    assert pages.faults_now(page) == []
    pages.follow(page, "#terms button")
    page.wait_for_selector(".note-good")
    assert page.locator("#agreements-table tbody tr").count() == 2
    pages.follow(page, "text=Preview of the next bill")
    page.wait_for_selector("#preview-charges")
    assert pages.faults_now(page) == []
    page.go_back()
    pages.follow(page, "#bills-table tbody th a >> nth=0")
    pages.follow(page, "text=As the customer sees it")
    page.wait_for_selector("article.bill")
    assert pages.faults_now(page) == []
    pages.follow(page, "#switch-language")
    page.wait_for_selector("html[lang=es]")
    assert pages.faults_now(page) == []
    pages.follow(page, "#switch-language")  # their language is kept: the next test finds them as before
    page.wait_for_selector("html[lang=en]")

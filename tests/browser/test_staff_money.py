"""The staff's journeys with money, on a phone and on a desk: two persons, one adjustment; payments; the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import pages

if TYPE_CHECKING:
    from tests.browser.conftest import ServedPortal, Visit

CLERK, CHIEF = "staff@example.org", "chief@example.org"
SIZES = {"phone": pages.PHONE, "desk": pages.DESK}


@pytest.fixture(scope="session")
def owing(portal: ServedPortal) -> None:
    """Accounts that owe, and a second clerk."""
    portal.happens("owing")


@pytest.mark.usefixtures("owing")
@pytest.mark.parametrize("size", SIZES)
def test_one_asks_and_another_approves(visit: Visit, size: str) -> None:
    page = visit.open(f"/staff/journal/?q=owing-{size}", as_=CLERK, size=SIZES[size])
    assert pages.faults_now(page) == []
    pages.follow(page, "#staff-table a >> nth=-1")
    assert pages.faults_now(page) == []
    pages.follow(page, "dl.facts a")
    pages.follow(page, "#adjust")
    assert pages.faults_now(page) == []
    assert page.is_visible("#no-leak")
    page.select_option("#policy", "read-error")
    page.fill("#amount", "a lot")
    page.fill("#reason", "We read the wrong meter")
    page.fill("#evidence", "Photo of both dials, 3 June")
    pages.follow(page, "form.form .main-button")
    page.wait_for_selector("#form-error")
    assert pages.faults_now(page) == []
    page.fill("#amount", "12.50")
    pages.follow(page, "form.form .main-button")
    page.wait_for_selector("#own")
    assert page.get_attribute("#amount", "data-cents") == "-1250"
    assert page.is_disabled("#approve")
    assert pages.faults_now(page) == []
    address = page.url.removeprefix(visit.portal.url)

    other = visit.open("/staff/adjustments/", as_=CHIEF, size=SIZES[size])
    assert pages.faults_now(other) == []
    pages.follow(other, f'a[href="{address}"]')
    assert pages.faults_now(other) == []
    pages.follow(other, "#reject")
    other.wait_for_selector("#decision-error")
    assert pages.faults_now(other) == []
    pages.follow(other, "#approve")
    other.wait_for_selector('#state[data-state="approved"]')
    assert pages.faults_now(other) == []
    page.reload()
    assert page.get_attribute("#state", "data-state") == "approved"


@pytest.mark.usefixtures("owing")
@pytest.mark.parametrize("size", SIZES)
def test_a_payment_is_posted_asked_about_and_taken_back(visit: Visit, size: str) -> None:
    number = f"paying-{size}"
    page = visit.open(f"/staff/payments/new/?account={number}", as_=CLERK, size=SIZES[size])
    assert pages.faults_now(page) == []
    assert "owes $101.45" in page.inner_text("#owes")
    for reference in ("1", "2"):
        page.goto(f"{visit.portal.url}/staff/payments/new/?account={number}")
        page.fill("#amount", "40.00")
        page.select_option("#method", "check")
        page.fill("#reference", f"{number} {reference}")
        pages.follow(page, "form.form .main-button")
    page.check("#confirmed")
    assert pages.faults_now(page) == []
    pages.follow(page, "form.form .main-button")
    page.wait_for_selector("text=the account now owes $21.45")
    page.goto(f"{visit.portal.url}/staff/journal/?q={number}+2")
    pages.follow(page, "#staff-table a")
    assert pages.faults_now(page) == []
    page.fill("#reason", "no funds, says the bank")
    pages.follow(page, "#returned")
    page.wait_for_selector("text=It takes back")
    assert pages.faults_now(page) == []
    page.goto(f"{visit.portal.url}/staff/aging/?on=2026-07-01")
    assert pages.faults_now(page) == []
    assert "$61.45" in page.inner_text("#aging")


@pytest.mark.usefixtures("owing")
def test_an_amount_is_read_across_on_a_phone(visit: Visit) -> None:
    page = visit.open("/staff/aging/?on=2026-07-01", as_=CLERK, size=pages.PHONE)
    row = page.locator("#aging tbody tr >> nth=0")
    assert row.locator("td").count() == 8
    assert page.locator("#total dt").count() == 8

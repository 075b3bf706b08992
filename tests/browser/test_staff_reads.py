"""The staff's work list of reads, on a phone and on a desk, in a Chromium: a swapped meter, and a read by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from tests.browser import pages
from tests.browser.conftest import START_S

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

STAFF = "staff@example.org"
SIZES = {
    "phone": (pages.PHONE, "9 Walnut Court", "CVW-40000001"),
    "desk": (pages.DESK, "11 Walnut Court", "CVW-40000002"),
}


@pytest.mark.parametrize("size", SIZES)
def test_a_swapped_meter_is_looked_at_left_out_and_read_by_hand(visit: Visit, portal: ServedPortal, size: str) -> None:
    window, address, meter = SIZES[size]
    portal.happens("swapped", address, meter)
    page = visit.open("/staff/reads/", as_=STAFF, size=window)
    assert pages.faults_now(page) == []
    page.fill("#search", address)
    page.press("#search", "Enter")
    pages.follow(page, f"#findings a:has-text('{address}')")
    assert pages.faults_now(page) == []
    assert "left out" in page.inner_text("main")
    assert "17" in page.inner_text("#seen")
    page.click("details summary")
    assert page.locator("#days").is_visible()
    page.fill("#exclude-reason", "meter of the house next door")
    pages.follow(page, "#exclude button")
    assert "reads excluded" in page.inner_text("#state")
    assert pages.faults_now(page) == []

    page.goto(f"{portal.url}/staff/reads/new/?meter={meter}")
    assert pages.faults_now(page) == []
    here = datetime.fromtimestamp(START_S, ZoneInfo("America/Chicago")) - timedelta(hours=5)
    page.fill("#read_at", here.strftime("%Y-%m-%dT%H:%M:%S"))
    page.fill("#count", "26")
    pages.follow(page, "#enter button")
    page.wait_for_selector("#read-error")
    assert pages.faults_now(page) == []
    page.fill("#count", "28700")
    pages.follow(page, "#enter button")
    page.wait_for_selector("#versions")
    assert pages.faults_now(page) == []
    page.fill("#revise-count", "28710")
    page.fill("#revise-reason", "a 1 read as a 0")
    pages.follow(page, "#revise button")
    page.wait_for_selector("#versions tr:has-text('28,710')")
    page.fill("#withdraw-reason", "of the neighbour")
    pages.follow(page, "#withdraw button")
    page.wait_for_selector("#versions tr:has-text('withdrawn')")
    assert page.locator("#revise").count() == 0
    page.goto(f"{portal.url}/staff/reads/entered/")
    assert pages.faults_now(page) == []
    assert meter in page.inner_text("#entered")

    pages.follow(page, "text=Import reads")
    good = f"{meter},{(here - timedelta(hours=1)).strftime('%Y-%m-%d %H:%M')},28600"
    _look_at(page, f"meter,read_at,count\n{good}\n{meter},2026-13-01,5\n")
    assert pages.faults_now(page) == []
    assert "Line 3" in page.inner_text("#problems")
    _look_at(page, f"meter,read_at,count\n{good}\n")
    assert pages.faults_now(page) == []
    pages.follow(page, "#apply button")
    page.wait_for_selector("#entered tr:has-text('28,600')")


def _look_at(page: Page, text: str) -> None:
    page.set_input_files("#file", {"name": "june.csv", "mimeType": "text/csv", "buffer": text.encode()})
    pages.follow(page, "#look button")
    page.wait_for_selector("#report")

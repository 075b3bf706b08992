"""A person downloads their water use, makes a token, takes a copy of their data: on a phone and on a desk."""

from __future__ import annotations

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser import pages
from tests.browser.homes import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import Visit

WHO = "eve@example.org"


def _file(page: Page, selector: str) -> bytes:
    with page.expect_download() as waiting:
        page.click(selector)
    return Path(waiting.value.path()).read_bytes()


def _again(page: Page) -> None:
    """The password is asked for once more before what nobody should do in passing."""
    if "/accounts/reauthenticate/" in page.url:
        page.fill("input[type=password]", PASSWORD)
        pages.follow(page, "main form button[type=submit], main form button:not([type])")


def test_the_file_sums_to_what_the_page_says(visit: Visit) -> None:
    for size in (pages.PHONE, pages.DESK):
        page = visit.open("/", as_=WHO, size=size)
        page.click("#by-day")
        page.wait_for_selector('#by-day[aria-current="true"]')
        page.click("#previous")
        page.wait_for_selector("#next")
        total = Decimal(page.get_attribute("#period-total", "data-value") or "")
        pages.follow(page, "#download-link")
        page.wait_for_selector("#download")
        page.select_option("#every", "hour")
        rows = list(csv.DictReader(io.StringIO(_file(page, "#download-now").decode(), newline="")))
        assert sum(Decimal(row["volume"]) for row in rows if row["volume"]) == total
        page.check("#form-xml")
        assert b"<espi:IntervalReading>" in _file(page, "#download-now")
        page.check("#form-xlsx")
        with zipfile.ZipFile(io.BytesIO(_file(page, "#download-now"))) as book:
            assert "xl/worksheets/sheet2.xml" in book.namelist()
    page.fill("#last", "2026-04-01")
    page.evaluate("document.querySelector('#download').noValidate = true")
    pages.follow(page, "#download-now")
    page.wait_for_selector("#download-error")
    assert pages.faults(page) == []


def test_a_token_and_a_copy_ask_for_the_password(visit: Visit) -> None:
    page = visit.open("/profile/tokens/", as_=WHO, size=pages.PHONE)
    page.fill("#name", "my home")
    pages.follow(page, "#make")
    _again(page)
    page.wait_for_selector("#token")
    assert page.inner_text("#token").startswith("hwt_")
    assert pages.faults(page) == []
    page.goto(f"{visit.portal.url}/profile/privacy/")
    with zipfile.ZipFile(io.BytesIO(_file(page, "#copy"))) as archive:
        assert archive.testzip() is None
        assert WHO.encode() in archive.read("profile.json")
    pages.follow(page, "#delete-login")
    page.wait_for_selector("#alone")
    assert pages.faults(page) == []
    pages.follow(page, "#delete-now")
    page.wait_for_selector("#delete-error")
    assert pages.faults(page) == []


def test_the_served_portal_wrote_nobody_down(visit: Visit) -> None:
    """After all that was done to it: no address of a person stands in what it wrote on stderr."""
    log = Path(visit.portal.environment["HEADWATER_PORTAL_DIR"], "serve.log").read_text(encoding="utf-8")
    assert "@example.org" not in log
    assert "hwt_" not in log

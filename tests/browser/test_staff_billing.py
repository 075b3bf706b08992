"""The staff's journeys through billing, on a phone and on a desk, in a Chromium."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages
from tests.browser.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

STAFF, SECOND = "staff@example.org", "second@example.org"
SIZES = {"phone": pages.PHONE, "desk": pages.DESK}
Program = "Callable[[str], str]"


@pytest.fixture(scope="session")
def billed(portal: ServedPortal) -> Callable[[str], str]:
    """Let something happen to the billed homes, which are loaded first."""

    def run(argument: str) -> str:
        command = [sys.executable, "-m", "tests.browser.billed", argument]
        done = subprocess.run(
            command, cwd=ROOT, env=portal.environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    print(run("load"))
    return run


def _sound(page: Page) -> None:
    page.wait_for_load_state()
    assert pages.accessibility_faults(page) == []
    assert pages.sideways_scroll_px(page) <= 0


@pytest.mark.parametrize("size", SIZES)
def test_from_the_search_box_to_the_signed_batch(visit: Visit, billed: Callable[[str], str], size: str) -> None:
    page = visit.open("/staff/", as_=STAFF, size=SIZES[size])
    _sound(page)
    page.fill("#search", "court cedar")
    page.press("#search", "Enter")
    page.wait_for_selector("#staff-table")
    assert page.locator("#staff-table tbody tr").count() == 3
    _sound(page)
    page.fill("#search", "20 00101 00")
    page.press("#search", "Enter")
    page.wait_for_selector("#account-number")
    assert page.inner_text("#account-number") == "20-00101-00"
    assert page.inner_text("h1") == "Rosa Delgado"
    _sound(page)
    page.click("#bills-table tbody th a")
    page.wait_for_selector("#bill-number")
    assert page.get_attribute("#bill-state", "data-state") == "issued"
    _sound(page)
    page.click("#lines tbody tr:nth-child(2) th a")
    page.wait_for_selector(".batch")
    tags = page.locator(".batch .tag").all_inner_texts()
    assert "valid" in tags
    assert "the read is in it" in tags
    assert "in force" in tags
    assert not [tag for tag in tags if "invalid" in tag]
    assert "nor-tower-1" in page.inner_text(".batch >> nth=0")
    _sound(page)

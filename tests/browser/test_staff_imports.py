"""The imports page in a Chromium: problems, then a clean file that is confirmed, on a phone and on a desk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser import pages

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import Visit

SIZES = {"phone": pages.PHONE, "desk": pages.DESK}


def _look(page: Page, kind: str, file: Path) -> None:
    page.select_option("#kind", kind)
    page.set_input_files("#file", file)
    pages.follow(page, "#look button")
    page.wait_for_selector("#report")


@pytest.mark.parametrize("size", SIZES)
def test_staff_look_at_a_file_correct_it_and_import_it(visit: Visit, tmp_path: Path, size: str) -> None:
    page = visit.open("/staff/imports/", as_="staff@example.org", size=SIZES[size])
    assert pages.faults_now(page) == []
    file = tmp_path / "premises.csv"
    rows = [f"SP-{size}-{number},{number} Import Street of the {size}" for number in range(1, 9)]
    bad = [
        "address,1.0E+05",
        "1 Twice Street,SP-1",
        "1 twice street,SP-1",
        '"A very long name of a street in quotes",€',
    ]
    file.write_text("\n".join(["Address,Location ID", *bad]), encoding="utf-8")
    _look(page, "premises", file)
    assert page.inner_text("#count-problems") == "4"
    assert page.locator("#confirm").count() == 0
    assert pages.faults_now(page) == []
    file.write_text("\n".join(["Location ID,Address", *rows]), encoding="utf-8")
    _look(page, "premises", file)
    assert page.inner_text("#count-new") == "8"
    assert pages.faults_now(page) == []
    page.set_input_files("#same-file", file)
    pages.follow(page, "#confirm button")
    page.wait_for_selector("#history")
    assert "premises.csv" in page.inner_text("#history")
    assert pages.faults_now(page) == []
    _look(page, "premises", file)
    assert page.inner_text("#count-unchanged") == "8"

"""Pages on paper: no navigation, no button, black on white, nothing cut; as Chromium lays them out for a printer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import pages, pictures
from tests.browser.my_bills import HOLDER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.browser.conftest import ServedPortal, Visit

SHEET = (704, 980)
"""What a letter sheet leaves between margins of half an inch, in CSS pixels."""
_FAULTS = """() => {
    const seen = element => element.checkVisibility() && element.getClientRects().length > 0;
    const name = element => `${element.tagName} ${element.id} ${(element.innerText || '').slice(0, 40)}`;
    const found = [...document.querySelectorAll('nav, button, [type=submit], input, select, footer, .soft-button')]
        .filter(seen).map(element => `still there: ${name(element)}`);
    for (const element of document.querySelectorAll('body, main, main *')) {
        const paint = getComputedStyle(element).backgroundColor.match(/[\\d.]+/g).map(Number);
        const dark = paint[3] !== 0 && (paint[0] + paint[1] + paint[2]) / 3 < 128;
        if (seen(element) && dark && element.innerText) found.push(`dark: ${name(element)}`);
        const wide = element.scrollWidth - element.clientWidth;
        const cut = ['hidden', 'auto', 'scroll', 'clip'].includes(getComputedStyle(element).overflowX);
        const hidden = element.closest('.usa-sr-only') || getComputedStyle(element).clipPath !== 'none';
        if (seen(element) && cut && wide > 1 && !hidden) found.push(`cut: ${name(element)}`);
    }
    const excess = document.documentElement.scrollWidth - window.innerWidth;
    if (excess > 0) found.push(`wider than the sheet by ${excess} px`);
    return found;
}"""


def printed(page: Page, name: str) -> list[str]:
    """What is wrong with a page on paper."""
    page.emulate_media(media="print")
    pictures.resize(page, SHEET)
    if folder := os.environ.get("HEADWATER_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}-printed.jpg", full_page=True, type="jpeg", quality=60)
    return list(page.evaluate(_FAULTS))


@pytest.fixture(scope="session")
def printing(portal: ServedPortal) -> None:
    """Homes with bills."""
    portal.happens("my_bills")


@pytest.mark.usefixtures("printing")
def test_bills_and_statements_on_paper(visit: Visit) -> None:
    page = visit.open("/bills/", as_=HOLDER, size=pages.DESK)
    links = {name: page.get_attribute(name, "href") for name in ("#current-bill", "#to-transactions", "#to-payments")}
    assert printed(page, "bills") == []
    for name, link in links.items():
        page.goto(f"{visit.portal.url}{link}")
        assert printed(page, name.strip("#")) == []


@pytest.mark.parametrize(
    ("name", "path", "as_"),
    [("usage", "", "ana@example.org"), ("messages", "/profile/messages/", "msg-mia@example.org")],
)
def test_usage_and_messages_on_paper(visit: Visit, name: str, path: str, as_: str) -> None:
    page = visit.open(path, as_=as_, size=pages.DESK)
    if not path:
        pages.wait_for_live(page)
    assert printed(page, name) == []

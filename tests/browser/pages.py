"""What a browser test may rely on in the portal's pages; needs a Playwright page and a base URL, nothing of Django.

Stable ids of the resident's usage page
  #today-volume      headline; data-value is the exact decimal in the chosen unit, empty while nothing is known
  #hour-volume, #yesterday-volume, #month-volume, #period-total   likewise
  #comparison        the comparison in a sentence; data-percent is absent where there is no fair figure
  #dial-count        newest dial reading: data-count (raw count), data-meter, data-read-at (UTC, ISO)
  #usage-chart       the chart; window.headwaterChart.data = [x, measured, estimated, compared] once it is drawn
  #usage-table       the table: tr[data-mark][data-value]; it lies in the details #usage-numbers
  #leak-banner       only while a leak is open; data-case names it
  #live-pill         shown while the stream is connected
  #waiting, #no-dial before the first reads
  #previous, #next, #by-minute, #by-hour, #by-week, #by-day, #by-month, #jump-date, #switch-language, #sign-out
  #unit-gal, #unit-l, #unit-ft3, #unit-ccf, #unit-m3
  #compare-none, #compare-previous, #compare-year, #compare-similar, #meter-1, #meter-2, #meters-all
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import pictures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Playwright

CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE, DESK = (390, 844), (1280, 900)
WALKED = {"phone": PHONE, "desk": DESK}.get(os.environ.get("HEADWATER_WALK", ""))
"""With HEADWATER_WALK=desk (or phone) every journey is walked at that width, whichever it asks for itself."""
AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"


@dataclass(frozen=True)
class Today:
    """What the page says of today: the exact volume in the chosen unit (None while unknown), and the dial."""

    volume: Decimal | None
    text: str
    dial_count: int | None


def chromium_path() -> str:
    """Return Debian's Chromium, rather without a window; the test skips with one line where it is absent."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("required-chromium: no chromium on PATH; apt-get install chromium")
    return found


def launch(playwright: Playwright) -> Browser:
    """Start a headless Chromium."""
    return playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGS)


def follow(page: Page, what: str | Locator) -> None:
    """Click what leads to another page, and wait until that page is there.

    A click alone returns between the two: what looks at the page after it finds the old one or an empty one.
    """
    with page.expect_navigation():
        if isinstance(what, str):
            page.click(what)
        else:
            what.click()


def enter(page: Page) -> None:
    """Press Enter where it leads to another page, and wait until that page is there."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def sign_in(page: Page, base_url: str, email: str, password: str) -> None:
    """Sign in and wait for the page that follows."""
    page.goto(f"{base_url}/accounts/login/")
    page.fill("#id_login", email)
    page.fill("#id_password", password)
    follow(page, "#sign-in")
    page.wait_for_url(lambda url: "/accounts/login/" not in url)


def wait_for_focus(page: Page, id_: str) -> None:
    """Wait until the element of that id has the focus; a page that is still coming has none. Fails after 30 s."""
    page.wait_for_function("id => document.activeElement?.id === id", arg=id_)


def read_today(page: Page) -> Today:
    """Return what the usage page shows now."""
    value = page.get_attribute("#today-volume", "data-value")
    dial = page.locator("#dial-count")
    count = dial.get_attribute("data-count") if dial.count() else None
    return Today(
        volume=Decimal(value) if value else None,
        text=page.inner_text("#today-volume"),
        dial_count=int(count) if count is not None else None,
    )


def wait_for_live(page: Page) -> None:
    """Wait until the page's stream is connected."""
    page.wait_for_selector("#live-pill:not([hidden])")


def wait_for_dial(page: Page, count: int, *, timeout_s: float = 20.0) -> Today:
    """Wait, without reloading, until the dial on the page shows a raw count; return what the page says then."""
    page.wait_for_selector(f'#dial-count[data-count="{count}"]', timeout=timeout_s * 1000)
    return read_today(page)


def chart_volumes(page: Page) -> list[float]:
    """Return the heights of the drawn bars, measured and estimated alike, without the empty places."""
    columns = page.evaluate("() => window.headwaterChart.data")
    return [b if a is None else a for a, b in zip(columns[1], columns[2], strict=True) if (a, b) != (None, None)]


def table_volumes(page: Page) -> list[Decimal]:
    """Return the exact volumes of the table's rows, without the gaps."""
    values = page.eval_on_selector_all("#usage-table tr[data-value]", "rows => rows.map(row => row.dataset.value)")
    return [Decimal(value) for value in values if value]


def accessibility_faults(page: Page) -> list[str]:
    """Return what axe-core finds on the page with every rule that it has switched on."""
    if not AXE.is_file():
        pytest.fail(f"{AXE} is missing: run npm ci --ignore-scripts")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => {
            const rules = Object.fromEntries(axe.getRules().map(rule => [rule.ruleId, {enabled: true}]));
            const result = await axe.run(document, {rules, resultTypes: ["violations"]});
            return result.violations.flatMap(
                v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 160)} ${n.failureSummary}`));
        }"""
    )
    return list(found)


def sideways_scroll_px(page: Page) -> int:
    """Return how many pixels the page is wider than its window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth"))


def faults_now(page: Page, *, axe: bool = True) -> list[str]:
    """Return what is wrong with the page as it is laid out now: what axe-core finds, and scrolling sideways."""
    page.wait_for_load_state()
    found = accessibility_faults(page) if axe else []
    if (excess := sideways_scroll_px(page)) > 0:
        found.append(f"scrolls sideways by {excess} px")
    pictures.keep(page)
    return found


def faults(page: Page, *, axe_at: tuple[int, int] | None = None) -> list[str]:
    """Return what is wrong with the page on a desk and on a phone; it is left as wide as it is walked, else a phone.

    axe_at  the one size at which axe-core looks; without it at both.
    """
    found = []
    for size in (PHONE, DESK) if WALKED == DESK else (DESK, PHONE):
        pictures.resize(page, size)
        found += [f"{size[0]} px: {fault}" for fault in faults_now(page, axe=axe_at in (None, size))]
    return found

"""Pictures of the pages that a browser test looks at, for docs/pages.md; none unless HEADWATER_PICTURES names a folder.

A page is named by its address, `staff-bills-one` for /staff/bills/h2k9.../, unless the test names its state.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = ((390, 844), (1280, 900))
TALLEST_PX = 2400
_OPAQUE = re.compile(
    r"\A(hwi_.*|[0-9]+|[0-9b-df-hj-np-tv-z]{13}|[0-9a-f]{16,}|[0-9A-Za-z_-]{30,})\Z"
)  # ids have no vowels


def name_of(address: str) -> str:
    """Return what the picture of a page is called: its path in words, an opaque part of it as `one`."""
    parts = [part for part in urlsplit(address).path.split("/") if part]
    return "-".join("one" if _OPAQUE.match(part) else part for part in parts) or "home"


def resize(page: Page, size: tuple[int, int]) -> None:
    """Make the window so wide and high, in CSS pixels, and wait until it is drawn: the chart follows with the frame."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def keep(page: Page, name: str = "") -> None:
    """Keep the page as it stands, on a phone and on a desk; without a name only its first state, and in English."""
    folder = os.environ.get("HEADWATER_PICTURES")
    known = name or name_of(page.url)
    if not folder or (not name and _is_kept(Path(folder), known, page)):
        return
    size = page.viewport_size
    for width, height in WIDTHS:
        resize(page, (width, height))
        tall = page.evaluate("() => document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": min(max(tall, height), TALLEST_PX)}
        page.screenshot(path=Path(folder) / f"{known}-{width}.png", full_page=True, clip=clip)  # type: ignore[arg-type]
    if size:
        resize(page, (size["width"], size["height"]))


def _is_kept(folder: Path, name: str, page: Page) -> bool:
    return (folder / f"{name}-{WIDTHS[0][0]}.png").exists() or page.get_attribute("html", "lang") != "en"

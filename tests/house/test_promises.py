"""docs/promises.md names pages and tests that exist; what the pilot city promises is its settings, never our code."""

from __future__ import annotations

import re
from pathlib import Path

from django.urls import resolve

from tests.house.test_tidiness import TRACKED

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {7, 8, 10, 11, *range(17, 21), *range(22, 44), 45}
ANY_ID = "bcdfghjkmnpqr"


PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
ROWS = {int(found[1]): found[0] for found in re.finditer(r"^\| (\d+) \|.*$", PAGE, re.MULTILINE)}


def test_every_promise_has_a_line_and_every_named_test_exists() -> None:
    assert set(ROWS) == PROMISED
    missing = []
    for part in PAGE.split("\n| "):
        current = Path()
        for name in re.findall(r"`([^`]+)`", part):
            if " " in name:
                continue  # a command
            file, _, test = name.rpartition("::") if "::" in name else (name, "", "")
            if file.endswith(".py"):
                current = ROOT / file if file.startswith("tests/") else ROOT / "tests" / "portal" / file
                if not current.is_file():
                    missing.append(file)
            elif name.startswith("test_"):
                test = name
            if test and (not current.is_file() or f"def {test}(" not in current.read_text(encoding="utf-8")):
                missing.append(name)
    assert missing == []


def test_every_promise_names_a_browser_test_or_its_evidence_and_every_page_is_there() -> None:
    pages = set()
    for number, row in ROWS.items():
        cells = row.split(" | ")
        assert len(cells) == 4, number
        heading = re.search(r"\[statement\]\(#(\d+)-", cells[3])
        assert "`tests/browser/" in cells[3] or (heading and f"\n### {heading[1]}: " in PAGE), number
        pages |= {name for name in re.findall(r"`([^`]+)`", cells[2]) if name.startswith("/")}
    assert len(pages) > 15
    for page in sorted(pages):
        assert resolve(page.replace("…", ANY_ID)).url_name


def test_no_telephone_number_stands_in_the_code() -> None:
    """Numbers are the utility's settings; those that serve as examples are of the range that is nobody's."""
    number = re.compile(r"(?<![\d.-])\(?[2-9]\d\d\)?[-. ][2-9]\d\d[-. ]\d{4}(?![\d.-])")
    example = re.compile(r"555[-. ]01\d\d$")
    found = [
        f"{name}: {one}"
        for name in TRACKED
        if name.startswith(("portal/", "headwater/")) and name.endswith((".py", ".html", ".txt", ".js", ".po", ".json"))
        for one in number.findall((ROOT / name).read_text(encoding="utf-8"))
        if not example.search(one) and "/vendor/" not in name
    ]
    assert found == []

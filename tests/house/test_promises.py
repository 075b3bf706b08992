"""docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {7, 8, 10, 11, *range(17, 21), *range(22, 39), *range(40, 44), 45}


def test_every_promise_has_a_line_and_every_named_test_exists() -> None:
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = {int(found[1]): found[0] for found in re.finditer(r"^\| (\d+) \|.*$", text, re.MULTILINE)}
    assert PROMISED - set(rows) == set()
    missing = []
    for row in rows.values():
        current = Path()
        for name in re.findall(r"`([^`]+)`", row):
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

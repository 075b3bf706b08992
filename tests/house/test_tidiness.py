"""House rules that a script can see: no addresses in locks, no unfinished marks, documentation that exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.house.cli_page import PAGE, commands

ROOT = Path(__file__).resolve().parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.splitlines() or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.py") if ".venv" not in p.parts]


def test_lock_files_carry_hashes_and_no_addresses() -> None:
    """Whoever installs decides where from; what is installed is fixed by its hash."""
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://", text), lock
    npm = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"integrity": "sha512-' in npm
    assert not re.search(r'"resolved"|registry\.', npm)


def test_no_unfinished_marks_and_no_path_of_one_machine() -> None:
    """What is missing is named in the notes, not left in the code."""
    marks = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|(?<![\w.])/(work|root)/")
    found = [
        f"{name}:{number}"
        for name in TRACKED
        if name.endswith((".py", ".html", ".js", ".md", ".toml", ".sh")) and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), start=1)
        if marks.search(line)
    ]
    assert not found


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    """Under 200 lines, and every relative link in README and docs exists."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
    broken = [
        f"{page}: {target}"
        for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def test_every_command_has_help_and_the_reference_is_what_the_commands_say() -> None:
    """docs/reference/cli.md is made from the commands; after a change: python -m tests.house.cli_page."""
    assert [name for name, command in commands() if not command.help] == []
    # In a process of its own: a command that another test ran by itself has forgotten the root's -h.
    said = subprocess.run(
        [sys.executable, "-c", "from tests.house.cli_page import render; print(render(), end='')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert PAGE.read_text(encoding="utf-8") == said

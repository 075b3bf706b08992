"""Each import contract is seen to fail on a planted breach: a rule that cannot fail protects nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
BREACHES = {
    "1.": ("buffer/breach.py", "import sync.batch"),
    "2.": ("firmware_sim/breach.py", "import drivers.link"),
    "3.": ("portal/core/breach.py", "import buffer.store"),
    "4.": ("gateway/breach.py", "import django"),
    "5.": ("drivers/mbus.py", "import drivers.modbus"),
    "6.": ("domain/breach.py", "import click"),
    "7.": ("portal/core/breach7.py", "import portal.metering.models"),
    "8.": ("rates/breach.py", "import django"),
}


def lint(tree: Path) -> dict[str, str]:
    """Run import-linter over a tree; return KEPT or BROKEN by the contract's number."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    verdicts = {line[:2]: word for line in lines for word in ("KEPT", "BROKEN") if line.rstrip().endswith(word)}
    assert verdicts, done.stdout + done.stderr
    return verdicts


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of every package that the contracts speak of."""
    for package in CONTRACTS["root_packages"]:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_holds_and_breaks_on_a_planted_breach(tree: Path) -> None:
    """The same tree, first as it is, then with one breach for each contract."""
    numbers = {contract["name"][:2] for contract in CONTRACTS["contracts"]}
    assert numbers == BREACHES.keys()
    assert lint(tree) == dict.fromkeys(numbers, "KEPT")
    for name, breach in BREACHES.values():
        with (tree / name).open("a", encoding="utf-8") as module:
            module.write(f"\n{breach}  # planted\n")
    assert lint(tree) == dict.fromkeys(numbers, "BROKEN")

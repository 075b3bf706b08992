"""The seeded simulation: seeds hold, a seed replays byte for byte anywhere, planted bugs are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.simulate.runner import parse_seeds

pytestmark = pytest.mark.xdist_group("simulation")  # they share what one program ran
ROOT = Path(__file__).resolve().parents[2]
SEEDS, REPLAYED = "0-7", 15
PLANTS = {"delete-on-puback": "0-1", "sequence-reused": "42,46"}


def run(*arguments: str, hash_seed: int) -> dict[str, object]:
    """What a program printed as JSON; its sets and dictionaries are in another order with another hash_seed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict:
    plants = [f"{plant}={seeds}" for plant, seeds in PLANTS.items()]
    folder = str(tmp_path_factory.mktemp("simulated"))
    return run("tests.headwater.simulated", folder, SEEDS, str(REPLAYED), *plants, hash_seed=1)


def test_no_seed_violates_an_invariant(ran: dict) -> None:
    assert [seed for seed in ran["seeds"] if seed["violation"]] == []
    assert sum(seed["reads"] for seed in ran["seeds"]) > 300
    assert len(ran["faults"]) > 10


def test_a_seed_replays_byte_for_byte_also_in_another_process(ran: dict) -> None:
    elsewhere = run("headwater.simulate", "--replay", str(REPLAYED), "--trace", "--json", hash_seed=2)
    first, second = ran["traces"]
    assert first == second
    assert first == elsewhere["trace"]
    assert len(first) > 50


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(ran: dict, plant: str) -> None:
    assert ran["found"][plant]


def test_seeds_are_ranges_and_single_numbers() -> None:
    assert parse_seeds("7,12,40-42") == [7, 12, 40, 41, 42]
    with pytest.raises(ValueError, match="invalid literal"):
        parse_seeds("many")

"""`headwater leak`: what a technician reads, and what a script reads."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from domain.errors import ConfigError
from domain.leak_rules import LeakRules
from gateway.cli.leak import leak
from tests.gateway.test_leak import _leaky

if TYPE_CHECKING:
    from pathlib import Path


def _recording(path: Path) -> Path:
    rows = ["epoch_s,count", *(f"{int(read.read_at.timestamp())},{read.raw_count}" for read in _leaky())]
    content = ("\n".join(rows) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["reads.csv", "reads.csv.gz"])
def test_a_recording_is_replayed_with_its_evidence(tmp_path: Path, name: str) -> None:
    arguments = ["--unit", "m3", "--scale", "-3", "--modulus", "100000000"]
    file = str(_recording(tmp_path / name))
    answer = CliRunner().invoke(leak, ["replay", file, *arguments, "--json"], catch_exceptions=False)
    document = json.loads(answer.stdout)
    assert (answer.exit_code, document["reads"]) == (0, 160)
    opened, cleared = document["changes"]
    assert (opened["opened"], cleared["opened"]) == (True, False)
    assert (opened["rule"], opened["litres_per_h"], opened["since"]) == ("running", 60, "2026-03-02T05:30:00+00:00")
    lines = CliRunner().invoke(leak, ["replay", file, *arguments]).stdout.splitlines()
    assert lines[0].startswith("2026-03-02 13:30  LEAK")
    assert opened["alarm_id"] in lines[0]
    assert lines[-1].endswith("1 alarms")


def test_a_slower_plan_is_tried_by_leaving_reads_out(tmp_path: Path) -> None:
    file = str(_recording(tmp_path / "reads.csv"))
    answer = CliRunner().invoke(
        leak, ["replay", file, "--modulus", "100000000", "--interval-s", "3600", "--json"], catch_exceptions=False
    )
    document = json.loads(answer.stdout)
    assert (document["reads"], document["skipped"]) == (40, 120)
    assert [change["rule"] for change in document["changes"] if change["opened"]] == ["running_hours"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1\n900,1.5\n", "line 2"),
        ("0,1\n900\n", "line 2"),
        ("0,1\nsoon,2\n", "line 2"),
        ("0,1\n900,NaN\n", "line 2"),
        ("0,200\n", "--modulus"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "reads.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        CliRunner().invoke(leak, ["replay", str(file), "--modulus", "100"], catch_exceptions=False)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    file = _recording(tmp_path / "reads.csv.gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cannot be read"):
        CliRunner().invoke(leak, ["replay", str(file)], catch_exceptions=False)


def test_the_thresholds_in_force_are_printed() -> None:
    document = json.loads(CliRunner().invoke(leak, ["rules", "--json"]).stdout)
    assert [rule["name"] for rule in document["rules"]] == [rule.name for rule in LeakRules().rules]
    assert document["learn_weeks"] == LeakRules().learn_weeks
    text = CliRunner().invoke(leak, ["rules"]).stdout
    assert all(rule.name in text for rule in LeakRules().rules)

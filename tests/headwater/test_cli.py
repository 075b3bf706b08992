"""What the root command does with a command line that makes no sense: one message or object, no stack trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.cli import main


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it said on standard error."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    shown = capsys.readouterr()
    assert shown.out == ""
    return int(exit_.value.code or 0), shown.err


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("demo", "--nope"), ("demo", "--meters", "0"), ("gateway", "read"), ("decode", "mbus", "zz")],
    ids=" ".join,
)
def test_a_mistyped_command_line_is_an_object_with_json(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, said = ended(capsys, *arguments)
    assert (code, said.startswith("Usage:")) == (2, True)
    code, said = ended(capsys, *arguments, "--json")
    assert code == 2
    assert set(json.loads(said)) >= {"error", "message", "permanent"}


def test_the_demo_judges_every_option_before_it_starts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ("--speed", "nan", "--every", "-5", "--seconds", "inf", "--leak", "99:5", "--dir", str(tmp_path))
    code, said = ended(capsys, "demo", "--check", "--json", *options)
    assert code == 3
    assert [fault.split()[0] for fault in json.loads(said)["faults"]] == ["--speed", "--every", "--seconds", "--leak"]
    assert list(tmp_path.iterdir()) == []


def test_the_demo_refuses_a_folder_that_holds_something(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    code, said = ended(capsys, "demo", "--check", "--dir", str(tmp_path))
    assert code == 10
    assert "--dir" in said
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]

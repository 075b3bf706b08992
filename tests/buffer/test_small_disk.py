"""A disk of one megabyte, filled to the last byte, by somebody else as well; SIGKILL while it is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUND = 40
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Disk:
    """A small file system of its own, in a mount namespace that a sleeping process keeps alive."""

    folder: Path
    keeper: subprocess.Popen[bytes]

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        enter = ["nsenter", "--target", str(self.keeper.pid), "--mount"]
        if os.geteuid():
            enter += ["--user", "--preserve-credentials"]
        command = [*enter, sys.executable, "-m", "tests.buffer.small_disk", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=ROOT)


def mounted(folder: Path, size: str) -> Disk:
    """Return a tmpfs of a size; skips the test where none can be mounted."""
    folder.mkdir()
    become_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    script = f'mount -t tmpfs -o size={size} tmpfs "{folder}" && echo ready && exec sleep 600'
    keeper = subprocess.Popen(
        ["unshare", "--mount", *become_root, "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    if keeper.stdout.readline() != b"ready\n":
        said = keeper.stderr.read().decode().strip()
        keeper.wait()
        pytest.skip(f"a file system of its own cannot be mounted here: {said}")
    return Disk(folder, keeper)


@pytest.fixture(params=["1m", "2m"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    found = mounted(tmp_path / "disk", request.param)
    yield found
    found.keeper.kill()
    found.keeper.communicate()


@dataclass
class Told:
    """What the processes said."""

    appended: dict[int, int] = field(default_factory=dict)
    sealed: list[int] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    def take(self, line: bytes) -> dict[str, Any]:
        words: dict[str, Any] = json.loads(line)
        self.appended.update({n: seq for n, seq in words.pop("appended", ())})
        self.sealed += words.pop("sealed", ())
        self.said.update(words)
        return words


def fill_and_kill(disk: Disk, first: int, told: Told, *kind: str) -> None:
    """Append until the disk is full, then kill the process a few lines later."""
    with disk.run("fill", str(disk.folder), str(first), *kind) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "full" in told.take(line):
                break
        else:
            raise AssertionError(process.stderr.read().decode())
        process.kill()
        for line in process.stdout:
            if line.endswith(b"\n"):
                told.take(line)


@pytest.mark.parametrize("kind", [(), ("thinning",)])
def test_a_full_disk_stalls_appends_and_drains(disk: Disk, kind: tuple[str, ...]) -> None:
    told = Told()
    for turn in range(2):
        fill_and_kill(disk, 10**6 * turn, told, *kind)
        assert "no room left" in told.said["full"]
    assert len(told.appended) > 3_000
    with disk.run("drain", str(disk.folder)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            told.take(line)
        failed = process.stderr.read().decode()
    assert process.returncode == 0, failed
    assert told.said["drained"]
    assert told.said["free"] == 0, "the disk was not full"
    assert told.said["backlog"] == 1
    assert told.said["reserve"]
    assert len(told.sealed) == len(set(told.sealed)), "sealed twice"
    lost = {seq for n, seq in told.appended.items() if n < 5 * 10**7} - set(told.sealed)
    # One more round may have been stored, and thinned from, before the kill kept it from being told.
    assert told.said["reported"] >= len(lost) >= told.said["reported"] - 100 * ROUND
    assert bool(lost) == bool(kind), f"{len(lost)} reads that append returned for are in no batch"

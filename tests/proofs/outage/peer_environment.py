"""The peer's own virtual environment, made from its lock; ours never sees its packages.

The peer pins a pymodbus of its own and installs libraries by pip while it starts. Here everything is there before, by
hash, and its pip is told that there is no index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).resolve().parents[3]
LOCK = _ROOT / "requirements" / "peer.txt"
FOLDER = _ROOT / ".setup" / "peer"
_STAMP = "lock.sha256"
_LONGEST_S = 600


class PeerMissing(Exception):
    """The peer cannot be installed here; the text says why, in one line."""


def python_of_peer(progress: Callable[[str], None]) -> Path:
    """Return the Python that has the peer installed; makes the environment when the lock is new. raises PeerMissing."""
    python = FOLDER / "bin" / "python"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = FOLDER / _STAMP
    if python.exists() and stamp.exists() and stamp.read_text(encoding="ascii") == digest:
        return python
    progress("installing the peer into an environment of its own")
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(FOLDER)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    _run([*install, "-r", str(LOCK)])
    stamp.write_text(digest, encoding="ascii")
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False, env=os.environ)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissing(f"{command[2]} did not end: {type(error).__name__}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        shutil.rmtree(FOLDER, ignore_errors=True)
        raise PeerMissing(errors[-1][:200] if errors else f"{command[2]} ended with {done.returncode}")

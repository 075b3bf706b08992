"""Private files (keys, certificates, rendered configuration), and what may stand in files for spreadsheets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell's formula begins with; the last four are the wide signs, which Excel takes for the narrow ones."""


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula, without characters that do not show.

    For texts alone: a number stays a number, below zero too (water that flowed back, a credit).
    """
    shown = "".join(character for character in text if character >= " " or character in "\t\n")
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read: whole or not at all, and on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

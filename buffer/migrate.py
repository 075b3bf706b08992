"""Forward-only schema versions, from the numbered files of buffer/schema/.

A store is migrated when it is opened. Before that it is copied; the copy stays until the migrated store was opened once
more and found sound, so an update that goes wrong in the field costs nothing.
"""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from buffer.database import sidecar
from buffer.folder import sync_file, sync_folder

if TYPE_CHECKING:
    from pathlib import Path


def schema_scripts() -> dict[int, str]:
    """Return the SQL that leads to each version, in order."""
    scripts = {}
    for entry in files("buffer").joinpath("schema").iterdir():
        if match := re.fullmatch(r"(\d{4})\.sql", entry.name):
            scripts[int(match[1])] = entry.read_text(encoding="utf-8")
    return dict(sorted(scripts.items()))


def latest_version() -> int:
    """Return the version that this program writes."""
    return max(schema_scripts())


def version_of(connection: sqlite3.Connection) -> int:
    """Return a store's schema version; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path) -> int:
    """Bring a store to the latest version; returns the version that it had.

    Each step is one transaction with its version number, so a power cut leaves the step before or the step after.
    """
    had = version_of(connection)
    scripts = {version: script for version, script in schema_scripts().items() if version > had}
    if scripts and had:
        _copy_aside(connection, path, had)
    for version, script in scripts.items():
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={version};\nCOMMIT;")
    if not scripts:
        _drop_proven(path)
    return had


def _copy_aside(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Write a whole copy of the store beside it, under its final name only once it is complete."""
    half, whole = sidecar(path, f"v{version}.part"), sidecar(path, f"v{version}.before-migration")
    half.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(half),))
    sync_file(half)  # SQLite itself need not have
    half.replace(whole)
    sync_folder(path.parent)


def _drop_proven(path: Path) -> None:
    """Remove copies of older versions: this store was migrated by an earlier start and has just been opened again."""
    for copy in path.parent.glob(f"{path.name}-v*.before-migration"):
        copy.unlink()

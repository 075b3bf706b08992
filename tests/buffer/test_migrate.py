"""Stores of every past schema open as they were, and the old file stays until the new one is proven."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from buffer import migrate
from buffer.migrate import latest_version, schema_scripts
from buffer.store import Store
from tests.buffer.conftest import reads
from tests.databases.make import FOLDER, contents

if TYPE_CHECKING:
    from pathlib import Path

    from domain.clock import ManualClock

VERSIONS = sorted(schema_scripts())


def test_versions_have_no_hole() -> None:
    assert list(range(1, latest_version() + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store_of_every_past_schema(version: int, path: Path, clock: ManualClock) -> None:
    path.parent.mkdir()
    shutil.copy(FOLDER / f"v{version}.db", path)
    expected = json.loads((FOLDER / f"v{version}.json").read_text())
    copy = path.with_name(f"store.db-v{version}.before-migration")
    with Store.open(path, clock=clock) as store:
        assert contents(store) == expected
        assert store._database.connection.execute("PRAGMA user_version").fetchone()[0] == latest_version()
        assert store.append(reads(900, 1)) == [expected["last_append_seq"] + 1]
    assert copy.exists() == (version < latest_version())
    if copy.exists():
        with sqlite3.connect(copy) as old:
            assert old.execute("PRAGMA user_version").fetchone()[0] == version
            assert old.execute("SELECT COUNT(*) FROM read").fetchone()[0] > 0
        old.close()
    with Store.open(path, clock=clock):
        pass
    assert not copy.exists(), "the second opening proved the new one"


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.parent.mkdir()
    shutil.copy(FOLDER / "v1.db", path)
    scripts = schema_scripts() | {2: "CREATE TABLE half (x); CREATE TABLE read (x);"}
    monkeypatch.setattr(migrate, "schema_scripts", lambda: scripts)
    with sqlite3.connect(path, isolation_level=None) as db, pytest.raises(sqlite3.OperationalError):
        migrate.migrate(db, path)
    db.close()
    monkeypatch.undo()
    with Store.open(path, clock=clock) as store:
        assert contents(store) == json.loads((FOLDER / "v1.json").read_text())

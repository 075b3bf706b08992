"""A database of an earlier release, with rows in it, becomes one of today's and keeps them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from tests.portal.earlier import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def empty_database(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a portal whose database is new: a file, or a database beside the tests' own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DATABASE_URL"))},
        "HEADWATER_PORTAL_DIR": str(tmp_path),
        "HEADWATER_SECRET_KEY": secrets.token_urlsafe(40),
        "HEADWATER_DEMO": "True",
        "DJANGO_SETTINGS_MODULE": "portal.config.settings",
    }
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        yield environment
        return
    name = f"earlier_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield {**environment, "DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.django_db
def test_rows_from_before_assignments_and_billing_are_kept(empty_database: dict[str, str]) -> None:
    command = [sys.executable, "-m", "tests.portal.earlier"]
    done = subprocess.run(command, cwd=ROOT, env=empty_database, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    assert after["rows"] == {
        "account": "00-12",
        "key": "12",
        "code": "",
        "first_count": 5,
        "batches": [[1, 0], [2, 0], [4, 0]],
        "reads": 3,
        "speaks": [["hw-1", "M1"]],
        "heads": [[4, 4]],
        "missing": [[[3, 3]]],
    }
    # A new database is made by the squashed migrations, the earlier one went by their steps: the same in the end.
    new = tables(connection)
    assert {name: after["tables"].get(name) for name in new} == new

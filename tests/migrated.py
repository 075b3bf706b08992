"""A portal with today's tables, made once for a test session and copied: a portal of its own starts in seconds.

The migrations take eight seconds of processor time, all else of `portal init` two, and a session makes a dozen portals.
`tests/portal/test_cli.py` makes one from nothing, as an installation does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

_SESSION = re.compile(r"pytest-\d+")


def copy_tables(database: Path) -> None:
    """Write a SQLite database with today's tables, to be found by `portal init`; nothing outside pytest's folders."""
    session = _session_folder(database)
    if session is None:
        return
    template = _sqlite_template(session)
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(template / "portal.sqlite3")) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    database.chmod(0o600)


def copy_portal(folder: Path) -> None:
    """Write what `portal init` leaves in a portal's folder inside pytest's: keys, certificates, files, a database."""
    session = _session_folder(folder)
    assert session is not None, folder
    _copy_state(_sqlite_template(session), folder)
    copy_tables(folder / "portal.sqlite3")


def copy_portal_of_postgres(folder: Path, url: str) -> str:
    """Do likewise for a database on a server, save that one: return the name of its template there."""
    import psycopg

    session = _session_folder(folder)
    assert session is not None, folder
    name = f"migrated_{hashlib.sha256(f'{session} {url}'.encode()).hexdigest()[:12]}"
    with (session / "migrated.lock").open("w") as lock, psycopg.connect(url, autocommit=True) as server:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            server.execute(f'CREATE DATABASE "{name}"')
            _initialise(session / name, urlunsplit(urlsplit(url)._replace(path=f"/{name}")))
    _copy_state(session / name, folder)
    return name


def _copy_state(template: Path, folder: Path) -> None:
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("portal.sqlite3*"), dirs_exist_ok=True)


def _session_folder(path: Path) -> Path | None:
    return next((folder for folder in path.resolve().parents if _SESSION.fullmatch(folder.name)), None)


def _sqlite_template(session: Path) -> Path:
    template = session / "migrated"
    with (session / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            _initialise(template, "")
    return template


def _initialise(folder: Path, url: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
    environment |= {
        "DATABASE_URL": url or f"sqlite:///{folder / 'portal.sqlite3'}",
        "HEADWATER_PORTAL_DIR": str(folder),
        "HEADWATER_DEMO": "True",
        "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
    }
    command = [sys.executable, "-m", "headwater", "portal", "init"]
    subprocess.run(command, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)

"""A portal with today's tables, made once for a test session and copied: a portal of its own starts in seconds.

The migrations take eight seconds of processor time, all else of `portal init` two, and a session makes a dozen portals
and a test database for every worker. `tests/portal/test_cli.py` makes one from nothing, as an installation does.
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
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_SESSION = re.compile(r"pytest-\d+")
_MIGRATE = ("manage", "migrate", "--skip-checks", "--verbosity=0")


def in_a_session(folder: Path) -> bool:
    """Whether this folder of pytest's is one that the workers of a session share."""
    return _session_folder(folder / "tables") is not None


def tables_for_tests(folder: Path, url: str) -> sqlite3.Connection | str:
    """Give a test database today's tables, of which the session of this folder makes one copy.

    url  of the server, when the portal's is PostgreSQL: the name of the template there is returned; else what is
         returned keeps SQLite's database in memory alive.
    """
    session = _session_folder(folder / "tables")
    assert session is not None, folder
    if url.startswith("postgres"):
        return _tables_of_postgres(session, url)
    kept = sqlite3.connect("file:memorydb_default?mode=memory&cache=shared", uri=True, check_same_thread=False)
    with closing(sqlite3.connect(_tables_of_sqlite(session))) as source:
        source.backup(kept)
    return kept


def copy_tables(database: Path) -> None:
    """Write a SQLite database with today's tables, to be found by `portal init`; nothing outside pytest's folders."""
    session = _session_folder(database)
    if session is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        _copy(_tables_of_sqlite(session), database)


def copy_portal(folder: Path) -> None:
    """Write what `portal init` leaves in a portal's folder inside pytest's: keys, certificates, files, a database."""
    session = _session_folder(folder)
    assert session is not None, folder
    template = _sqlite_template(session)
    _copy_state(template, folder)
    _copy(template / "portal.sqlite3", folder / "portal.sqlite3")


def _copy(made: Path, database: Path) -> None:
    with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    database.chmod(0o600)


def copy_portal_of_postgres(folder: Path, url: str) -> str:
    """Do likewise for a database on a server, save that one: return the name of its template there."""
    session = _session_folder(folder)
    assert session is not None, folder
    tables = _tables_of_postgres(session, url)
    name = _on_server(session, url, "portal", tables, "init")
    _copy_state(session / name, folder)
    return name


def _copy_state(template: Path, folder: Path) -> None:
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns("portal.sqlite3*"), dirs_exist_ok=True)


def _session_folder(path: Path) -> Path | None:
    return next((folder for folder in path.resolve().parents if _SESSION.fullmatch(folder.name)), None)


def _sqlite_template(session: Path) -> Path:
    tables, template = _tables_of_sqlite(session), session / "migrated"
    with _alone(template):
        if not template.exists():
            template.mkdir()
            _copy(tables, template / "portal.sqlite3")
            _run(template, "", "init")
    return template


def _tables_of_sqlite(session: Path) -> Path:
    folder = session / "tables"
    with _alone(folder):
        if not folder.exists():
            folder.mkdir()
            _run(folder, "", *_MIGRATE)
            with closing(sqlite3.connect(folder / "portal.sqlite3")) as made:
                made.execute("PRAGMA journal_mode=DELETE")  # a database in memory has no log beside it
    return folder / "portal.sqlite3"


def _tables_of_postgres(session: Path, url: str) -> str:
    return _on_server(session, url, "tables", "template1", *_MIGRATE)


def _on_server(session: Path, url: str, kind: str, template: str, *command: str) -> str:
    """Return the name of a database on this server, made of a template and by a command when it is not there yet."""
    import psycopg

    name = f"{kind}_{hashlib.sha256(f'{session} {url}'.encode()).hexdigest()[:12]}"
    with _alone(session / name), psycopg.connect(url, autocommit=True) as server:
        if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
            (session / name).mkdir(exist_ok=True)
            _run(session / name, urlunsplit(urlsplit(url)._replace(path=f"/{name}")), *command)
    return name


@contextmanager
def _alone(made: Path) -> Iterator[None]:
    """Let one process of the session at a time make this."""
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(folder: Path, url: str, *command: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
    environment |= {
        "DATABASE_URL": url or f"sqlite:///{folder / 'portal.sqlite3'}",
        "HEADWATER_PORTAL_DIR": str(folder),
        "HEADWATER_DEMO": "True",
        "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
    }
    program = [sys.executable, "-m", "headwater", "portal", *command]
    subprocess.run(program, env=environment, check=True, timeout=300, stdout=subprocess.DEVNULL)

"""A portal of its own for each database, in a process of its own: Django reads its settings once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.measure import say
from tests.migrated import copy_tables
from tests.postgres import PostgresMissing, throwaway_postgres


def on_both_databases(module: str, folder: Path, *, quick: bool) -> dict[str, Any]:
    """Run a module's program (`python -m MODULE [--quick]`) on SQLite, then on PostgreSQL where there is one.

    Returns what each printed; in the place of PostgreSQL's, one line that says why it is missing.
    """
    found: dict[str, Any] = {"sqlite": run_program(module, folder, f"sqlite:///{folder}/portal.sqlite3", quick=quick)}
    try:
        with throwaway_postgres() as url:
            found["postgresql"] = run_program(module, folder, url, quick=quick)
    except PostgresMissing as missing:
        found["postgresql"] = str(missing)
    return found


def run_program(module: str, folder: Path, url: str, *, quick: bool) -> dict[str, Any]:
    """Return the JSON that a program prints which runs with a new portal on this database."""
    kind = url.partition(":")[0]
    say(f"{module.rpartition('.')[2]} on {kind}")
    home = folder / kind
    home.mkdir()
    if kind == "sqlite":
        copy_tables(Path(url.removeprefix("sqlite:///")))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HEADWATER_", "DJANGO_"))}
    environment |= {
        "DJANGO_SETTINGS_MODULE": "portal.config.settings",
        "DATABASE_URL": url,
        "HEADWATER_PORTAL_DIR": str(home),
        "HEADWATER_BROKER_URL": "mqtts://127.0.0.1:8883",
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *(["--quick"] if quick else [])],
        env=environment, stdout=subprocess.PIPE, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{module} on {kind} ended with {done.returncode}")
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def new_portal() -> None:
    """Make the portal that the environment names: keys, tables, one utility."""
    from portal.setup import initialise, prepare_state_directory

    prepare_state_directory()
    import django

    django.setup()
    initialise()


def print_figures(figures: dict[str, Any]) -> None:
    """Hand the figures to the process that started this one."""
    json.dump(figures, sys.stdout)

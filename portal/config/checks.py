"""Checks made at start: settings of the database that would let a committed read vanish are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

_SQLITE_FULL = 2


@register(Tags.security)
def secret_key_is_stored(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """Refuse to serve with a key that is drawn anew by each process."""
    if settings.SECRET_KEY_STORED:
        return []
    return [
        Error(
            "No secret key is stored.",
            hint="Run `headwater portal init`, or set HEADWATER_SECRET_KEY_FILE.",
            id="portal.E001",
        )
    ]


@register(Tags.database)
def database_is_durable(
    app_configs: object, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse databases that acknowledge a commit before it is safe."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        messages += _postgresql(connection) if connection.vendor == "postgresql" else _sqlite(connection)
    return messages


def _postgresql(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    faults = []
    with connection.cursor() as cursor:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            cursor.execute(f"SHOW {name}")
            if (value := cursor.fetchone()[0]) == "off":
                faults.append(f"{name} = {value}")
    return [
        Error(
            f"PostgreSQL runs with {fault}: a power cut could lose batches that were acknowledged.",
            hint=f"Set {fault.split()[0]} = on and restart PostgreSQL.",
            id="portal.E002",
        )
        for fault in faults
    ]


def _sqlite(connection: BaseDatabaseWrapper) -> list[CheckMessage]:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        synchronous = cursor.fetchone()[0]
    if synchronous >= _SQLITE_FULL:
        return []
    return [
        Error(
            f"SQLite runs with synchronous = {synchronous}: a power cut could lose batches that were acknowledged.",
            hint="Leave the database's init_command as portal/config/settings.py sets it (synchronous=FULL).",
            id="portal.E003",
        )
    ]

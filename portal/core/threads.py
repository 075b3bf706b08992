"""Threads of the web process that keep their database connection from one request to the next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from django.db import connections

KEPT_S = 60
"""So long a thread keeps a connection to PostgreSQL: to open one takes longer than most pages do."""


def keeping_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return an executor of so many threads, each with a connection of its own; work in it looks after that."""
    return ThreadPoolExecutor(count, name, initializer=_keep_connections)


def look_after_connections() -> None:
    """Close this thread's connections that are broken or were kept long enough.

    Django does so at a signal, which comes in another thread.
    """
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


def _keep_connections() -> None:
    for connection in connections.all():
        if connection.vendor == "postgresql":
            connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": KEPT_S}

"""The Django application `ledger`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class LedgerConfig(AppConfig):
    """The application `ledger`."""

    name = "portal.ledger"
    label = "ledger"

    def ready(self) -> None:
        """See to the triggers after every migration: SQLite drops those of a table that a migration remakes."""
        post_migrate.connect(_install_triggers, sender=self)


def _install_triggers(using: str, **_: Any) -> None:
    from django.db import connections

    from portal.ledger import triggers

    connection = connections[using]
    if set(triggers.TABLES) <= set(connection.introspection.table_names()):
        triggers.install(connection)

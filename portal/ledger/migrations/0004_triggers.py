from __future__ import annotations

from typing import Any

from django.db import migrations

from portal.ledger import triggers


def install(apps: Any, schema_editor: Any) -> None:
    """Make the triggers."""
    triggers.install(schema_editor.connection)


def remove(apps: Any, schema_editor: Any) -> None:
    """Take them away."""
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    """The database refuses what the journal must never hold."""

    dependencies = [("ledger", "0003_chart_of_accounts")]

    operations = [migrations.RunPython(install, remove)]

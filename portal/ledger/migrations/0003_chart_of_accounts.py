from __future__ import annotations

from typing import Any

from django.db import migrations

from portal.ledger.chart import CHART


def write_chart(apps: Any, schema_editor: Any) -> None:
    """Write the accounts that are not there yet."""
    accounts = apps.get_model("ledger", "LedgerAccount").objects.using(schema_editor.connection.alias)
    for code, name, kind in CHART:
        accounts.get_or_create(code=code, defaults={"name": name, "kind": kind})


class Migration(migrations.Migration):
    """The chart of accounts."""

    dependencies = [("ledger", "0002_seals")]

    operations = [migrations.RunPython(write_chart, migrations.RunPython.noop)]

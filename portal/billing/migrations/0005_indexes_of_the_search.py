"""Indexes by which staff find an account by a part of a name, address, number, email or telephone.

PostgreSQL finds parts of words by trigrams (`pg_trgm`, part of every PostgreSQL and allowed to a database's owner);
a server that refuses the extension gets none of these and compares every row, as SQLite does. They belong to no model:
the search asks as it always did (`portal.staff.search`), only faster.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error, migrations, transaction

_LOG = logging.getLogger(__name__)
_PARTS = {
    "search_account_name": "customers_account USING gin (UPPER(name::text) gin_trgm_ops)",
    "search_premise_address": "customers_premise USING gin (UPPER(address::text) gin_trgm_ops)",
    "search_meter_part": "fleet_meter USING gin (UPPER(meter_id::text) gin_trgm_ops)",
    "search_user_email": "core_user USING gin (UPPER(email::text) gin_trgm_ops)",
    "search_user_name": "core_user USING gin (UPPER(username::text) gin_trgm_ops)",
    "search_bill_email": "billing_billingaccount USING gin (UPPER(email::text) gin_trgm_ops)",
    "search_phone_part": "notifications_phone USING gin (number gin_trgm_ops)",
    "search_account_key": "customers_account (number_key varchar_pattern_ops)",
}
_METER_KEY = "search_meter_key"
_METER_KEY_OF = "fleet_meter (REPLACE(REPLACE(UPPER(meter_id), '-', ''), ' ', ''))"


def make(_apps: Any, editor: Any) -> None:
    """Make the indexes that this database can have."""
    editor.execute(f"CREATE INDEX {_METER_KEY} ON {_METER_KEY_OF}")
    if editor.connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=editor.connection.alias), editor.connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except Error as error:
        _LOG.warning("the staff's search stays slow: this server has no pg_trgm for us (%s)", error)
        return
    for name, what in _PARTS.items():
        editor.execute(f"CREATE INDEX {name} ON {what}")


def drop(_apps: Any, editor: Any) -> None:
    """Take them away; the extension stays."""
    for name in (_METER_KEY, *(_PARTS if editor.connection.vendor == "postgresql" else ())):
        editor.execute(f"DROP INDEX IF EXISTS {name}")


class Migration(migrations.Migration):
    """Indexes of the staff's search."""

    dependencies = [
        ("billing", "0004_outage_grace"),
        ("core", "0003_help_and_trust"),
        ("customers", "0003_access_levels"),
        ("fleet", "0002_commands_and_quota"),
        ("notifications", "0002_channels_phones_and_bounces"),
    ]

    operations = [migrations.RunPython(make, drop)]

"""A database as an earlier release left it, with rows, brought to the newest schema. A program of its own.

`python -m tests.portal.earlier` takes the portal's environment with an empty database; it prints what is there at the
end as JSON.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

MOMENT = datetime(2026, 6, 1, tzinfo=UTC)


def main() -> None:
    """Migrate to the schema before meters were assigned to collectors, write rows, migrate on."""
    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.loader import MigrationLoader

    executor = MigrationExecutor(connection)
    # That release knew the steps, not what has replaced them since.
    executor.loader = MigrationLoader(connection, replace_migrations=False)
    target = ("metering", "0003_refused_letters")
    executor.migrate([target])
    _fill(executor.loader.project_state([target]).apps)
    call_command("migrate", verbosity=0)
    print(json.dumps({"rows": _found(), "tables": tables(connection)}))


def tables(connection: BaseDatabaseWrapper) -> dict[str, list[str]]:
    """Return what the database itself says of every table, in any order: columns, keys, indexes and checks."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL")
            # Cut at every comma: columns stand in the order in which they came, and a check counts piece by piece.
            said = [(table, part.strip(" ()")) for table, sql in cursor.fetchall() for part in sql.split(",")]
        else:
            cursor.execute(
                "SELECT table_name, concat_ws(' ', column_name, data_type, character_maximum_length, is_nullable)"
                " FROM information_schema.columns WHERE table_schema = 'public'"
                " UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
                " UNION ALL SELECT conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid)"
                " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            )
            said = cursor.fetchall()
    found: dict[str, list[str]] = {}
    for table, part in said:
        found.setdefault(table, []).append(part)
    return {table: sorted(parts) for table, parts in found.items()}


def _fill(apps: Any) -> None:
    """Write one of each row that later migrations touch."""

    def made(app: str, model: str, **fields: Any) -> Any:
        known = {field.name for field in apps.get_model(app, model)._meta.get_fields()}
        if "public_id" in known:
            fields["public_id"] = f"{app[:3]}{model[:8]}".lower().ljust(13, "x")
        return apps.get_model(app, model).objects.create(**fields)

    collector = made("fleet", "Collector", collector_id="hw-1")
    meter = made("fleet", "Meter", meter_id="M1")
    premise = made("customers", "Premise", address="12 Elm Street")
    point = made("customers", "ServicePoint", premise=premise)
    account = made("customers", "Account", number="00-12")
    made("customers", "Occupancy", account=account, service_point=point, start=MOMENT)
    register = made("metering", "MeterRegister", meter=meter, register_id="total", unit="gal", scale=0, claimed=True)
    made("metering", "Installation", meter=meter, service_point=point, start=MOMENT, register=register, first_count=5)
    epoch = made("metering", "Epoch", collector=collector, epoch=b"x" * 16)
    for sequence in (1, 2, 4):
        made(
            "metering", "StoredBatch", epoch=epoch, stream=0, sequence=sequence, batch_hash=bytes([sequence]) * 32,
            previous_hash=b"p" * 32, signed=b"signed", sealed_at=MOMENT, received_at=MOMENT, reads=1, events=0,
            first_append_seq=sequence, last_append_seq=sequence, first_read_at=MOMENT, last_read_at=MOMENT,
        )  # fmt: skip
        made(
            "metering", "RecentRead", register=register.pk, read_us=sequence, raw_count=7, epoch=epoch.pk,
            append_seq=sequence, quality=0, reason=0, flags=0,
        )  # fmt: skip


def _found() -> dict[str, Any]:
    from portal.customers.models import Account, ServicePoint
    from portal.customers.numbers import find_account
    from portal.metering.heads import missing
    from portal.metering.models import Installation, MeterAssignment, RecentRead, StoredBatch, StreamHead

    account = find_account("12")
    return {
        "account": account.number if account else "",
        "key": Account.objects.get().number_key,
        "code": ServicePoint.objects.get().code,
        "first_count": Installation.objects.get().first_count,
        "batches": list(StoredBatch.objects.order_by("sequence").values_list("sequence", "repeated")),
        "reads": RecentRead.objects.count(),
        "speaks": list(MeterAssignment.objects.values_list("collector__collector_id", "meter__meter_id")),
        "heads": list(StreamHead.objects.values_list("newest", "last_append_seq")),
        "missing": [
            list(missing(head.epoch_id, 0, after=head.settled_through, through=4)) for head in StreamHead.objects.all()
        ],
    }


if __name__ == "__main__":
    main()

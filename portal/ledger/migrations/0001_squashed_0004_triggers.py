"""The journal as it is today, made at once in a new database: tables, chart of accounts, triggers."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id
from portal.ledger import triggers
from portal.ledger.chart import CHART


def write_chart(apps: Any, schema_editor: Any) -> None:
    """Write the chart of accounts."""
    accounts = apps.get_model("ledger", "LedgerAccount").objects.using(schema_editor.connection.alias)
    accounts.bulk_create([accounts.model(code=code, name=name, kind=kind) for code, name, kind in CHART])


def install(apps: Any, schema_editor: Any) -> None:
    """Make the triggers."""
    triggers.install(schema_editor.connection)


def remove(apps: Any, schema_editor: Any) -> None:
    """Take them away."""
    triggers.remove(schema_editor.connection)


class Migration(migrations.Migration):
    replaces = [
        ("ledger", "0001_initial"),
        ("ledger", "0002_seals"),
        ("ledger", "0003_chart_of_accounts"),
        ("ledger", "0004_triggers"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("customers", "0001_squashed_0003_access_levels"),
    ]

    operations = [
        migrations.CreateModel(
            name="LedgerAccount",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(max_length=16, unique=True, verbose_name="code")),
                ("name", models.CharField(max_length=80, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("asset", "asset"),
                            ("liability", "liability"),
                            ("income", "income"),
                            ("expense", "expense"),
                            ("equity", "equity"),
                        ],
                        max_length=10,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("entry_public_id", models.CharField(max_length=13, primary_key=True, serialize=False)),
            ],
        ),
        migrations.CreateModel(
            name="JournalEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("key", models.CharField(max_length=160, unique=True)),
                ("kind", models.CharField(max_length=24)),
                ("date", models.DateField(db_index=True)),
                ("posted_at", models.DateTimeField()),
                ("memo", models.CharField(blank=True, default="", max_length=200)),
                (
                    "reverses",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="reversed_by",
                        to="ledger.journalentry",
                    ),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("actor_label", models.CharField(blank=True, default="", max_length=80)),
                ("detail", models.JSONField(default=dict)),
                (
                    "seal",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="+", to="ledger.seal"
                    ),
                ),
            ],
            options={
                "verbose_name": "journal entry",
                "verbose_name_plural": "journal entries",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("seal", models.F("public_id"))), name="ledger_entry_own_seal"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Posting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "entry",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="postings", to="ledger.journalentry"
                    ),
                ),
                (
                    "ledger_account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="postings", to="ledger.ledgeraccount"
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="postings",
                        to="customers.account",
                    ),
                ),
                ("amount_cents", models.BigIntegerField()),
                ("service", models.CharField(blank=True, default="", max_length=40)),
                ("due_on", models.DateField(null=True)),
            ],
            options={
                "indexes": [models.Index(fields=["account", "ledger_account"], name="ledger_posting_account")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("amount_cents", 0), _negated=True), name="ledger_posting_not_zero"
                    )
                ],
            },
        ),
        migrations.RunPython(write_chart, migrations.RunPython.noop),
        migrations.RunPython(install, remove),
    ]

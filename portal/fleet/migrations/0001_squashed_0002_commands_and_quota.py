"""Collectors and meters as they are today, made at once in a new database."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


class Migration(migrations.Migration):
    replaces = [("fleet", "0001_initial"), ("fleet", "0002_commands_and_quota")]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Collector",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("collector_id", models.CharField(max_length=32, unique=True, verbose_name="collector")),
                ("name", models.CharField(blank=True, max_length=120, verbose_name="name")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("enrolled_at", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
                ("last_batch_at", models.DateTimeField(null=True)),
                ("over_quota", models.BigIntegerField(db_default=0, default=0)),
                ("over_quota_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "collector",
                "verbose_name_plural": "collectors",
            },
        ),
        migrations.CreateModel(
            name="CollectorKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="keys", to="fleet.collector"
                    ),
                ),
                ("kid", models.CharField(max_length=64, unique=True)),
                ("alg", models.CharField(max_length=16)),
                ("public_key", models.BinaryField(max_length=512)),
                ("valid_from", models.DateTimeField(default=django.utils.timezone.now)),
                ("valid_to", models.DateTimeField(null=True)),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("valid_to__isnull", True), ("valid_to__gt", models.F("valid_from")), _connector="OR"
                        ),
                        name="fleet_key_span",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EnrolmentCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="enrolment_codes",
                        to="fleet.collector",
                    ),
                ),
                ("code_hash", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("used_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Certificate",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "collector",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="certificates",
                        to="fleet.collector",
                    ),
                ),
                ("common_name", models.CharField(max_length=64)),
                ("serial", models.CharField(max_length=40, unique=True)),
                ("fingerprint", models.CharField(max_length=64, unique=True)),
                ("pem", models.TextField()),
                ("not_before", models.DateTimeField()),
                ("not_after", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Meter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("meter_id", models.CharField(max_length=40, unique=True, verbose_name="meter")),
                ("model", models.CharField(blank=True, max_length=60, verbose_name="model")),
                ("first_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "meter",
                "verbose_name_plural": "meters",
            },
        ),
        migrations.CreateModel(
            name="CollectorCommand",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="commands", to="fleet.collector"
                    ),
                ),
                ("nonce", models.BinaryField(max_length=16, unique=True)),
                ("kind", models.CharField(max_length=40)),
                ("body", models.JSONField(default=dict)),
                (
                    "actor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("label", models.CharField(blank=True, max_length=120)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("publish_at", models.DateTimeField()),
                ("times", models.PositiveIntegerField(default=0)),
                ("done_at", models.DateTimeField(null=True)),
                ("result", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "verbose_name": "command",
                "verbose_name_plural": "commands",
                "indexes": [
                    models.Index(
                        condition=models.Q(("done_at__isnull", True)), fields=["publish_at"], name="fleet_command_due"
                    )
                ],
            },
        ),
    ]

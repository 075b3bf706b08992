"""Batches, reads and usage as they are today, made at once in a new database."""

import django.db.models.deletion
import django.db.models.functions.comparison
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


def leave_room(apps, schema_editor):
    """Let PostgreSQL write a state's next version beside it: every batch updates all of its registers' states."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE metering_registerstate SET (fillfactor = 50)")


class Migration(migrations.Migration):
    replaces = [
        ("metering", "0001_initial"),
        ("metering", "0002_batch_repeated"),
        ("metering", "0003_refused_letters"),
        ("metering", "0004_stream_heads"),
        ("metering", "0005_meter_assignments"),
        ("metering", "0006_state_without_index"),
        ("metering", "0007_office_reads_verdicts_findings"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("customers", "0001_squashed_0003_access_levels"),
        ("fleet", "0001_squashed_0002_commands_and_quota"),
    ]

    operations = [
        migrations.CreateModel(
            name="MeterRegister",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="registers", to="fleet.meter"
                    ),
                ),
                ("register_id", models.CharField(max_length=32, verbose_name="register")),
                (
                    "unit",
                    models.CharField(
                        choices=[
                            ("l", "l"),
                            ("m3", "m3"),
                            ("gal", "gal"),
                            ("ft3", "ft3"),
                            ("ccf", "ccf"),
                            ("kgal", "kgal"),
                        ],
                        max_length=8,
                    ),
                ),
                ("scale", models.SmallIntegerField()),
                ("modulus", models.BigIntegerField(blank=True, null=True)),
                ("claimed", models.BooleanField(default=False)),
                ("in_usage", models.BooleanField(default=True)),
                ("first_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "register",
                "verbose_name_plural": "registers",
                "constraints": [
                    models.UniqueConstraint(
                        models.F("meter"),
                        models.F("register_id"),
                        models.F("unit"),
                        models.F("scale"),
                        django.db.models.functions.comparison.Coalesce("modulus", 0),
                        name="metering_register_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("scale__gte", -9), ("scale__lte", 9)), name="metering_register_scale"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Installation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="installations", to="fleet.meter"
                    ),
                ),
                (
                    "service_point",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="installations",
                        to="customers.servicepoint",
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField(blank=True, null=True)),
                (
                    "register",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="metering.meterregister",
                    ),
                ),
                ("first_count", models.BigIntegerField(blank=True, null=True)),
                ("last_count", models.BigIntegerField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "installation",
                "verbose_name_plural": "installations",
                "indexes": [models.Index(fields=["service_point", "start"], name="metering_installation_sp")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("end__isnull", True), ("end__gt", models.F("start")), _connector="OR"),
                        name="metering_installation_span",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("register__isnull", False),
                            models.Q(("first_count__isnull", True), ("last_count__isnull", True)),
                            _connector="OR",
                        ),
                        name="metering_installation_counts",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)), fields=("meter",), name="metering_one_open_meter"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)),
                        fields=("service_point",),
                        name="metering_one_open_sp",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Epoch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="epochs", to="fleet.collector"
                    ),
                ),
                ("epoch", models.BinaryField(max_length=16, unique=True)),
                ("first_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("previous", models.JSONField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="StoredBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "epoch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="batches", to="metering.epoch"
                    ),
                ),
                ("stream", models.SmallIntegerField()),
                ("sequence", models.BigIntegerField()),
                ("batch_hash", models.BinaryField(max_length=32)),
                ("previous_hash", models.BinaryField(max_length=32)),
                ("signed", models.BinaryField()),
                ("sealed_at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                ("reads", models.IntegerField()),
                ("repeated", models.IntegerField(db_default=0, default=0)),
                ("events", models.IntegerField()),
                ("first_append_seq", models.BigIntegerField(null=True)),
                ("last_append_seq", models.BigIntegerField(null=True)),
                ("first_read_at", models.DateTimeField(null=True)),
                ("last_read_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["epoch", "stream", "last_append_seq"], name="metering_batch_appends"),
                    models.Index(fields=["epoch", "last_read_at"], name="metering_batch_reads"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("epoch", "stream", "sequence"), name="metering_batch_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="MeterAssignment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="assignments", to="fleet.meter"
                    ),
                ),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="assignments", to="fleet.collector"
                    ),
                ),
                ("start", models.DateTimeField(null=True)),
                ("end", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "meter assignment",
                "verbose_name_plural": "meter assignments",
                "indexes": [models.Index(fields=["meter", "start"], name="metering_assignment_meter")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)), fields=("meter",), name="metering_one_open_collector"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("end__isnull", True),
                            ("start__isnull", True),
                            ("end__gt", models.F("start")),
                            _connector="OR",
                        ),
                        name="metering_assignment_span",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RegistryToken",
            fields=[
                (
                    "collector",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="fleet.collector",
                    ),
                ),
                ("token", models.BinaryField(max_length=16)),
            ],
        ),
        migrations.CreateModel(
            name="Quarantined",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quarantined",
                        to="metering.storedbatch",
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="quarantined", to="fleet.meter"
                    ),
                ),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="quarantined", to="fleet.collector"
                    ),
                ),
                ("reason", models.CharField(default="foreign-meter", max_length=40)),
                ("reads", models.IntegerField()),
                ("events", models.IntegerField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["meter", "collector", "batch"], name="metering_quarantined_meter")],
                "constraints": [models.UniqueConstraint(fields=("batch", "meter"), name="metering_quarantined_once")],
            },
        ),
        migrations.CreateModel(
            name="StreamHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "epoch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="heads", to="metering.epoch"
                    ),
                ),
                ("stream", models.SmallIntegerField()),
                ("newest", models.BigIntegerField(default=0)),
                ("newest_hash", models.BinaryField(default=b"", max_length=32)),
                ("last_append_seq", models.BigIntegerField(default=0)),
                ("declared", models.BigIntegerField(default=0)),
                ("settled_through", models.BigIntegerField(default=0)),
                ("ask_at", models.DateTimeField(null=True)),
                ("asked_times", models.SmallIntegerField(default=0)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("ask_at__isnull", False)), fields=["ask_at"], name="metering_head_ask"
                    )
                ],
                "constraints": [models.UniqueConstraint(fields=("epoch", "stream"), name="metering_head_once")],
            },
        ),
        migrations.CreateModel(
            name="GoneBatches",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "epoch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="gone", to="metering.epoch"
                    ),
                ),
                ("stream", models.SmallIntegerField()),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("reported_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("epoch", "stream", "first", "last"), name="metering_gone_once"),
                    models.CheckConstraint(
                        condition=models.Q(("first__gte", 1), ("last__gte", models.F("first"))),
                        name="metering_gone_span",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RefusedBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=40)),
                ("detail", models.CharField(blank=True, db_default="", default="", max_length=200)),
                ("digest", models.BinaryField(max_length=32)),
                ("size_bytes", models.BigIntegerField()),
                ("topic_collector", models.CharField(blank=True, max_length=64)),
                ("epoch", models.BinaryField(max_length=16, null=True)),
                ("stream", models.SmallIntegerField(null=True)),
                ("sequence", models.BigIntegerField(null=True)),
                ("signed", models.BinaryField(null=True)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("times", models.PositiveIntegerField(default=1)),
                ("retry_asked_at", models.DateTimeField(null=True)),
                ("retried_at", models.DateTimeField(null=True)),
                ("dismissed_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["topic_collector", "last_at"], name="metering_refused_collector"),
                    models.Index(fields=["last_at"], name="metering_refused_newest"),
                    models.Index(
                        condition=models.Q(("retry_asked_at__isnull", False)),
                        fields=["retry_asked_at"],
                        name="metering_refused_retry",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("digest", "reason", "topic_collector"), name="metering_refused_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="RecentRead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("register", models.BigIntegerField()),
                ("read_us", models.BigIntegerField()),
                ("raw_count", models.BigIntegerField()),
                ("epoch", models.BigIntegerField()),
                ("append_seq", models.BigIntegerField()),
                ("quality", models.SmallIntegerField()),
                ("reason", models.SmallIntegerField()),
                ("flags", models.SmallIntegerField()),
            ],
            options={
                "indexes": [models.Index(fields=["register", "read_us"], name="metering_recent_read")],
            },
        ),
        migrations.CreateModel(
            name="RegisterDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "register", "day", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("register", models.BigIntegerField()),
                ("day", models.IntegerField()),
                ("reads", models.IntegerField()),
                ("packed", models.BinaryField()),
            ],
        ),
        migrations.CreateModel(
            name="DailyVolume",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "register", "day", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("register", models.BigIntegerField()),
                ("day", models.DateField(db_index=True)),
                ("counts", models.BigIntegerField()),
                ("quality", models.SmallIntegerField()),
                ("interpolated", models.BooleanField()),
            ],
        ),
        migrations.CreateModel(
            name="RegisterState",
            fields=[
                (
                    "register",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="state",
                        serialize=False,
                        to="metering.meterregister",
                    ),
                ),
                ("last_read_at", models.DateTimeField()),
                ("last_count", models.BigIntegerField()),
                ("last_quality", models.SmallIntegerField()),
                ("change_number", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="MeterEvent",
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
                        on_delete=django.db.models.deletion.PROTECT, related_name="events", to="fleet.collector"
                    ),
                ),
                ("event_id", models.CharField(max_length=200)),
                ("kind", models.CharField(max_length=32)),
                ("at", models.DateTimeField()),
                (
                    "meter",
                    models.ForeignKey(
                        null=True, on_delete=django.db.models.deletion.PROTECT, related_name="events", to="fleet.meter"
                    ),
                ),
                ("detail", models.JSONField(default=dict)),
                ("epoch", models.BigIntegerField()),
                ("append_seq", models.BigIntegerField()),
                ("received_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "meter event",
                "verbose_name_plural": "meter events",
                "indexes": [
                    models.Index(fields=["meter", "at"], name="metering_event_meter"),
                    models.Index(fields=["kind", "at"], name="metering_event_kind"),
                ],
                "constraints": [models.UniqueConstraint(fields=("collector", "event_id"), name="metering_event_once")],
            },
        ),
        migrations.CreateModel(
            name="LeakCase",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "installation",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="leak_cases",
                        to="metering.installation",
                    ),
                ),
                (
                    "meter",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="leak_cases", to="fleet.meter"
                    ),
                ),
                ("alarm_id", models.CharField(max_length=200, unique=True)),
                ("rule", models.CharField(blank=True, max_length=60)),
                ("opened_at", models.DateTimeField()),
                ("cleared_at", models.DateTimeField(null=True)),
                ("evidence", models.JSONField(default=dict)),
            ],
            options={
                "verbose_name": "leak",
                "verbose_name_plural": "leaks",
                "indexes": [models.Index(fields=["meter", "cleared_at"], name="metering_leak_open")],
            },
        ),
        migrations.CreateModel(
            name="OfficeRead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "register",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="office_reads",
                        to="metering.meterregister",
                    ),
                ),
                ("read_at", models.DateTimeField()),
                ("raw_count", models.BigIntegerField()),
                ("quality", models.SmallIntegerField()),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("manual", "read by a person"),
                            ("drive-by", "drive-by"),
                            ("dial-photo", "photo of the dial"),
                            ("move-in", "move-in"),
                            ("move-out", "move-out"),
                            ("head-end", "another head-end"),
                            ("edit", "edited"),
                            ("estimate", "estimated"),
                        ],
                        max_length=12,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                ("evidence", models.JSONField(default=dict)),
                ("withdrawn", models.BooleanField(default=False)),
                (
                    "supersedes",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="superseded_by",
                        to="metering.officeread",
                    ),
                ),
                (
                    "entered_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("entered_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "office read",
                "verbose_name_plural": "office reads",
                "indexes": [models.Index(fields=["register", "read_at"], name="metering_office_read")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("supersedes__isnull", True)),
                        fields=("register", "read_at"),
                        name="metering_office_once",
                    ),
                    models.CheckConstraint(condition=models.Q(("raw_count__gte", 0)), name="metering_office_count"),
                ],
            },
        ),
        migrations.CreateModel(
            name="ReadVerdict",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "register",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="verdicts",
                        to="metering.meterregister",
                    ),
                ),
                ("read_us", models.BigIntegerField()),
                ("until_us", models.BigIntegerField(null=True)),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("suspect", "suspect"),
                            ("accepted", "accepted"),
                            ("excluded", "excluded"),
                            ("withdrawn", "taken back"),
                        ],
                        max_length=10,
                    ),
                ),
                ("rule", models.CharField(blank=True, default="", max_length=40)),
                ("detail", models.JSONField(default=dict)),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                (
                    "supersedes",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="superseded_by",
                        to="metering.readverdict",
                    ),
                ),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("decided_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "verdict on reads",
                "verbose_name_plural": "verdicts on reads",
                "indexes": [models.Index(fields=["register", "read_us"], name="metering_verdict_read")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("until_us__isnull", True), ("until_us__gte", models.F("read_us")), _connector="OR"
                        ),
                        name="metering_verdict_span",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReadFinding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "service_point",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="read_findings",
                        to="customers.servicepoint",
                    ),
                ),
                (
                    "register",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="findings",
                        to="metering.meterregister",
                    ),
                ),
                ("rule", models.CharField(max_length=40)),
                ("severity", models.CharField(choices=[("hold", "holds the bill"), ("note", "note")], max_length=4)),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("fingerprint", models.CharField(max_length=64)),
                ("detail", models.JSONField(default=dict)),
                ("opened_at", models.DateTimeField()),
                ("visit_ordered_at", models.DateTimeField(null=True)),
                ("resolved_at", models.DateTimeField(null=True)),
                (
                    "resolved_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "resolution",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("accepted", "accepted as it is"),
                            ("excluded", "reads excluded"),
                            ("edited", "read edited"),
                            ("estimated", "estimated"),
                            ("gone", "no longer so"),
                        ],
                        default="",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "verbose_name": "finding",
                "verbose_name_plural": "findings",
                "indexes": [
                    models.Index(fields=["service_point", "start"], name="metering_finding_place"),
                    models.Index(
                        condition=models.Q(("resolved_at__isnull", True)),
                        fields=["opened_at"],
                        name="metering_finding_open",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("service_point", "rule", "start", "end", "fingerprint"), name="metering_finding_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("end__gte", models.F("start"))), name="metering_finding_span"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("resolution", ""), ("resolved_at__isnull", True)),
                            models.Q(("resolved_at__isnull", False), models.Q(("resolution", ""), _negated=True)),
                            _connector="OR",
                        ),
                        name="metering_finding_resolved",
                    ),
                ],
            },
        ),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
    ]

"""Messages and telephones as they are today, made at once in a new database."""

import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


class Migration(migrations.Migration):
    replaces = [("notifications", "0001_initial"), ("notifications", "0002_channels_phones_and_bounces")]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("customers", "0001_squashed_0003_access_levels"),
    ]

    operations = [
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("key", models.CharField(max_length=160, unique=True)),
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "email"), ("sms", "text message")], default="email", max_length=12
                    ),
                ),
                (
                    "category",
                    models.CharField(
                        choices=[
                            ("alert", "your water use"),
                            ("bill", "a bill"),
                            ("account", "your account and sign-in"),
                            ("service", "water service"),
                        ],
                        max_length=12,
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="messages",
                        to="customers.account",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="notifications",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("to", models.CharField(max_length=254)),
                ("language", models.CharField(default="en", max_length=8)),
                ("subject", models.CharField(blank=True, default="", max_length=200)),
                ("text", models.TextField()),
                ("html", models.TextField(blank=True, default="")),
                ("attachment", models.CharField(blank=True, default="", max_length=80)),
                ("at_any_hour", models.BooleanField(default=False)),
                ("secret", models.BooleanField(default=False)),
                ("queued_at", models.DateTimeField()),
                ("next_try_at", models.DateTimeField()),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("provider_id", models.CharField(blank=True, default="", max_length=64)),
                ("provider_state", models.CharField(blank=True, default="", max_length=16)),
                ("delivered_at", models.DateTimeField(null=True)),
                ("bounced_at", models.DateTimeField(null=True)),
                ("failed_at", models.DateTimeField(null=True)),
                ("last_error", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "verbose_name": "message",
                "verbose_name_plural": "messages",
                "indexes": [
                    models.Index(
                        condition=models.Q(("failed_at__isnull", True), ("sent_at__isnull", True)),
                        fields=["next_try_at"],
                        name="notifications_to_send",
                    ),
                    models.Index(fields=["user", "-queued_at"], name="notifications_of_person"),
                    models.Index(fields=["-queued_at"], name="notifications_log"),
                    models.Index(fields=["to"], name="notifications_to"),
                    models.Index(
                        condition=models.Q(("failed_at__isnull", False)),
                        fields=["-failed_at"],
                        name="notifications_failed",
                    ),
                    models.Index(
                        condition=models.Q(("bounced_at__isnull", False)),
                        fields=["-bounced_at"],
                        name="notifications_bounced",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("provider_id", ""), _negated=True),
                        fields=("provider_id",),
                        name="notifications_provider_id",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Phone",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="phone", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("number", models.CharField(db_index=True, max_length=16)),
                ("consented_at", models.DateTimeField()),
                ("consent_text", models.TextField()),
                ("consent_language", models.CharField(max_length=8)),
                ("verified_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "telephone",
                "verbose_name_plural": "telephones",
            },
        ),
        migrations.CreateModel(
            name="PhoneCode",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="phone_codes",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("number", models.CharField(max_length=16)),
                ("code_hash", models.BinaryField(max_length=32)),
                ("consent_text", models.TextField()),
                ("consent_language", models.CharField(max_length=8)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("closed_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "telephone code",
                "verbose_name_plural": "telephone codes",
                "indexes": [
                    models.Index(fields=["user", "-created_at"], name="notifications_codes_of"),
                    models.Index(fields=["number", "-created_at"], name="notifications_codes_to"),
                ],
            },
        ),
        migrations.CreateModel(
            name="StoppedNumber",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(max_length=16, unique=True)),
                ("stopped_at", models.DateTimeField()),
                ("source", models.CharField(max_length=12)),
            ],
            options={
                "verbose_name": "stopped number",
                "verbose_name_plural": "stopped numbers",
            },
        ),
        migrations.CreateModel(
            name="ReceivedText",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("provider_id", models.CharField(max_length=64, unique=True)),
                ("number", models.CharField(db_index=True, max_length=16)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("stop", "stop"),
                            ("start", "start again"),
                            ("help", "help"),
                            ("other", "something else"),
                        ],
                        max_length=8,
                    ),
                ),
                ("text", models.CharField(blank=True, max_length=1600)),
                ("received_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "received text",
                "verbose_name_plural": "received texts",
            },
        ),
        migrations.CreateModel(
            name="BadAddress",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, unique=True)),
                ("since", models.DateTimeField()),
                ("reason", models.CharField(max_length=200)),
            ],
            options={
                "verbose_name": "address that messages come back from",
                "verbose_name_plural": "addresses that messages come back from",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                        name="notifications_bad_lower",
                    )
                ],
            },
        ),
    ]

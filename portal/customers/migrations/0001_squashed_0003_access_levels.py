"""Accounts and premises as they are today, made at once in a new database."""

import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


class Migration(migrations.Migration):
    replaces = [
        ("customers", "0001_initial"),
        ("customers", "0002_account_numbers"),
        ("customers", "0003_access_levels"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Premise",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("address", models.CharField(max_length=200, unique=True, verbose_name="address")),
                ("city", models.CharField(blank=True, max_length=80, verbose_name="city")),
                ("postal_code", models.CharField(blank=True, max_length=16, verbose_name="postal code")),
            ],
            options={
                "verbose_name": "premise",
                "verbose_name_plural": "premises",
            },
        ),
        migrations.CreateModel(
            name="ServicePoint",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "premise",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="service_points",
                        to="customers.premise",
                    ),
                ),
                ("label", models.CharField(default="water", max_length=60, verbose_name="label")),
                (
                    "code",
                    models.CharField(blank=True, default="", max_length=32, verbose_name="number of the service point"),
                ),
            ],
            options={
                "verbose_name": "service point",
                "verbose_name_plural": "service points",
                "constraints": [
                    models.UniqueConstraint(fields=("premise", "label"), name="customers_sp_label"),
                    models.UniqueConstraint(
                        condition=models.Q(("code", ""), _negated=True), fields=("code",), name="customers_sp_code"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Account",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("number", models.CharField(max_length=32, unique=True, verbose_name="account number")),
                (
                    "number_key",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Func(
                            django.db.models.functions.text.Upper(
                                django.db.models.functions.text.Replace(
                                    django.db.models.functions.text.Replace(
                                        django.db.models.functions.text.Replace(
                                            django.db.models.functions.text.Replace(
                                                models.F("number"), models.Value("-"), models.Value("")
                                            ),
                                            models.Value("."),
                                            models.Value(""),
                                        ),
                                        models.Value(" "),
                                        models.Value(""),
                                    ),
                                    models.Value("/"),
                                    models.Value(""),
                                )
                            ),
                            models.Value("0"),
                            function="LTRIM",
                            output_field=models.CharField(max_length=32),
                        ),
                        output_field=models.CharField(max_length=32),
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=150, verbose_name="name")),
            ],
            options={
                "verbose_name": "account",
                "verbose_name_plural": "accounts",
                "indexes": [models.Index(fields=["number_key"], name="customers_account_key")],
            },
        ),
        migrations.CreateModel(
            name="AccountAlias",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="aliases", to="customers.account"
                    ),
                ),
                ("number", models.CharField(max_length=32, verbose_name="former account number")),
                (
                    "number_key",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Func(
                            django.db.models.functions.text.Upper(
                                django.db.models.functions.text.Replace(
                                    django.db.models.functions.text.Replace(
                                        django.db.models.functions.text.Replace(
                                            django.db.models.functions.text.Replace(
                                                models.F("number"), models.Value("-"), models.Value("")
                                            ),
                                            models.Value("."),
                                            models.Value(""),
                                        ),
                                        models.Value(" "),
                                        models.Value(""),
                                    ),
                                    models.Value("/"),
                                    models.Value(""),
                                )
                            ),
                            models.Value("0"),
                            function="LTRIM",
                            output_field=models.CharField(max_length=32),
                        ),
                        output_field=models.CharField(max_length=32),
                    ),
                ),
                ("since", models.DateTimeField()),
            ],
            options={
                "verbose_name": "former account number",
                "verbose_name_plural": "former account numbers",
                "constraints": [models.UniqueConstraint(fields=("number_key",), name="customers_alias_once")],
            },
        ),
        migrations.CreateModel(
            name="AccountAccess",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="access", to="customers.account"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="account_access",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "level",
                    models.CharField(
                        choices=[
                            ("holder", "account holder"),
                            ("manage-all", "manage everything"),
                            ("manage-alerts", "see usage, manage alerts"),
                            ("pay", "see usage and bills, pay"),
                            ("view-bills", "see usage and bills"),
                            ("view-usage", "see usage"),
                        ],
                        default="holder",
                        max_length=16,
                    ),
                ),
                ("granted_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "account access",
                "verbose_name_plural": "account access",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at__isnull", True)),
                        fields=("account", "user"),
                        name="customers_access_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Occupancy",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="occupancies", to="customers.account"
                    ),
                ),
                (
                    "service_point",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="occupancies",
                        to="customers.servicepoint",
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "occupancy",
                "verbose_name_plural": "occupancies",
                "indexes": [models.Index(fields=["service_point", "start"], name="customers_occupancy_sp")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("end__isnull", True), ("end__gt", models.F("start")), _connector="OR"),
                        name="customers_occupancy_span",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)),
                        fields=("service_point",),
                        name="customers_occupancy_one_open",
                    ),
                ],
            },
        ),
        migrations.AddField(
            model_name="account",
            name="users",
            field=models.ManyToManyField(
                related_name="accounts", through="customers.AccountAccess", to=settings.AUTH_USER_MODEL
            ),
        ),
    ]

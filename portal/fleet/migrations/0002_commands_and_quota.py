import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="collector",
            name="over_quota",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="collector",
            name="over_quota_at",
            field=models.DateTimeField(null=True),
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
                ("nonce", models.BinaryField(max_length=16, unique=True)),
                ("kind", models.CharField(max_length=40)),
                ("body", models.JSONField(default=dict)),
                ("label", models.CharField(blank=True, max_length=120)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("publish_at", models.DateTimeField()),
                ("times", models.PositiveIntegerField(default=0)),
                ("done_at", models.DateTimeField(null=True)),
                ("result", models.CharField(blank=True, max_length=200)),
                (
                    "actor",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "collector",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="commands", to="fleet.collector"
                    ),
                ),
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

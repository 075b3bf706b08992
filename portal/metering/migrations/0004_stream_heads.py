import django.db.models.deletion
from django.db import migrations, models


def fill_heads(apps, schema_editor):
    """Give every stream that is here its head; what is missing in it is looked for at once."""
    from django.utils import timezone

    Epoch = apps.get_model("metering", "Epoch")
    StoredBatch = apps.get_model("metering", "StoredBatch")
    StreamHead = apps.get_model("metering", "StreamHead")
    declared = {}
    for row in Epoch.objects.exclude(previous=None):
        for stream, last in enumerate(row.previous["last_sequences"]):
            key = bytes.fromhex(row.previous["epoch"]), row.collector_id, stream
            declared[key] = max(last, declared.get(key, 0))
    heads = []
    for row in Epoch.objects.all():
        for stream in (0, 1):
            stored = StoredBatch.objects.filter(epoch=row, stream=stream)
            figures = stored.aggregate(
                count=models.Count("pk"), newest=models.Max("sequence"), last_append=models.Max("last_append_seq")
            )
            said = declared.get((bytes(row.epoch), row.collector_id, stream), 0)
            newest = figures["newest"] or 0
            if not newest and not said:
                continue
            whole = figures["count"] == newest
            heads.append(
                StreamHead(
                    epoch=row,
                    stream=stream,
                    newest=newest,
                    newest_hash=stored.get(sequence=newest).batch_hash if newest else b"",
                    last_append_seq=figures["last_append"] or 0,
                    declared=said,
                    settled_through=newest if whole else 0,
                    ask_at=None if whole and said <= newest else timezone.now(),
                )
            )
    StreamHead.objects.bulk_create(heads, batch_size=500)


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0003_refused_letters"),
    ]

    operations = [
        migrations.CreateModel(
            name="StreamHead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stream", models.SmallIntegerField()),
                ("newest", models.BigIntegerField(default=0)),
                ("newest_hash", models.BinaryField(default=b"", max_length=32)),
                ("last_append_seq", models.BigIntegerField(default=0)),
                ("declared", models.BigIntegerField(default=0)),
                ("settled_through", models.BigIntegerField(default=0)),
                ("ask_at", models.DateTimeField(null=True)),
                ("asked_times", models.SmallIntegerField(default=0)),
                (
                    "epoch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="heads", to="metering.epoch"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("ask_at__isnull", False)), fields=["ask_at"], name="metering_head_ask"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("epoch", "stream"), name="metering_head_once"),
                ],
            },
        ),
        migrations.CreateModel(
            name="GoneBatches",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("stream", models.SmallIntegerField()),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("reported_at", models.DateTimeField()),
                (
                    "epoch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="gone", to="metering.epoch"
                    ),
                ),
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
        migrations.RunPython(fill_heads, migrations.RunPython.noop, elidable=True),
    ]

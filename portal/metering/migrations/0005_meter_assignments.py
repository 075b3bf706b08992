import django.db.models.deletion
from django.db import migrations, models
from django.utils import timezone

import portal.core.public_id


def assign_meters(apps, schema_editor):
    """Give every meter to the collector that read it last, from now on: what was taken before stays as it is."""
    from portal.metering.packed import unpack_day

    MeterRegister = apps.get_model("metering", "MeterRegister")
    RecentRead = apps.get_model("metering", "RecentRead")
    RegisterDay = apps.get_model("metering", "RegisterDay")
    MeterAssignment = apps.get_model("metering", "MeterAssignment")
    collectors = dict(apps.get_model("metering", "Epoch").objects.values_list("pk", "collector"))
    newest = {}
    for register, meter in MeterRegister.objects.values_list("pk", "meter"):
        found = RecentRead.objects.filter(register=register).order_by("-read_us").values_list("read_us", "epoch")[:1]
        reads = list(found)
        for day, packed in (
            RegisterDay.objects.filter(register=register).order_by("-day").values_list("day", "packed")[:1]
        ):
            reads.append(unpack_day(day, bytes(packed))[-1][:2])
        if reads:
            newest[meter] = max(newest.get(meter, (0, 0)), max(reads))
    start = timezone.now()
    rows = [
        MeterAssignment(
            public_id=portal.core.public_id.new_public_id(), meter_id=meter, collector_id=collectors[epoch], start=start
        )
        for meter, (_, epoch) in newest.items()
        if epoch in collectors
    ]
    MeterAssignment.objects.bulk_create(rows, batch_size=500)


def _key(to, name):
    return models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name=name, to=to)


def _id():
    return models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


def _public_id():
    return models.CharField(default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True)


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0001_initial"),
        ("metering", "0004_stream_heads"),
    ]

    operations = [
        migrations.CreateModel(
            name="MeterAssignment",
            fields=[
                ("id", _id()),
                ("public_id", _public_id()),
                ("start", models.DateTimeField(null=True)),
                ("end", models.DateTimeField(null=True)),
                ("collector", _key("fleet.collector", "assignments")),
                ("meter", _key("fleet.meter", "assignments")),
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
                ("id", _id()),
                ("public_id", _public_id()),
                ("reason", models.CharField(default="foreign-meter", max_length=40)),
                ("reads", models.IntegerField()),
                ("events", models.IntegerField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quarantined",
                        to="metering.storedbatch",
                    ),
                ),
                ("collector", _key("fleet.collector", "quarantined")),
                ("meter", _key("fleet.meter", "quarantined")),
            ],
            options={
                "indexes": [models.Index(fields=["meter", "collector", "batch"], name="metering_quarantined_meter")],
                "constraints": [
                    models.UniqueConstraint(fields=("batch", "meter"), name="metering_quarantined_once"),
                ],
            },
        ),
        migrations.RunPython(assign_meters, migrations.RunPython.noop, elidable=True),
    ]

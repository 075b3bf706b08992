from django.db import migrations, models


def leave_room(apps, schema_editor):
    """Let PostgreSQL write a state's next version beside it: every batch updates all of its registers' states."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("ALTER TABLE metering_registerstate SET (fillfactor = 50)")


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0005_meter_assignments"),
    ]

    operations = [
        migrations.AlterField(
            model_name="registerstate",
            name="change_number",
            field=models.BigIntegerField(),
        ),
        migrations.RunPython(leave_room, migrations.RunPython.noop),
    ]

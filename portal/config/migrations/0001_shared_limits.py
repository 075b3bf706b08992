"""The table of the cache: tries are counted in it, by all processes together."""

from django.core.management import call_command
from django.db import migrations


def make_table(apps, schema_editor):
    """Make the table in the way that Django's own command makes it."""
    call_command("createcachetable", "headwater_cache", database=schema_editor.connection.alias, verbosity=0)


class Migration(migrations.Migration):
    dependencies = []

    operations = [
        migrations.RunPython(make_table, migrations.RunPython.noop),
    ]

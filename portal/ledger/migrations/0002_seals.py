from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """Every entry has a seal, written when its postings balance."""

    dependencies = [("ledger", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("entry_public_id", models.CharField(max_length=13, primary_key=True, serialize=False)),
            ],
        ),
        migrations.AddField(
            model_name="journalentry",
            name="seal",
            field=models.ForeignKey(
                db_index=False, default="", on_delete=models.PROTECT, related_name="+", to="ledger.seal"
            ),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            model_name="journalentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("seal", models.F("public_id"))), name="ledger_entry_own_seal"
            ),
        ),
    ]

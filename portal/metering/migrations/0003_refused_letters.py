from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0002_batch_repeated"),
    ]

    operations = [
        migrations.AddField(
            model_name="refusedbatch",
            name="detail",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="dismissed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="epoch",
            field=models.BinaryField(max_length=16, null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="retried_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="retry_asked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="sequence",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="signed",
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name="refusedbatch",
            name="stream",
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name="refusedbatch",
            index=models.Index(fields=["topic_collector", "last_at"], name="metering_refused_collector"),
        ),
        migrations.AddIndex(
            model_name="refusedbatch",
            index=models.Index(fields=["last_at"], name="metering_refused_newest"),
        ),
        migrations.AddIndex(
            model_name="refusedbatch",
            index=models.Index(
                condition=models.Q(("retry_asked_at__isnull", False)),
                fields=["retry_asked_at"],
                name="metering_refused_retry",
            ),
        ),
    ]

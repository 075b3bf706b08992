from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("metering", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="storedbatch",
            name="repeated",
            field=models.IntegerField(db_default=0, default=0),
        ),
    ]

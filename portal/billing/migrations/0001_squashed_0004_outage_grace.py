"""Bills, runs and adjustments as they are today, made at once in a new database."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import portal.core.public_id


class Migration(migrations.Migration):
    replaces = [
        ("billing", "0001_initial"),
        ("billing", "0002_initial"),
        ("billing", "0003_bills_of_nothing"),
        ("billing", "0004_outage_grace"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("customers", "0001_squashed_0003_access_levels"),
        ("ledger", "0001_squashed_0004_triggers"),
        ("metering", "0001_squashed_0007_office_reads_verdicts_findings"),
    ]

    operations = [
        migrations.CreateModel(
            name="RateBook",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("name", models.CharField(max_length=120, verbose_name="name")),
                ("format", models.CharField(max_length=40)),
                ("text", models.TextField()),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("effective_from", models.DateField()),
                ("effective_to", models.DateField(blank=True, null=True)),
                (
                    "loaded_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("loaded_at", models.DateTimeField()),
                (
                    "approved_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("approved_at", models.DateTimeField(null=True)),
                ("withdrawn_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "rate book",
                "verbose_name_plural": "rate books",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("approved_by__isnull", True),
                            ("loaded_by__isnull", True),
                            models.Q(("approved_by", models.F("loaded_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="billing_ratebook_second_person",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Cycle",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("code", models.CharField(max_length=16, unique=True, verbose_name="cycle")),
                ("name", models.CharField(blank=True, max_length=80, verbose_name="name")),
                ("read_day", models.PositiveSmallIntegerField(default=1)),
                ("months", models.PositiveSmallIntegerField(default=1)),
                ("anchor_month", models.PositiveSmallIntegerField(default=1)),
            ],
            options={
                "verbose_name": "billing cycle",
                "verbose_name_plural": "billing cycles",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("read_day__gte", 1), ("read_day__lte", 28)), name="billing_cycle_day"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("months__in", (1, 2, 3, 6, 12))), name="billing_cycle_months"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("anchor_month__gte", 1), ("anchor_month__lte", 12)),
                        name="billing_cycle_anchor",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BillingAccount",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="billing",
                        serialize=False,
                        to="customers.account",
                    ),
                ),
                (
                    "cycle",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="accounts", to="billing.cycle"
                    ),
                ),
                ("route", models.CharField(blank=True, max_length=16, verbose_name="route")),
                ("stop", models.PositiveIntegerField(default=0)),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email for bills")),
                ("language", models.CharField(default="en", max_length=8, verbose_name="language of bills")),
                ("paper", models.BooleanField(default=False, verbose_name="paper bill")),
                ("mail_to", models.TextField(blank=True, verbose_name="mailing address")),
                ("opened_on", models.DateField(null=True)),
                ("closed_on", models.DateField(null=True)),
            ],
            options={
                "verbose_name": "billed account",
                "verbose_name_plural": "billed accounts",
                "indexes": [models.Index(fields=["route", "stop"], name="billing_account_route")],
            },
        ),
        migrations.CreateModel(
            name="ServiceAgreement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="agreements", to="customers.account"
                    ),
                ),
                (
                    "service_point",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="agreements",
                        to="customers.servicepoint",
                    ),
                ),
                ("rate_class", models.CharField(max_length=40, verbose_name="rate class")),
                ("services", models.JSONField(blank=True, default=list)),
                ("inputs", models.JSONField(blank=True, default=dict)),
                ("start", models.DateField()),
                ("end", models.DateField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "service agreement",
                "verbose_name_plural": "service agreements",
                "indexes": [models.Index(fields=["service_point", "start"], name="billing_agreement_sp")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("end__isnull", True), ("end__gt", models.F("start")), _connector="OR"),
                        name="billing_agreement_span",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)),
                        fields=("service_point",),
                        name="billing_agreement_one_open",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BillRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "cycle",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="runs", to="billing.cycle"
                    ),
                ),
                ("period_start", models.DateField()),
                ("period_end", models.DateField()),
                ("bill_date", models.DateField()),
                ("due_date", models.DateField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("calculating", "calculating"),
                            ("calculated", "calculated, to be looked at"),
                            ("issuing", "issuing"),
                            ("issued", "issued"),
                            ("cancelled", "cancelled"),
                        ],
                        default="calculating",
                        max_length=16,
                    ),
                ),
                ("accounts", models.PositiveIntegerField(default=0)),
                ("progress", models.JSONField(default=dict)),
                (
                    "started_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                (
                    "issued_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "bill run",
                "verbose_name_plural": "bill runs",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "cancelled"), _negated=True),
                        fields=("cycle", "period_end"),
                        name="billing_run_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))), name="billing_run_span"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Bill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="bills", to="customers.account"
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bills",
                        to="billing.billrun",
                    ),
                ),
                ("number", models.CharField(max_length=24, null=True, unique=True, verbose_name="bill number")),
                (
                    "kind",
                    models.CharField(
                        choices=[("regular", "bill"), ("final", "final bill"), ("corrected", "corrected bill")],
                        default="regular",
                        max_length=12,
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("draft", "draft"),
                            ("held", "held"),
                            ("issued", "issued"),
                            ("cancelled", "cancelled"),
                        ],
                        default="draft",
                        max_length=12,
                    ),
                ),
                ("period_start", models.DateField()),
                ("period_end", models.DateField()),
                ("bill_date", models.DateField()),
                ("due_date", models.DateField()),
                ("charges_cents", models.BigIntegerField(default=0)),
                ("balance_before_cents", models.BigIntegerField(default=0)),
                ("due_cents", models.BigIntegerField(default=0)),
                ("estimated", models.BooleanField(default=False)),
                ("findings", models.JSONField(default=list)),
                ("facts", models.JSONField(default=dict)),
                (
                    "replaces",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="replaced_by",
                        to="billing.bill",
                    ),
                ),
                (
                    "entry",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bills",
                        to="ledger.journalentry",
                    ),
                ),
                ("calculated_at", models.DateTimeField()),
                ("issued_at", models.DateTimeField(null=True)),
                ("cancelled_at", models.DateTimeField(null=True)),
                ("cancel_reason", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "verbose_name": "bill",
                "verbose_name_plural": "bills",
                "indexes": [
                    models.Index(fields=["account", "period_end"], name="billing_bill_account"),
                    models.Index(fields=["run", "state"], name="billing_bill_run_state"),
                    models.Index(
                        condition=models.Q(("state", "held")), fields=["state", "bill_date"], name="billing_bill_held"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "cancelled"), _negated=True),
                        fields=("account", "period_start"),
                        name="billing_bill_once",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("period_end__gt", models.F("period_start"))), name="billing_bill_span"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "issued"), _negated=True),
                            models.Q(
                                ("issued_at__isnull", False),
                                ("number__isnull", False),
                                models.Q(("entry__isnull", False), ("charges_cents", 0), _connector="OR"),
                            ),
                            _connector="OR",
                        ),
                        name="billing_bill_issued",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="BillSegment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "bill",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="segments", to="billing.bill"
                    ),
                ),
                (
                    "agreement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="segments",
                        to="billing.serviceagreement",
                    ),
                ),
                (
                    "rate_book",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="segments", to="billing.ratebook"
                    ),
                ),
                ("version", models.CharField(max_length=80)),
                ("start", models.DateField()),
                ("end", models.DateField()),
                ("days", models.PositiveSmallIntegerField()),
                ("full_days", models.PositiveSmallIntegerField()),
                ("units", models.BigIntegerField()),
                ("unit", models.CharField(max_length=8)),
                ("unit_scale", models.SmallIntegerField(default=0)),
                ("remainder", models.CharField(default="0", max_length=80)),
                ("quality", models.SmallIntegerField()),
                ("inputs", models.JSONField(default=dict)),
            ],
            options={
                "indexes": [models.Index(fields=["agreement", "end"], name="billing_segment_agreement")],
            },
        ),
        migrations.CreateModel(
            name="BilledDial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="dials", to="billing.billsegment"
                    ),
                ),
                (
                    "register",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="metering.meterregister"
                    ),
                ),
                (
                    "installation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="metering.installation"
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("first_count", models.BigIntegerField()),
                ("last_count", models.BigIntegerField()),
                ("first_shown", models.BigIntegerField()),
                ("last_shown", models.BigIntegerField()),
                ("first_quality", models.SmallIntegerField()),
                ("last_quality", models.SmallIntegerField()),
                ("first_interpolated", models.BooleanField(default=False)),
                ("last_interpolated", models.BooleanField(default=False)),
                ("first_us", models.JSONField(default=list)),
                ("last_us", models.JSONField(default=list)),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="BillLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "bill",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="billing.bill"
                    ),
                ),
                (
                    "segment",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="billing.billsegment",
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("service", models.CharField(max_length=40)),
                ("code", models.CharField(max_length=60)),
                ("kind", models.CharField(max_length=16)),
                ("label", models.JSONField(default=dict)),
                ("amount_cents", models.BigIntegerField()),
                ("tier", models.PositiveSmallIntegerField(null=True)),
                ("lower", models.CharField(blank=True, default="", max_length=60)),
                ("upper", models.CharField(blank=True, default="", max_length=60)),
                ("quantity", models.CharField(blank=True, default="", max_length=60)),
                ("price", models.CharField(blank=True, default="", max_length=60)),
                ("per", models.CharField(blank=True, default="1", max_length=60)),
                ("days", models.PositiveSmallIntegerField(null=True)),
                ("full_days", models.PositiveSmallIntegerField(null=True)),
                ("version", models.CharField(blank=True, default="", max_length=80)),
                ("detail", models.JSONField(default=dict)),
            ],
            options={
                "ordering": ["bill", "position"],
                "constraints": [models.UniqueConstraint(fields=("bill", "position"), name="billing_line_position")],
            },
        ),
        migrations.CreateModel(
            name="WinterAverageOf",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="winter_averages",
                        to="customers.account",
                    ),
                ),
                (
                    "service_point",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="winter_averages",
                        to="customers.servicepoint",
                    ),
                ),
                ("start", models.DateField()),
                ("units", models.CharField(max_length=60)),
                ("basis", models.JSONField(default=list)),
                (
                    "set_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("account", "service_point", "start"), name="billing_winter_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Charge",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="charges", to="customers.account"
                    ),
                ),
                ("key", models.CharField(max_length=120, unique=True)),
                ("on", models.DateField()),
                ("kind", models.CharField(max_length=16)),
                ("service", models.CharField(max_length=40)),
                ("code", models.CharField(max_length=60)),
                ("label", models.JSONField(default=dict)),
                ("amount_cents", models.BigIntegerField()),
                ("detail", models.JSONField(default=dict)),
                (
                    "line",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="charge",
                        to="billing.billline",
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("waived_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("line__isnull", True), ("waived_at__isnull", True)),
                        fields=["account", "on"],
                        name="billing_charge_waiting",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Adjustment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="adjustments", to="customers.account"
                    ),
                ),
                (
                    "bill",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="adjustments",
                        to="billing.bill",
                    ),
                ),
                ("policy", models.CharField(max_length=40)),
                ("amount_cents", models.BigIntegerField()),
                ("reason", models.CharField(max_length=300)),
                ("evidence", models.TextField()),
                ("calculation", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "waits for approval"),
                            ("approved", "approved"),
                            ("rejected", "rejected"),
                        ],
                        default="requested",
                        max_length=12,
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
                    ),
                ),
                ("requested_at", models.DateTimeField()),
                (
                    "decided_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("decided_at", models.DateTimeField(null=True)),
                ("decision", models.CharField(blank=True, default="", max_length=300)),
            ],
            options={
                "verbose_name": "adjustment",
                "verbose_name_plural": "adjustments",
                "indexes": [models.Index(fields=["state", "requested_at"], name="billing_adjustment_state")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("decided_by__isnull", True),
                            models.Q(("decided_by", models.F("requested_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="billing_adjustment_second_person",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state", "requested"),
                            models.Q(("decided_at__isnull", False), ("decided_by__isnull", False)),
                            _connector="OR",
                        ),
                        name="billing_adjustment_decided",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Deposit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="deposits", to="customers.account"
                    ),
                ),
                ("amount_cents", models.BigIntegerField()),
                ("taken_on", models.DateField()),
                ("returned_on", models.DateField(null=True)),
                (
                    "entry",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="ledger.journalentry",
                    ),
                ),
                (
                    "return_entry",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="ledger.journalentry",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("amount_cents__gt", 0)), name="billing_deposit_positive")
                ],
            },
        ),
        migrations.CreateModel(
            name="BudgetPlan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "account",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="budget_plans", to="customers.account"
                    ),
                ),
                ("rule", models.JSONField(default=dict)),
                ("basis", models.JSONField(default=list)),
                ("amount_cents", models.BigIntegerField()),
                ("start", models.DateField()),
                ("settle_on", models.DateField()),
                ("end", models.DateField(null=True)),
                ("end_reason", models.CharField(blank=True, default="", max_length=200)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("end__isnull", True)), fields=("account",), name="billing_budget_one_open"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("settle_on__gt", models.F("start"))), name="billing_budget_span"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="OutageGrace",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                ("start", models.DateField()),
                ("end", models.DateField(null=True)),
                ("reason", models.CharField(max_length=200)),
                (
                    "started_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "outage grace",
                "verbose_name_plural": "outage graces",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("end__isnull", True), ("end__gte", models.F("start")), _connector="OR"),
                        name="billing_grace_span",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PrintBatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="print_batches",
                        to="billing.billrun",
                    ),
                ),
                ("made_at", models.DateTimeField()),
                ("bills", models.PositiveIntegerField()),
                ("sheets", models.PositiveIntegerField()),
                ("pdf_digest", models.CharField(max_length=64)),
                ("addresses_digest", models.CharField(max_length=64)),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="BillDelivery",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "public_id",
                    models.CharField(
                        default=portal.core.public_id.new_public_id, editable=False, max_length=13, unique=True
                    ),
                ),
                (
                    "bill",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="deliveries", to="billing.bill"
                    ),
                ),
                ("channel", models.CharField(choices=[("email", "email"), ("paper", "paper")], max_length=12)),
                ("to", models.CharField(max_length=254)),
                ("queued_at", models.DateTimeField()),
                ("done_at", models.DateTimeField(null=True)),
                (
                    "print_batch",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deliveries",
                        to="billing.printbatch",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("bill", "channel"), name="billing_delivery_once")],
            },
        ),
    ]

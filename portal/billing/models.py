"""What is billed: rate books, cycles, service agreements, runs, bills with their segments and lines, adjustments.

A bill that was issued is never edited: it is cancelled and another one takes its place, and both stay. A line knows the
rate version that priced it; a segment knows the dial readings that bound it and, through them, the signed batches.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import PublicIdModel
from portal.customers.models import Account, AccountAccess, ServicePoint
from portal.ledger.models import JournalEntry
from portal.metering.models import Installation, MeterRegister


class RateBook(PublicIdModel):
    """One rate file as it was loaded, verbatim. From its approval on by a second person it prices bills.

    format  `headwater-rates/1` or `owrs`; text: the file; digest: SHA-256 of it in hex.
    effective_from, effective_to  days on which it may be used; its own versions divide them further.
    """

    name = models.CharField(_("name"), max_length=120)
    format = models.CharField(max_length=40)
    text = models.TextField()
    digest = models.CharField(max_length=64, unique=True)
    effective_from = models.DateField()
    effective_to = models.DateField(null=True, blank=True)
    loaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    loaded_at = models.DateTimeField()
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    approved_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("rate book")
        verbose_name_plural = _("rate books")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="billing_ratebook_second_person",
                condition=Q(approved_by__isnull=True) | Q(loaded_by__isnull=True) | ~Q(approved_by=F("loaded_by")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:8]}"


class Cycle(PublicIdModel):
    """Accounts that are billed together: periods end on one day of the month.

    read_day  day of the month (1 to 28) whose midnight, in the utility's zone, ends one period and starts the next.
    months    length of a period: 1, 2, 3, 6 or 12; anchor_month: a month (1 to 12) in which a period ends.
    """

    code = models.CharField(_("cycle"), max_length=16, unique=True)
    name = models.CharField(_("name"), max_length=80, blank=True)
    read_day = models.PositiveSmallIntegerField(default=1)
    months = models.PositiveSmallIntegerField(default=1)
    anchor_month = models.PositiveSmallIntegerField(default=1)

    class Meta:
        verbose_name = _("billing cycle")
        verbose_name_plural = _("billing cycles")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="billing_cycle_day", condition=Q(read_day__gte=1, read_day__lte=28)),
            models.CheckConstraint(name="billing_cycle_months", condition=Q(months__in=(1, 2, 3, 6, 12))),
            models.CheckConstraint(name="billing_cycle_anchor", condition=Q(anchor_month__gte=1, anchor_month__lte=12)),
        ]

    def __str__(self) -> str:
        return self.code


class BillingAccount(models.Model):
    """How an account is billed and how its bills reach it: one row an account that gets bills.

    route, stop  where it lies on the way of who reads and delivers.
    paper        a printed bill by mail, only when asked for; email otherwise.
    """

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.PROTECT, related_name="billing")
    cycle = models.ForeignKey(Cycle, on_delete=models.PROTECT, related_name="accounts")
    route = models.CharField(_("route"), max_length=16, blank=True)
    stop = models.PositiveIntegerField(default=0)
    email = models.EmailField(_("email for bills"), blank=True)
    language = models.CharField(_("language of bills"), max_length=8, default="en")
    paper = models.BooleanField(_("paper bill"), default=False)
    mail_to = models.TextField(_("mailing address"), blank=True)
    opened_on = models.DateField(null=True)
    closed_on = models.DateField(null=True)

    class Meta:
        verbose_name = _("billed account")
        verbose_name_plural = _("billed accounts")
        indexes: ClassVar[list[models.Index]] = [models.Index(name="billing_account_route", fields=["route", "stop"])]

    def __str__(self) -> str:
        return str(self.account)


class ServiceAgreement(PublicIdModel):
    """What an account gets at a service point and on which terms, from `start` (inclusive) to `end` (exclusive).

    A change of class or of any input ends one agreement and starts the next on the same day.
    services  names in the rate book (`water`, `sewer`, `sanitation`); empty: all that the class has.
    inputs    what prices depend on: meter_size, dwelling_units, low_income, ...
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="agreements")
    service_point = models.ForeignKey(ServicePoint, on_delete=models.PROTECT, related_name="agreements")
    rate_class = models.CharField(_("rate class"), max_length=40)
    services = models.JSONField(default=list, blank=True)
    inputs = models.JSONField(default=dict, blank=True)
    start = models.DateField()
    end = models.DateField(null=True, blank=True)

    class Meta:
        verbose_name = _("service agreement")
        verbose_name_plural = _("service agreements")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="billing_agreement_sp", fields=["service_point", "start"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="billing_agreement_span", condition=Q(end__isnull=True) | Q(end__gt=F("start"))
            ),
            models.UniqueConstraint(
                name="billing_agreement_one_open", fields=["service_point"], condition=Q(end__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.rate_class} at {self.service_point}"


class BillRun(PublicIdModel):
    """One run of a cycle for one period. Started again it goes on where it stopped; it never bills an account twice.

    state       calculating -> calculated -> issuing -> issued; `preview` runs keep no bill numbers and post nothing.
    progress    counts and totals for the monitor and the report, written with each chunk.
    """

    class State(models.TextChoices):
        """How far the run is."""

        CALCULATING = "calculating", _("calculating")
        CALCULATED = "calculated", _("calculated, to be looked at")
        ISSUING = "issuing", _("issuing")
        ISSUED = "issued", _("issued")
        CANCELLED = "cancelled", _("cancelled")

    cycle = models.ForeignKey(Cycle, on_delete=models.PROTECT, related_name="runs")
    period_start = models.DateField()
    period_end = models.DateField()
    bill_date = models.DateField()
    due_date = models.DateField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.CALCULATING)
    accounts = models.PositiveIntegerField(default=0)
    progress = models.JSONField(default=dict)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    issued_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    finished_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("bill run")
        verbose_name_plural = _("bill runs")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="billing_run_once", fields=["cycle", "period_end"], condition=~Q(state="cancelled")
            ),
            models.CheckConstraint(name="billing_run_span", condition=Q(period_end__gt=F("period_start"))),
        ]

    def __str__(self) -> str:
        return f"{self.cycle} to {self.period_end}"


class Bill(PublicIdModel):
    """One bill of one account for one period [period_start, period_end), days of the utility's zone.

    number        on paper and in addresses people type; None until it is issued.
    state         draft: calculated, may be calculated again; held: something must be looked at first, see `findings`;
                  issued: posted to the ledger and sent; cancelled: taken back, `replaced_by` has the one in its place.
    charges_cents the sum of the lines, for ever. due_cents: charges and balance_before together, or the budget amount.
    findings      why it is held, or what was noticed: [{"code", "severity": "hold"|"note", "detail"}].
    estimated     a boundary of a segment was not measured.
    facts         what the page and the PDF show besides the lines: chart, comparison, addresses, policies in force;
                  frozen at issue, so that a bill looks the same for ever.
    """

    class State(models.TextChoices):
        """The life of a bill."""

        DRAFT = "draft", _("draft")
        HELD = "held", _("held")
        ISSUED = "issued", _("issued")
        CANCELLED = "cancelled", _("cancelled")

    class Kind(models.TextChoices):
        """Why it was made."""

        REGULAR = "regular", _("bill")
        FINAL = "final", _("final bill")
        CORRECTED = "corrected", _("corrected bill")

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="bills")
    run = models.ForeignKey(BillRun, null=True, on_delete=models.PROTECT, related_name="bills")
    number = models.CharField(_("bill number"), max_length=24, unique=True, null=True)
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.REGULAR)
    state = models.CharField(max_length=12, choices=State.choices, default=State.DRAFT)
    period_start = models.DateField()
    period_end = models.DateField()
    bill_date = models.DateField()
    due_date = models.DateField()
    charges_cents = models.BigIntegerField(default=0)
    balance_before_cents = models.BigIntegerField(default=0)
    due_cents = models.BigIntegerField(default=0)
    estimated = models.BooleanField(default=False)
    findings = models.JSONField(default=list)
    facts = models.JSONField(default=dict)
    replaces = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="replaced_by")
    entry = models.ForeignKey(JournalEntry, null=True, on_delete=models.PROTECT, related_name="bills")
    calculated_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    cancel_reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("bill")
        verbose_name_plural = _("bills")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="billing_bill_account", fields=["account", "period_end"]),
            models.Index(name="billing_bill_run_state", fields=["run", "state"]),
            models.Index(name="billing_bill_held", fields=["state", "bill_date"], condition=Q(state="held")),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # Whatever is started twice, killed or raced: an account has one living bill that starts on a day.
            models.UniqueConstraint(
                name="billing_bill_once", fields=["account", "period_start"], condition=~Q(state="cancelled")
            ),
            models.CheckConstraint(name="billing_bill_span", condition=Q(period_end__gt=F("period_start"))),
            models.CheckConstraint(
                name="billing_bill_issued",
                condition=~Q(state="issued")
                | Q(number__isnull=False, issued_at__isnull=False) & (Q(entry__isnull=False) | Q(charges_cents=0)),
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"draft {self.public_id}"


class BillSegment(PublicIdModel):
    """The part of a bill for one agreement in [start, end), with what it used: one rate version at a time.

    days, full_days  of the segment and of the period that prices are meant for; equal when nothing was prorated.
    units            whole billed units, each 10**unit_scale of unit.
    remainder        the litres below one billed unit that go on into the next segment, exact, as a fraction `a/b`.
    quality          worst quality of its boundary counts (domain.reading.ReadQuality).
    """

    bill = models.ForeignKey(Bill, on_delete=models.CASCADE, related_name="segments")
    agreement = models.ForeignKey(ServiceAgreement, on_delete=models.PROTECT, related_name="segments")
    rate_book = models.ForeignKey(RateBook, on_delete=models.PROTECT, related_name="segments")
    version = models.CharField(max_length=80)
    start = models.DateField()
    end = models.DateField()
    days = models.PositiveSmallIntegerField()
    full_days = models.PositiveSmallIntegerField()
    units = models.BigIntegerField()
    unit = models.CharField(max_length=8)
    unit_scale = models.SmallIntegerField(default=0)
    remainder = models.CharField(max_length=80, default="0")
    quality = models.SmallIntegerField()
    inputs = models.JSONField(default=dict)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="billing_segment_agreement", fields=["agreement", "end"]),
        ]

    def __str__(self) -> str:
        return f"{self.bill} {self.start} to {self.end}"


class BilledDial(PublicIdModel):
    """What one register showed at both ends of a segment's time at it: the readings printed on the bill.

    first_count, last_count  unrolled counts of the register; first_shown, last_shown: as the dial shows them.
    first_us, last_us        read_at (microseconds since 1970 UTC) of the reads that the counts rest on: for a count
                             that was interpolated, [before, after]. From (register, read_us) the stored batches follow.
    """

    segment = models.ForeignKey(BillSegment, on_delete=models.CASCADE, related_name="dials")
    register = models.ForeignKey(MeterRegister, on_delete=models.PROTECT, related_name="+")
    installation = models.ForeignKey(Installation, on_delete=models.PROTECT, related_name="+")
    start = models.DateTimeField()
    end = models.DateTimeField()
    first_count = models.BigIntegerField()
    last_count = models.BigIntegerField()
    first_shown = models.BigIntegerField()
    last_shown = models.BigIntegerField()
    first_quality = models.SmallIntegerField()
    last_quality = models.SmallIntegerField()
    first_interpolated = models.BooleanField(default=False)
    last_interpolated = models.BooleanField(default=False)
    first_us = models.JSONField(default=list)
    last_us = models.JSONField(default=list)

    def __str__(self) -> str:
        return f"{self.register} {self.first_shown} to {self.last_shown}"


class BillLine(PublicIdModel):
    """One line of a bill. Its amount is final; what led to it is in the other fields.

    kind     a value of rates.book.LineKind, or `adjustment`, `fee`, `deposit`, `true-up`, `budget`.
    label    by language. quantity, price, per, lower, upper: exact fractions as text, see rates.book.Line.
    """

    bill = models.ForeignKey(Bill, on_delete=models.CASCADE, related_name="lines")
    segment = models.ForeignKey(BillSegment, null=True, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveSmallIntegerField()
    service = models.CharField(max_length=40)
    code = models.CharField(max_length=60)
    kind = models.CharField(max_length=16)
    label = models.JSONField(default=dict)
    amount_cents = models.BigIntegerField()
    tier = models.PositiveSmallIntegerField(null=True)
    lower = models.CharField(max_length=60, blank=True, default="")
    upper = models.CharField(max_length=60, blank=True, default="")
    quantity = models.CharField(max_length=60, blank=True, default="")
    price = models.CharField(max_length=60, blank=True, default="")
    per = models.CharField(max_length=60, blank=True, default="1")
    days = models.PositiveSmallIntegerField(null=True)
    full_days = models.PositiveSmallIntegerField(null=True)
    version = models.CharField(max_length=80, blank=True, default="")
    detail = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar[list[str]] = ["bill", "position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="billing_line_position", fields=["bill", "position"]),
        ]

    def __str__(self) -> str:
        return f"{self.service} {self.code} {self.amount_cents}"


class WinterAverageOf(models.Model):
    """The winter average of one agreement's account at its service point, from `start` for twelve months.

    units  billed units for a full period, an exact fraction as text; basis: the bills that it was made of.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="winter_averages")
    service_point = models.ForeignKey(ServicePoint, on_delete=models.PROTECT, related_name="winter_averages")
    start = models.DateField()
    units = models.CharField(max_length=60)
    basis = models.JSONField(default=list)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="billing_winter_once", fields=["account", "service_point", "start"]),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.units} from {self.start}"


class Charge(PublicIdModel):
    """Something that goes on the account's next bill: a fee, a deposit, an approved adjustment, a true-up.

    key   unique reason for being, so that it is charged once: `late-fee:BILL`, `connection:AGREEMENT`, `adjustment:ID`.
    line  where it was billed; None while it waits.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="charges")
    key = models.CharField(max_length=120, unique=True)
    on = models.DateField()
    kind = models.CharField(max_length=16)
    service = models.CharField(max_length=40)
    code = models.CharField(max_length=60)
    label = models.JSONField(default=dict)
    amount_cents = models.BigIntegerField()
    detail = models.JSONField(default=dict)
    line = models.OneToOneField(BillLine, null=True, on_delete=models.SET_NULL, related_name="charge")
    created_at = models.DateTimeField()
    waived_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                name="billing_charge_waiting",
                fields=["account", "on"],
                condition=Q(line__isnull=True, waived_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return self.key


class Adjustment(PublicIdModel):
    """A change to what an account owes, asked for by one person with evidence and decided by another.

    policy       code of the rule that it rests on (`leak`, `goodwill`, `read-error`, ...); amount_cents: negative is a
                 credit. calculation: the numbers that led to it, for the bill and the auditor.
    """

    class State(models.TextChoices):
        """How far it is."""

        REQUESTED = "requested", _("waits for approval")
        APPROVED = "approved", _("approved")
        REJECTED = "rejected", _("rejected")

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="adjustments")
    bill = models.ForeignKey(Bill, null=True, on_delete=models.PROTECT, related_name="adjustments")
    policy = models.CharField(max_length=40)
    amount_cents = models.BigIntegerField()
    reason = models.CharField(max_length=300)
    evidence = models.TextField()
    calculation = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.REQUESTED)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decision = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        verbose_name = _("adjustment")
        verbose_name_plural = _("adjustments")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="billing_adjustment_state", fields=["state", "requested_at"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="billing_adjustment_second_person",
                condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("requested_by")),
            ),
            models.CheckConstraint(
                name="billing_adjustment_decided",
                condition=Q(state="requested") | Q(decided_by__isnull=False, decided_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.policy} {self.amount_cents} for {self.account}"


class Deposit(PublicIdModel):
    """Money held for an account: a liability until it is given back or set against what is owed."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="deposits")
    amount_cents = models.BigIntegerField()
    taken_on = models.DateField()
    returned_on = models.DateField(null=True)
    entry = models.ForeignKey(JournalEntry, null=True, on_delete=models.PROTECT, related_name="+")
    return_entry = models.ForeignKey(JournalEntry, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="billing_deposit_positive", condition=Q(amount_cents__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.amount_cents} of {self.account}"


class BudgetPlan(PublicIdModel):
    """Equal amounts for a year in place of what was used each month, settled at its end.

    basis  the bills that the amount was made of, and the rule; amount_cents: a month.
    """

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="budget_plans")
    rule = models.JSONField(default=dict)
    basis = models.JSONField(default=list)
    amount_cents = models.BigIntegerField()
    start = models.DateField()
    settle_on = models.DateField()
    end = models.DateField(null=True)
    end_reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="billing_budget_one_open", fields=["account"], condition=Q(end__isnull=True)),
            models.CheckConstraint(name="billing_budget_span", condition=Q(settle_on__gt=F("start"))),
        ]

    def __str__(self) -> str:
        return f"{self.amount_cents} a month for {self.account}"


class OutageGrace(PublicIdModel):
    """Days on which people could not pay: no late fee falls due in them, and its clock starts anew when they end.

    start, end  inclusive; end None: it lasts.
    audience    for which accounts (see portal.billing.addressed); empty: for all.
    """

    start = models.DateField()
    end = models.DateField(null=True)
    audience = models.JSONField(default=dict, blank=True)
    reason = models.CharField(max_length=200)
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        verbose_name = _("outage grace")
        verbose_name_plural = _("outage graces")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="billing_grace_span", condition=Q(end__isnull=True) | Q(end__gte=F("start"))),
        ]

    def __str__(self) -> str:
        return f"{self.start} to {self.end or '...'}"


class PrintBatch(PublicIdModel):
    """Bills on paper and the letters that go with them, ready for the printer: one PDF and an address file.

    run  whose bills they are, None for bills of no run; those whose email did not arrive may be of others.
    """

    run = models.ForeignKey(BillRun, null=True, on_delete=models.PROTECT, related_name="print_batches")
    made_at = models.DateTimeField()
    bills = models.PositiveIntegerField()
    letters = models.PositiveIntegerField(default=0)
    sheets = models.PositiveIntegerField()
    pdf_digest = models.CharField(max_length=64)
    addresses_digest = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.run} {self.bills} bills"


class BillDelivery(PublicIdModel):
    """One bill on its one way to the customer."""

    bill = models.ForeignKey(Bill, on_delete=models.PROTECT, related_name="deliveries")
    channel = models.CharField(max_length=12, choices=[("email", _("email")), ("paper", _("paper"))])
    to = models.CharField(max_length=254)
    queued_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    print_batch = models.ForeignKey(PrintBatch, null=True, on_delete=models.PROTECT, related_name="deliveries")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="billing_delivery_once", fields=["bill", "channel"]),
        ]

    def __str__(self) -> str:
        return f"{self.bill} by {self.channel}"


class Letter(PublicIdModel):
    """A letter by mail to a home that no email reaches: a sign-in was linked to its account.

    It waits for what is printed next and goes with it, once; a sign-in's access is told of by one letter at most.
    facts  all that it says, see portal.billing.documents.letter.LetterFacts.
    """

    access = models.OneToOneField(AccountAccess, on_delete=models.PROTECT, related_name="letter")
    facts = models.JSONField()
    queued_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True)
    print_batch = models.ForeignKey(PrintBatch, null=True, on_delete=models.PROTECT, related_name="enclosed")

    def __str__(self) -> str:
        return f"{self.access} by mail"

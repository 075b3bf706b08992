"""What meters said: registers, installations, the batches that brought the reads, the reads, and what follows.

`StoredBatch` is the source of truth. RecentRead, RegisterDay, DailyVolume, RegisterState, MeterEvent and LeakCase are
all derived from it and can be made again (`portal/ingest/rebuild.py`). OfficeRead, ReadVerdict and ReadFinding are what
people and rules added; a rebuild leaves them as they are. Reads hold register and epoch as plain numbers
without foreign keys: a check for every row would cost more than the row, and a table without keys partitions by time.
"""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from domain.ids import MeterId, RegisterId
from domain.reading import Register
from domain.units import Unit
from portal.core.public_id import PublicIdModel
from portal.customers.models import ServicePoint
from portal.fleet.models import Collector, Meter


class MeterRegister(PublicIdModel):
    """One counter of one meter, as it is declared on the wire. Another unit or scale is another row.

    claimed   the office knows it; a register seen for the first time is kept and waits to be claimed.
    in_usage  its counts are the consumption that residents see (a reverse total is not).
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="registers")
    register_id = models.CharField(_("register"), max_length=32)
    unit = models.CharField(max_length=8, choices=[(u.value, u.value) for u in Unit])
    scale = models.SmallIntegerField()
    modulus = models.BigIntegerField(null=True, blank=True)
    claimed = models.BooleanField(default=False)
    in_usage = models.BooleanField(default=True)
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("register")
        verbose_name_plural = _("registers")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                "meter", "register_id", "unit", "scale", Coalesce("modulus", 0), name="metering_register_once"
            ),
            models.CheckConstraint(name="metering_register_scale", condition=Q(scale__gte=-9, scale__lte=9)),
        ]

    def __str__(self) -> str:
        return f"{self.meter}/{self.register_id}"

    def as_register(self) -> Register:
        """Return the trade's own register."""
        return Register(
            meter_id=MeterId(self.meter.meter_id),
            register_id=RegisterId(self.register_id),
            unit=Unit(self.unit),
            scale=self.scale,
            modulus=self.modulus,
        )


class Installation(PublicIdModel):
    """A meter at a service point from `start` (inclusive) to `end` (exclusive).

    register     the one that first_count and last_count are of; None while no count was written down.
    first_count  raw count at `start`, last_count at `end`: what the technician read from the dial, or None.
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="installations")
    service_point = models.ForeignKey(ServicePoint, on_delete=models.PROTECT, related_name="installations")
    start = models.DateTimeField()
    end = models.DateTimeField(null=True, blank=True)
    register = models.ForeignKey(MeterRegister, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    first_count = models.BigIntegerField(null=True, blank=True)
    last_count = models.BigIntegerField(null=True, blank=True)

    class Meta:
        verbose_name = _("installation")
        verbose_name_plural = _("installations")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_installation_sp", fields=["service_point", "start"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="metering_installation_span", condition=Q(end__isnull=True) | Q(end__gt=F("start"))
            ),
            models.CheckConstraint(
                name="metering_installation_counts",
                condition=Q(register__isnull=False) | Q(first_count__isnull=True, last_count__isnull=True),
            ),
            models.UniqueConstraint(name="metering_one_open_meter", fields=["meter"], condition=Q(end__isnull=True)),
            models.UniqueConstraint(
                name="metering_one_open_sp", fields=["service_point"], condition=Q(end__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter} at {self.service_point}"


class Epoch(models.Model):
    """One life of one collector's store: 16 random bytes."""

    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="epochs")
    epoch = models.BinaryField(max_length=16, unique=True)
    first_seen_at = models.DateTimeField(default=timezone.now)
    previous = models.JSONField(null=True)

    def __str__(self) -> str:
        return bytes(self.epoch).hex()


class StoredBatch(models.Model):
    """A batch as it came, byte for byte: the source of truth, kept for ever.

    reads, repeated  how many reads are in it, and how many of these an earlier epoch of the collector had brought.
    """

    epoch = models.ForeignKey(Epoch, on_delete=models.PROTECT, related_name="batches")
    stream = models.SmallIntegerField()
    sequence = models.BigIntegerField()
    batch_hash = models.BinaryField(max_length=32)
    previous_hash = models.BinaryField(max_length=32)
    signed = models.BinaryField()
    sealed_at = models.DateTimeField()
    received_at = models.DateTimeField()
    reads = models.IntegerField()
    repeated = models.IntegerField(default=0, db_default=0)
    events = models.IntegerField()
    first_append_seq = models.BigIntegerField(null=True)
    last_append_seq = models.BigIntegerField(null=True)
    first_read_at = models.DateTimeField(null=True)
    last_read_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_batch_once", fields=["epoch", "stream", "sequence"]),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_batch_appends", fields=["epoch", "stream", "last_append_seq"]),
            models.Index(name="metering_batch_reads", fields=["epoch", "last_read_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.epoch}/{self.stream}/{self.sequence}"


class MeterAssignment(PublicIdModel):
    """Which collector may speak for a meter, from when to when by the time of the read; the first to do so is it.

    start  None: ever since. Before the earliest start of a meter every collector may speak for it (reads from before
           assignments were kept).
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="assignments")
    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="assignments")
    start = models.DateTimeField(null=True)
    end = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("meter assignment")
        verbose_name_plural = _("meter assignments")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_assignment_meter", fields=["meter", "start"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="metering_one_open_collector", fields=["meter"], condition=Q(end__isnull=True)
            ),
            models.CheckConstraint(
                name="metering_assignment_span",
                condition=Q(end__isnull=True) | Q(start__isnull=True) | Q(end__gt=F("start")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.meter} by {self.collector}"


class RegistryToken(models.Model):
    """A random value that changes whenever a collector's meters, registers or assignments do.

    Ingest remembers what it looked up together with the token it found then: as long as the token is the same, so is
    everything else, whatever was rolled back, restored or moved in between.
    """

    collector = models.OneToOneField(Collector, primary_key=True, on_delete=models.CASCADE, related_name="+")
    token = models.BinaryField(max_length=16)

    def __str__(self) -> str:
        return f"{self.collector} {bytes(self.token).hex()}"


class Quarantined(PublicIdModel):
    """What one stored batch says of one meter and nobody sees, because another collector speaks for that meter.

    The reads and events themselves are in the batch; these are only counted here, with the span of their times.
    """

    batch = models.ForeignKey("StoredBatch", on_delete=models.CASCADE, related_name="quarantined")
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="quarantined")
    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="quarantined")
    reason = models.CharField(max_length=40, default="foreign-meter")
    reads = models.IntegerField()
    events = models.IntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_quarantined_once", fields=["batch", "meter"]),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_quarantined_meter", fields=["meter", "collector", "batch"]),
        ]

    def __str__(self) -> str:
        return f"{self.meter} in {self.batch}"


class StreamHead(models.Model):
    """How far one stream of an epoch is here, and how far it must be: what a later batch is compared with first.

    newest            highest stored sequence, 0 while nothing of the stream is here; newest_hash: of that batch.
    last_append_seq   highest of all stored batches.
    declared          highest sequence that the collector said it has sealed, in a batch of the other stream or of the
                      epoch after this one; 0 when it said nothing.
    settled_through   every sequence up to here is stored, or known never to come; what is missing lies beyond.
    ask_at            when what may be missing is looked for and asked for; None while nothing is missing.
    asked_times       how often in a row, without anything of the stream having come since.
    """

    epoch = models.ForeignKey(Epoch, on_delete=models.CASCADE, related_name="heads")
    stream = models.SmallIntegerField()
    newest = models.BigIntegerField(default=0)
    newest_hash = models.BinaryField(max_length=32, default=b"")
    last_append_seq = models.BigIntegerField(default=0)
    declared = models.BigIntegerField(default=0)
    settled_through = models.BigIntegerField(default=0)
    ask_at = models.DateTimeField(null=True)
    asked_times = models.SmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_head_once", fields=["epoch", "stream"]),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_head_ask", fields=["ask_at"], condition=Q(ask_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.epoch}/{self.stream} through {self.newest}"


class GoneBatches(models.Model):
    """Sequences first to last of a stream that the collector says it no longer has: missing for good."""

    epoch = models.ForeignKey(Epoch, on_delete=models.PROTECT, related_name="gone")
    stream = models.SmallIntegerField()
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    reported_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_gone_once", fields=["epoch", "stream", "first", "last"]),
            models.CheckConstraint(name="metering_gone_span", condition=Q(first__gte=1, last__gte=F("first"))),
        ]

    def __str__(self) -> str:
        return f"{self.epoch}/{self.stream} {self.first} to {self.last}"


class RefusedBatch(models.Model):
    """A dead letter: a batch that was not taken, why, and what it was. Equal ones are counted, the table is bounded.

    detail           what else is known: where in the program a fault struck, the topic that is none.
    epoch, stream, sequence   its identity; None when nothing that can be trusted tells it.
    signed           the very bytes, as long as trying them again may help and there is room; else None.
    retry_asked_at   staff want it tried again and ingest has not done so yet.
    dismissed_at     staff have seen enough of it: not listed any more, and known if it comes again.
    """

    reason = models.CharField(max_length=40)
    detail = models.CharField(max_length=200, blank=True, default="", db_default="")
    digest = models.BinaryField(max_length=32)
    size_bytes = models.BigIntegerField()
    topic_collector = models.CharField(max_length=64, blank=True)
    epoch = models.BinaryField(max_length=16, null=True)
    stream = models.SmallIntegerField(null=True)
    sequence = models.BigIntegerField(null=True)
    signed = models.BinaryField(null=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    times = models.PositiveIntegerField(default=1)
    retry_asked_at = models.DateTimeField(null=True)
    retried_at = models.DateTimeField(null=True)
    dismissed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_refused_once", fields=["digest", "reason", "topic_collector"]),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_refused_collector", fields=["topic_collector", "last_at"]),
            models.Index(name="metering_refused_newest", fields=["last_at"]),
            models.Index(
                name="metering_refused_retry", fields=["retry_asked_at"], condition=Q(retry_asked_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reason} {bytes(self.digest).hex()[:16]}"


class RecentRead(models.Model):
    """One read of a storage day that is still open. Narrow on purpose: millions of these pass through.

    register  MeterRegister id; epoch: Epoch id. read_us: read_at in microseconds since 1970-01-01 UTC.
    There is no unique constraint on (epoch, append_seq): that a batch is applied once is the batch's constraint, and
    reconciliation counts these rows to prove it.
    """

    register = models.BigIntegerField()
    read_us = models.BigIntegerField()
    raw_count = models.BigIntegerField()
    epoch = models.BigIntegerField()
    append_seq = models.BigIntegerField()
    quality = models.SmallIntegerField()
    reason = models.SmallIntegerField()
    flags = models.SmallIntegerField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_recent_read", fields=["register", "read_us"]),
        ]

    def __str__(self) -> str:
        return f"{self.register} {self.raw_count} at {self.read_us}"


class RegisterDay(models.Model):
    """All reads of one register on one storage day (UTC, days since 1970), packed by `portal/metering/packed.py`."""

    pk = models.CompositePrimaryKey("register", "day")
    register = models.BigIntegerField()
    day = models.IntegerField()
    reads = models.IntegerField()
    packed = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.register} day {self.day}"


class DailyVolume(models.Model):
    """What one register counted on one calendar day of the utility: the roll-up for questions about the whole fleet."""

    pk = models.CompositePrimaryKey("register", "day")
    register = models.BigIntegerField()
    day = models.DateField(db_index=True)
    counts = models.BigIntegerField()
    quality = models.SmallIntegerField()
    interpolated = models.BooleanField()

    def __str__(self) -> str:
        return f"{self.register} {self.day}: {self.counts}"


class RegisterState(models.Model):
    """The newest read of one register, and the change number of the commit that last touched it."""

    register = models.OneToOneField(MeterRegister, primary_key=True, on_delete=models.CASCADE, related_name="state")
    last_read_at = models.DateTimeField()
    last_count = models.BigIntegerField()
    last_quality = models.SmallIntegerField()
    change_number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.register}: {self.last_count}"


class MeterEvent(PublicIdModel):
    """Something that happened at a moment, as a collector reported it."""

    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="events")
    event_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    at = models.DateTimeField()
    meter = models.ForeignKey(Meter, null=True, on_delete=models.PROTECT, related_name="events")
    detail = models.JSONField(default=dict)
    epoch = models.BigIntegerField()
    append_seq = models.BigIntegerField()
    received_at = models.DateTimeField()

    class Meta:
        verbose_name = _("meter event")
        verbose_name_plural = _("meter events")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="metering_event_once", fields=["collector", "event_id"]),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_event_meter", fields=["meter", "at"]),
            models.Index(name="metering_event_kind", fields=["kind", "at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.event_id}"


class LeakCase(PublicIdModel):
    """A leak from the moment it was opened to the moment it cleared.

    installation  where the meter stood then; None while nobody has claimed the meter.
    evidence      the details of the events that opened and cleared it, as the collector sent them.
    """

    installation = models.ForeignKey(Installation, null=True, on_delete=models.PROTECT, related_name="leak_cases")
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="leak_cases")
    alarm_id = models.CharField(max_length=200, unique=True)
    rule = models.CharField(max_length=60, blank=True)
    opened_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)
    evidence = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("leak")
        verbose_name_plural = _("leaks")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_leak_open", fields=["meter", "cleared_at"]),
        ]

    def __str__(self) -> str:
        return f"leak {self.alarm_id}"


class OfficeRead(PublicIdModel):
    """One version of a read that no collector brought: from a person, another head-end, an edit or an estimate.

    A row is never changed. Another count, quality or reason for the same moment is the next version, which names the
    one that it supersedes; to take a read out is a version too (`withdrawn`). The version in force is the one that
    nothing supersedes. A chain stays with its register and its moment: another moment is another chain.

    raw_count   what the dial shows, in the register's own unit and scale.
    quality     domain.reading.ReadQuality; an estimate is in force only until an actual read of a later moment is here.
    evidence    what it rests on: import file and line, photo, the profile of an estimate, the read that was edited.
    """

    class Source(models.TextChoices):
        """Where the count came from."""

        MANUAL = "manual", _("read by a person")
        DRIVE_BY = "drive-by", _("drive-by")
        DIAL_PHOTO = "dial-photo", _("photo of the dial")
        MOVE_IN = "move-in", _("move-in")
        MOVE_OUT = "move-out", _("move-out")
        HEAD_END = "head-end", _("another head-end")
        EDIT = "edit", _("edited")
        ESTIMATE = "estimate", _("estimated")

    register = models.ForeignKey(MeterRegister, on_delete=models.PROTECT, related_name="office_reads")
    read_at = models.DateTimeField()
    raw_count = models.BigIntegerField()
    quality = models.SmallIntegerField()
    source = models.CharField(max_length=12, choices=Source.choices)
    reason = models.CharField(max_length=200, blank=True, default="")
    evidence = models.JSONField(default=dict)
    withdrawn = models.BooleanField(default=False)
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    entered_at = models.DateTimeField()

    class Meta:
        verbose_name = _("office read")
        verbose_name_plural = _("office reads")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_office_read", fields=["register", "read_at"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # With the one-to-one `supersedes`, whoever races: one chain for a moment, and no version has two followers.
            models.UniqueConstraint(
                name="metering_office_once", fields=["register", "read_at"], condition=Q(supersedes__isnull=True)
            ),
            models.CheckConstraint(name="metering_office_count", condition=Q(raw_count__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.register} {self.raw_count} at {self.read_at.isoformat()} ({self.source})"


class ReadVerdict(PublicIdModel):
    """What was decided about the stored reads of a register from read_us to until_us; the reads stay as they came.

    A row is never changed: a decision is taken back, or replaced, by one that supersedes it. Where verdicts in force
    overlap, the newest counts.

    read_us, until_us  microseconds since 1970 UTC, both inclusive; until_us None: this read and all that follow.
    verdict            suspect: in the usage, marked; accepted: in the usage as measured; excluded: not in the usage.
    rule               the rule that saw it, empty when staff decided on their own; decided_by None: the rule decided.
    """

    class Verdict(models.TextChoices):
        """What becomes of the reads."""

        SUSPECT = "suspect", _("suspect")
        ACCEPTED = "accepted", _("accepted")
        EXCLUDED = "excluded", _("excluded")
        WITHDRAWN = "withdrawn", _("taken back")

    register = models.ForeignKey(MeterRegister, on_delete=models.PROTECT, related_name="verdicts")
    read_us = models.BigIntegerField()
    until_us = models.BigIntegerField(null=True)
    verdict = models.CharField(max_length=10, choices=Verdict.choices)
    rule = models.CharField(max_length=40, blank=True, default="")
    detail = models.JSONField(default=dict)
    reason = models.CharField(max_length=200, blank=True, default="")
    supersedes = models.OneToOneField("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField()

    class Meta:
        verbose_name = _("verdict on reads")
        verbose_name_plural = _("verdicts on reads")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_verdict_read", fields=["register", "read_us"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="metering_verdict_span", condition=Q(until_us__isnull=True) | Q(until_us__gte=F("read_us"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.register} {self.verdict} from {self.read_us}"


class ReadFinding(PublicIdModel):
    """An item of the work list: a rule saw something in the reads of a service point between `start` and `end`.

    severity     hold: no bill goes out before it is resolved; note: the bill says so and goes out.
    fingerprint  of what the rule saw: found again it is the same item, and what was resolved stays so until the
                 reads say something else.
    visit_ordered_at  somebody was sent; the item stays open until the answer is in.
    """

    class Severity(models.TextChoices):
        """Whether bills wait for it."""

        HOLD = "hold", _("holds the bill")
        NOTE = "note", _("note")

    class Resolution(models.TextChoices):
        """How it ended."""

        ACCEPTED = "accepted", _("accepted as it is")
        EXCLUDED = "excluded", _("reads excluded")
        EDITED = "edited", _("read edited")
        ESTIMATED = "estimated", _("estimated")
        GONE = "gone", _("no longer so")

    service_point = models.ForeignKey(ServicePoint, on_delete=models.PROTECT, related_name="read_findings")
    register = models.ForeignKey(MeterRegister, null=True, on_delete=models.PROTECT, related_name="findings")
    rule = models.CharField(max_length=40)
    severity = models.CharField(max_length=4, choices=Severity.choices)
    start = models.DateTimeField()
    end = models.DateTimeField()
    fingerprint = models.CharField(max_length=64)
    detail = models.JSONField(default=dict)
    opened_at = models.DateTimeField()
    visit_ordered_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    resolution = models.CharField(max_length=10, choices=Resolution.choices, blank=True, default="")
    reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("finding")
        verbose_name_plural = _("findings")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="metering_finding_place", fields=["service_point", "start"]),
            models.Index(name="metering_finding_open", fields=["opened_at"], condition=Q(resolved_at__isnull=True)),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="metering_finding_once", fields=["service_point", "rule", "start", "end", "fingerprint"]
            ),
            models.CheckConstraint(name="metering_finding_span", condition=Q(end__gte=F("start"))),
            models.CheckConstraint(
                name="metering_finding_resolved",
                condition=Q(resolved_at__isnull=True, resolution="")
                | (Q(resolved_at__isnull=False) & ~Q(resolution="")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule} at {self.service_point}"

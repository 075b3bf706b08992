"""Collectors and what proves that they are who they say; meters."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from portal.core.public_id import PublicIdModel


class Collector(PublicIdModel):
    """One of our boxes that read meters.

    over_quota, over_quota_at   messages that ingest left unprocessed because too many were in hand, and when last.
    """

    collector_id = models.CharField(_("collector"), max_length=32, unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    enrolled_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_batch_at = models.DateTimeField(null=True)
    over_quota = models.BigIntegerField(default=0, db_default=0)
    over_quota_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("collector")
        verbose_name_plural = _("collectors")

    def __str__(self) -> str:
        return self.collector_id


class CollectorKey(models.Model):
    """A public key that signs a collector's batches, from when to when."""

    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="keys")
    kid = models.CharField(max_length=64, unique=True)
    alg = models.CharField(max_length=16)
    public_key = models.BinaryField(max_length=512)
    valid_from = models.DateTimeField(default=timezone.now)
    valid_to = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="fleet_key_span", condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from"))
            ),
        ]

    def __str__(self) -> str:
        return self.kid


class EnrolmentCode(models.Model):
    """A one-time code with which a new collector proves that a person wants it; kept as a hash."""

    collector = models.ForeignKey(Collector, on_delete=models.CASCADE, related_name="enrolment_codes")
    code_hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"enrolment of {self.collector}"


class Certificate(models.Model):
    """A certificate that the portal's own authority issued."""

    collector = models.ForeignKey(Collector, null=True, on_delete=models.PROTECT, related_name="certificates")
    common_name = models.CharField(max_length=64)
    serial = models.CharField(max_length=40, unique=True)
    fingerprint = models.CharField(max_length=64, unique=True)
    pem = models.TextField()
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.common_name} {self.serial}"


class Meter(PublicIdModel):
    """A metrology device, by the identity that it states itself or that the office wrote down."""

    meter_id = models.CharField(_("meter"), max_length=40, unique=True)
    model = models.CharField(_("model"), max_length=60, blank=True)
    first_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("meter")
        verbose_name_plural = _("meters")

    def __str__(self) -> str:
        return self.meter_id


class CollectorCommand(PublicIdModel):
    """An order to one collector: signed and published until the collector reports it done, or it expires.

    nonce         the number that is used once; it names the command in the collector's report.
    actor, label  who gave it: a signed-in user, or what else acted.
    publish_at    when it is published next; times: how often it was.
    result        what the collector reported: `ok`, or what went wrong; empty until then.
    """

    collector = models.ForeignKey(Collector, on_delete=models.PROTECT, related_name="commands")
    nonce = models.BinaryField(max_length=16, unique=True)
    kind = models.CharField(max_length=40)
    body = models.JSONField(default=dict)
    actor = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    label = models.CharField(max_length=120, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    publish_at = models.DateTimeField()
    times = models.PositiveIntegerField(default=0)
    done_at = models.DateTimeField(null=True)
    result = models.CharField(max_length=200, blank=True)

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="fleet_command_due", fields=["publish_at"], condition=Q(done_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.collector}"

"""What residents want to be told, what happened, who was told and what they answered; how far evaluation has looked."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from portal.alerts.kinds import Answer, Kind, Per
from portal.core.public_id import PublicIdModel
from portal.customers.models import Account, ServicePoint


class AlertSetting(PublicIdModel):
    """Where one person differs from the defaults, for one kind at one meter or account; or one threshold of theirs.

    Defaults are worked out (`portal.alerts.kinds.RULES`), so that a new guest and a new meter have them at once.
    per, amount, unit  of a threshold: more than `amount` in `unit` (a unit of volume, or `usd`) in an hour, a day, a
                       billing period; of an expected bill: amount in `usd`.
    number             hours or days of kinds that have such a number; None: the default.
    first_day, last_day  whole days away, both inclusive, in the utility's zone.
    quiet_until        nothing of this kind is sent before.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alert_settings")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    service_point = models.ForeignKey(ServicePoint, null=True, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    on = models.BooleanField(default=True)
    by_email = models.BooleanField(default=True)
    by_sms = models.BooleanField(default=False)
    per = models.CharField(max_length=6, choices=Per.choices, blank=True, default="")
    amount = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    unit = models.CharField(max_length=8, blank=True, default="")
    number = models.PositiveSmallIntegerField(null=True)
    first_day = models.DateField(null=True)
    last_day = models.DateField(null=True)
    quiet_until = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()

    class Meta:
        verbose_name = _("notification setting")
        verbose_name_plural = _("notification settings")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="alerts_setting_account", fields=["account", "kind"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="alerts_setting_meter",
                fields=["user", "account", "service_point", "kind"],
                condition=Q(service_point__isnull=False) & ~Q(kind=Kind.THRESHOLD.value),
            ),
            models.UniqueConstraint(
                name="alerts_setting_account_once",
                fields=["user", "account", "kind"],
                condition=Q(service_point__isnull=True) & ~Q(kind=Kind.THRESHOLD.value),
            ),
            models.CheckConstraint(
                name="alerts_setting_threshold",
                condition=~Q(kind=Kind.THRESHOLD.value) | Q(amount__gt=0) & ~Q(per="") & ~Q(unit=""),
            ),
            models.CheckConstraint(
                name="alerts_setting_days",
                condition=Q(first_day__isnull=True, last_day__isnull=True) | Q(last_day__gte=F("first_day")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.kind} {self.account}"


class Alert(PublicIdModel):
    """One thing that happened at one meter or to one account, whoever is told of it.

    key          what makes it one thing (`leak:CASE:ACCOUNT`): found again it is the same alert.
    about        public id of the leak case, bill or banner that it is of; empty for the rest.
    since        when it began, as far as the account's own time goes; happened_at: when the rule held.
    opened_at    when it was found; ended_at: when it was over, or the account's time there was.
    evidence     figures as data: litres, cents, moments as ISO text; put into words for each reader.
    late         it was found so long afterwards that nobody was sent anything.
    """

    key = models.CharField(max_length=160, unique=True)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="alerts")
    service_point = models.ForeignKey(ServicePoint, null=True, on_delete=models.PROTECT, related_name="alerts")
    about = models.CharField(max_length=40, blank=True, default="")
    since = models.DateTimeField()
    happened_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    evidence = models.JSONField(default=dict)
    late = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="alerts_alert_account", fields=["account", "opened_at"]),
            models.Index(name="alerts_alert_about", fields=["about"]),
            models.Index(name="alerts_alert_open", fields=["kind", "account"], condition=Q(ended_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.key


class AlertRecipient(models.Model):
    """One person's side of an alert: what they were sent, whether they have seen it, what they said.

    told_at, last_told_at, times  the first and the newest message, and how many; over_told_at: that it is over.
    """

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="recipients")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="alerts_received")
    told_at = models.DateTimeField(null=True)
    last_told_at = models.DateTimeField(null=True)
    times = models.PositiveSmallIntegerField(default=0)
    over_told_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=12, choices=Answer.choices, blank=True, default="")
    note = models.CharField(max_length=200, blank=True, default="")
    answered_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("recipient of an alert")
        verbose_name_plural = _("recipients of alerts")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="alerts_recipient_once", fields=["alert", "user"]),
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.user}"


class UsageMark(models.Model):
    """Up to when the use of a service point was looked at: later reads, and gaps that fill, are looked at again."""

    service_point = models.OneToOneField(
        ServicePoint, primary_key=True, on_delete=models.CASCADE, related_name="usage_mark"
    )
    known_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.service_point} until {self.known_until.isoformat()}"


class Watermark(models.Model):
    """How far one look has come: the change number, or the row, that it has seen last."""

    name = models.CharField(max_length=40, unique=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"

"""Three tables that change at three speeds: the place, where it is metered, who pays; and who lived there when."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import PublicIdModel


class Premise(PublicIdModel):
    """A place that gets water."""

    address = models.CharField(_("address"), max_length=200, unique=True)
    city = models.CharField(_("city"), max_length=80, blank=True)
    postal_code = models.CharField(_("postal code"), max_length=16, blank=True)

    class Meta:
        verbose_name = _("premise")
        verbose_name_plural = _("premises")

    def __str__(self) -> str:
        return self.address


class ServicePoint(PublicIdModel):
    """Where a premise is metered: meters come and go, the service point stays."""

    premise = models.ForeignKey(Premise, on_delete=models.PROTECT, related_name="service_points")
    label = models.CharField(_("label"), max_length=60, default="water")

    class Meta:
        verbose_name = _("service point")
        verbose_name_plural = _("service points")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="customers_sp_label", fields=["premise", "label"]),
        ]

    def __str__(self) -> str:
        return f"{self.premise} ({self.label})"


class Account(PublicIdModel):
    """Who pays."""

    number = models.CharField(_("account number"), max_length=32, unique=True)
    name = models.CharField(_("name"), max_length=150, blank=True)
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, through="AccountAccess", related_name="accounts")

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")

    def __str__(self) -> str:
        return self.number


class AccountAccess(models.Model):
    """One user's access to one account."""

    class Level(models.TextChoices):
        """What the user may do with the account."""

        HOLDER = "holder", _("account holder")
        VIEW_USAGE = "view-usage", _("view usage")

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="access")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="account_access")
    level = models.CharField(max_length=16, choices=Level.choices, default=Level.HOLDER)
    granted_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("account access")
        verbose_name_plural = _("account access")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="customers_access_once", fields=["account", "user"], condition=Q(ended_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.level} {self.account}"


class Occupancy(models.Model):
    """One account's time at one service point: `start` inclusive, `end` exclusive, open while they live there."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="occupancies")
    service_point = models.ForeignKey(ServicePoint, on_delete=models.PROTECT, related_name="occupancies")
    start = models.DateTimeField()
    end = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("occupancy")
        verbose_name_plural = _("occupancies")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="customers_occupancy_sp", fields=["service_point", "start"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="customers_occupancy_span", condition=Q(end__isnull=True) | Q(end__gt=F("start"))
            ),
            models.UniqueConstraint(
                name="customers_occupancy_one_open", fields=["service_point"], condition=Q(end__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} at {self.service_point}"

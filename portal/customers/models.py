"""Three tables that change at three speeds: the place, where it is metered, who pays; and who lived there when."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Replace, Upper
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
    """Where a premise is metered: meters come and go, the service point stays.

    code  the office's own number of it (a location or service number); empty where the office has none.
    """

    premise = models.ForeignKey(Premise, on_delete=models.PROTECT, related_name="service_points")
    label = models.CharField(_("label"), max_length=60, default="water")
    code = models.CharField(_("number of the service point"), max_length=32, blank=True, default="")

    class Meta:
        verbose_name = _("service point")
        verbose_name_plural = _("service points")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="customers_sp_label", fields=["premise", "label"]),
            models.UniqueConstraint(name="customers_sp_code", fields=["code"], condition=~Q(code="")),
        ]

    def __str__(self) -> str:
        return f"{self.premise} ({self.label})"


def _key_of(column: str) -> Func:
    """Return the SQL of `portal.customers.numbers.number_key`: no dashes, dots, blanks or slashes, no leading zeros."""
    bare: models.expressions.Combinable = F(column)
    for mark in "-. /":
        bare = Replace(bare, Value(mark), Value(""))
    return Func(Upper(bare), Value("0"), function="LTRIM", output_field=models.CharField(max_length=32))


class Account(PublicIdModel):
    """Who pays.

    number_key  what is left of the number when it is typed from memory or changed by a spreadsheet: accounts are
                looked up by it, see portal.customers.numbers. The database keeps it.
    """

    number = models.CharField(_("account number"), max_length=32, unique=True)
    number_key = models.GeneratedField(
        expression=_key_of("number"), output_field=models.CharField(max_length=32), db_persist=True
    )
    name = models.CharField(_("name"), max_length=150, blank=True)
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, through="AccountAccess", related_name="accounts")

    class Meta:
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        indexes: ClassVar[list[models.Index]] = [models.Index(name="customers_account_key", fields=["number_key"])]

    def __str__(self) -> str:
        return self.number


class AccountAlias(models.Model):
    """A number that an account had before, or has on old bills and elsewhere: it still finds the account."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="aliases")
    number = models.CharField(_("former account number"), max_length=32)
    number_key = models.GeneratedField(
        expression=_key_of("number"), output_field=models.CharField(max_length=32), db_persist=True
    )
    since = models.DateTimeField()

    class Meta:
        verbose_name = _("former account number")
        verbose_name_plural = _("former account numbers")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="customers_alias_once", fields=["number_key"]),
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.account}"


class AccountAccess(models.Model):
    """One user's access to one account."""

    class Level(models.TextChoices):
        """What the user may do with the account; what each allows stands in `portal.customers.permissions`."""

        HOLDER = "holder", _("account holder")
        MANAGE_ALL = "manage-all", _("manage everything")
        MANAGE_ALERTS = "manage-alerts", _("see usage, manage alerts")
        PAY = "pay", _("see usage and bills, pay")
        VIEW_BILLS = "view-bills", _("see usage and bills")
        VIEW_USAGE = "view-usage", _("see usage")

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

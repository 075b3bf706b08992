"""Similar homes: which homes are compared in a month, what a group's days came to, and who wants no part in it."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from portal.customers.models import Account, ServicePoint


class OptOut(models.Model):
    """An account whose homes are left out of comparisons: not counted in any group, and shown none."""

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.CASCADE, related_name="opt_out")
    since = models.DateTimeField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        verbose_name = _("home left out of comparisons")
        verbose_name_plural = _("homes left out of comparisons")

    def __str__(self) -> str:
        return f"{self.account} since {self.since:%Y-%m-%d}"


class PeerGroup(models.Model):
    """One group of similar homes in one calendar month.

    name    rate class, or rate class and size of the household: `residential`, `residential/3-4`.
    cap_ml  what one home can add to a day at most, in millilitres: fixed with the group, so that no home moves a mean
            by more than cap_ml / homes.
    """

    month = models.DateField()
    name = models.CharField(max_length=60)
    cap_ml = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="comparison_group_once", fields=["month", "name"]),
        ]

    def __str__(self) -> str:
        return f"{self.name} in {self.month:%Y-%m}"


class PeerHome(models.Model):
    """A home (one metered service point) in its groups for one month: the members are fixed when the month starts."""

    month = models.DateField()
    service_point = models.ForeignKey(ServicePoint, on_delete=models.CASCADE, related_name="+")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    by_class = models.CharField(max_length=60)
    by_size = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="comparison_home_once", fields=["month", "service_point"]),
        ]

    def __str__(self) -> str:
        return f"{self.service_point} in {self.by_size or self.by_class}"


class PeerDay(models.Model):
    """What the homes of a group used on a day on average. Only groups of at least 15 homes have any, and rounded.

    mean_ml  millilitres, rounded to two significant figures or coarser: nothing finer is kept.
    """

    group = models.CharField(max_length=60)
    day = models.DateField()
    homes = models.PositiveIntegerField()
    mean_ml = models.BigIntegerField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="comparison_day_once", fields=["group", "day"]),
            models.CheckConstraint(name="comparison_day_homes", condition=Q(homes__gte=15)),
        ]

    def __str__(self) -> str:
        return f"{self.group} on {self.day}: {self.homes} homes"

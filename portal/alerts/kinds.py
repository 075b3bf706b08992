"""What a resident can be told about: each kind, whether it is on by itself, what it needs, what it is about.

A kind is one line here; its rule stands in the module that looks for it, its words in `portal.alerts.texts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from portal.customers.permissions import Permission

if TYPE_CHECKING:
    from collections.abc import Mapping

LATE = timedelta(days=3)
"""What is found out later than this is kept and not sent."""


class Kind(models.TextChoices):
    """What happened."""

    LEAK = "leak", _("Leak")
    UNUSUAL = "unusual", _("Unusual use")
    THRESHOLD = "threshold", _("More than you set")
    PROJECTED = "projected", _("Expected bill")
    VACATION = "vacation", _("Use while you are away")
    NO_USE = "no-use", _("No use")
    SILENT = "silent", _("Meter not heard of")
    BILL_READY = "bill-ready", _("Bill ready")
    BILL_DUE = "bill-due", _("Bill due soon")
    SERVICE = "service", _("Service notices")


class Per(models.TextChoices):
    """Over which time a threshold counts."""

    HOUR = "hour", _("hour")
    DAY = "day", _("day")
    PERIOD = "period", _("billing period")


class Answer(models.TextChoices):
    """What a resident says to an alert."""

    POOL = "pool", _("This was my pool or spa")
    IRRIGATION = "irrigation", _("This was the irrigation")
    GUESTS = "guests", _("I had guests")
    REPAIRED = "repaired", _("I have repaired it")
    UNKNOWN = "unknown", _("I do not know what it is")
    OTHER = "other", _("Something else")


LAWFUL = frozenset({Answer.POOL, Answer.IRRIGATION, Answer.GUESTS})
"""Answers after which a resident may want no such alert for some days."""

MONEY = "usd"
"""The unit of a threshold in money; every other one is a `domain.units.Unit`."""


@dataclass(frozen=True, slots=True)
class KindRule:
    """How a kind is treated.

    on       for everybody who may manage alerts, without a word from them.
    needs    what a person must be allowed beside managing alerts.
    account  it is about an account and its bills; else about one meter.
    number   the hours or days of its rule when a person chose none; None: it has no such number.
    least, most  between which a person may choose the number.
    reminds  once a day until it is acknowledged or over.
    tells_end  that it is over is told, once.
    """

    on: bool
    needs: Permission
    account: bool = False
    number: int | None = None
    least: int = 1
    most: int = 1
    reminds: bool = False
    tells_end: bool = False


RULES: Mapping[Kind, KindRule] = {
    Kind.LEAK: KindRule(on=True, needs=Permission.USAGE, reminds=True, tells_end=True),
    Kind.UNUSUAL: KindRule(on=True, needs=Permission.USAGE),
    Kind.THRESHOLD: KindRule(on=True, needs=Permission.USAGE),
    Kind.PROJECTED: KindRule(on=False, needs=Permission.BILLS, account=True),
    Kind.VACATION: KindRule(on=False, needs=Permission.USAGE, reminds=True),
    Kind.NO_USE: KindRule(on=False, needs=Permission.USAGE, number=3, least=1, most=30),
    Kind.SILENT: KindRule(on=True, needs=Permission.USAGE, number=24, least=6, most=168),
    Kind.BILL_READY: KindRule(on=True, needs=Permission.BILLS, account=True),
    Kind.BILL_DUE: KindRule(on=True, needs=Permission.BILLS, account=True, number=3, least=1, most=14),
    Kind.SERVICE: KindRule(on=True, needs=Permission.USAGE, account=True),
}

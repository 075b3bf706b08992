"""What the office tells everybody, and what customers ask of the office."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from portal.billing.models import Bill, OutageGrace
from portal.core.public_id import PublicIdModel
from portal.core.utility import in_language
from portal.customers.models import Account, ServicePoint

if TYPE_CHECKING:
    from datetime import datetime


class Banner(PublicIdModel):
    """A notice on every page while its time lasts.

    title, text  {"en": .., "es": ..}; without Spanish the English is shown.
    ends_at      exclusive; None: until somebody ends it.
    link         an address and the words on it, shown only from `link_from` on: nobody is sent to a page that is not
                 there yet.
    audience     for whom it is (see portal.service.audience); empty: everybody.
    grace        the days without late fees that this banner began; None: late fees go on.
    """

    class Kind(models.TextChoices):
        """What it is about; the first word that people read."""

        OUTAGE = "outage", _("Outage")
        TRANSITION = "transition", _("Change of portal")
        NOTICE = "notice", _("Notice")

    kind = models.CharField(max_length=12, choices=Kind.choices)
    title = models.JSONField(default=dict)
    text = models.JSONField(default=dict, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    link = models.URLField(blank=True, default="")
    link_text = models.JSONField(default=dict, blank=True)
    link_from = models.DateTimeField(null=True, blank=True)
    audience = models.JSONField(default=dict, blank=True)
    grace = models.ForeignKey(OutageGrace, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        verbose_name = _("banner")
        verbose_name_plural = _("banners")
        indexes: ClassVar[list[models.Index]] = [models.Index(name="service_banner_time", fields=["ends_at"])]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="service_banner_span", condition=Q(ends_at__isnull=True) | Q(ends_at__gte=F("starts_at"))
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"

    @property
    def shown_title(self) -> str:
        """The title in the language of the page."""
        return in_language(self.title)

    @property
    def shown_text(self) -> str:
        """The text in the language of the page."""
        return in_language(self.text)

    @property
    def shown_link_text(self) -> str:
        """The words on the link in the language of the page."""
        return in_language(self.link_text) or self.link

    def link_at(self, moment: datetime) -> str:
        """Return the link when it may be followed at a moment, or nothing."""
        return self.link if self.link_from is None or self.link_from <= moment else ""


class ServiceRequest(PublicIdModel):
    """What a customer asks the office to do; its public id is its number.

    key        drawn when the form was shown: sent twice, it is one request.
    direction  of a move: in, out, or from one place to another.
    bill       of a leak: the bill that it went on; repaired_on and evidence say how it was put right.
    state_at   since when it is in its state.
    """

    class Kind(models.TextChoices):
        """What is asked for."""

        RESTORE = "restore", _("Turn the water back on")
        MOVE = "move", _("Move in or out")
        STOP = "stop", _("Stop service")
        LEAK = "leak", _("Leak adjustment")
        OTHER = "other", _("Something else")

    class Direction(models.TextChoices):
        """Which way somebody moves."""

        IN = "in", _("I move in")
        OUT = "out", _("I move out")
        TRANSFER = "transfer", _("I move to another address here")

    class State(models.TextChoices):
        """How far it is."""

        RECEIVED = "received", _("received")
        IN_WORK = "in-work", _("in work")
        DONE = "done", _("done")
        REFUSED = "refused", _("refused")
        WITHDRAWN = "withdrawn", _("withdrawn")

    OPEN: ClassVar[tuple[str, ...]] = (State.RECEIVED, State.IN_WORK)

    key = models.CharField(max_length=32)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="service_requests")
    service_point = models.ForeignKey(ServicePoint, null=True, on_delete=models.PROTECT, related_name="+")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    direction = models.CharField(max_length=12, choices=Direction.choices, blank=True, default="")
    details = models.TextField(blank=True, default="")
    wished_on = models.DateField(null=True, blank=True)
    phone = models.CharField(max_length=40, blank=True, default="")
    bill = models.ForeignKey(Bill, null=True, on_delete=models.PROTECT, related_name="+")
    repaired_on = models.DateField(null=True, blank=True)
    evidence = models.TextField(blank=True, default="")
    state = models.CharField(max_length=12, choices=State.choices, default=State.RECEIVED)
    made_at = models.DateTimeField()
    state_at = models.DateTimeField()
    taken_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        verbose_name = _("service request")
        verbose_name_plural = _("service requests")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="service_request_work", fields=["state", "made_at"]),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="service_request_once", fields=["account", "key"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.public_id}"

    @property
    def is_open(self) -> bool:
        """Whether the office still has something to do."""
        return self.state in self.OPEN


class RequestStep(models.Model):
    """One state that a request came into, with the note that its customer reads."""

    request = models.ForeignKey(ServiceRequest, on_delete=models.CASCADE, related_name="steps")
    at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=ServiceRequest.State.choices)
    note = models.CharField(max_length=600, blank=True, default="")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        verbose_name = _("step of a service request")
        verbose_name_plural = _("steps of service requests")
        ordering: ClassVar[list[str]] = ["at", "pk"]

    def __str__(self) -> str:
        return f"{self.request} {self.state}"

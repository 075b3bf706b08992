"""The outbox: every message to a customer, written in the transaction that causes it and sent afterwards."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import PublicIdModel
from portal.customers.models import Account


class Message(PublicIdModel):
    """One message to one address.

    key         unique reason for being (`bill:PUBLIC_ID:email`): whatever is repeated, it is sent once.
    attachment  how to make what is attached when it is sent (`bill-pdf:PUBLIC_ID`), so that no PDF lies in the table.
    """

    key = models.CharField(max_length=160, unique=True)
    channel = models.CharField(max_length=12, choices=[("email", _("email"))], default="email")
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="messages")
    to = models.CharField(max_length=254)
    language = models.CharField(max_length=8, default="en")
    subject = models.CharField(max_length=200)
    text = models.TextField()
    html = models.TextField(blank=True, default="")
    attachment = models.CharField(max_length=80, blank=True, default="")
    queued_at = models.DateTimeField()
    next_try_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                name="notifications_to_send",
                fields=["next_try_at"],
                condition=Q(sent_at__isnull=True, failed_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} to {self.public_id}"

"""Messages and whether they arrived, the telephones that get texts, and the numbers and addresses that get none."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import PublicIdModel
from portal.core.sealing import MESSAGES, unseal
from portal.customers.models import Account


class Channel(models.TextChoices):
    """How a message travels."""

    EMAIL = "email", _("email")
    SMS = "sms", _("text message")


class Category(models.TextChoices):
    """What a message is about."""

    ALERT = "alert", _("your water use")
    BILL = "bill", _("a bill")
    ACCOUNT = "account", _("your account and sign-in")
    SERVICE = "service", _("water service")


class Message(PublicIdModel):
    """One message to one address or telephone number.

    key           unique reason for being (`bill:PUBLIC_ID:email`): whatever is repeated, it is sent once.
    user          for whom it was, where that is a person who signs in.
    attachment    how to make what is attached when it is sent (`bill-pdf:PUBLIC_ID`): no PDF lies in the table.
    at_any_hour   the person waits for it now: it goes before everything else, and a text knows no quiet hours.
    secret        it holds a code or a link: its text lies sealed while it waits (see `says`), is wiped once it was sent
                  or given up, and staff never see it.
    sent_at       when the mail server or the SMS provider took it.
    provider_id   what the SMS provider calls it; provider_state: the furthest state that it reported.
    delivered_at  when the provider said that the telephone has it; no such word exists for email.
    bounced_at    when we learned that it did not arrive after all.
    last_error    why it was not taken, or did not arrive.
    """

    key = models.CharField(max_length=160, unique=True)
    channel = models.CharField(max_length=12, choices=Channel.choices, default=Channel.EMAIL)
    category = models.CharField(max_length=12, choices=Category.choices)
    account = models.ForeignKey(Account, null=True, on_delete=models.PROTECT, related_name="messages")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="notifications"
    )
    to = models.CharField(max_length=254)
    language = models.CharField(max_length=8, default="en")
    subject = models.CharField(max_length=200, blank=True, default="")
    text = models.TextField()
    html = models.TextField(blank=True, default="")
    attachment = models.CharField(max_length=80, blank=True, default="")
    at_any_hour = models.BooleanField(default=False)
    secret = models.BooleanField(default=False)
    queued_at = models.DateTimeField()
    next_try_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    provider_id = models.CharField(max_length=64, blank=True, default="")
    provider_state = models.CharField(max_length=16, blank=True, default="")
    delivered_at = models.DateTimeField(null=True)
    bounced_at = models.DateTimeField(null=True)
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
            models.Index(name="notifications_of_person", fields=["user", "-queued_at"]),
            models.Index(name="notifications_log", fields=["-queued_at"]),
            models.Index(name="notifications_to", fields=["to"]),
            models.Index(name="notifications_failed", fields=["-failed_at"], condition=Q(failed_at__isnull=False)),
            models.Index(name="notifications_bounced", fields=["-bounced_at"], condition=Q(bounced_at__isnull=False)),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="notifications_provider_id", fields=["provider_id"], condition=~Q(provider_id="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} to {self.public_id}"

    @property
    def says(self) -> str:
        """What it says to its receiver; raises Unreadable for a sealed text that no key opens."""
        return unseal(self.text, MESSAGES) if self.secret else self.text


class Phone(PublicIdModel):
    """The telephone that gets a person's texts: proven by a code, with the consent they gave in its very words.

    number            E.164, such as +14055550123.
    consent_text      what stood beside the box that was ticked, in consent_language.
    consented_at      when it was ticked; verified_at: when the code was right. By the machine's own clock.
    """

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="phone")
    number = models.CharField(max_length=16, db_index=True)
    consented_at = models.DateTimeField()
    consent_text = models.TextField()
    consent_language = models.CharField(max_length=8)
    verified_at = models.DateTimeField()

    class Meta:
        verbose_name = _("telephone")
        verbose_name_plural = _("telephones")

    def __str__(self) -> str:
        return self.public_id


class PhoneCode(models.Model):
    """One code that was asked for, to prove that a telephone is at hand; the newest open one of a person counts.

    code_hash   keyed hash of code, person and number; closed_at: used, replaced, or tried too often.
    created_at  the machine's own clock: how often codes are sent to a person and to a number is counted from it.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="phone_codes")
    number = models.CharField(max_length=16)
    code_hash = models.BinaryField(max_length=32)
    consent_text = models.TextField()
    consent_language = models.CharField(max_length=8)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("telephone code")
        verbose_name_plural = _("telephone codes")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(name="notifications_codes_of", fields=["user", "-created_at"]),
            models.Index(name="notifications_codes_to", fields=["number", "-created_at"]),
        ]

    def __str__(self) -> str:
        return f"code {self.pk}"


class StoppedNumber(models.Model):
    """A telephone number that said STOP: nothing is sent to it until it says START, whosever it becomes.

    source  `text` when it wrote to us, `provider` when the provider told us that it is blocked.
    """

    number = models.CharField(max_length=16, unique=True)
    stopped_at = models.DateTimeField()
    source = models.CharField(max_length=12)

    class Meta:
        verbose_name = _("stopped number")
        verbose_name_plural = _("stopped numbers")

    def __str__(self) -> str:
        return f"stopped number {self.pk}"


class ReceivedText(PublicIdModel):
    """A text that came in: what it was taken for, once for each of the provider's ids."""

    class Kind(models.TextChoices):
        """What a text asks for."""

        STOP = "stop", _("stop")
        START = "start", _("start again")
        HELP = "help", _("help")
        OTHER = "other", _("something else")

    provider_id = models.CharField(max_length=64, unique=True)
    number = models.CharField(max_length=16, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    text = models.CharField(max_length=1600, blank=True)
    received_at = models.DateTimeField()

    class Meta:
        verbose_name = _("received text")
        verbose_name_plural = _("received texts")

    def __str__(self) -> str:
        return self.public_id


class BadAddress(models.Model):
    """An email address from which messages come back: it gets none until its owner confirms it again."""

    email = models.EmailField(unique=True)
    since = models.DateTimeField()
    reason = models.CharField(max_length=200)

    class Meta:
        verbose_name = _("address that messages come back from")
        verbose_name_plural = _("addresses that messages come back from")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(name="notifications_bad_lower", condition=Q(email=Lower("email"))),
        ]

    def __str__(self) -> str:
        return f"bad address {self.pk}"

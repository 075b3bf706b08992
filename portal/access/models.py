"""Tries to register, sign-ins, invitations of household guests."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from portal.core.public_id import PublicIdModel
from portal.customers.models import Account, AccountAccess


class RegistrationTry(models.Model):
    """How often somebody tried to prove that an account is theirs, on one day of the utility's zone.

    account_digest  keyed hash of the number as it counts (`number_key`), whether such an account exists or not: a
                    table of tries must not tell who has an account.
    """

    account_digest = models.BinaryField(max_length=32)
    day = models.DateField()
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="access_tries_a_day", fields=["account_digest", "day"]),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.tries}"


class PendingClaim(models.Model):
    """An account that somebody proved with a bill while their address was not confirmed yet: linked when it is.

    expires_at  in real time; a claim that nobody confirmed by then is void, and the sign-in made for it goes too.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="pending_claims")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(name="access_claim_once", fields=["user", "account"]),
        ]

    def __str__(self) -> str:
        return f"{self.user} {self.account}"


class SignIn(models.Model):
    """One sign-in, or one that was refused; shown to its person.

    user     None for a refused name that nobody has: writing it down makes both refusals the same work.
    method   `password`, `passkey`, `code`, `link`: how they proved who they are; device: browser and system in words.
    network  the address shortened to its network (/24, /48): enough to recognise, too little to follow.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="sign_ins")
    at = models.DateTimeField()
    succeeded = models.BooleanField()
    method = models.CharField(max_length=16, blank=True)
    device = models.CharField(max_length=80, blank=True)
    network = models.CharField(max_length=48, blank=True)

    class Meta:
        verbose_name = _("sign-in")
        verbose_name_plural = _("sign-ins")
        indexes: ClassVar[list[models.Index]] = [models.Index(name="access_signins_of", fields=["user", "-at"])]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {'in' if self.succeeded else 'refused'}"


class Invitation(PublicIdModel):
    """A guest whom somebody invited to an account: pending until accepted, revoked, or expired.

    token_hash  SHA-256 of the link's one-time token; sending again makes a new token, so that the old link is void.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    level = models.CharField(max_length=16, choices=AccountAccess.Level.choices)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    token_hash = models.BinaryField(max_length=32, unique=True)
    sent_at = models.DateTimeField()
    sent_times = models.PositiveSmallIntegerField(default=1)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                name="access_one_invitation",
                fields=["account", "email"],
                condition=Q(accepted_at__isnull=True, revoked_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} to {self.account}"

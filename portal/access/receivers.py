"""What follows from somebody's signing in, confirming an address, or changing a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account import signals
from allauth.account.internal.flows.email_verification import verify_email_indirectly
from allauth.account.models import EmailAddress
from allauth.mfa.signals import authentication_failed
from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver

from portal.access.registration import settle_claims
from portal.access.sign_ins import end_sessions, remember_refusal, remember_success

if TYPE_CHECKING:
    from django.http import HttpRequest

    from portal.core.models import User


@receiver(signals.user_logged_in)
def signed_in(request: HttpRequest, user: User, **_others: Any) -> None:
    """Write the sign-in down."""
    remember_success(request, user)


@receiver(user_login_failed)
def refused(credentials: dict[str, Any], request: HttpRequest | None = None, **_others: Any) -> None:
    """Write the refusal down, for whoever it was about."""
    remember_refusal(request, str(credentials.get("email") or credentials.get("username") or ""))


@receiver(authentication_failed)
def code_refused(request: HttpRequest, user: User, **_others: Any) -> None:
    """Write down that the second step was refused: whoever tried knew the password."""
    remember_refusal(request, user.email, method="code")


@receiver(signals.email_confirmed)
def confirmed(email_address: Any, **_others: Any) -> None:
    """Link the accounts that were proved before the address was confirmed."""
    settle_claims(email_address.user)


@receiver(signals.password_changed)
@receiver(signals.password_set)
def password_changed(request: HttpRequest, user: User, **_others: Any) -> None:
    """Sign the person out everywhere else: whoever knew the old password is gone."""
    end_sessions(user, actor=user, but=request)


@receiver(signals.password_reset)
def password_reset(request: HttpRequest, user: User, **_others: Any) -> None:
    """Sign the person out everywhere; whoever opened the link has the address: it is confirmed, if it is the only one.

    So people of the former portal only set a password.
    """
    end_sessions(user, actor=user)
    addresses = list(EmailAddress.objects.filter(user=user))
    if not addresses:  # made on the command line
        addresses = [EmailAddress.objects.create(user=user, email=user.email, primary=True)]
    if len(addresses) == 1 and addresses[0].email == user.email:
        verify_email_indirectly(request, user, user.email)

"""The forms and names with which people sign in; where allauth would put a row number, the public id stands instead."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any

from allauth.account.forms import LoginForm
from allauth.account.forms import ResetPasswordForm as AllauthResetPasswordForm
from allauth.account.forms import UserTokenForm as AllauthUserTokenForm
from allauth.account.models import EmailAddress
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from portal.core.sealing import Unreadable, seal, unseal
from portal.core.services import utility_settings

_LOG = logging.getLogger(__name__)
USERNAME_VALIDATORS = [
    RegexValidator(
        r"\A[A-Za-z0-9][A-Za-z0-9._-]{2,39}\Z",
        _("A user name has 3 to 40 letters, digits, dots or dashes, and starts with a letter or digit."),
    )
]
"""No @ in a user name: nobody's name can look like somebody else's address."""

MISMATCH = _(
    "This sign-in name and this password do not go together. If you used our former portal, or if you are not sure, "
    "set a new password first."
)
"""What every refused sign-in says, whoever the name belongs to."""


def display(user: User) -> str:
    """Return how messages call a person."""
    return user.get_full_name()


class SecondStepAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Names the utility in people's authenticator apps and passkeys, and keeps their secrets encrypted."""

    def get_totp_issuer(self) -> str:
        """Return the utility's name."""
        return utility_settings().name

    def encrypt(self, text: str) -> str:
        """Return a secret as the database keeps it."""
        return seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        """Return a secret; in place of one that no key opens a drawn one, which nobody knows: every code is refused."""
        try:
            return unseal(encrypted_text)
        except Unreadable:
            _LOG.error("no key of the portal's opens a second step; is the former one in SECRET_KEY_FALLBACKS?")
            return base64.b32encode(secrets.token_bytes(20)).decode()

    def generate_authenticator_name(self, user: User, type: Authenticator.Type) -> str:  # noqa: A002
        """Return the name that a new passkey is offered."""
        return gettext("Passkey %(n)d") % {"n": Authenticator.objects.filter(user=user, type=type).count() + 1}

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        """Return the portal's domain, to which passkeys are bound, under the utility's name."""
        entity: dict[str, str] = super().get_public_key_credential_rp_entity()
        return {**entity, "name": utility_settings().name}


class PasskeyForm(AddWebAuthnForm):  # type: ignore[misc]
    """Asks for the name of a new passkey, and whether it is to sign in alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].label = _("Name, so that you know it again")
        alone = self.fields["passwordless"]
        alone.label, alone.initial = _("It signs me in alone, without the password"), True
        alone.help_text = _("Otherwise it is asked for after the password, as a second step.")


class UserTokenForm(AllauthUserTokenForm):  # type: ignore[misc]
    """Checks such a link."""

    def _get_user(self, uidb36: str) -> User | None:
        return User.objects.filter(public_id=uidb36).first()


class ResetPasswordForm(AllauthResetPasswordForm):  # type: ignore[misc]
    """Asks for the address to which the link to a new password goes."""

    def clean_email(self) -> str:
        """Find whose address it is: those who confirmed it, else those who gave it. Always the same two questions.

        allauth asks the second only when the first finds nobody, and so tells by its work who has a sign-in.
        """
        email: str = self.cleaned_data["email"].lower()
        rows = list(EmailAddress.objects.filter(email=email).select_related("user"))
        owners = list(User.objects.filter(email=email))
        people = [row.user for row in rows if row.verified] or [*(row.user for row in rows), *owners]
        self.users = [user for user in set(people) if user.is_active]
        return email


class SignInForm(LoginForm):  # type: ignore[misc]
    """Email address or user name, and the password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("Email address or user name")
        self.fields["login"].widget.attrs.update({"autocomplete": "username", "autocapitalize": "none"})
        self.fields["login"].max_length = 254
        self.fields["remember"].label = _("Stay signed in on this device")
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)

    def user_credentials(self) -> dict[str, str]:
        """Return an address or a user name, never both: trying both would hash twice for those who exist."""
        login = self.cleaned_data["login"]
        if len(login) > 254 or "\0" in login:
            raise ValidationError(MISMATCH)
        kind = "email" if "@" in login else "username"
        return {kind: login, "password": self.cleaned_data["password"]}

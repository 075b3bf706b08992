"""The forms and names with which people sign in; where allauth would put a row number, the public id stands instead."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import TYPE_CHECKING, Any, ClassVar

from allauth.account import forms as account
from allauth.account.models import EmailAddress
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.base import forms as second_step
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from portal.core.sealing import Unreadable, seal, unseal
from portal.core.services import utility_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_stubs_ext import StrPromise

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


class _Plain:
    """A form of allauth's: its labels in our words where it has `words`, and not a second time inside the fields."""

    words: ClassVar[Mapping[str, StrPromise]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fields: dict[str, Any] = self.fields  # type: ignore[attr-defined]
        for name, field in fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = self.words.get(name, field.label)


_NEW_PASSWORD: Mapping[str, StrPromise] = {
    "password1": _("New password"),
    "password2": _("The new password once more"),
}


class AddressForm(_Plain, account.AddEmailForm):  # type: ignore[misc]
    """Asks for another email address."""

    words: ClassVar = {"email": _("New email address")}


class ChangePasswordForm(_Plain, account.ChangePasswordForm):  # type: ignore[misc]
    """Asks for the password and a new one."""

    words: ClassVar = {"oldpassword": _("Current password"), **_NEW_PASSWORD}


class SetPasswordForm(_Plain, account.SetPasswordForm):  # type: ignore[misc]
    """Asks for a first password."""

    words: ClassVar = _NEW_PASSWORD


class NewPasswordForm(_Plain, account.ResetPasswordKeyForm):  # type: ignore[misc]
    """Asks for a new password behind the link in a message."""

    words: ClassVar = _NEW_PASSWORD


class AgainForm(_Plain, account.ReauthenticateForm):  # type: ignore[misc]
    """Asks for the password once more."""


class CodeForm(_Plain, second_step.AuthenticateForm):  # type: ignore[misc]
    """Asks for the app's code after the password."""


class AgainCodeForm(_Plain, second_step.ReauthenticateForm):  # type: ignore[misc]
    """Asks for the app's code once more."""


class AppForm(_Plain, ActivateTOTPForm):  # type: ignore[misc]
    """Asks for the first code of a new app."""

    words: ClassVar = {"code": _("Code that the app shows")}


class PasskeyForm(_Plain, AddWebAuthnForm):  # type: ignore[misc]
    """Asks for the name of a new passkey, and whether it is to sign in alone."""

    words: ClassVar = {"name": _("Name, so that you know it again")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        alone = self.fields["passwordless"]
        alone.label, alone.initial = _("It signs me in alone, without the password"), True
        alone.help_text = _("Otherwise it is asked for after the password, as a second step.")


class UserTokenForm(account.UserTokenForm):  # type: ignore[misc]
    """Checks such a link."""

    def _get_user(self, uidb36: str) -> User | None:
        return User.objects.filter(public_id=uidb36).first()


class ResetPasswordForm(_Plain, account.ResetPasswordForm):  # type: ignore[misc]
    """Asks for the address to which the link to a new password goes."""

    words: ClassVar = {"email": _("Email address")}

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


class SignInForm(_Plain, account.LoginForm):  # type: ignore[misc]
    """Email address or user name, and the password."""

    words: ClassVar = {"login": _("Email address or user name"), "remember": _("Stay signed in on this device")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].widget.attrs.update({"autocomplete": "username", "autocapitalize": "none"})
        self.fields["login"].max_length = 254

    def user_credentials(self) -> dict[str, str]:
        """Return an address or a user name, never both: trying both would hash twice for those who exist."""
        login = self.cleaned_data["login"]
        if len(login) > 254 or "\0" in login:
            raise ValidationError(MISMATCH)
        kind = "email" if "@" in login else "username"
        return {kind: login, "password": self.cleaned_data["password"]}

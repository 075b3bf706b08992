"""How django-allauth behaves here: no row numbers in addresses, no sign-in without a proof, one text for every refusal.

Where allauth would put a user's row number into an address, the public id stands instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import LoginForm
from allauth.account.forms import UserTokenForm as AllauthUserTokenForm
from allauth.account.utils import url_str_to_user_pk
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.core.models import User
from portal.core.services import utility_settings

if TYPE_CHECKING:
    from django.http import HttpRequest

USERNAME_VALIDATORS = [
    RegexValidator(
        r"\A[A-Za-z0-9][A-Za-z0-9._-]{2,39}\Z",
        _("A user name has 3 to 40 letters, digits, dots or dashes, and starts with a letter or digit."),
    )
]
"""No @ in a user name: nobody's name can look like somebody else's address."""

_MISMATCH = _(
    "This sign-in name and this password do not go together. If you used our former portal, or if you are not sure, "
    "set a new password first."
)


def display(user: User) -> str:
    """Return how messages call a person."""
    return user.get_full_name()


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Makes the links of the account pages, keeps plain sign-up closed, leaves user names empty."""

    error_messages = {  # noqa: RUF012  # the class attribute of allauth
        **DefaultAccountAdapter.error_messages,
        "email_password_mismatch": _MISMATCH,
        "username_password_mismatch": _MISMATCH,
        "too_many_login_attempts": _("Too many tries to sign in. Wait five minutes, then try again."),
        "username_taken": _("This user name is taken. Choose another one, or none."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Lead to the registration, which asks for a bill; there is no other way to make a sign-in by oneself."""
        match = request.resolver_match
        if match is not None and match.url_name == "account_signup":
            raise ImmediateHttpResponse(redirect("resident:register"))
        return True

    def populate_username(self, request: HttpRequest, user: User) -> None:
        """Leave the user name empty when none was chosen; allauth would make one up."""
        user.username = user.username or None

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send a message whose links name the portal's own address, not the host that a request says it is for."""
        super().send_mail(template_prefix, email, _at_our_address(self.request, context))

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link of a password reset; key is the user's row number in base 36, a dash and the token."""
        number, _dash, token = key.partition("-")
        user = User.objects.get(pk=url_str_to_user_pk(number))
        url: str = super().get_reset_password_from_key_url(f"{user.public_id}-{token}")
        return url


def _at_our_address(request: HttpRequest | None, context: dict[str, Any]) -> dict[str, Any]:
    """Return a message's context, each link in it at the address that the utility has set, if it has."""
    site = utility_settings().portal_url.rstrip("/")
    if request is None or not site:
        return context
    claimed = request.build_absolute_uri("/")
    return {
        name: site + value[len(claimed) - 1 :] if isinstance(value, str) and value.startswith(claimed) else value
        for name, value in context.items()
    }


class SecondStepAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Names the utility in people's authenticator apps and passkeys."""

    def get_totp_issuer(self) -> str:
        """Return the utility's name."""
        return utility_settings().name

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
            raise ValidationError(_MISMATCH)
        kind = "email" if "@" in login else "username"
        return {kind: login, "password": self.cleaned_data["password"]}

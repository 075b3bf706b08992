"""Where django-allauth would put a user's row number into an address, the public id stands instead."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.forms import UserTokenForm as AllauthUserTokenForm
from allauth.account.utils import url_str_to_user_pk

from portal.core.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Makes the links of the account pages."""

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link of a password reset; key is the user's row number in base 36, a dash and the token."""
        number, _, token = key.partition("-")
        user = User.objects.get(pk=url_str_to_user_pk(number))
        url: str = super().get_reset_password_from_key_url(f"{user.public_id}-{token}")
        return url


class UserTokenForm(AllauthUserTokenForm):  # type: ignore[misc]
    """Checks such a link."""

    def _get_user(self, uidb36: str) -> User | None:
        return User.objects.filter(public_id=uidb36).first()

"""What the portal holds about a person in the tables of users, access, sign-ins, invitations and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext_lazy

from portal.access.models import Invitation, SignIn
from portal.core.models import ApiToken
from portal.core.personal_data import PersonalData
from portal.customers.models import AccountAccess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User

_Row = dict[str, object]


def _profile(user: User) -> Iterator[_Row]:
    yield {
        "id": user.public_id,
        "email": user.email,
        "username": user.username,
        "name": user.name,
        "mobile_number_given": user.phone_given,
        "language": user.language,
        "joined": user.date_joined,
        "last_sign_in": user.last_login,
    }


def _nothing(user: User) -> int:
    """Erase nothing here: the row itself is emptied last, by `portal.downloads.leaving`."""
    del user
    return 0


def _access(user: User) -> Iterator[_Row]:
    rows = AccountAccess.objects.filter(user=user).select_related("account").order_by("granted_at")
    for row in rows:
        yield {
            "account": row.account.number,
            "level": row.level,
            "granted_at": row.granted_at,
            "ended_at": row.ended_at,
        }


def _sign_ins(user: User) -> Iterator[_Row]:
    for row in SignIn.objects.filter(user=user).order_by("at"):
        yield {
            "at": row.at,
            "succeeded": row.succeeded,
            "method": row.method,
            "device": row.device,
            "network": row.network,
        }


def _erase_sign_ins(user: User) -> int:
    return SignIn.objects.filter(user=user).delete()[0]


def _invitations(user: User) -> Iterator[_Row]:
    rows = Invitation.objects.filter(Q(email=user.email) | Q(accepted_by=user)).select_related("account")
    for row in rows.order_by("sent_at"):
        yield {
            "account": row.account.number,
            "email": row.email,
            "level": row.level,
            "sent_at": row.sent_at,
            "expires_at": row.expires_at,
            "accepted_at": row.accepted_at,
            "revoked_at": row.revoked_at,
        }


def _erase_invitations(user: User) -> int:
    """Delete the invitations to the person, and those that they sent and nobody accepted."""
    gone = Invitation.objects.filter(Q(email=user.email) | Q(accepted_by=user)).delete()[0]
    return gone + Invitation.objects.filter(invited_by=user, accepted_at__isnull=True).delete()[0]


def _tokens(user: User) -> Iterator[_Row]:
    for row in ApiToken.objects.filter(user=user).order_by("created_at"):
        yield {
            "id": row.public_id,
            "name": row.name,
            "scopes": row.scopes,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "revoked_at": row.revoked_at,
            "last_used_at": row.last_used_at,
        }


def _erase_tokens(user: User) -> int:
    return ApiToken.objects.filter(user=user).delete()[0]


PROFILE = PersonalData("profile", _profile, _nothing)
ACCESS = PersonalData(
    "access",
    _access,
    _nothing,
    kept=gettext_lazy("That a sign-in without a name had access to an account, and until when."),
)
SIGN_INS = PersonalData("sign-ins", _sign_ins, _erase_sign_ins)
INVITATIONS = PersonalData("invitations", _invitations, _erase_invitations)
TOKENS = PersonalData("api-tokens", _tokens, _erase_tokens)

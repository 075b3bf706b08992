"""What the portal holds about a person in the tables of users, access, sign-ins, invitations and tokens.

What signing in rests on (addresses, passkeys and second steps, sessions) is only listed here: the end of a login takes
it away itself, after everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db.models import Q
from django.utils.translation import gettext_lazy

from portal.access.models import Invitation, PendingClaim, SignIn
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
    """Erase nothing here: `portal.downloads.leaving` does it last, as it empties the row itself."""
    del user
    return 0


def _addresses(user: User) -> Iterator[_Row]:
    for row in EmailAddress.objects.filter(user=user).order_by("pk"):
        yield {"email": row.email, "confirmed": row.verified, "in_use": row.primary}


_FACTORS = {
    Authenticator.Type.WEBAUTHN: "passkey",
    Authenticator.Type.TOTP: "authenticator-app",
    Authenticator.Type.RECOVERY_CODES: "recovery-codes",
}


def _factors(user: User) -> Iterator[_Row]:
    """Yield passkeys and second steps, by name and date: never a key, a secret or a code."""
    for row in Authenticator.objects.filter(user=user).order_by("created_at", "pk"):
        kind = Authenticator.Type(row.type)
        yield {
            "kind": _FACTORS[kind],
            "name": row.wrap().name if kind is Authenticator.Type.WEBAUTHN else "",
            "added_at": row.created_at,
            "last_used_at": row.last_used_at,
        }


def _sessions(user: User) -> Iterator[_Row]:
    for row in UserSession.objects.filter(user=user).order_by("created_at"):
        yield {
            "since": row.created_at,
            "last_seen_at": row.last_seen_at,
            "address": row.ip,
            "browser": row.user_agent,
        }


def _access(user: User) -> Iterator[_Row]:
    rows = AccountAccess.objects.filter(user=user).select_related("account").order_by("granted_at")
    for row in rows:
        yield {
            "account": row.account.number,
            "level": row.level,
            "granted_at": row.granted_at,
            "ended_at": row.ended_at,
        }


def _claims(user: User) -> Iterator[_Row]:
    for row in PendingClaim.objects.filter(user=user).select_related("account").order_by("expires_at"):
        yield {"account": row.account.number, "expires_at": row.expires_at}


def _erase_claims(user: User) -> int:
    return PendingClaim.objects.filter(user=user).delete()[0]


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
ADDRESSES = PersonalData("email-addresses", _addresses, _nothing)
FACTORS = PersonalData("passkeys-and-second-steps", _factors, _nothing)
SESSIONS = PersonalData("sessions", _sessions, _nothing)
ACCESS = PersonalData(
    "access",
    _access,
    _nothing,
    kept=gettext_lazy("That a sign-in without a name had access to an account, and until when."),
)
CLAIMS = PersonalData("accounts-to-confirm", _claims, _erase_claims)
SIGN_INS = PersonalData("sign-ins", _sign_ins, _erase_sign_ins)
INVITATIONS = PersonalData("invitations", _invitations, _erase_invitations)
TOKENS = PersonalData("api-tokens", _tokens, _erase_tokens)

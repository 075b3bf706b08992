"""A person's passkeys by opaque ids: allauth's own pages would put row numbers into addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.internal import flows
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from datetime import datetime

    from django.http import HttpRequest

    from portal.core.models import User

_ID_CHARS = 20


@dataclass(frozen=True, slots=True)
class Passkey:
    """One passkey or security key, as its owner sees it."""

    id: str
    name: str
    added: datetime
    last_used: datetime | None


def passkeys_of(user: User) -> list[Passkey]:
    """Return a person's passkeys, in the order in which they were added."""
    return [Passkey(_id_of(row), row.wrap().name, row.created_at, row.last_used_at) for row in _rows(user)]


def remove_passkey(request: HttpRequest, user: User, key: str) -> bool:
    """Remove one of a person's passkeys, and tell them by mail; False when they have none with this id."""
    row = next((row for row in _rows(user) if _id_of(row) == key), None)
    if row is not None:
        flows.remove_authenticator(request, row)
    return row is not None


def _rows(user: User) -> list[Authenticator]:
    return list(Authenticator.objects.filter(user=user, type=Authenticator.Type.WEBAUTHN).order_by("pk"))


def _id_of(row: Authenticator) -> str:
    return salted_hmac("portal.access.passkeys", str(row.pk), algorithm="sha256").hexdigest()[:_ID_CHARS]

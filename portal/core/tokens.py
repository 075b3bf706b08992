"""API tokens: made once and shown once, kept as a hash, limited in scope, time and rate."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db.models import F

from portal.core.errors import Refused
from portal.core.models import ApiToken
from portal.core.services import audit

if TYPE_CHECKING:
    from portal.core.models import User

PREFIX = "hwt_"
USAGE_READ, BILLS_READ = "usage:read", "bills:read"
SCOPES = frozenset({USAGE_READ, BILLS_READ})
VALID = timedelta(days=365)
"""The longest that a token is good for."""
REQUESTS_PER_MINUTE = 600
_MINUTE = timedelta(minutes=1)


def make_token(
    user: User,
    *,
    name: str = "",
    scopes: frozenset[str] = frozenset({USAGE_READ}),
    valid: timedelta = VALID,
    actor: User | None = None,
    label: str = "",
) -> tuple[str, ApiToken]:
    """Return a new token (to be shown once) and its row.

    raises Refused(`scope`) for none or unknown ones, Refused(`valid`) for a time that is not within VALID.
    """
    if not scopes:
        raise Refused("scope", f"a token needs a scope: {', '.join(sorted(SCOPES))}")
    if unknown := scopes - SCOPES:
        raise Refused("scope", f"unknown scope {', '.join(sorted(unknown))}; expected {', '.join(sorted(SCOPES))}")
    if not timedelta(0) < valid <= VALID:
        raise Refused("valid", f"a token is good for 1 to {VALID.days} days")
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken.objects.create(
        user=user,
        name=name,
        token_hash=_hash(token),
        scopes=" ".join(sorted(scopes)),
        expires_at=datetime.now(UTC) + valid,
    )
    audit("token.make", actor=actor, label=label, target=row, detail={"scopes": row.scopes})
    return token, row


def revoke_token(row: ApiToken, *, actor: User | None = None, label: str = "") -> None:
    """End a token at once."""
    ApiToken.objects.filter(pk=row.pk, revoked_at__isnull=True).update(revoked_at=datetime.now(UTC))
    audit("token.revoke", actor=actor, label=label, target=row)


def check_token(token: str, *, scope: str) -> ApiToken | None:
    """Return the row of a good token of this scope, None for any other; raises Refused(`rate`) when asked too often."""
    now = datetime.now(UTC)
    row = (
        ApiToken.objects.select_related("user")
        .filter(token_hash=_hash(token), revoked_at__isnull=True, expires_at__gt=now, user__is_active=True)
        .first()
    )
    if row is None or scope not in row.scopes.split():
        return None
    _count(row, now)
    return row


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _count(row: ApiToken, now: datetime) -> None:
    """Count the request in the token's current minute."""
    this = ApiToken.objects.filter(pk=row.pk)
    if row.window_started_at is None or row.window_started_at + _MINUTE <= now:
        this.update(window_started_at=now, window_requests=1, last_used_at=now)
        return
    if not this.filter(window_requests__lt=REQUESTS_PER_MINUTE).update(window_requests=F("window_requests") + 1):
        raise Refused("rate", f"more than {REQUESTS_PER_MINUTE} requests in a minute; wait a minute")

"""The history of a person's sign-ins, and the sessions that are open.

A refusal is written down for names that nobody has as well (without a person): the answer must not take longer, and
must not ask the database more, because a name exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from allauth.usersessions.models import UserSession
from django.contrib.auth import HASH_SESSION_KEY
from django.db import transaction
from django.db.models import F, Q

from portal.access.clients import address_of, device_words, short_network
from portal.access.models import SignIn
from portal.core.models import User
from portal.core.services import audit

if TYPE_CHECKING:
    from django.http import HttpRequest

KEPT = timedelta(days=90)
SHOWN = 50
_AGENT_CHARS_MAX = 512


def remember_success(request: HttpRequest, user: User) -> None:
    """Write down that somebody has signed in, and how."""
    _write(request, user, succeeded=True, method=_method_of(request))


def remember_refusal(request: HttpRequest | None, name: str, *, method: str = "password") -> None:
    """Write down that a sign-in was refused; name: the address or user name that was typed."""
    bare = name.strip().lower()[:254]
    user = User.objects.filter(Q(email=bare) | Q(username=bare)).first() if bare and "\0" not in bare else None
    _write(request, user, succeeded=False, method=method)


def _write(request: HttpRequest | None, user: User | None, *, succeeded: bool, method: str) -> None:
    SignIn.objects.create(
        user=user,
        at=datetime.now(UTC),
        succeeded=succeeded,
        method=method,
        device=device_words(request.headers.get("User-Agent", "")[:_AGENT_CHARS_MAX]) if request else "",
        network=short_network(address_of(request)) if request else "",
    )


def _method_of(request: HttpRequest) -> str:
    """Return `passkey`, `code` or `password`: the strongest of what allauth has written into the session."""
    used = request.session.get("account_authentication_methods", [])
    kinds = [one.get("type") if one.get("method") == "mfa" else one.get("method") for one in used]
    if "webauthn" in kinds:
        return "passkey"
    if "totp" in kinds or "recovery_codes" in kinds:
        return "code"
    return "password" if "password" in kinds else "link"


def history_of(user: User) -> list[SignIn]:
    """Return a person's sign-ins and refusals, the newest first, SHOWN at most."""
    return list(SignIn.objects.filter(user=user).order_by("-at", "-pk")[:SHOWN])


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One browser in which a person is signed in; current: the one that asks."""

    device: str
    network: str
    since: datetime
    current: bool


def sessions_of(user: User, *, current: str | None) -> list[OpenSession]:
    """Return the open sessions of a person, the asking one first; current: its key."""
    rows = UserSession.objects.purge_and_list(user)
    found = [
        OpenSession(device_words(row.user_agent), short_network(row.ip), row.created_at, row.session_key == current)
        for row in rows
    ]
    return sorted(found, key=lambda one: (not one.current, -one.since.timestamp()))


@transaction.atomic
def end_sessions(user: User, *, actor: User, but: HttpRequest | None = None) -> int:
    """Sign a person out everywhere, except in the session that asks; return how many sessions of the list ended.

    Every session ends, listed or not: each holds the epoch it was made in, and a new one begins now.
    actor  the person, or who did it for them.  but: a request of theirs; its session goes on.
    """
    rows = list(UserSession.objects.filter(user=user).exclude(session_key=but.session.session_key if but else ""))
    for row in rows:
        row.end()
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])
    if but is not None and HASH_SESSION_KEY in but.session:
        but.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    audit("sessions.end", actor=actor, target=user, detail={"sessions": len(rows)})
    return len(rows)


def prune_sign_ins() -> int:
    """Remove what is older than 90 days of real time; return how many."""
    removed, _rows = SignIn.objects.filter(at__lt=datetime.now(UTC) - KEPT).delete()
    return removed

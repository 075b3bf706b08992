"""Whose pages a request shows: the person's own, or, for staff with an open look, those of one account's holder."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portal.core.models import User
from portal.customers.models import Account
from portal.customers.permissions import Viewer

if TYPE_CHECKING:
    from django.http import HttpRequest

LOOK = "staff_look"
"""In a staff member's session: {"account": public id, "until": seconds since 1970}. Only `start_look` writes it."""


def person_of(request: HttpRequest) -> User:
    """Return who is signed in: for everything that changes something. Behind login_required."""
    assert isinstance(request.user, User)
    return request.user


def viewer_of(request: HttpRequest) -> Viewer:
    """Return whose pages to show: for everything that only shows. Behind login_required.

    A look by staff ends by itself; it holds for pages that are read and never for what is sent.
    """
    person = person_of(request)
    look = request.session.get(LOOK) if person.is_staff and request.method in ("GET", "HEAD") else None
    if not isinstance(look, dict) or look.get("until", 0) <= datetime.now(UTC).timestamp():
        return Viewer(person)
    account = Account.objects.filter(public_id=look.get("account")).first()
    return Viewer(person, account)

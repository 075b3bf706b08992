"""Looks by staff: one account as its holder sees it, for a stated reason, for a short time, with nothing to change.

The reason is written down before anything is shown, and so is every page that is opened. What belongs to a person and
not to the account (their sign-in, messages, downloads, tokens) is not shown: pages are hidden unless SHOWN names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db import transaction
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from portal.access.viewing import LOOK, person_of
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.core.security import Middleware
from portal.core.services import audit
from portal.customers.models import Account, AccountAccess, Occupancy
from portal.customers.permissions import Permission, levels_with

if TYPE_CHECKING:
    from django.http import HttpRequest

    from portal.core.models import User

MINUTES = 15
REASON_CHARS_MIN = 8
REASON_CHARS_MAX = 200
_DIFFERENT_CHARS_MIN = 5
PAGE_AGAIN_AFTER = timedelta(minutes=1)
SEEN_MAX = 100

SHOWN = frozenset({"home", "usage", "bills", "account-bills", "transactions", "payments", "bill", "bill-pdf"})
"""Names of the residents' addresses that a look shows: those that are about the account. Whatever is not named here is
the person's own and stays hidden; a page that is added later is hidden until somebody names it."""
_SILENT = frozenset({"stream"})
"""Answered with nothing at all: a script asks for them, and an error would only stand in the browser's console."""


@dataclass(frozen=True, slots=True)
class Look:
    """An open look."""

    account: Account
    until: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """That staff looked at an account, as its customers are told."""

    at: datetime
    account: str


def checked_reason(reason: str) -> str:
    """Return a reason with its blanks tidied; raises Refused(`reason`) for one that nobody could check later."""
    reason = " ".join(reason.split())
    letters = {char for char in reason.casefold() if char.isalnum()}
    if not REASON_CHARS_MIN <= len(reason) <= REASON_CHARS_MAX or len(letters) < _DIFFERENT_CHARS_MIN:
        raise Refused("reason", _("Please write why, in a few words that can be checked later."))
    return reason


@transaction.atomic
def start_look(request: HttpRequest, account: Account, *, reason: str) -> Look:
    """Write down who looks at an account and why, then let this session see it for MINUTES, in place of any other.

    raises  Refused(`reason`) for a reason that nobody could check later, Refused(`not-staff`) for anybody but staff.
    """
    actor = person_of(request)
    if not actor.is_staff:
        raise Refused("not-staff", _("Only staff may look."))
    reason = checked_reason(reason)
    end_look(request)
    until = datetime.now(UTC) + timedelta(minutes=MINUTES)
    audit("look.start", actor=actor, target=account, reason=reason, detail={"until": until.isoformat()})
    request.session[LOOK] = {"account": account.public_id, "until": until.timestamp()}
    return Look(account, until)


def end_look(request: HttpRequest) -> Account | None:
    """End the open look of this session, if there is one; return its account."""
    look = look_of(request)
    request.session.pop(LOOK, None)
    if look is None:
        return None
    audit("look.end", actor=person_of(request), target=look.account)
    return look.account


def look_of(request: HttpRequest) -> Look | None:
    """Return the look that is open in this session; None when there is none, it is over, or the person is no staff."""
    kept = _kept(request)
    if kept is None or not getattr(request.user, "is_staff", False):
        return None
    until = datetime.fromtimestamp(kept["until"], UTC)
    account = Account.objects.filter(public_id=kept["account"]).first()
    return None if account is None or until <= datetime.now(UTC) else Look(account, until)


def looks_at(user: User) -> list[Seen]:
    """Return when staff looked at the accounts that a person manages, the newest first.

    The reason stays with the utility: it may name somebody else. What was seen before the person came is not theirs.
    """
    access = AccountAccess.objects.filter(
        user=user, ended_at__isnull=True, level__in=levels_with(Permission.MANAGE)
    ).select_related("account")
    granted = {row.account_id: row.granted_at for row in access}
    spans: dict[tuple[str, str], list[tuple[datetime, datetime | None, str]]] = {}
    about = Q(pk__in=())
    for row in access:
        spans["customers.account", row.account.public_id] = [(row.granted_at, None, row.account.number)]
        about |= Q(action="look.start", target_type="customers.account", target_id=row.account.public_id)
    for place in Occupancy.objects.filter(account__in=granted).select_related("account", "service_point"):
        target = ("customers.servicepoint", place.service_point.public_id)
        since = max(place.start, granted[place.account_id])
        spans.setdefault(target, []).append((since, place.end, place.account.number))
        about |= Q(action="usage.look", target_type=target[0], target_id=target[1])
    seen = []
    rows = AuditEntry.objects.filter(about).order_by("-pk").values_list("at", "target_type", "target_id")
    for at, kind, public_id in rows[:SEEN_MAX]:
        mine = spans[kind, public_id]
        seen += [Seen(at, number) for start, end, number in mine if start <= at and (end is None or at < end)]
    return seen


def look_context(request: HttpRequest) -> dict[str, Any]:
    """Return `look`, the open look of this session or something false: read from the database only when asked."""
    return {"look": SimpleLazyObject(lambda: look_of(request) if _kept(request) is not None else None)}


class LookMiddleware(Middleware):
    """Keeps a look a look: residents' pages are written down and shown, or hidden; whatever is sent is refused."""

    def process_view(
        self, request: HttpRequest, view: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Answer in place of a resident page that a look does not show; None for every other request."""
        match = request.resolver_match
        if match is None or match.namespace != "resident" or _kept(request) is None:
            return None
        look = look_of(request)
        if look is None:
            return _over(request)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            return render(request, "look_refused.html", {"changing": True}, status=403)
        if match.url_name in _SILENT:
            return HttpResponse(status=204)
        if match.url_name not in SHOWN:
            return render(request, "look_refused.html", status=404)
        _write_down(request, look)
        return None


def _kept(request: HttpRequest) -> dict[str, Any] | None:
    """Return what the session says of a look."""
    session = getattr(request, "session", None)
    kept = None if session is None else session.get(LOOK)
    return kept if isinstance(kept, dict) else None


def _over(request: HttpRequest) -> HttpResponse | None:
    """Forget a look that is over; who was looking goes back to the account's page instead of to a page of nobody."""
    kept = request.session.pop(LOOK)
    if not getattr(request.user, "is_staff", False) or request.method != "GET":
        return None
    messages.warning(request, _("Your look is over. Look again, with a reason, if you need to see more."))
    return HttpResponseRedirect(reverse("staff:account", args=[kept["account"]]))


def _write_down(request: HttpRequest, look: Look) -> None:
    """Write down that a page is opened, once a minute at most: without its query, which may hold what was typed."""
    actor = person_of(request)
    lately = AuditEntry.objects.filter(
        action="look.page",
        actor=actor,
        target_type="customers.account",
        target_id=look.account.public_id,
        at__gt=datetime.now(UTC) - PAGE_AGAIN_AFTER,
        detail__path=request.path,
    )
    if not lately.exists():
        audit("look.page", actor=actor, target=look.account, detail={"path": request.path})

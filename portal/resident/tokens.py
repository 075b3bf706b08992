"""The profile's page of API tokens: make one (shown once), see what each may do and when it was used, take one back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portal.access.viewing import person_of
from portal.core.errors import Refused
from portal.core.models import ApiToken
from portal.core.services import utility_zone
from portal.core.tokens import BILLS_READ, SCOPES, USAGE_READ, VALID, make_token, revoke_token
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from portal.core.models import User

SCOPE_WORDS = {
    USAGE_READ: gettext_lazy("see water use and download files"),
    BILLS_READ: gettext_lazy("see bills"),
}
assert set(SCOPE_WORDS) == SCOPES
TOKENS_MAX = 20
_NAME_CHARS = 80
_DAYS = 90


@require_GET
@never_cache
@login_required
def tokens(request: HttpRequest) -> HttpResponse:
    """Show the person's tokens, and the form for another one."""
    return _page(request, person_of(request))


@require_POST
@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def make(request: HttpRequest) -> HttpResponse:
    """Make a token and show it, once; or say what is wrong with what was typed."""
    person = person_of(request)
    try:
        name, scopes, days = _typed(person, request)
        token, _row = make_token(person, name=name, scopes=scopes, valid=timedelta(days=days), actor=person)
    except Refused as error:
        return _page(request, person, error=error)
    return _page(request, person, made=token)


def _typed(person: User, request: HttpRequest) -> tuple[str, frozenset[str], int]:
    name = " ".join(request.POST.get("name", "").split()).replace("\0", "")
    if not 1 <= len(name) <= _NAME_CHARS:
        raise Refused("name", _("Give the token a name, so that you know it again: 1 to 80 characters."))
    scopes = frozenset(request.POST.getlist("scopes"))
    if not scopes or scopes - SCOPES:
        raise Refused("scope", _("Choose at least one thing that the token may do."))
    text = request.POST.get("days", "")
    days = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
    if not 1 <= days <= VALID.days:
        raise Refused("valid", _("Choose 1 to 365 days."))
    if _good(person).count() >= TOKENS_MAX:
        raise Refused("many", _("You have 20 tokens. Take back one that you do not need any more."))
    return name, scopes, days


@require_POST
@never_cache
@login_required
def revoke(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take a token back; programs that use it get nothing from now on."""
    person = person_of(request)
    row = _good(person).filter(public_id=public_id).first()
    if row is None:
        raise Http404
    revoke_token(row, actor=person)
    messages.success(request, _("The token is taken back. What used it gets nothing any more."))
    return HttpResponseRedirect(reverse("resident:tokens"), status=303)


def _good(person: User):  # type: ignore[no-untyped-def]
    return ApiToken.objects.filter(user=person, revoked_at__isnull=True, expires_at__gt=datetime.now(UTC))


_FIELD = {"name": "name", "scope": "scope-1", "valid": "days"}
"""Code of a refusal -> id of the field that the summary leads to."""


def _page(request: HttpRequest, person: User, *, made: str = "", error: Refused | None = None) -> HttpResponse:
    zone = utility_zone()
    rows = [
        {
            "public_id": row.public_id,
            "name": row.name or row.public_id,
            "scopes": [SCOPE_WORDS[scope] for scope in row.scopes.split() if scope in SCOPE_WORDS],
            "expires": moment_text(row.expires_at, zone),
            "used": moment_text(row.last_used_at, zone) if row.last_used_at else "",
        }
        for row in _good(person).order_by("-created_at")
    ]
    context = {
        "tab": "profile",
        "tokens": rows,
        "made": made,
        "error": error,
        "fault": "" if error is None else error.code,
        "field_at_fault": "" if error is None else _FIELD.get(error.code, ""),
        "scopes": SCOPE_WORDS.items(),
        "chosen": request.POST.getlist("scopes") if error else [USAGE_READ],
        "name": request.POST.get("name", "")[:_NAME_CHARS] if error else "",
        "days": request.POST.get("days", "")[:4] if error else _DAYS,
        "days_max": VALID.days,
    }
    return render(request, "resident/tokens.html", context, status=422 if error else 200)

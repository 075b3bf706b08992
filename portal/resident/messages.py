"""The history of messages to a person, the answer to `is this message real?`, and confirming an address again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages as said
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.clients import address_of, home_of
from portal.access.viewing import person_of
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.notifications.bounces import address_of_link, clear_bad, is_bad, send_link
from portal.notifications.history import messages_for, sighting
from portal.notifications.models import Category, Channel
from portal.notifications.phones import number_text
from portal.notifications.rates import within
from portal.notifications.services import code_text
from portal.notifications.states import State, standing_of
from portal.resident.wording import day_text, moment_text

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from portal.notifications.models import Message

ROWS_A_PAGE = 20
_PAGES_MAX = 500
ASKS_A_HOME, ASKS_EVERYBODY, ASKS_SPAN_S = 10, 600, 600
"""Codes that may be asked for in ten minutes: a person types two or three, a code has 61 bits."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message as its reader sees it.

    title  the subject of an email, the beginning of a text. text: empty where a code was and is not kept.
    """

    title: str
    text: str
    category: str
    channel: str
    to: str
    code: str
    words: str
    tone: str
    at: str
    language: str


@require_GET
@never_cache
@login_required
def messages(request: HttpRequest) -> HttpResponse:
    """Show every message to the person, the newest first, a page at a time."""
    person = person_of(request)
    typed = request.GET.get("page", "1")
    page = min(int(typed), _PAGES_MAX) if typed.isascii() and typed.isdigit() and len(typed) < 7 and int(typed) else 1
    first = (page - 1) * ROWS_A_PAGE
    rows = list(messages_for(person)[first : first + ROWS_A_PAGE + 1])
    zone = utility_zone()
    context = {
        "tab": "profile",
        "lines": [_line(row, zone) for row in rows[:ROWS_A_PAGE]],
        "number": page,
        "previous": page - 1 if page > 1 else None,
        "following": page + 1 if len(rows) > ROWS_A_PAGE else None,
    }
    return render(request, "resident/messages.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
def real(request: HttpRequest) -> HttpResponse:
    """Tell anybody whether we sent a message with the code they hold, and nothing that is personal."""
    context: dict[str, Any] = {"tab": "profile", "typed": request.POST.get("code", "").strip()[:60]}
    status = 200
    if request.method == "POST":
        home, zone = home_of(address_of(request)), utility_zone()
        found = sighting(context["typed"])  # asked before the limit is, so that both answers take the same time
        if not within("message-code", home, most=ASKS_A_HOME, everybody=ASKS_EVERYBODY, seconds=ASKS_SPAN_S):
            context["too_often"], status = True, 429
        elif not context["typed"]:
            context["faults"], status = [("message-code", _("Type the code that stands in the message."))], 422
        elif found is None:
            context["unknown"] = True
        else:
            context["found"] = {
                "day": day_text(found.sent_at.astimezone(zone).date()),
                "category": Category(found.category).label,
                "channel": Channel(found.channel).label,
            }
    return render(request, "resident/message_real.html", context, status=status)


@require_POST
@never_cache
@login_required
def address_link(request: HttpRequest) -> HttpResponse:
    """Send the person a link to the address from which messages came back."""
    person = person_of(request)
    if is_bad(person.email):
        send_link(person)
        said.success(request, _("We have sent a link to %(address)s. Open it there.") % {"address": person.email})
    return HttpResponseRedirect(reverse("resident:messages"), status=303)


@require_http_methods(["GET", "POST"])
@never_cache
def address_back(request: HttpRequest, token: str) -> HttpResponse:
    """Let messages come to an address again: whoever has its link reads it. A page first: mail scanners open links."""
    try:
        address = address_of_link(token)
    except Refused as refused:
        return render(request, "resident/address_back.html", {"refused": str(refused)}, status=410)
    if request.method == "POST":
        clear_bad(address, label="its owner")
    done = request.method == "POST" or not is_bad(address)
    return render(request, "resident/address_back.html", {"address": address, "done": done})


def _line(row: Message, zone: ZoneInfo) -> Line:
    standing = standing_of(row)
    text = "" if row.secret else row.text.strip()
    at = moment_text(standing.at, zone)
    waits = standing.state in (State.WAITING, State.LATER)
    return Line(
        title=row.subject or (_("A code for you") if row.secret else _("Text message")),
        text=text,
        category=str(Category(row.category).label),
        channel=str(Channel(row.channel).label),
        to=number_text(row.to) if row.channel == Channel.SMS else row.to,
        code=code_text(row.public_id),
        words=str(standing.words),
        tone=standing.tone,
        at=_("goes out after %(at)s") % {"at": at} if waits else at,
        language=row.language,
    )

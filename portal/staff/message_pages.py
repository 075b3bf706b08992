"""The log of messages: what went to whom and whether it arrived, without a word of it until somebody says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages as said
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.returned import on_paper_after_all
from portal.core.errors import Refused
from portal.customers.numbers import find_accounts, number_key
from portal.notifications.bounces import clear_bad, is_bad, mark_bad
from portal.notifications.models import BadAddress, Category, Channel, Message
from portal.notifications.phones import number_text, number_typed
from portal.notifications.services import REASON_CHARS_MIN, code_text, read_text, troubled, try_again
from portal.notifications.states import IN, WORDS, State, standing_of
from portal.staff.listing import Cell, Listing, page_of, when
from portal.staff.views import actor_of, page, page_number, staff_only

if TYPE_CHECKING:
    from django.db.models import QuerySet

_SEARCH_CHARS = 120


@require_GET
@staff_only
def messages(request: HttpRequest) -> HttpResponse:
    """Show the log, filtered, a page at a time."""
    chosen = {name: request.GET.get(name, "").strip()[:_SEARCH_CHARS] for name in ("q", "state", "channel", "category")}
    rows, number = _found(chosen), page_number(request)
    shown, more = page_of(rows.select_related("account").order_by("-queued_at", "-pk"), number)
    failed, came_back = troubled()
    context = {
        "listing": _listing(shown, number, more=more),
        "chosen": chosen,
        "states": [(state.value, WORDS[state]) for state in State],
        "channels": Channel.choices,
        "categories": Category.choices,
        "failed": failed,
        "came_back": came_back,
        "bad_addresses": BadAddress.objects.count(),
        "query": urlencode({name: value for name, value in chosen.items() if value}),
    }
    return page(request, "staff/messages.html", "messages", context)


@require_http_methods(["GET", "POST"])
@staff_only
def message(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one message without its text; a POST shows the text, sends again, or marks the address (see _ACTIONS)."""
    row = get_object_or_404(Message.objects.select_related("account", "user"), public_id=public_id)
    context: dict[str, Any] = {}
    typed = {name: request.POST.get(name, "") for name in ("reason", "to", "action")}
    if request.method == "POST":
        try:
            if typed["action"] == "read":
                context["text"] = read_text(row, actor=actor_of(request), reason=typed["reason"])
            else:
                _ACTIONS.get(typed["action"], _nothing)(request, row, typed)
                return HttpResponseRedirect(reverse("staff:message", args=[public_id]), status=303)
        except Refused as refused:
            context |= {"error": str(refused), "fault": typed["action"], "typed": typed}
    return page(
        request, "staff/message.html", "messages", _facts(row) | context, status=422 if "error" in context else 200
    )


def _again(request: HttpRequest, row: Message, typed: dict[str, str]) -> None:
    reason, to = _reason(typed), typed["to"].strip()
    if to:
        to = number_typed(to) if row.channel == Channel.SMS else to.lower()
    try_again(row, actor=actor_of(request), to=to, reason=reason)
    said.success(request, _("The message is in the queue again."))


def _bad(request: HttpRequest, row: Message, typed: dict[str, str]) -> None:
    if row.channel != Channel.EMAIL:
        raise Refused("address", _("Only email addresses are marked; a telephone says STOP itself."))
    mark_bad(row.to, _reason(typed), actor=actor_of(request))
    said.success(request, _("The address gets no more messages until its owner confirms it again."))


def _good(request: HttpRequest, row: Message, _typed: dict[str, str]) -> None:
    clear_bad(row.to, actor=actor_of(request))
    said.success(request, _("The address gets messages again."))


def _nothing(_request: HttpRequest, _row: Message, _typed: dict[str, str]) -> None:
    raise Refused("action", _("Choose what to do."))


_ACTIONS = {"again": _again, "bad": _bad, "good": _good}


def _reason(typed: dict[str, str]) -> str:
    reason = typed["reason"].strip()[:200]
    if len(reason) < REASON_CHARS_MIN:
        raise Refused("reason", _("Say why, in a few words."))
    return reason


def _found(chosen: dict[str, str]) -> QuerySet[Message]:
    """Return the messages that the filters leave; a search is an account number, an address or a number, in full."""
    rows = Message.objects.all()
    if chosen["state"] in {state.value for state in State}:
        rows = rows.filter(IN[State(chosen["state"])])
    if chosen["channel"] in Channel.values:
        rows = rows.filter(channel=chosen["channel"])
    if chosen["category"] in Category.values:
        rows = rows.filter(category=chosen["category"])
    if search := chosen["q"]:
        rows = rows.filter(_meaning(search))
    return rows


def _meaning(search: str) -> Q:
    if "@" in search:
        return Q(to=search.lower()) | Q(user__email=search.lower())
    bare = "".join(one for one in search.lower() if one.isalnum())
    meant = Q(public_id=bare) | Q(account__in=find_accounts([search]).get(number_key(search), []))
    try:
        return meant | Q(to=number_typed(search))
    except Refused:
        return meant


def _listing(rows: list[Message], number: int, *, more: bool) -> Listing:
    lines = []
    paper = on_paper_after_all(rows)
    for row in rows:
        standing = standing_of(row)
        why = [row.last_error, _("the bill goes by post") if row.pk in paper else ""]
        lines.append(
            (
                Cell(when(row.queued_at).text, "", reverse("staff:message", args=[row.public_id])),
                Cell(_to(row)),
                Cell(row.account.number if row.account else "", "code"),
                Cell(str(Category(row.category).label)),
                Cell(str(Channel(row.channel).label)),
                Cell(str(standing.words), standing.tone),
                Cell("; ".join(part for part in why if part)),
            )
        )
    return Listing(
        title=_("Messages"),
        columns=(_("Queued"), _("To"), _("Account"), _("About"), _("By"), _("State"), _("Why")),
        rows=tuple(lines),
        empty=_("No message matches."),
        page=number,
        more=more,
    )


def _to(row: Message) -> str:
    return number_text(row.to) if row.channel == Channel.SMS else row.to


def _facts(row: Message) -> dict[str, Any]:
    standing = standing_of(row)
    paper = on_paper_after_all([row]).get(row.pk)
    return {
        "row": row,
        "paper": paper,
        "printed": when(paper.done_at).text if paper and paper.done_at else "",
        "to": _to(row),
        "code": code_text(row.public_id),
        "category": Category(row.category).label,
        "channel": Channel(row.channel).label,
        "standing": standing,
        "times": [
            (label, when(at).text)
            for label, at in (
                (_("Queued"), row.queued_at),
                (_("Sent"), row.sent_at),
                (_("Delivered"), row.delivered_at),
                (_("Did not arrive"), row.bounced_at),
                (_("Given up"), row.failed_at),
                (_("Next try"), None if row.sent_at or row.failed_at else row.next_try_at),
            )
            if at is not None
        ],
        "may_again": (row.failed_at is not None or row.bounced_at is not None) and not row.secret,
        "is_email": row.channel == Channel.EMAIL,
        "is_bad": row.channel == Channel.EMAIL and is_bad(row.to),
    }

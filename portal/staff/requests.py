"""Service requests as the office works on them: a list by kind, state and age; take, answer, close."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods

from portal.core.clock import now
from portal.core.errors import Refused
from portal.ledger.services import balance_cents
from portal.service import requests as rules
from portal.service.models import ServiceRequest
from portal.staff.listing import Cell, Listing, day, dollars, page_of, when
from portal.staff.views import actor_of, page, page_number, staff_only

if TYPE_CHECKING:
    from datetime import datetime

NAME = "requests"
OPEN = "open"
TONES = {"received": "bad", "in-work": "warn", "done": "good", "refused": "", "withdrawn": ""}
AGES = (1, 3, 7, 30)
"""Filters: asked for at least so many days ago."""


@require_GET
@staff_only
def requests(request: HttpRequest) -> HttpResponse:
    """List what waits, the oldest first; or one state, one kind, those of an age."""
    state, kind, days = (request.GET.get(name, "") for name in ("state", "kind", "days"))
    found = ServiceRequest.objects.select_related("account", "service_point__premise", "taken_by")
    if state in ServiceRequest.State.values:
        found = found.filter(state=state).order_by("-state_at", "-pk")
    else:
        state = OPEN
        found = found.filter(state__in=ServiceRequest.OPEN).order_by("made_at", "pk")
    if kind in ServiceRequest.Kind.values:
        found = found.filter(kind=kind)
    moment = now()
    if days.isdecimal() and int(days) in AGES:
        found = found.filter(made_at__lte=moment - timedelta(days=int(days)))
    rows, more = page_of(found, page_number(request))
    listing = Listing(
        _("Service requests"),
        (_("Asked on"), _("Number"), _("What"), _("Place"), _("Account"), _("For"), _("State"), _("Taken by")),
        tuple(_line(row, moment) for row in rows),
        _("Nothing waits.") if state == OPEN else _("There is none."),
        page_number(request),
        more,
    )
    context = {
        "listing": listing,
        "states": [(OPEN, _("open")), *ServiceRequest.State.choices],
        "kinds": [("", _("all")), *ServiceRequest.Kind.choices],
        "ages": [("", _("any age")), *((str(n), ngettext("%d day or older", "%d days or older", n) % n) for n in AGES)],
        "state": state,
        "kind": kind,
        "days": days,
        "query": f"state={state}&kind={kind}&days={days}",
    }
    return page(request, "staff/requests.html", NAME, context)


def _line(row: ServiceRequest, moment: datetime) -> tuple[Cell, ...]:
    age = (moment - row.made_at).days
    asked = when(row.made_at).text + (f" · {ngettext('%d day', '%d days', age) % age}" if age and row.is_open else "")
    return (
        Cell(asked, href=reverse("staff:request", args=[row.public_id])),
        Cell(row.public_id, "code"),
        Cell(row.get_kind_display()),
        Cell(str(row.service_point.premise) if row.service_point else ""),
        Cell(f"{row.account.number} {row.account.name}".strip()),
        day(row.wished_on),
        Cell(row.get_state_display(), TONES[row.state]),
        Cell(row.taken_by.get_full_name() if row.taken_by else ""),
    )


@require_http_methods(["GET", "POST"])
@staff_only
def one(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one request; a POST takes it, writes a note, or closes it as done or refused."""
    found = ServiceRequest.objects.select_related("account", "service_point__premise", "bill", "asked_by", "taken_by")
    row = get_object_or_404(found, public_id=public_id)
    error, note = "", request.POST.get("note", "")
    if request.method == "POST":
        try:
            _act(request, row, note)
        except Refused as refused:
            error = str(refused)
        else:
            messages.success(request, _("Written down; the customer gets an email."))
            return HttpResponseRedirect(reverse("staff:request", args=[public_id]), status=303)
        row.refresh_from_db()
    context = {
        "row": row,
        "tone": TONES[row.state],
        "made_at": when(row.made_at).text,
        "steps": [(step, when(step.at).text, TONES[step.state]) for step in row.steps.select_related("by")],
        "balance": dollars(balance_cents(row.account)),
        "faults": [("note", error)] if error else [],
        "note": note,
    }
    return page(request, "staff/request.html", NAME, context, status=422 if error else 200)


def _act(request: HttpRequest, row: ServiceRequest, note: str) -> None:
    actor = actor_of(request)
    action = request.POST.get("action", "")
    if action == "take":
        rules.take(row, by=actor)
    elif action == "note":
        rules.note(row, note, by=actor)
    elif action == "done":
        rules.finish(row, note, by=actor)
    elif action == "refuse":
        rules.refuse(row, note, by=actor)
    else:
        raise Refused("action", _("Choose what to do."))

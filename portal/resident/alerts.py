"""The alerts of a person: what goes on, what was in the last year, one alert and what they say to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portal.access.viewing import person_of, viewer_of
from portal.alerts import services
from portal.alerts.kinds import RULES, Answer, Kind
from portal.alerts.models import AlertRecipient
from portal.alerts.texts import Reader, words_for
from portal.core.clock import now
from portal.core.errors import Refused
from portal.customers.permissions import Permission, allowed_accounts
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from datetime import datetime

    from portal.alerts.models import Alert
    from portal.alerts.texts import Words
    from portal.core.models import User
    from portal.customers.permissions import Viewer

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One alert as a page shows it. said: the person's own answer in words; open: it goes on, and they may answer."""

    public_id: str
    kind: str
    words: Words
    at: str
    ended: str
    open: bool
    side: AlertRecipient | None
    said: str


@require_GET
@never_cache
@login_required
def alerts(request: HttpRequest) -> HttpResponse:
    """List what goes on first, then the last year."""
    who, moment = viewer_of(request), now()
    found = list(services.recent_alerts(who, moment)[: SHOWN + 1])
    sides = {
        side.alert_id: side
        for side in AlertRecipient.objects.filter(user=who.user, alert__in=[row.pk for row in found])
    }
    reader = Reader.of(who.user)
    rows = [_row(alert, sides.get(alert.pk), reader, moment) for alert in found[:SHOWN]]
    context = {
        "tab": "alerts",
        "standing": [row for row in rows if row.open],
        "past": [row for row in rows if not row.open],
        "more": len(found) > SHOWN,
        "may": allowed_accounts(who, Permission.ALERTS).exists(),
    }
    return render(request, "resident/alerts.html", context)


@require_GET
@never_cache
@login_required
def alert(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one alert: what, since when, how much, why, what to do, and the ways to answer."""
    return _page(request, viewer_of(request), _alert_of(viewer_of(request), public_id))


@require_POST
@never_cache
@login_required
def say(request: HttpRequest, public_id: str) -> HttpResponse:
    """Keep that a person has seen an alert, what they say it was, or that they want some quiet days."""
    person = person_of(request)
    row = _alert_of(person, public_id)
    what = request.POST.get("do", "")
    try:
        if what == "acknowledge":
            services.acknowledge(row, actor=person)
            messages.success(request, _("Thank you. We do not remind you of this any more."))
        elif what == "answer":
            text = request.POST.get("note", "")
            services.answer(row, request.POST.get("answer", ""), note=text, actor=person)
            messages.success(request, _("Thank you. Your answer is kept, and we do not remind you of this any more."))
        elif what == "quiet":
            days = request.POST.get("days", "")
            until = services.quiet(row, int(days) if days.isdecimal() and len(days) < 3 else 0, actor=person)
            messages.success(request, _("You get no such message until %(when)s.") % {"when": _moment(until, person)})
        else:
            raise Http404
    except Refused as error:
        return _page(request, person, row, fault=(error.code, str(error)))
    return HttpResponseRedirect(reverse("resident:alert", args=[row.public_id]), status=303)


def _alert_of(who: User | Viewer, public_id: str) -> Alert:
    """Return an alert that a person may see; any other does not exist for them."""
    found = services.visible_alerts(who).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _page(
    request: HttpRequest, who: User | Viewer, row: Alert, *, fault: tuple[str, str] | None = None
) -> HttpResponse:
    viewer = viewer_of(request)
    side = services.side_of(row, viewer.user)
    fields = {"answer": "answer-pool", "note": "note", "days": "days"}
    context = {
        "tab": "alerts",
        "row": _row(row, side, Reader.of(viewer.user), now()),
        "rule": RULES[Kind(row.kind)],
        "answers": Answer.choices if row.service_point_id is not None or row.kind == Kind.THRESHOLD else (),
        "days": services.QUIET_DAYS,
        "may_quiet": services.may_quiet(row, side),
        "read_only": viewer.read_only,
        "typed": request.POST,
        "note_chars": services.NOTE_CHARS,
        "link": _where(row),
        "faults": [] if fault is None else [(fields.get(fault[0], ""), fault[1])],
        "fault": "" if fault is None else fault[0],
    }
    return render(request, "resident/alert.html", context, status=422 if fault else 200)


def _row(alert: Alert, side: AlertRecipient | None, reader: Reader, moment: datetime) -> Row:
    goes_on = alert.ended_at is None or alert.ended_at > moment
    said = ""
    if side is not None and side.answer:
        said = str(side.get_answer_display()) + (f": {side.note}" if side.note else "")
    return Row(
        public_id=alert.public_id,
        kind=alert.kind,
        words=words_for(alert, reader),
        at=moment_text(alert.happened_at, reader.zone),
        ended="" if goes_on or alert.ended_at is None else moment_text(alert.ended_at, reader.zone),
        open=goes_on,
        side=side,
        said=said,
    )


def _where(alert: Alert) -> tuple[str, str] | None:
    """Return the page on which the figures stand, and what to call it."""
    if alert.kind in (Kind.BILL_READY, Kind.BILL_DUE):
        return reverse("resident:bill", args=[alert.about]), _("Show the bill")
    if alert.service_point is not None:
        return reverse("resident:usage", args=[alert.service_point.public_id]), _("Show the water use")
    if alert.kind == Kind.SERVICE:
        return None
    return reverse("resident:home"), _("Show the water use")


def _moment(moment: datetime, person: User) -> str:
    return moment_text(moment, Reader.of(person).zone)

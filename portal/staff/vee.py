"""Staff pages of validation: the work list of reads, one finding and what to do about it, reads that staff enter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from domain.reading import ReadQuality
from portal.core.errors import Refused
from portal.core.services import audit, utility_zone
from portal.metering.models import MeterRegister, OfficeRead, ReadFinding
from portal.metering.validation import office, worklist
from portal.staff import vee_page
from portal.staff.findings import seen, words
from portal.staff.views import actor_of, page, page_number, staff_only

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portal.core.models import User

_SOURCES = [choice for choice in OfficeRead.Source if choice not in ("edit", "estimate", "head-end")]


@require_GET
@staff_only
def findings(request: HttpRequest) -> HttpResponse:
    """Show the work list."""
    asked = {name: request.GET.get(name, "") for name in ("rule", "state", "q")}
    listing = vee_page.work_list(asked, page_number(request))
    context = {
        "listing": listing,
        "asked": asked,
        "query": urlencode({name: value for name, value in asked.items() if value}),
        "rules": vee_page.by_rule(),
    }
    return page(request, "staff/vee.html", "findings", context)


@require_http_methods(["GET", "POST"])
@staff_only
def finding(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one finding with the reads around it; a POST does something about it."""
    rows = ReadFinding.objects.select_related("service_point__premise", "register__meter", "resolved_by")
    row = get_object_or_404(rows, public_id=public_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        try:
            said = _ACTIONS.get(request.POST.get("action", ""), _no_action)(row, request.POST, actor_of(request))
        except Refused as error:
            context = {"error": str(error), "tried": request.POST}
        else:
            messages.success(request, said)
            return HttpResponseRedirect(reverse("staff:finding", args=[row.public_id]))
    else:
        # Reads tell how somebody lives: who looks at them is written down, with the finding as the reason.
        audit("finding.look", actor=actor_of(request), target=row.service_point, reason=f"finding {row.public_id}")
    registers = worklist.registers_of(row)
    shown = [(register, vee_page.reads_around(row, register)) for register in registers[:4]]
    context |= {
        "finding": row,
        "what": words(row.rule),
        "state": vee_page.state_of(row),
        "seen": seen(row.detail),
        "tables": shown,
        "choices": [read for _register, reads in shown for read in reads],
        "registers": registers,
        "days": vee_page.days_of(row, registers),
        "screened": "verdict" in row.detail,
        "zone": utility_zone().key,
    }
    return page(request, "staff/vee_finding.html", "findings", context, status=422 if "error" in context else 200)


@require_http_methods(["GET", "POST"])
@staff_only
def enter_read(request: HttpRequest) -> HttpResponse:
    """Enter a read that a person took."""
    context: dict[str, Any] = {"sources": _SOURCES, "zone": utility_zone().key, "tried": request.POST or request.GET}
    if request.method == "POST":
        try:
            row = _enter(request.POST, actor_of(request))
        except Refused as error:
            context |= {"error": str(error), "falls": error.code == "falls"}
        else:
            messages.success(request, _("The read was entered."))
            return HttpResponseRedirect(reverse("staff:entered-read", args=[row.public_id]))
    return page(request, "staff/vee_enter.html", "entered", context, status=422 if "error" in context else 200)


@require_GET
@staff_only
def entered(request: HttpRequest) -> HttpResponse:
    """List the reads that staff have entered."""
    search = request.GET.get("q", "").strip()[:80]
    listing = vee_page.office_reads(search, page_number(request))
    query = urlencode({"q": search}) if search else ""
    return page(request, "staff/vee_entered.html", "entered", {"listing": listing, "search": search, "query": query})


@require_http_methods(["GET", "POST"])
@staff_only
def entered_read(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show every version of one read; a POST makes the next one."""
    rows = OfficeRead.objects.select_related("register__meter")
    row = get_object_or_404(rows, public_id=public_id)
    history = office.versions(row)
    newest = history[-1]
    context: dict[str, Any] = {"tried": request.POST}
    if request.method == "POST":
        try:
            newest = _change(newest, request.POST, actor_of(request))
        except Refused as error:
            context["error"] = str(error)
        else:
            messages.success(request, _("Another version was written."))
            return HttpResponseRedirect(reverse("staff:entered-read", args=[newest.public_id]))
    context |= {"read": newest, "listing": vee_page.versions_of(history), "zone": utility_zone().key}
    return page(request, "staff/vee_read.html", "entered", context, status=422 if "error" in context else 200)


def _accept(row: ReadFinding, asked: Mapping[str, str], actor: User) -> str:
    worklist.accept(row, reason=asked.get("reason", ""), actor=actor)
    return _("It was accepted as it is.")


def _exclude(row: ReadFinding, asked: Mapping[str, str], actor: User) -> str:
    reason = asked.get("reason", "")
    if not asked.get("from"):
        worklist.exclude(row, reason=reason, actor=actor)
        return _("The reads stay out of the usage.")
    register, first = _chosen(row, asked.get("from", ""))
    last = None
    if asked.get("to"):
        other, last = _chosen(row, asked.get("to", ""))
        if other != register:
            raise Refused("register", _("Both reads must be of one register."))
    worklist.exclude(row, register=register, read_us=first, until_us=last, reason=reason, actor=actor)
    return _("The reads were left out of the usage.")


def _edit(row: ReadFinding, asked: Mapping[str, str], actor: User) -> str:
    register, read_us = _chosen(row, asked.get("read", ""))
    raw_count = _count(asked.get("count", ""))
    worklist.edit(
        row, register=register, read_us=read_us, raw_count=raw_count, reason=asked.get("reason", ""), actor=actor
    )
    return _("The read was corrected; the one before is kept.")


def _estimate(row: ReadFinding, asked: Mapping[str, str], actor: User) -> str:
    at = row.start if asked.get("boundary") == "start" else row.end
    register = next((r for r in worklist.registers_of(row) if r.public_id == asked.get("register")), None)
    made = worklist.estimate(row, at, register=register, reason=asked.get("reason", ""), actor=actor)
    return _("Estimated: %(count)s.") % {"count": f"{made.raw_count:,}"}


def _visit(row: ReadFinding, asked: Mapping[str, str], actor: User) -> str:
    worklist.order_visit(row, reason=asked.get("reason", ""), actor=actor)
    return _("A visit was noted; the finding stays open.")


def _no_action(_row: ReadFinding, _asked: Mapping[str, str], _actor: User) -> str:
    raise Refused("action", _("Choose what to do."))


_ACTIONS: dict[str, Callable[[ReadFinding, Mapping[str, str], User], str]] = {
    "accept": _accept,
    "exclude": _exclude,
    "edit": _edit,
    "estimate": _estimate,
    "visit": _visit,
}


def _chosen(row: ReadFinding, key: str) -> tuple[MeterRegister, int]:
    """Return the register and the moment of a read that was chosen from the page; only the place's own are taken."""
    name, _dot, moment = key.partition(".")
    register = next((register for register in worklist.registers_of(row) if register.public_id == name), None)
    if register is None or not moment.removeprefix("-").isdecimal() or len(moment) > 18:
        raise Refused("read", _("Choose a read."))
    return register, int(moment)


def _count(text: str) -> int:
    digits = text.strip()
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 18:
        raise Refused("count", _("Write the count as whole digits, as the register shows them."))
    return int(digits)


def _enter(asked: Mapping[str, str], actor: User) -> OfficeRead:
    register = _register_named(asked.get("meter", "").strip(), asked.get("register", "").strip())
    source = asked.get("source", "")
    if source not in _SOURCES:
        raise Refused("source", _("Choose where the count comes from."))
    return office.enter_read(
        register,
        _moment(asked.get("read_at", "")),
        _count(asked.get("count", "")),
        source=OfficeRead.Source(source),
        quality=ReadQuality.SUSPECT if asked.get("suspect") else ReadQuality.MEASURED,
        reason=asked.get("reason", ""),
        may_fall=bool(asked.get("may_fall")),
        actor=actor,
    )


def _register_named(meter_id: str, register_id: str) -> MeterRegister:
    rows = MeterRegister.objects.filter(meter__meter_id=meter_id, claimed=True, in_usage=True).select_related("meter")
    found = list(rows.filter(register_id=register_id) if register_id else rows)
    counters = {(row.register_id, row.unit, row.scale) for row in found}
    if not found:
        raise Refused("meter", _("The office knows no register of this meter; check its id."))
    if len(counters) > 1:
        known = ", ".join(sorted(name for name, _unit, _scale in counters))
        raise Refused("register", _("The meter has several registers; name one of: %(known)s.") % {"known": known})
    return next((row for row in found if hasattr(row, "state")), found[0])


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused("no-moment", _("Say when it was read, as a date and a time.")) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=utility_zone())
    if not 2000 <= moment.year < 2100:
        raise Refused("no-moment", _("Say when it was read, as a date and a time."))
    return moment.astimezone(UTC)


def _change(read: OfficeRead, asked: Mapping[str, str], actor: User) -> OfficeRead:
    if asked.get("action") == "withdraw":
        return office.withdraw(read, reason=asked.get("reason", ""), actor=actor)
    if asked.get("action") == "revise":
        return office.revise(read, _count(asked.get("count", "")), reason=asked.get("reason", ""), actor=actor)
    raise Http404

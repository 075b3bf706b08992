"""Service requests of residents: what they asked for and how far it is, and the form for each kind."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.viewing import person_of, viewer_of
from portal.billing.documents.figures import money
from portal.billing.nightly import policies_on
from portal.billing.visible import visible_bills
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.permissions import Permission, allowed_accounts, may
from portal.ledger.services import balance_cents, today
from portal.resident.bill_pages import bill_row
from portal.resident.wording import day_text, moment_text
from portal.service import requests as rules
from portal.service.models import ServiceRequest

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

    from portal.billing.models import Bill
    from portal.core.models import User
    from portal.customers.models import Account, ServicePoint
    from portal.customers.permissions import Viewer

TAB = "help"
BILLS_SHOWN = 12
TONES = {"received": "warn", "in-work": "warn", "done": "good", "refused": "bad", "withdrawn": ""}
KINDS: dict[str, tuple[StrPromise, StrPromise]] = {
    "restore": (
        gettext_lazy("Turn the water back on"),
        gettext_lazy("Your service was disconnected and you want it back."),
    ),
    "move": (
        gettext_lazy("Move in or out"),
        gettext_lazy("You move in, move out, or go to another address that we serve."),
    ),
    "stop": (gettext_lazy("Stop service"), gettext_lazy("You no longer need water at one of your places.")),
    "leak": (
        gettext_lazy("Leak adjustment"),
        gettext_lazy("A leak made a bill high, it is repaired, and you ask for part of it back."),
    ),
    "other": (gettext_lazy("Something else"), gettext_lazy("A question or a wish that none of the others fits.")),
}
_FIELDS = {
    "kind": "place",
    "place": "place",
    "details": "details",
    "direction": "direction-in",
    "day": "wished-on",
    "bill": "bill",
    "repaired": "repaired-on",
    "evidence": "evidence",
    "phone": "phone",
}
"""Code of a refusal -> id of the field at fault."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a request can be for: an account, and one of the places where it has water."""

    account: Account
    service_point: ServicePoint | None

    @property
    def value(self) -> str:
        """What the form sends."""
        return f"{self.account.public_id} {self.service_point.public_id if self.service_point else ''}".strip()

    @property
    def text(self) -> str:
        """What people read."""
        account = _("Account %s") % self.account.number
        if self.service_point is None:
            return account
        label = "" if self.service_point.label == "water" else f", {self.service_point.label}"
        return f"{self.service_point.premise.address}{label} · {account}"


def _places(who: User | Viewer) -> list[Place]:
    """Return every place for which a person may ask; an account without water now stands for itself."""
    found = []
    for account in allowed_accounts(who, Permission.MANAGE):
        points = rules.places_of(account)
        found += [Place(account, point) for point in points] or [Place(account, None)]
    return found


@require_GET
@never_cache
@login_required
def requests(request: HttpRequest) -> HttpResponse:
    """List a person's requests and what else they can ask for."""
    who, zone = viewer_of(request), utility_zone()
    rows = [
        {"row": row, "made": moment_text(row.made_at, zone), "tone": TONES[row.state]}
        for row in rules.requests_of(who)[:100]
    ]
    context = {"tab": TAB, "rows": rows, "kinds": KINDS, "may_ask": bool(_places(who))}
    return render(request, "resident/requests.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def new(request: HttpRequest, kind: str) -> HttpResponse:
    """Show the form of one kind of request; a POST sends it. Sent twice it is one request."""
    if kind not in KINDS:
        raise Http404
    places = _places(person_of(request) if request.method == "POST" else viewer_of(request))
    if not places:
        return render(request, "resident/request_none.html", {"tab": TAB, "title": KINDS[kind][0]}, status=403)
    faults: list[tuple[str, str]] = []
    if request.method == "POST":
        try:
            made, is_new = _ask(request, kind, places)
        except Refused as error:
            faults = [(_FIELDS.get(error.code, ""), str(error))]
        else:
            said = _("Your request is with us. You get an email when something happens with it.")
            messages.success(request, said if is_new else _("You have asked for this already: here it is."))
            return HttpResponseRedirect(reverse("resident:request", args=[made.public_id]), status=303)
    context = _form(request, kind, places, faults)
    return render(request, "resident/request_new.html", context, status=422 if faults else 200)


def _ask(request: HttpRequest, kind: str, places: list[Place]) -> tuple[ServiceRequest, bool]:
    person, typed = person_of(request), request.POST
    place = places[0] if len(places) == 1 else next((one for one in places if one.value == typed.get("place")), None)
    if place is None:
        raise Refused("place", _("Choose one of your places."))
    wish = rules.Wish(
        kind=kind,
        key=typed.get("key", ""),
        details=typed.get("details", ""),
        direction=typed.get("direction", ""),
        wished_on=_day(typed.get("wished-on", ""), "day"),
        phone=typed.get("phone", ""),
        bill=_bills(person, places).filter(public_id=typed.get("bill", "")).first() if kind == "leak" else None,
        repaired_on=_day(typed.get("repaired-on", ""), "repaired"),
        evidence=typed.get("evidence", ""),
    )
    account = wish.bill.account if wish.bill is not None else place.account
    point = place.service_point if account == place.account else None
    return rules.ask(account, point, wish, by=person)


def _day(text: str, code: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Refused(code, _("Write the day as year-month-day, such as 2026-06-17.")) from None


def _bills(who: User | Viewer, places: list[Place]) -> Any:
    """Return the bills on which a leak may have gone: those that stand, the newest first."""
    found = visible_bills(who).filter(account__in=[place.account for place in places], state="issued")
    return found.select_related("account").order_by("-bill_date", "-pk")


def _form(request: HttpRequest, kind: str, places: list[Place], faults: list[tuple[str, str]]) -> dict[str, Any]:
    who = viewer_of(request)
    title, text = KINDS[kind]
    context: dict[str, Any] = {
        "tab": TAB,
        "kind": kind,
        "title": title,
        "text": text,
        "places": places,
        "directions": ServiceRequest.Direction.choices,
        "typed": request.POST if request.method == "POST" else request.GET,
        "key": request.POST.get("key") or secrets.token_urlsafe(18),
        "faults": faults,
        "fault": faults[0][0] if faults else "",
        "today": now().astimezone(utility_zone()).date().isoformat(),
        "wished_on": request.POST.get("wished-on", ""),
        "repaired_on": request.POST.get("repaired-on", ""),
    }
    if kind == "restore":
        accounts = dict.fromkeys(place.account for place in places if may(who, Permission.BILLS, place.account))
        context["balances"] = [
            (account.number, money(cents)) for account in accounts if (cents := balance_cents(account)) > 0
        ]
    if kind == "leak":
        context |= {"bills": [bill_row(bill) for bill in _bills(who, places)[:BILLS_SHOWN]], "policy": _leak_policy()}
    return context


def _leak_policy() -> list[str]:
    """Return the rule for leaks that is in force, in sentences; none when the rates have no rule."""
    policies = policies_on(today())
    rule = policies.leak if policies else None
    if rule is None:
        return []
    share = round(rule.share * 100)
    said = [_("%(share)s percent of what went above your usual use can be credited.") % {"share": share}]
    said.append(_("Your usual use is the average of the bills of the last %d months.") % rule.average_months)
    if rule.excess_percent:
        said.append(_("The use must lie at least %d percent above it.") % round(rule.excess_percent))
    if rule.every_months:
        said.append(_("It is granted once in %d months.") % rule.every_months)
    else:
        said.append(_("It is granted once."))
    if rule.bills_max > 1:
        said.append(_("At most %d bills are adjusted for one leak.") % rule.bills_max)
    if rule.needs_proof:
        said.append(_("We need proof of the repair, and use must be back to normal."))
    return said


def _request_of(who: User | Viewer, public_id: str) -> ServiceRequest:
    """Return a request that a person may see; any other does not exist for them."""
    found = rules.requests_of(who).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


@require_GET
@never_cache
@login_required
def one(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one request and everything that happened with it."""
    who, zone = viewer_of(request), utility_zone()
    row = _request_of(who, public_id)
    bill: Bill | None = row.bill
    context = {
        "tab": TAB,
        "row": row,
        "tone": TONES[row.state],
        "steps": [
            {"row": step, "at": moment_text(step.at, zone), "tone": TONES[step.state]} for step in row.steps.all()
        ],
        "place": Place(row.account, row.service_point).text,
        "bill": bill_row(bill) if bill is not None and visible_bills(who).filter(pk=bill.pk).exists() else None,
        "wished_on": day_text(row.wished_on) if row.wished_on else "",
        "repaired_on": day_text(row.repaired_on) if row.repaired_on else "",
    }
    return render(request, "resident/request.html", context)


@require_POST
@never_cache
@login_required
def withdraw(request: HttpRequest, public_id: str) -> HttpResponse:
    """Take a request back."""
    person = person_of(request)
    try:
        rules.withdraw(_request_of(person, public_id), by=person)
    except Refused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("Your request is withdrawn."))
    return HttpResponseRedirect(reverse("resident:request", args=[public_id]), status=303)

"""The profile's page about texts: the telephone that gets them, proven by a code, and how to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from portal.access.viewing import person_of
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.notifications.models import Phone
from portal.notifications.phones import (
    consent_wording,
    number_text,
    open_code,
    prove,
    remove_phone,
    send_code,
    stopped_at,
)
from portal.notifications.sms import our_number, texts_offered
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from portal.core.models import User

_FIELDS = {"number": "phone-number", "consent": "phone-consent", "code": "phone-code"}
"""Code of a refusal -> id of the field at fault."""


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def phone(request: HttpRequest) -> HttpResponse:
    """Show the telephone for texts, or (POST) send a code to one that was typed."""
    person = person_of(request)
    if request.method != "POST":
        return _page(request, person)
    if not texts_offered():
        return _back()
    typed = {"number": request.POST.get("number", ""), "consent": bool(request.POST.get("consent"))}
    try:
        send_code(person, request.POST.get("number", ""), agreed=bool(request.POST.get("consent")))
    except Refused as refused:
        return _page(request, person, typed=typed, refused=refused)
    return _back()


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def confirm(request: HttpRequest) -> HttpResponse:
    """Take the code; when it is right that telephone gets the texts."""
    person = person_of(request)
    if request.method != "POST":
        return _back()
    try:
        prove(person, request.POST.get("code", ""))
    except Refused as refused:
        return _page(request, person, refused=refused)
    messages.success(request, _("Your telephone is confirmed."))
    return _back()


@require_POST
@never_cache
@login_required
def remove(request: HttpRequest) -> HttpResponse:
    """Forget the telephone."""
    if remove_phone(person_of(request)):
        messages.success(request, _("Your telephone is removed. It gets no more texts."))
    return _back()


def _given(person: User) -> str:
    """Return the number that a person gave when registering, to be confirmed with a code."""
    return number_text(person.phone_given) if person.phone_given else ""


def _back() -> HttpResponse:
    return HttpResponseRedirect(reverse("resident:phone"), status=303)


def _page(
    request: HttpRequest, person: User, *, typed: dict[str, Any] | None = None, refused: Refused | None = None
) -> HttpResponse:
    zone = utility_zone()
    held = Phone.objects.filter(user=person).first()
    stopped = stopped_at(held.number) if held else None
    waiting = open_code(person)
    context = {
        "tab": "profile",
        "offered": texts_offered(),
        "held": held,
        "number": number_text(held.number) if held else "",
        "since": moment_text(held.verified_at, zone) if held else "",
        "stopped": moment_text(stopped, zone) if stopped else "",
        "our_number": our_number(),
        "waiting": waiting,
        "waiting_for": number_text(waiting.number) if waiting else "",
        "consent": consent_wording(),
        "typed": typed or {"number": _given(person) if held is None and waiting is None else ""},
        "faults": [(_FIELDS.get(refused.code, ""), str(refused))] if refused else [],
        "fault": refused.code if refused else "",
    }
    return render(request, "resident/phone.html", context, status=422 if refused else 200)

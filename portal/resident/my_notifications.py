"""The page "My Notifications" of the profile: one form for each part, each with its own button."""

from __future__ import annotations

from datetime import date
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
from portal.alerts.kinds import RULES, Kind
from portal.alerts.preferences import Scope, Wish, add_threshold, choose, number_from, remove_threshold, send_test
from portal.alerts.texts import Reader
from portal.core.errors import Refused
from portal.customers.models import AccountAccess, ServicePoint
from portal.customers.permissions import Permission, allowed_accounts
from portal.notifications.models import Channel
from portal.notifications.phones import phone_of
from portal.resident import notification_settings as shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.core.models import User
    from portal.customers.permissions import Viewer


_DIGITS_MAX = 4
"""Of hours and days; of thousands of digits Python makes no number at all."""


@require_GET
@never_cache
@login_required
def notifications(request: HttpRequest) -> HttpResponse:
    """Show what a person is told, of which meter and account, and how."""
    return _page(request)


@require_POST
@never_cache
@login_required
def save(request: HttpRequest) -> HttpResponse:
    """Keep one part of the page; what is wrong with it is said above the page, and nothing of it is kept."""
    person = person_of(request)
    form = _FORMS.get(request.POST.get("form", ""))
    if form is None:
        raise Http404
    try:
        said = form(request, person)
    except Refused as error:
        return _page(request, fault=(_field(request, error.code), str(error)))
    messages.success(request, said)
    return HttpResponseRedirect(reverse("resident:notifications"), status=303)


def _page(request: HttpRequest, *, fault: tuple[str, str] | None = None) -> HttpResponse:
    viewer = viewer_of(request)
    person = _whose(viewer)
    reader = Reader.of(viewer.user)
    context = {
        "tab": "profile",
        "parts": shown.account_parts(viewer, person, reader),
        "units": shown.units(),
        "spans": shown.spans(),
        "trickle": shown.trickle(reader),
        "phone": phone_of(person),
        "email": person.email,
        "read_only": viewer.read_only,
        "typed": request.POST,
        "faults": [] if fault is None else [fault],
        "fault": "" if fault is None else fault[0],
    }
    return render(request, "resident/notifications.html", context, status=422 if fault else 200)


def _whose(viewer: Viewer) -> User:
    """Return whose choices are shown: while staff look at an account, its first holder's."""
    if viewer.account is None:
        return viewer.user
    rows = AccountAccess.objects.filter(account=viewer.account, ended_at__isnull=True).select_related("user")
    holder = rows.filter(level=AccountAccess.Level.HOLDER).order_by("pk").first()
    return viewer.user if holder is None else holder.user


def _scope(request: HttpRequest, person: User) -> Scope:
    """Return the account and meter of a form; others than a person's own do not exist for them."""
    account = allowed_accounts(person, Permission.ALERTS).filter(public_id=request.POST.get("account", "")).first()
    if account is None:
        raise Http404
    code = request.POST.get("meter", "")
    if not code:
        return Scope(person, account)
    point = ServicePoint.objects.filter(public_id=code, occupancies__account=account).first()
    if point is None:
        raise Http404
    return Scope(person, account, point)


def _wish(request: HttpRequest, kind: Kind) -> Wish:
    """Return what a form wants of one of its kinds. Its fields are named `leak-on`, `leak-email`, ..."""
    posted, name = request.POST, kind.value
    number = posted.get(f"{name}-number", "")
    rule = RULES[kind]
    if rule.number is not None and not (number.isdecimal() and len(number) <= _DIGITS_MAX):
        raise Refused("number", _("Enter a whole number."))
    return Wish(
        on=f"{name}-on" in posted,
        by_email=f"{name}-email" in posted,
        by_sms=f"{name}-sms" in posted,
        number=int(number) if rule.number is not None else None,
    )


def _several(request: HttpRequest, person: User, kinds: tuple[Kind, ...]) -> str:
    scope = _scope(request, person)
    for kind in kinds:
        if f"{kind.value}-shown" not in request.POST:
            continue
        try:
            choose(scope, kind, _wish(request, kind))
        except Refused as error:
            part = {"phone": "sms", "channel": "email", "number": "number"}.get(error.code, "on")
            raise Refused(f"{kind.value}-{part}", f"{kind.label}: {error}") from error
    return _("Saved.")


def _meter(request: HttpRequest, person: User) -> str:
    return _several(request, person, shown.METER_KINDS)


def _general(request: HttpRequest, person: User) -> str:
    return _several(request, person, (*shown.BILL_KINDS, Kind.SERVICE))


def _due(request: HttpRequest, person: User) -> str:
    return _several(request, person, (Kind.BILL_DUE,))


def _add(request: HttpRequest, person: User) -> str:
    posted = request.POST
    add_threshold(
        _scope(request, person),
        per=posted.get("per", ""),
        amount=posted.get("amount", ""),
        unit=posted.get("unit", ""),
        by_email="email" in posted,
        by_sms="sms" in posted,
    )
    return _("Your limit was added. You will be told when it is passed.")


def _remove(request: HttpRequest, person: User) -> str:
    remove_threshold(person, request.POST.get("limit", ""))
    return _("The limit was removed.")


def _expected(request: HttpRequest, person: User) -> str:
    wish = _wish(request, Kind.PROJECTED)
    amount = number_from(request.POST.get("amount", "")) if wish.on else None
    choose(_scope(request, person), Kind.PROJECTED, Wish(wish.on, wish.by_email, wish.by_sms, amount=amount))
    return _("Saved.")


def _away(request: HttpRequest, person: User) -> str:
    posted = request.POST
    if posted.get("do") == "end":
        choose(_scope(request, person), Kind.VACATION, Wish(on=False))
        return _("You are back: the time away was removed.")
    wish = Wish(
        on=True,
        by_email="email" in posted,
        by_sms="sms" in posted,
        first_day=_day(posted.get("first-day", "")),
        last_day=_day(posted.get("last-day", "")),
    )
    choose(_scope(request, person), Kind.VACATION, wish)
    return _("Saved. You will be told of any use while you are away.")


def _test(request: HttpRequest, person: User) -> str:
    channel = Channel.SMS if request.POST.get("channel") == Channel.SMS else Channel.EMAIL
    send_test(person, channel)
    return _("A test message is on its way.")


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


_FORMS: dict[str, Callable[[HttpRequest, User], str]] = {
    "meter": _meter,
    "general": _general,
    "due": _due,
    "add-limit": _add,
    "remove-limit": _remove,
    "expected": _expected,
    "away": _away,
    "test": _test,
}
_FIELDS = {
    "add-limit": {"amount": "amount", "unit": "unit", "per": "per", "channel": "email", "phone": "sms", "many": ""},
    "expected": {"amount": "amount", "channel": "projected-email", "phone": "projected-sms"},
    "away": {"days": "first-day", "channel": "email", "phone": "sms"},
}


def _field(request: HttpRequest, code: str) -> str:
    """Return the id of the field that a fault is about: its form's key, a dash, its name."""
    form, key = request.POST.get("form", ""), request.POST.get("key", "")
    name = _FIELDS[form].get(code, "") if form in _FIELDS else code if "-" in code and code != "not-yours" else ""
    prefix = {"add-limit": "limit-", "away": "away-", "expected": "expected-"}.get(form, "")
    return f"{key}-{prefix}{name}" if name and key.isalnum() else ""

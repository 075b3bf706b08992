"""The household of an account: who was invited, who has access, and what the people who manage it change about that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access import guests, invitations
from portal.access.guest_letters import name_of, place_of
from portal.access.levels import LevelWords, grantable, level_words
from portal.access.viewing import person_of, viewer_of
from portal.billing.documents.figures import day
from portal.core.errors import Refused
from portal.core.services import utility_settings, utility_zone
from portal.customers.permissions import Level, Permission, allowed_accounts
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from portal.access.models import Invitation
    from portal.core.models import User
    from portal.customers.models import Account, AccountAccess
    from portal.customers.permissions import Viewer


@dataclass(frozen=True, slots=True)
class Pending:
    """One open invitation in words; own: whether the viewer may send it again and take it back."""

    public_id: str
    email: str
    level: LevelWords
    sent: str
    expires: str
    expired: bool
    own: bool


@dataclass(frozen=True, slots=True)
class Person:
    """One person with access in words; own: whether the viewer may change and remove them."""

    public_id: str
    name: str
    email: str
    level: LevelWords
    since: str
    is_viewer: bool
    own: bool


@dataclass(frozen=True, slots=True)
class HouseholdPage:
    """The household of one account. levels: those that the viewer may give; none for who may not invite."""

    account: Account
    place: str
    mine: LevelWords | None
    may_leave: bool
    manages: bool
    levels: tuple[LevelWords, ...]
    pending: tuple[Pending, ...]
    people: tuple[Person, ...]
    days: int


@require_GET
@never_cache
@login_required
def choose(request: HttpRequest) -> HttpResponse:
    """Lead to the household of the one account, or let the person choose among several."""
    accounts = list(allowed_accounts(viewer_of(request), Permission.USAGE))
    if len(accounts) == 1:
        return redirect("resident:household-account", public_id=accounts[0].public_id)
    rows = [(account, place_of(account)) for account in accounts]
    return render(request, "resident/household_choose.html", {"tab": "profile", "accounts": rows})


@require_GET
@never_cache
@login_required
def household(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show the household of one account."""
    viewer = viewer_of(request)
    return _page(request, viewer, _account_of(viewer, public_id, Permission.USAGE))


@require_POST
@never_cache
@login_required
def invite(request: HttpRequest, public_id: str) -> HttpResponse:
    """Invite somebody by email."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.MANAGE)
    email, level = request.POST.get("email", ""), request.POST.get("level", "")
    try:
        row = invitations.invite(account, email, level, actor=person, site=request.build_absolute_uri("/"))
    except Refused as error:
        typed = {"email": email[:254], "level": level}
        return _page(request, viewer_of(request), account, error=error, typed=typed)
    messages.success(request, _("The invitation is on its way to %(email)s.") % {"email": row.email})
    return _back(account)


@require_POST
@never_cache
@login_required
def again(request: HttpRequest, public_id: str, invitation: str) -> HttpResponse:
    """Send an invitation again, with a new link."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.MANAGE)
    try:
        row = invitations.send_again(
            _invitation_of(account, invitation), actor=person, site=request.build_absolute_uri("/")
        )
    except Refused as error:
        return _refused(request, account, error)
    messages.success(
        request, _("A new invitation is on its way to %(email)s. The link before is void.") % {"email": row.email}
    )
    return _back(account)


@require_POST
@never_cache
@login_required
def take_back(request: HttpRequest, public_id: str, invitation: str) -> HttpResponse:
    """Take an invitation back."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.MANAGE)
    row = _invitation_of(account, invitation)
    try:
        invitations.take_back(row, actor=person)
    except Refused as error:
        return _refused(request, account, error)
    messages.success(request, _("The invitation to %(email)s is taken back.") % {"email": row.email})
    return _back(account)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def guest(request: HttpRequest, public_id: str, guest: str) -> HttpResponse:
    """Show what a guest may do, and change it."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.MANAGE)
    row = _guest_of(account, guest)
    error = None
    if request.method == "POST":
        try:
            guests.change_level(row, request.POST.get("level", ""), actor=person)
        except Refused as refused:
            error = refused
        else:
            messages.success(request, _("Saved. %(name)s is told by email.") % {"name": name_of(row.user)})
            return _back(account)
    context = {
        **_about(account),
        "guest": _person(row, person, grantable(person, account)),
        "levels": grantable(person, account),
        "error": error,
        "field_at_fault": _field_at_fault(error, account, person),
    }
    return render(request, "resident/household_guest.html", context, status=422 if error else 200)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def remove(request: HttpRequest, public_id: str, guest: str) -> HttpResponse:
    """Ask whether a guest's access shall end, and end it."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.MANAGE)
    row = _guest_of(account, guest)
    if request.method == "POST":
        try:
            guests.remove(row, actor=person)
        except Refused as error:
            return _refused(request, account, error)
        messages.success(request, _("%(name)s has no access any more.") % {"name": name_of(row.user)})
        return _back(account)
    context = {**_about(account), "guest": _person(row, person, grantable(person, account))}
    return render(request, "resident/household_remove.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def leave(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask a guest whether they want to leave the account, and let them."""
    person = person_of(request)
    account = _account_of(person, public_id, Permission.USAGE)
    row = _guest_of(account, person.public_id)
    if request.method == "POST":
        try:
            guests.leave(row, actor=person)
        except Refused as error:
            return _refused(request, account, error)
        messages.success(request, _("You have left the account of %(place)s.") % {"place": place_of(account)})
        return HttpResponseRedirect(reverse("resident:household"), status=303)
    return render(request, "resident/household_leave.html", _about(account))


def _account_of(who: User | Viewer, public_id: str, permission: Permission) -> Account:
    """Return an account with which somebody may do something; any other does not exist for them."""
    found = allowed_accounts(who, permission).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _invitation_of(account: Account, public_id: str) -> Invitation:
    found = account.invitations.filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _guest_of(account: Account, public_id: str) -> AccountAccess:
    """Return somebody's access as a guest; a holder's, who is out of reach here, is not found either."""
    found = guests.people_of(account).exclude(level=Level.HOLDER).filter(user__public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _page(
    request: HttpRequest,
    viewer: Viewer,
    account: Account,
    *,
    error: Refused | None = None,
    typed: dict[str, str] | None = None,
) -> HttpResponse:
    context = {
        "tab": "profile",
        "page": _household(viewer, account),
        "several": allowed_accounts(viewer, Permission.USAGE).count() > 1,
        "error": error,
        "fault": error.code if error else "",
        "field_at_fault": _field_at_fault(error, account, viewer.user),
        "typed": typed or {},
    }
    return render(request, "resident/household.html", context, status=422 if error else 200)


def _household(viewer: Viewer, account: Account) -> HouseholdPage:
    people = list(guests.people_of(account))
    mine = next((row for row in people if row.user_id == viewer.user.pk), None)
    manages = allowed_accounts(viewer, Permission.MANAGE).filter(pk=account.pk).exists()
    levels = () if viewer.read_only else grantable(viewer.user, account)
    rows = list(invitations.open_invitations(account)) if manages else []
    return HouseholdPage(
        account=account,
        place=place_of(account),
        mine=level_words(mine.level) if mine else None,
        may_leave=mine is not None and mine.level != Level.HOLDER and not viewer.read_only,
        manages=manages,
        levels=levels,
        pending=tuple(_pending(row, levels) for row in rows),
        people=tuple(_person(row, viewer.user, levels) for row in people) if manages else (),
        days=utility_settings().invitation_days,
    )


def _pending(row: Invitation, levels: tuple[LevelWords, ...]) -> Pending:
    zone = utility_zone()
    return Pending(
        public_id=row.public_id,
        email=row.email,
        level=level_words(row.level),
        sent=moment_text(row.sent_at, zone),
        expires=moment_text(row.expires_at, zone),
        expired=row.expires_at <= datetime.now(UTC),
        own=any(words.level == row.level for words in levels),
    )


def _person(row: AccountAccess, viewer: User, levels: tuple[LevelWords, ...]) -> Person:
    return Person(
        public_id=row.user.public_id,
        name=row.user.get_full_name(),
        email=row.user.email,
        level=level_words(row.level),
        since=day(row.granted_at.astimezone(utility_zone()).date()),
        is_viewer=row.user_id == viewer.pk,
        own=row.user_id != viewer.pk and any(words.level == row.level for words in levels),
    )


def _about(account: Account) -> dict[str, object]:
    return {"tab": "profile", "account": account, "place": place_of(account)}


def _back(account: Account) -> HttpResponse:
    return HttpResponseRedirect(reverse("resident:household-account", args=[account.public_id]), status=303)


def _field_at_fault(error: Refused | None, account: Account, person: User) -> str:
    """Return the id of the field that the error summary leads to; empty where no field is to blame."""
    if error is None or error.code in ("not-yours", "too-many", "too-often", "closed", "gone"):
        return ""
    levels = grantable(person, account)
    return f"level-{levels[0].level}" if error.code in ("level", "yourself", "holder") and levels else "email"


def _refused(request: HttpRequest, account: Account, error: Refused) -> HttpResponse:
    """Say on the household's page why nothing was changed."""
    messages.error(request, str(error))
    return _back(account)

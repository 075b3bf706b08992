"""People who sign in: found by address, user name, name, telephone or account; locked, unlocked, helped back in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext
from django.views.decorators.http import require_http_methods

from portal.access.locking import CHANGE_USERS, lock, note_reset, remove_second_factor, take_account, unlock
from portal.core.accounts import ResetPasswordForm
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User
from portal.customers.models import Account
from portal.customers.permissions import Level
from portal.notifications.models import Phone
from portal.staff.listing import Cell, Listing, when
from portal.staff.people_list import NONE, person_state
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

SHOWN = 20
_SAID: dict[str, StrPromise] = {
    "lock": gettext_lazy("The sign-in is locked and every session has ended. The person is told by email."),
    "unlock": gettext_lazy("The person can sign in again and is told by email."),
    "reset": gettext_lazy("A link to choose a new password is on its way to the person's address."),
    "account": gettext_lazy("The account is taken off this sign-in. The person is told."),
    "second-factor": gettext_lazy("The second step is off and every session has ended. The person is told by email."),
}


@dataclass(frozen=True, slots=True)
class PersonPage:
    """Everything that the page shows of one person; nothing of it is a secret of theirs."""

    person: User
    state: Cell
    verified: bool
    phone: str
    factors: list[str]
    sessions: int
    last_sign_in: Cell
    accounts: Listing
    held: list[tuple[str, str]]
    sign_ins: Listing
    trail: Listing


def person_page(person: User) -> PersonPage:
    """Return the page of a person."""
    phone = Phone.objects.filter(user=person).first()
    factors = [str(row.get_type_display()) for row in Authenticator.objects.filter(user=person).order_by("type")]
    return PersonPage(
        person=person,
        state=person_state(person),
        verified=EmailAddress.objects.filter(user=person, email=person.email, verified=True).exists(),
        phone=phone.number if phone else NONE,
        factors=list(dict.fromkeys(factors)),
        sessions=UserSession.objects.filter(user=person).count(),
        last_sign_in=when(person.last_login) if person.last_login else Cell(_("never")),
        accounts=_accounts(person),
        held=list(
            person.account_access.filter(level=Level.HOLDER, ended_at=None)
            .order_by("account__number")
            .values_list("account__public_id", "account__number")
        ),
        sign_ins=_sign_ins(person),
        trail=_trail(person),
    )


def _accounts(person: User) -> Listing:
    rows = person.account_access.select_related("account").order_by("ended_at", "account__number")[:SHOWN]
    return Listing(
        _("Accounts"),
        (_("Account"), _("Name"), pgettext("what somebody is allowed", "May"), _("Since"), _("Until")),
        tuple(
            (
                Cell(row.account.number, href=reverse("staff:account", args=[row.account.public_id])),
                Cell(row.account.name or NONE),
                Cell(str(row.get_level_display())),
                when(row.granted_at),
                when(row.ended_at) if row.ended_at else Cell(_("goes on"), "good"),
            )
            for row in rows
        ),
        _("No account is linked to this sign-in."),
    )


def _sign_ins(person: User) -> Listing:
    rows = person.sign_ins.order_by("-at")[:SHOWN]
    return Listing(
        _("Sign-ins"),
        (_("At"), _("Result"), _("How"), _("Device"), _("Network")),
        tuple(
            (
                when(row.at),
                Cell(_("signed in"), "good") if row.succeeded else Cell(_("refused"), "bad"),
                Cell(row.method or NONE),
                Cell(row.device or NONE),
                Cell(row.network or NONE, "code"),
            )
            for row in rows
        ),
        _("No sign-in yet."),
    )


def _trail(person: User) -> Listing:
    rows = AuditEntry.objects.filter(target_type="core.user", target_id=person.public_id).select_related("actor")
    return Listing(
        _("Who did what"),
        (_("At"), _("Who"), _("What"), _("Reason")),
        tuple(
            (
                when(row.at),
                Cell(row.actor.get_full_name() if row.actor else row.actor_label),
                Cell(row.action, "code"),
                Cell(row.reason or NONE),
            )
            for row in rows.order_by("-pk")[:SHOWN]
        ),
        _("Nothing was changed by hand."),
    )


@require_http_methods(["GET", "POST"])
@staff_only
def person(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one person; a POST locks, unlocks, sends a link to a new password, or takes a second factor off."""
    row = get_object_or_404(User, public_id=public_id)
    context: dict[str, Any] = {"reason": request.POST.get("reason", "")[:400]}
    if request.method == "POST":
        action = request.POST.get("action", "")
        if action not in _SAID:
            return HttpResponse(status=400)
        try:
            _act(request, row, action)
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            messages.success(request, str(_SAID[action]))
            return HttpResponseRedirect(reverse("staff:person", args=[row.public_id]))
        row.refresh_from_db()
    actor = actor_of(request)
    context |= {"page": person_page(row), "own": actor.pk == row.pk, "may_change": actor.has_perm(CHANGE_USERS)}
    return page(request, "staff/person.html", "people", context, status=422 if "error" in context else 200)


def _act(request: HttpRequest, row: User, action: str) -> None:
    actor, reason = actor_of(request), request.POST.get("reason", "")
    if action == "lock":
        lock(row, actor=actor, reason=reason)
    elif action == "unlock":
        unlock(row, actor=actor, reason=reason)
    elif action == "account":
        chosen = Account.objects.filter(public_id=request.POST.get("account", "")).first()
        take_account(row, chosen, actor=actor, reason=reason)
    elif action == "second-factor":
        remove_second_factor(row, actor=actor, reason=reason, identity_checked=request.POST.get("identity") == "yes")
    else:
        form = ResetPasswordForm({"email": note_reset(row, actor=actor).email})
        if form.is_valid():
            form.save(request)

"""Registering with a bill, and linking more accounts to a sign-in. Pages only; the rules are `portal.access`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from portal.access.clients import address_of, home_of
from portal.access.forms import NewSignInForm, ProofForm
from portal.access.registration import claim, link_account, unlink
from portal.access.viewing import person_of, viewer_of
from portal.billing.preferences import emailed_to
from portal.core.errors import Refused
from portal.customers.models import Account, AccountAccess
from portal.customers.permissions import Level, Permission, allowed_accounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.core.models import User

_PROVED = "proved_account"
"""In the session of whoever knew what a bill says: {"account": public id, "until": seconds, "used": for a sign-in}."""
_PROOF_LASTS = timedelta(minutes=30)


@require_http_methods(["GET", "POST"])
@never_cache
def register(request: HttpRequest) -> HttpResponse:
    """Ask for what the most recent bill says."""
    if request.user.is_authenticated:
        return redirect("resident:accounts")
    form = ProofForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (account := form.prove(home_of(address_of(request)))):
        _remember_proof(request, account)
        return HttpResponseRedirect(reverse("resident:register-sign-in"), status=303)
    return _answer(request, "resident/register.html", form)


@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("password1", "password2")
@never_cache
def register_sign_in(request: HttpRequest) -> HttpResponse:
    """Ask how somebody who proved an account will sign in."""
    if request.user.is_authenticated:
        return redirect("resident:accounts")
    account = _proved(request, for_sign_up=True)
    if account is None:
        messages.error(request, _("Half an hour has passed, or your sign-in was made already. Please start again."))
        return redirect("resident:register")
    form = NewSignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        # Whether the address was new or not: one proof makes one sign-in, and sends one mail.
        request.session[_PROVED] = {**request.session[_PROVED], "used": True}
        return form.sign_up(request, then=lambda user: claim(user, account))
    return _answer(request, "resident/register_sign_in.html", form)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def accounts(request: HttpRequest) -> HttpResponse:
    """Show the accounts of a sign-in; link one more with what its bill says."""
    person = person_of(request)
    form = ProofForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (account := form.prove(home_of(address_of(request)))):
        return _linked(request, person, account)
    viewer = viewer_of(request)
    waiting = _proved(request)
    if waiting is not None and allowed_accounts(person, Permission.OWN).filter(pk=waiting.pk).exists():
        waiting = None
    access = AccountAccess.objects.filter(user=viewer.user, ended_at__isnull=True).select_related("account")
    if viewer.account is not None:
        access = AccountAccess.objects.none()
    context = {
        "access": access.order_by("account__number"),
        "waiting": waiting,
        "holder": Level.HOLDER.value,
        "tab": "profile",
    }
    return _answer(request, "resident/accounts.html", form, context)


@require_POST
@never_cache
@login_required
def link_proved(request: HttpRequest) -> HttpResponse:
    """Link the account that was proved just before signing in."""
    account = _proved(request)
    if account is None:
        messages.error(request, _("Half an hour has passed. Please type once more what your bill says."))
        return redirect("resident:accounts")
    return _linked(request, person_of(request), account)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def unlink_account(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask once more, then let an account go."""
    person = person_of(request)
    account = allowed_accounts(person, Permission.OWN).filter(public_id=public_id).first()
    if account is None:
        raise Http404
    if request.method == "POST":
        try:
            unlink(person, account)
        except Refused as error:
            messages.error(request, str(error))
        else:
            messages.success(request, _("Done. This account is not linked to your sign-in any more."))
        return HttpResponseRedirect(reverse("resident:accounts"), status=303)
    others = AccountAccess.objects.filter(account=account, ended_at__isnull=True).exclude(user=person)
    context = {
        "account": account,
        "guests_lose": others.exists() and not others.filter(level=Level.HOLDER).exists(),
        "bills_lose": emailed_to(person.email).filter(account=account, paper=False).exists(),
        "tab": "profile",
    }
    return render(request, "resident/account_unlink.html", context)


def _linked(request: HttpRequest, person: User, account: Account) -> HttpResponse:
    link_account(person, account)
    request.session.pop(_PROVED, None)
    messages.success(request, _("Account %(number)s is linked to your sign-in.") % {"number": account.number})
    return HttpResponseRedirect(reverse("resident:accounts"), status=303)


def _remember_proof(request: HttpRequest, account: Account) -> None:
    until = (datetime.now(UTC) + _PROOF_LASTS).timestamp()
    request.session[_PROVED] = {"account": account.public_id, "until": until, "used": False}


def _proved(request: HttpRequest, *, for_sign_up: bool = False) -> Account | None:
    """Return the account that was proved in this session within the last half hour."""
    proof = request.session.get(_PROVED)
    if not isinstance(proof, dict) or proof["until"] <= datetime.now(UTC).timestamp():
        return None
    if for_sign_up and proof["used"]:
        return None
    return Account.objects.filter(public_id=proof["account"]).first()


def _answer(
    request: HttpRequest, template: str, form: ProofForm | NewSignInForm, context: Mapping[str, object] | None = None
) -> HttpResponse:
    return render(request, template, {"form": form, **(context or {})}, status=422 if form.errors else 200)

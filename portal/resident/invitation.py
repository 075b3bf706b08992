"""The page behind the link of an invitation: what is offered, and the ways to accept it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from allauth.account.models import EmailAddress
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from portal.access.forms import NewSignInForm
from portal.access.guest_letters import name_of, place_of
from portal.access.invitations import accept, belongs_to, offered
from portal.access.levels import level_words
from portal.core.errors import Refused
from portal.core.models import User
from portal.core.services import utility_zone
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from portal.access.models import Invitation


@require_http_methods(["GET", "POST"])
@never_cache
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show what an invitation offers; only a form that is sent accepts it."""
    row = offered(token)
    if row is None:
        return _void(request)
    user = request.user
    try:
        if isinstance(user, User):
            return _signed_in(request, token, row, user)
        if _has_sign_in(row.email):
            return _page(request, token, row, way="sign-in")
        return _newcomer(request, token, row)
    except Refused as error:
        if error.code == "invitation":
            return _void(request)
        raise


def _signed_in(request: HttpRequest, token: str, row: Invitation, user: User) -> HttpResponse:
    if not belongs_to(row, user):
        status = 403 if request.method == "POST" else 200
        return _page(request, token, row, way="somebody-else", status=status)
    if request.method != "POST":
        return _page(request, token, row, way="accept")
    access = accept(token, user)
    shown = {"place": place_of(access.account)}
    messages.success(request, _("Welcome. You now have access to the water account of %(place)s.") % shown)
    return HttpResponseRedirect("/", status=303)


def _newcomer(request: HttpRequest, token: str, row: Invitation) -> HttpResponse:
    if request.method != "POST":
        return _page(request, token, row, way="new", form=NewSignInForm(email=row.email))
    form = NewSignInForm(request.POST, email=row.email)
    if not form.is_valid():
        return _page(request, token, row, way="new", form=form, status=422)
    return form.sign_up(request, then=lambda user: accept(token, user), verified=True)


def _has_sign_in(email: str) -> bool:
    confirmed = EmailAddress.objects.filter(email__iexact=email, verified=True)
    return User.objects.filter(email=email).exists() or confirmed.exists()


def _page(
    request: HttpRequest,
    token: str,
    row: Invitation,
    *,
    way: str,
    form: NewSignInForm | None = None,
    status: int = 200,
) -> HttpResponse:
    here = reverse("resident:invitation", args=[token])
    context = {
        "way": way,
        "form": form,
        "who": name_of(row.invited_by),
        "place": place_of(row.account),
        "level": level_words(row.level),
        "email": row.email,
        "until": moment_text(row.expires_at, utility_zone()),
        "here": here,
        "sign_in": f"{reverse('account_login')}?{urlencode({'next': here})}",
    }
    return render(request, "resident/invitation.html", context, status=status)


def _void(request: HttpRequest) -> HttpResponse:
    """Say the same of every link that does not work: unknown, used, void and expired are not told apart."""
    return render(request, "resident/invitation_void.html", status=404)

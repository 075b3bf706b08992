"""The profile's pages about signing in: password, second step, passkeys, past sign-ins, open sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.decorators import reauthentication_required
from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.access.looking import looks_at
from portal.access.passkeys import passkeys_of, remove_passkey
from portal.access.sign_ins import end_sessions, history_of, sessions_of
from portal.access.viewing import person_of
from portal.core.services import utility_zone
from portal.resident.wording import moment_text

if TYPE_CHECKING:
    from portal.access.models import SignIn


@require_GET
@never_cache
@login_required
def security(request: HttpRequest) -> HttpResponse:
    """Show how the person signs in, and what they can add."""
    person = person_of(request)
    kinds = {row.type: row for row in Authenticator.objects.filter(user=person)}
    codes = kinds.get(Authenticator.Type.RECOVERY_CODES)
    context = {
        "person": person,
        "app": Authenticator.Type.TOTP in kinds,
        "passkeys": passkeys_of(person),
        "codes": None if codes is None else len(codes.wrap().get_unused_codes()),
        "tab": "profile",
    }
    return render(request, "resident/security.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def passkey(request: HttpRequest, key: str) -> HttpResponse:
    """Ask once more, then remove a passkey."""
    person = person_of(request)
    found = next((one for one in passkeys_of(person) if one.id == key), None)
    if found is None:
        raise Http404
    if request.method == "POST":
        remove_passkey(request, person, key)
        return HttpResponseRedirect(reverse("resident:security"), status=303)
    return render(request, "resident/passkey_remove.html", {"passkey": found, "tab": "profile"})


@require_GET
@never_cache
@login_required
def sign_ins(request: HttpRequest) -> HttpResponse:
    """Show where the person is signed in now, and their sign-ins of the last 90 days."""
    person = person_of(request)
    zone = utility_zone()
    sessions = sessions_of(person, current=request.session.session_key)
    context = {
        "sessions": [(one, moment_text(one.since, zone)) for one in sessions],
        "history": [(one, moment_text(one.at, zone), _how(one)) for one in history_of(person)],
        "looks": [(one.account, moment_text(one.at, zone)) for one in looks_at(person)],
        "tab": "profile",
    }
    return render(request, "resident/sign_ins.html", context)


def _how(one: SignIn) -> str:
    names = {
        "password": _("password"),
        "code": _("password and code"),
        "passkey": _("passkey"),
        "link": _("link in an email"),
    }
    return names.get(one.method, one.method)


@require_POST
@never_cache
@login_required
def sign_out_elsewhere(request: HttpRequest) -> HttpResponse:
    """End every other session of the person, or (`everywhere`) this one too."""
    person = person_of(request)
    if request.POST.get("everywhere"):
        end_sessions(person, actor=person)
        request.session.flush()
        return redirect("account_login")
    ended = end_sessions(person, actor=person, but=request)
    text = ngettext("You were signed out in %(n)d place.", "You were signed out in %(n)d places.", ended)
    messages.success(request, text % {"n": ended} if ended else _("You were signed in nowhere else."))
    return HttpResponseRedirect(reverse("resident:sign-ins"), status=303)

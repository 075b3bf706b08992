"""Whether a home takes part in comparisons with similar homes: its holder's choice, one for each account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from portal.access.viewing import person_of, viewer_of
from portal.comparison.services import leave_out, left_out
from portal.customers.permissions import Permission, allowed_accounts

if TYPE_CHECKING:
    from portal.core.models import User


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def comparisons(request: HttpRequest) -> HttpResponse:
    """Show for each account whether its homes are compared; change it."""
    if request.method == "POST":
        return _change(request, person_of(request))
    accounts = allowed_accounts(viewer_of(request), Permission.MANAGE)
    rows = [(account, left_out(account)) for account in accounts]
    return render(request, "resident/comparisons.html", {"tab": "profile", "rows": rows})


def _change(request: HttpRequest, person: User) -> HttpResponse:
    account = allowed_accounts(person, Permission.MANAGE).filter(public_id=request.POST.get("account", "")).first()
    if account is None:
        raise Http404
    out = request.POST.get("take-part") != "yes"
    leave_out(account, out=out, actor=person)
    said = _("Your home is left out of comparisons now.") if out else _("Your home takes part in comparisons again.")
    messages.success(request, said)
    return redirect("resident:comparisons")

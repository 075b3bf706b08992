"""What the customer sees: staff open a look at one account, with a reason, and end it; tries to register, cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from portal.access.looking import REASON_CHARS_MAX, end_look, start_look
from portal.access.registration import clear_tries
from portal.core.errors import Refused
from portal.customers.models import Account
from portal.staff.views import actor_of, page, staff_only

if TYPE_CHECKING:
    from collections.abc import Mapping


@require_http_methods(["GET", "POST"])
@staff_only
def look(request: HttpRequest, public_id: str) -> HttpResponse:
    """Ask for a reason; with one, lead to the account's pages as its holder sees them."""
    account = get_object_or_404(Account, public_id=public_id)
    reason = request.POST.get("reason", "")[: 2 * REASON_CHARS_MAX]
    context: Mapping[str, Any] = {"account": account, "reason": reason}
    if request.method == "POST":
        try:
            start_look(request, account, reason=reason)
        except Refused as error:
            return page(request, "staff/customer_view.html", "accounts", {**context, "error": str(error)}, status=422)
        return HttpResponseRedirect(reverse("resident:home"))
    return page(request, "staff/customer_view.html", "accounts", {**context})


@require_POST
@staff_only
def clear(request: HttpRequest, public_id: str) -> HttpResponse:
    """Let the customer of an account try to register again today."""
    account = get_object_or_404(Account, public_id=public_id)
    clear_tries(account, actor=actor_of(request))
    messages.success(request, _("The account can be registered again today: five tries."))
    return HttpResponseRedirect(reverse("staff:account", args=[account.public_id]))


@require_POST
@staff_only
def end(request: HttpRequest) -> HttpResponse:
    """End the look and go back to the account's page."""
    account = end_look(request)
    if account is None:
        return HttpResponseRedirect(reverse("staff:accounts"))
    messages.success(request, _("The look is over. It stands in the list of who did what."))
    return HttpResponseRedirect(reverse("staff:account", args=[account.public_id]))

"""The residents' bill pages: what is owed, every bill that was sent, one bill explained, its PDF, how bills come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from portal.access.viewing import person_of, viewer_of
from portal.billing.delivery import deliveries_of
from portal.billing.documents.facts import facts_of
from portal.billing.documents.pdf import render_pdf
from portal.billing.documents.words import LANGUAGES, words_of
from portal.billing.preferences import Delivery, set_delivery
from portal.billing.visible import visible_bills
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.permissions import Permission, may
from portal.resident.bill_pages import bill_row, billed_accounts, bills_page
from portal.resident.costs import cost_card

if TYPE_CHECKING:
    from portal.billing.models import Bill
    from portal.core.models import User
    from portal.customers.models import Account
    from portal.customers.permissions import Viewer

PAPER = "paper"


def _account_of(user: User | Viewer, public_id: str) -> Account:
    """Return an account whose bills a person may see; any other does not exist for them."""
    found = billed_accounts(user).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


def _bill_of(user: User | Viewer, public_id: str) -> Bill:
    """Return a bill that a person may see; any other does not exist for them."""
    found = visible_bills(user).select_related("account").filter(public_id=public_id).first()
    if found is None:
        raise Http404
    return found


@require_GET
@never_cache
@login_required
def bills(request: HttpRequest) -> HttpResponse:
    """Lead to the bills of the first account, or say that there are none."""
    account = billed_accounts(viewer_of(request)).first()
    if account is None:
        return render(request, "resident/bills_none.html", {"tab": "bills"})
    return redirect("resident:account-bills", public_id=account.public_id)


@require_GET
@never_cache
@login_required
def account_bills(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one account's bills."""
    user = viewer_of(request)
    return _account_page(request, user, _account_of(user, public_id))


def _account_page(request: HttpRequest, who: User | Viewer, account: Account, *, error: str = "") -> HttpResponse:
    everything = request.GET.get("all") == "1"
    moment = now()
    today = moment.astimezone(utility_zone()).date()
    context = {
        "page": bills_page(who, account, everything=everything, today=today),
        "cost": cost_card(account, moment),
        "tab": "bills",
        "languages": _languages(),
        "error": error,
    }
    return render(request, "resident/bills.html", context, status=422 if error else 200)


def _languages() -> list[tuple[str, str]]:
    names = {"en": "English", "es": "Español"}  # each in its own words
    return [(code, names.get(code, code)) for code in LANGUAGES]


@require_GET
@never_cache
@login_required
def bill(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one bill and how it came about, in the language of the page."""
    user = viewer_of(request)
    row = _bill_of(user, public_id)
    replaced_by = visible_bills(user).filter(replaces=row).order_by("-pk").first()
    context = {
        "row": bill_row(row),
        "account": row.account,
        "words": words_of(facts_of(row), _language()),
        "deliveries": deliveries_of(row),
        "replaced_by": None if replaced_by is None else bill_row(replaced_by),
        "tab": "bills",
    }
    return render(request, "resident/bill.html", context)


@require_GET
@never_cache
@login_required
def pdf(request: HttpRequest, public_id: str) -> HttpResponse:
    """Give out a bill as a PDF, in the language that is asked for or else that of the page."""
    row = _bill_of(viewer_of(request), public_id)
    asked = request.GET.get("language", "")
    language = asked if asked in LANGUAGES else _language()
    headers = {"Content-Disposition": f'attachment; filename="water-bill-{row.number}.pdf"'}
    return HttpResponse(render_pdf(facts_of(row), language), content_type="application/pdf", headers=headers)


@require_POST
@never_cache
@login_required
def delivery(request: HttpRequest, public_id: str) -> HttpResponse:
    """Keep how an account's bills are to come."""
    user = person_of(request)
    account = _account_of(user, public_id)
    if not may(user, Permission.MANAGE, account):
        raise Http404
    way = request.POST.get("way", "")
    chosen = Delivery(way == PAPER, "" if way == PAPER else way, request.POST.get("language", ""))
    try:
        set_delivery(account, chosen, actor=user)
    except Refused as error:
        return _account_page(request, user, account, error=str(error))
    messages.success(request, _("Saved. It holds from your next bill on."))
    return HttpResponseRedirect(reverse("resident:account-bills", args=[account.public_id]), status=303)


def _language() -> str:
    return (get_language() or "en")[:2]

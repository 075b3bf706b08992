"""Accounts: the one search box, the page of one account, and what staff change on it through the services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods

from portal.access.registration import tries_today
from portal.billing.agreements import LANGUAGES, Terms, change_agreement, set_delivery
from portal.billing.bills import final_bill, preview
from portal.billing.models import Bill, BillingAccount, ServiceAgreement
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.models import Account
from portal.ledger.services import balances
from portal.staff.account_page import account_page
from portal.staff.forms import Field, fields_of
from portal.staff.listing import Cell, Listing, money
from portal.staff.preview import preview_page
from portal.staff.rate_facts import book_on
from portal.staff.search import SEARCH_CHARS_MAX, find
from portal.staff.views import actor_of, day_of, page, staff_only
from rates.errors import RatesError

if TYPE_CHECKING:
    from datetime import date

    from portal.staff.search import Found
    from rates.book import Book


def _today() -> date:
    return now().astimezone(utility_zone()).date()


@require_GET
@staff_only
def search(request: HttpRequest) -> HttpResponse:
    """Find accounts; what fits one account alone goes straight to it."""
    text = request.GET.get("q", "").strip()[:SEARCH_CHARS_MAX]
    found = find(text)
    if found.exact:
        return HttpResponseRedirect(reverse("staff:account", args=[found.accounts[0].public_id]))
    context = {"search": text, "listing": _hits(found) if text else None, "more": found.more}
    return page(request, "staff/accounts.html", "accounts", context)


def _hits(found: Found) -> Listing:
    owed = balances([account.pk for account in found.accounts])
    rows = []
    for account in found.accounts:
        lived = account.lived  # type: ignore[attr-defined]
        living = next((row for row in lived if row.end is None), None)
        place = living or next(iter(lived), None)
        rows.append(
            (
                Cell(account.number, href=reverse("staff:account", args=[account.public_id])),
                Cell(account.name or "\N{EN DASH}"),
                Cell(place.service_point.premise.address if place else "\N{EN DASH}"),
                Cell(_("lives there"), "good") if living else Cell(_("moved out"), "warn"),
                money(owed[account.pk]),
            )
        )
    return Listing(
        _("Accounts"),
        (_("Account"), _("Name"), _("Place"), _("State"), _("Balance")),
        tuple(rows),
        _("No account is like it. Try a part of the name or the street, or the number of the meter or a bill."),
    )


@require_GET
@staff_only
def account(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one account."""
    row = get_object_or_404(Account, public_id=public_id)
    return page(
        request,
        "staff/account.html",
        "accounts",
        {"page": account_page(row), "today": _today(), "tries": tries_today(row)},
    )


@require_http_methods(["GET", "POST"])
@staff_only
def delivery(request: HttpRequest, public_id: str) -> HttpResponse:
    """Choose how the bills of an account reach it."""
    row = get_object_or_404(Account.objects.select_related("billing"), public_id=public_id)
    billing = BillingAccount.objects.filter(account=row).first()
    chosen: dict[str, Any] = {
        "email": billing.email if billing else "",
        "paper": billing.paper if billing else False,
        "language": billing.language if billing else "en",
        "mail_to": billing.mail_to if billing else "",
    }
    context: dict[str, Any] = {"account": row, "chosen": chosen, "languages": LANGUAGES}
    if request.method == "POST":
        chosen |= {key: request.POST.get(key, "")[:500] for key in ("email", "language", "mail_to")}
        chosen["paper"] = request.POST.get("way") == "paper"
        try:
            set_delivery(row, **chosen, actor=actor_of(request))
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            messages.success(request, _("Bills go out as chosen from now on."))
            return HttpResponseRedirect(reverse("staff:account", args=[row.public_id]))
    return page(request, "staff/delivery.html", "accounts", context, status=422 if "error" in context else 200)


@require_http_methods(["GET", "POST"])
@staff_only
def agreement(request: HttpRequest, public_id: str) -> HttpResponse:
    """Change the terms of an agreement from a day on: first the day and the class, then what the class depends on."""
    row = get_object_or_404(
        ServiceAgreement.objects.select_related("account", "service_point__premise"), public_id=public_id
    )
    asked = request.POST if request.method == "POST" else request.GET
    context: dict[str, Any] = {"agreement": row, "reason": asked.get("reason", "")[:200]}
    day, book, error = _today(), None, None
    try:
        day = day_of(asked["on"]) if asked.get("on") else day
    except Refused as refused:
        error = refused
    book = book_on(day)
    rate_class = asked.get("rate_class", row.rate_class)[:40]
    fields = fields_of(book, rate_class, day, row.inputs)
    context |= {
        "on": asked.get("on", day.isoformat())[:10],
        "rate_class": rate_class,
        "classes": _classes(book, day, rate_class),
        "fields": fields,
    }
    if request.method == "POST" and error is None:
        try:
            return _change(request, row, day, rate_class, fields, book)
        except Refused as refused:
            error = refused
    if error is not None:
        context |= {"error": str(error), "fault": error.code}
    return page(request, "staff/agreement.html", "accounts", context, status=422 if error else 200)


def _classes(book: Book | None, day: date, chosen: str) -> list[str]:
    known = list(book.classes(day)) if book is not None else []
    return known if chosen in known else [chosen, *known]


def _change(
    request: HttpRequest,
    row: ServiceAgreement,
    day: date,
    rate_class: str,
    fields: list[Field],
    book: Book | None,
) -> HttpResponse:
    for field in fields:
        field.value = request.POST.get(f"input-{field.name}", "").strip()[:80]
    inputs = {field.name: field.parsed() for field in fields if field.value != ""}
    terms = Terms(rate_class, inputs, tuple(row.services))
    _changed, touched = change_agreement(
        row, terms, day, reason=request.POST.get("reason", ""), book=book, actor=actor_of(request)
    )
    messages.success(request, _("The terms hold from that day on."))
    if touched:
        names = ", ".join(bill.number or _("a draft") for bill in touched[:6])
        text = ngettext(
            "%(n)s bill was made with the former terms and stays as it is until it is cancelled: %(names)s.",
            "%(n)s bills were made with the former terms and stay as they are until they are cancelled: %(names)s.",
            len(touched),
        )
        messages.warning(request, text % {"n": len(touched), "names": names})
    return HttpResponseRedirect(reverse("staff:account", args=[row.account.public_id]))


@require_http_methods(["GET", "POST"])
@staff_only
def final(request: HttpRequest, public_id: str) -> HttpResponse:
    """Make the final bill of an account for a day on which it ends."""
    row = get_object_or_404(Account, public_id=public_id)
    context: dict[str, Any] = {"account": row, "on": request.POST.get("on", _today().isoformat())[:10]}
    if request.method == "POST":
        try:
            bill = _closed(request, row, context["on"])
        except Refused as error:
            context |= {"error": str(error), "fault": error.code}
        else:
            if bill.state == Bill.State.ISSUED:
                messages.success(request, _("The account is closed and the final bill is issued."))
            else:
                messages.warning(request, _("The account is closed; its final bill is held. Look at it."))
            return HttpResponseRedirect(reverse("staff:bill", args=[bill.public_id]))
    return page(request, "staff/final.html", "accounts", context, status=422 if "error" in context else 200)


def _closed(request: HttpRequest, row: Account, on: str) -> Bill:
    if request.POST.get("sure") != "yes":
        raise Refused("sure", _("Say that you are sure: the agreements end and the bill goes out."))
    return final_bill(row, day_of(on), actor_of(request))


@require_GET
@staff_only
def next_bill(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show what the next bill would be; nothing is written."""
    row = get_object_or_404(Account, public_id=public_id)
    context: dict[str, Any] = {"account": row}
    try:
        context |= preview_page(preview(row))
    except (Refused, RatesError) as error:
        context["error"] = str(error)
    return page(request, "staff/preview.html", "accounts", context, status=422 if "error" in context else 200)

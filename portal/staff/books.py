"""The books as staff read them: the journal with its reversals, and receivables by age."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db.models import Q, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from portal.billing.fees import returned_payment
from portal.billing.models import Bill
from portal.billing.nightly import policies_on
from portal.billing.reversals import REVERSIBLE, reverse_by_hand
from portal.core.errors import Refused
from portal.customers.models import Account
from portal.ledger.models import JournalEntry, Posting
from portal.ledger.services import Ages, aging, today
from portal.staff.listing import ROWS_PER_PAGE, Cell, Listing, day, dollars, money, page_of, when
from portal.staff.views import actor_of, day_of, page, page_number, staff_only
from rates.policies import Policies

if TYPE_CHECKING:
    from datetime import date

    from django.db.models import QuerySet

NONE = "\N{EN DASH}"
KIND_TEXTS = {
    "bill": gettext_lazy("bill"),
    "payment": gettext_lazy("payment"),
    "reversal": gettext_lazy("reversal"),
    "adjustment": gettext_lazy("adjustment"),
    "deposit": gettext_lazy("deposit"),
    "deposit-return": gettext_lazy("deposit given back"),
    "opening": gettext_lazy("opening balance"),
}


@require_GET
@staff_only
def journal(request: HttpRequest) -> HttpResponse:
    """Search the journal by account number, key or memo, within days; the newest first."""
    asked = {name: request.GET.get(name, "").strip()[:80] for name in ("q", "from", "to")}
    context: dict[str, Any] = {"asked": asked, "number": page_number(request)}
    try:
        start, end = (day_of(asked[name]) if asked[name] else None for name in ("from", "to"))
    except Refused as error:
        start = end = None
        context["error"] = str(error)
    rows, more = page_of(_entries(asked["q"], start, end), context["number"])
    sums = Posting.objects.filter(entry__in=rows, amount_cents__gt=0).values_list("entry").annotate(Sum("amount_cents"))
    cents = dict(sums.order_by())
    names = dict(Posting.objects.filter(entry__in=rows, account__isnull=False).values_list("entry", "account__number"))
    context["listing"] = Listing(
        _("Journal"),
        (_("Day"), _("What"), _("Account"), _("Amount"), _("Memo"), _("Posted by")),
        tuple(
            (
                Cell(row.date.isoformat(), href=reverse("staff:entry", args=[row.public_id])),
                Cell(str(KIND_TEXTS.get(row.kind, row.kind)))
                if not hasattr(row, "reversed_by")
                else Cell(_("%s, reversed") % KIND_TEXTS.get(row.kind, row.kind), "warn"),
                Cell(names.get(row.pk, NONE), "code"),
                money(cents.get(row.pk, 0)),
                Cell(row.memo or NONE),
                Cell(row.actor.get_full_name() if row.actor else row.actor_label),
            )
            for row in rows
        ),
        _("Nothing matches."),
    )
    query = "&".join(f"{name}={value}" for name, value in asked.items() if value)
    context |= {"query": query, "previous": context["number"] - 1, "following": context["number"] + 1 if more else 0}
    return page(request, "staff/money_journal.html", "journal", context, status=422 if "error" in context else 200)


def _entries(search: str, start: date | None, end: date | None) -> QuerySet[JournalEntry]:
    found = JournalEntry.objects.select_related("actor", "reversed_by").order_by("-pk")
    if start is not None:
        found = found.filter(date__gte=start)
    if end is not None:
        found = found.filter(date__lte=end)
    if search:
        of_account = Posting.objects.filter(account__in=Account.objects.filter(number=search)).values("entry")
        found = found.filter(Q(key__icontains=search) | Q(memo__icontains=search) | Q(pk__in=of_account))
    return found


@require_http_methods(["GET", "POST"])
@staff_only
def entry(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show one entry with its postings; a POST reverses it, or takes back a payment that the bank returned."""
    found = JournalEntry.objects.select_related("actor", "reverses", "reversed_by")
    row = get_object_or_404(found, public_id=public_id)
    context: dict[str, Any] = {}
    if request.method == "POST":
        try:
            made = _take_back(request, row)
        except Refused as error:
            context = {"error": str(error), "typed": request.POST.get("reason", "")[:200]}
        else:
            messages.success(request, _("The entry is reversed; both stay."))
            return HttpResponseRedirect(reverse("staff:entry", args=[made.public_id]), status=303)
    legs = row.postings.select_related("ledger_account", "account").order_by("pk")
    context |= {
        "entry": row,
        "kind": KIND_TEXTS.get(row.kind, row.kind),
        "posted_at": when(row.posted_at).text,
        "actor": row.actor.get_full_name() if row.actor else row.actor_label,
        "bill": Bill.objects.filter(entry=row).first(),
        "reversed_by": getattr(row, "reversed_by", None),
        "reversible": row.kind in REVERSIBLE and not hasattr(row, "reversed_by"),
        "payment": row.kind == "payment",
        "legs": Listing(
            _("Postings"),
            (_("Ledger account"), _("Account"), _("Service"), _("Due on"), _("Debit"), _("Credit")),
            tuple(
                (
                    Cell(str(leg.ledger_account)),
                    Cell(leg.account.number, href=reverse("staff:account", args=[leg.account.public_id]))
                    if leg.account
                    else Cell(NONE),
                    Cell(leg.service or NONE),
                    day(leg.due_on, NONE),
                    Cell(dollars(leg.amount_cents) if leg.amount_cents > 0 else NONE, "number"),
                    Cell(dollars(-leg.amount_cents) if leg.amount_cents < 0 else NONE, "number"),
                )
                for leg in legs
            ),
            "",
        ),
    }
    return page(request, "staff/money_entry.html", "journal", context, status=422 if "error" in context else 200)


def _take_back(request: HttpRequest, row: JournalEntry) -> JournalEntry:
    reason, actor = request.POST.get("reason", "")[:200], actor_of(request)
    if request.POST.get("action") == "returned":
        if not reason.strip():
            raise Refused("reason", _("Write what the bank said."))
        return returned_payment(row, reason=reason, rules=policies_on(today()) or Policies(), actor=actor)[0]
    return reverse_by_hand(row, reason=reason, actor=actor)


@require_GET
@staff_only
def ages(request: HttpRequest) -> HttpResponse:
    """Show receivables by age on a day: the totals, and the accounts that owe longest first."""
    on, context = today(), dict[str, Any]()
    try:
        on = day_of(request.GET["on"]) if request.GET.get("on") else on
    except Refused as error:
        context["error"] = str(error)
    found, number = aging(on), page_number(request)
    ordered = sorted(found.accounts.items(), key=lambda each: _longest(each[1]))
    rows = ordered[(number - 1) * ROWS_PER_PAGE : number * ROWS_PER_PAGE]
    accounts = Account.objects.in_bulk([account for account, _ages in rows])
    total = found.total
    context |= {
        "on": on.isoformat(),
        "total": [(text, dollars(cents)) for text, cents in zip(_heads(), _cents(total), strict=True)],
        "accounts": f"{len(found.accounts):,}",
        "listing": Listing(
            _("Accounts that owe"),
            (_("Account"), _("Name"), *_heads()),
            tuple(
                (
                    Cell(accounts[account].number, href=reverse("staff:account", args=[accounts[account].public_id])),
                    Cell(accounts[account].name),
                    *(money(cents) for cents in _cents(each)),
                )
                for account, each in rows
            ),
            _("Nobody owes anything."),
        ),
        "query": f"on={on.isoformat()}",
        "number": number,
        "previous": number - 1,
        "following": number + 1 if len(ordered) > number * ROWS_PER_PAGE else 0,
    }
    return page(request, "staff/money_aging.html", "aging", context, status=422 if "error" in context else 200)


def _heads() -> tuple[str, ...]:
    return (
        _("Not due yet"),
        _("1 to 30 days"),
        _("31 to 60 days"),
        _("61 to 90 days"),
        _("Over 90 days"),
        _("Credit"),
        _("Balance"),
    )


def _cents(found: Ages) -> tuple[int, ...]:
    past = (found.to_30_cents, found.to_60_cents, found.to_90_cents, found.over_90_cents)
    return (found.current_cents, *past, -found.credit_cents, found.balance_cents)


def _longest(found: Ages) -> tuple[int, ...]:
    return (-found.over_90_cents, -found.to_90_cents, -found.to_60_cents, -found.to_30_cents, -found.current_cents)

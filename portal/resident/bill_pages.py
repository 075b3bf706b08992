"""What residents see of their bills, gathered by the rule of who may: by their level, while access lasts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from portal.billing.documents import figures
from portal.billing.documents.lines import in_language
from portal.billing.models import Bill, BillingAccount
from portal.billing.preferences import addresses
from portal.billing.visible import SENT, visible_bills
from portal.core.services import utility_settings
from portal.customers.models import Account, Premise
from portal.customers.permissions import Permission, allowed_accounts, may, viewer
from portal.ledger.services import balance_cents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.permissions import Viewer

SHOWN = 24
SHOWN_MAX = 400


@dataclass(frozen=True, slots=True)
class BillRow:
    """One bill in the list, in words; tag: what sets it apart, empty for a plain bill."""

    public_id: str
    number: str
    period: str
    bill_date: str
    charges: str
    due: str
    due_by: str
    tag: str
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Owed:
    """What the account owes now; cents: negative for a credit. due_by: of the newest bill; late: that has passed."""

    cents: int
    amount: str
    due_by: str
    late: bool


@dataclass(frozen=True, slots=True)
class Way:
    """One way to pay."""

    label: str
    detail: str


@dataclass(frozen=True, slots=True)
class DeliveryForm:
    """How bills come now, and what may be chosen instead."""

    paper: bool
    email: str
    emails: tuple[str, ...]
    mail_to: tuple[str, ...]
    language: str


@dataclass(frozen=True, slots=True)
class BillsPage:
    """All that the page of one account's bills needs."""

    account: Account
    others: tuple[Account, ...]
    places: tuple[str, ...]
    owed: Owed
    current: BillRow | None
    rows: tuple[BillRow, ...]
    more: bool
    ways_to_pay: tuple[Way, ...]
    delivery: DeliveryForm | None


def billed_accounts(who: User | Viewer) -> QuerySet[Account]:
    """Return the accounts whose bills a person may see now, and that get bills or have got some."""
    billed = Q(billing__isnull=False) | Q(Exists(Bill.objects.filter(account=OuterRef("pk"), state__in=SENT)))
    return allowed_accounts(who, Permission.BILLS).filter(billed)


def bills_page(who: User | Viewer, account: Account, *, everything: bool, today: date) -> BillsPage:
    """Gather the page of an account whose bills the person may see."""
    sent = visible_bills(who).filter(account=account).order_by("-bill_date", "-period_end", "-pk")
    shown = SHOWN_MAX if everything else SHOWN
    bills = list(sent[: shown + 1])
    rows = tuple(bill_row(bill) for bill in bills[:shown])
    current = next((bill for bill in bills if bill.state == Bill.State.ISSUED), None)
    billing = BillingAccount.objects.filter(account=account).first()
    settings = utility_settings()
    language = (get_language() or "en")[:2]
    places = Premise.objects.filter(service_points__agreements__account=account).distinct().order_by("address")
    return BillsPage(
        account=account,
        others=tuple(other for other in billed_accounts(who) if other.pk != account.pk),
        places=tuple(places.values_list("address", flat=True)),
        owed=_owed(balance_cents(account), current, today),
        current=None if current is None else bill_row(current),
        rows=rows,
        more=len(bills) > shown,
        ways_to_pay=tuple(
            Way(in_language(way.get("label", {}), language), in_language(way.get("detail", {}), language))
            for way in settings.ways_to_pay
        ),
        delivery=None if billing is None or not _manages(who, account) else _delivery(billing, viewer(who).user),
    )


def bill_row(bill: Bill) -> BillRow:
    """Return a bill as one row."""
    last_day = bill.period_end - timedelta(days=1)
    return BillRow(
        public_id=bill.public_id,
        number=bill.number or "",
        period=f"{figures.short_day(bill.period_start)} – {figures.short_day(last_day)}",
        bill_date=figures.short_day(bill.bill_date),
        charges=figures.money(bill.charges_cents),
        due=figures.money(bill.due_cents),
        due_by=figures.day(bill.due_date),
        tag=_tag(bill),
        cancelled=bill.state == Bill.State.CANCELLED,
    )


def _tag(bill: Bill) -> str:
    if bill.state == Bill.State.CANCELLED:
        return _("cancelled")
    if bill.kind == Bill.Kind.CORRECTED:
        return _("corrected bill")
    if bill.kind == Bill.Kind.FINAL:
        return _("final bill")
    return _("estimated") if bill.estimated else ""


def _owed(cents: int, current: Bill | None, today: date) -> Owed:
    due = "" if current is None or cents <= 0 else figures.day(current.due_date)
    late = current is not None and cents > 0 and current.due_date < today
    return Owed(cents, figures.money(abs(cents)), due, late)


def _manages(who: User | Viewer, account: Account) -> bool:
    return not viewer(who).read_only and may(who, Permission.MANAGE, account)


def _delivery(billing: BillingAccount, user: User) -> DeliveryForm:
    emails: Sequence[str] = addresses(billing, user)
    return DeliveryForm(
        paper=billing.paper,
        email=billing.email.lower() or user.email,
        emails=tuple(emails),
        mail_to=tuple(line for line in billing.mail_to.splitlines() if line.strip()),
        language=billing.language,
    )

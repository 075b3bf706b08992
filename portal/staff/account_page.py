"""What the page of one account shows, each part as a list that is read in one or two queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from portal.billing.documents.letter import LetterFacts
from portal.billing.models import (
    Adjustment,
    Bill,
    BillDelivery,
    BillingAccount,
    BudgetPlan,
    Charge,
    Deposit,
    Letter,
    ServiceAgreement,
)
from portal.core.models import AuditEntry
from portal.core.services import utility_zone
from portal.customers.models import AccountAccess, Occupancy
from portal.ledger.services import balance_cents
from portal.metering.models import Installation, MeterRegister, RegisterState
from portal.staff.listing import Cell, Listing, day, days, dial_text, dollars, money, through, when
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portal.customers.models import Account

BILLS_SHOWN = 24
AUDIT_SHOWN = 20
OTHERS_SHOWN = 50
NONE = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Part:
    """One list of the page, with its id there."""

    id: str
    listing: Listing


@dataclass(frozen=True, slots=True)
class AccountPage:
    """Everything that the page shows of one account."""

    account: Account
    billing: BillingAccount | None
    balance_cents: int
    living: list[Occupancy]
    access: list[AccountAccess]
    agreements: list[ServiceAgreement]
    bills: list[Bill]
    parts: list[Part] = field(default_factory=list)

    @property
    def balance(self) -> str:
        """What is owed."""
        return dollars(abs(self.balance_cents))

    @property
    def filled(self) -> list[Part]:
        """The lists that have rows."""
        return [part for part in self.parts if part.listing.rows]

    @property
    def empty(self) -> list[Part]:
        """The lists without any row: each is said in a word."""
        return [part for part in self.parts if not part.listing.rows]

    @property
    def last_bill(self) -> Bill | None:
        """The newest bill that was issued."""
        return next((bill for bill in self.bills if bill.state == Bill.State.ISSUED), None)


def account_page(account: Account) -> AccountPage:
    """Return the page of an account."""
    lived = list(account.occupancies.select_related("service_point__premise").order_by("-start")[:OTHERS_SHOWN])
    agreements = list(account.agreements.select_related("service_point__premise").order_by("-start")[:OTHERS_SHOWN])
    bills = list(account.bills.order_by("-period_end", "-pk")[:BILLS_SHOWN])
    page = AccountPage(
        account=account,
        billing=BillingAccount.objects.select_related("cycle").filter(account=account).first(),
        balance_cents=balance_cents(account),
        living=[row for row in lived if row.end is None],
        access=list(account.access.filter(ended_at__isnull=True).select_related("user").order_by("granted_at")),
        agreements=agreements,
        bills=bills,
    )
    page.parts.extend(
        part
        for part in (
            Part("bills", bill_listing(bills, account)),
            Part("agreements", _agreements(agreements)),
            Part("meters", _meters(lived)),
            Part("charges", _charges(account)),
            Part("adjustments", _adjustments(account)),
            Part("deposits", _deposits(account)),
            Part("plans", _plans(account)),
            Part("occupancies", _occupancies(lived)),
            Part("deliveries", _deliveries(account, bills)),
            Part("trail", _trail(account, bills, agreements)),
        )
    )
    return page


def bill_state(bill: Bill) -> Cell:
    """Return a bill's state as a tag."""
    tone = {"issued": "good", "held": "bad", "cancelled": ""}.get(bill.state, "warn")
    return Cell(str(bill.get_state_display()), tone)


def period(bill: Bill) -> str:
    """Return the days of a bill."""
    return days(bill.period_start, bill.period_end)


def bill_name(bill: Bill) -> str:
    """Return what a bill is called."""
    return bill.number or _("draft")


def label_of(label: Mapping[str, str], otherwise: str = "") -> str:
    """Return the text of a label by language, in the reader's if it has it."""
    return label.get((get_language() or "en")[:2]) or label.get("en") or otherwise


def bill_listing(bills: list[Bill], account: Account) -> Listing:
    """List an account's bills."""
    return Listing(
        _("Bills"),
        (_("Bill"), _("Period"), _("Kind"), _("State"), _("Charges"), _("Due"), _("Due on")),
        tuple(
            (
                Cell(bill_name(bill), href=reverse("staff:bill", args=[bill.public_id])),
                Cell(period(bill)),
                Cell(str(bill.get_kind_display()) + (f", {_('estimated')}" if bill.estimated else "")),
                bill_state(bill),
                money(bill.charges_cents),
                money(bill.due_cents),
                day(bill.due_date),
            )
            for bill in bills
        ),
        _("No bill yet."),
    )


def terms(inputs: Mapping[str, Any], services: list[str]) -> str:
    """Return what the price of an agreement depends on besides the class."""
    shown = [f"{name.replace('_', ' ')}: {value}" for name, value in sorted(inputs.items())]
    return "; ".join([*shown, *([", ".join(services)] if services else [])]) or NONE


def _agreements(rows: list[ServiceAgreement]) -> Listing:
    return Listing(
        _("Agreements"),
        (_("Class"), _("Depends on"), _("Place"), _("From"), _("Until"), _("Change")),
        tuple(
            (
                Cell(row.rate_class.replace("_", " ")),
                Cell(terms(row.inputs, row.services)),
                Cell(str(row.service_point)),
                day(row.start),
                through(row.end, _("goes on")),
                Cell(_("Change the terms"), href=reverse("staff:agreement", args=[row.public_id])),
            )
            for row in rows
        ),
        _("No agreement: nothing is billed."),
    )


def _meters(lived: list[Occupancy]) -> Listing:
    places = {row.service_point_id for row in lived}
    hung = Installation.objects.filter(service_point__in=places).select_related("meter", "service_point__premise")
    installations = list(hung.order_by("-start")[:OTHERS_SHOWN])
    registers: dict[int, list[MeterRegister]] = {}
    found = MeterRegister.objects.filter(meter__in=[row.meter_id for row in installations], claimed=True)
    for register in found.select_related("state").order_by("register_id", "pk"):
        registers.setdefault(register.meter_id, []).append(register)
    rows = [
        _meter_row(installation, register)
        for installation in installations
        for register in registers.get(installation.meter_id, [])
    ]
    return Listing(
        _("Meters"),
        (
            _("Meter"),
            _("Place"),
            _("Installed"),
            _("Removed"),
            _("Last read"),
            _("Dial"),
            _("Quality"),
            _("Usage"),
        ),
        tuple(rows),
        _("No meter hangs there."),
    )


def _meter_row(installation: Installation, register: MeterRegister) -> tuple[Cell, ...]:
    state: RegisterState | None = getattr(register, "state", None)
    zone = utility_zone()
    point = installation.service_point
    return (
        Cell(f"{installation.meter.meter_id}/{register.register_id}", "code"),
        Cell(str(point)),
        day(installation.start.astimezone(zone).date()),
        day(installation.end.astimezone(zone).date() if installation.end else None, _("still there")),
        when(state.last_read_at if state else None),
        Cell(dial_text(state.last_count, register) if state else NONE, "number"),
        Cell(QUALITY[ReadQuality(state.last_quality)]() if state else NONE),
        Cell(_("Look, with a reason"), href=reverse("staff:look", args=[point.public_id])),
    )


def _charges(account: Account) -> Listing:
    rows = Charge.objects.filter(account=account, line__isnull=True, waived_at__isnull=True).order_by("on", "pk")
    return Listing(
        _("Charges for the next bill"),
        (_("What"), _("From"), _("Amount")),
        tuple(
            (Cell(label_of(row.label, row.code)), day(row.on), money(row.amount_cents)) for row in rows[:OTHERS_SHOWN]
        ),
        _("Nothing waits for the next bill."),
    )


def _adjustments(account: Account) -> Listing:
    rows = Adjustment.objects.filter(account=account).select_related("requested_by", "decided_by")
    tones = {"requested": "warn", "approved": "good", "rejected": "bad"}
    return Listing(
        _("Adjustments"),
        (_("Policy"), _("Amount"), _("Reason"), _("Asked for by"), _("State"), _("Decided by")),
        tuple(
            (
                Cell(row.policy),
                money(row.amount_cents),
                Cell(row.reason),
                Cell(row.requested_by.get_full_name()),
                Cell(str(row.get_state_display()), tones[row.state]),
                Cell(row.decided_by.get_full_name() if row.decided_by else NONE),
            )
            for row in rows.order_by("-requested_at")[:OTHERS_SHOWN]
        ),
        _("No adjustment."),
    )


def _deposits(account: Account) -> Listing:
    rows = Deposit.objects.filter(account=account).order_by("-taken_on")
    return Listing(
        _("Deposits"),
        (_("Amount"), _("Taken on"), _("Given back on")),
        tuple(
            (Cell(dollars(row.amount_cents)), day(row.taken_on), day(row.returned_on, _("held")))
            for row in rows[:OTHERS_SHOWN]
        ),
        _("No deposit."),
    )


def _plans(account: Account) -> Listing:
    rows = BudgetPlan.objects.filter(account=account).order_by("-start")
    return Listing(
        _("Budget plan"),
        (_("A month"), _("From"), _("Settled on"), _("Ended")),
        tuple(
            (
                Cell(dollars(row.amount_cents)),
                day(row.start),
                day(row.settle_on),
                Cell(f"{row.end.isoformat()}: {row.end_reason}" if row.end else _("goes on")),
            )
            for row in rows[:OTHERS_SHOWN]
        ),
        _("No budget plan."),
    )


def _occupancies(lived: list[Occupancy]) -> Listing:
    zone = utility_zone()
    return Listing(
        _("Lives and lived at"),
        (_("Place"), _("From"), _("Until")),
        tuple(
            (
                Cell(str(row.service_point)),
                day(row.start.astimezone(zone).date()),
                through(row.end, _("lives there")),
            )
            for row in lived
        ),
        _("Nowhere."),
    )


def _deliveries(account: Account, bills: list[Bill]) -> Listing:
    """List how bills went out, and the letters that told the home of new sign-ins."""
    letters = Letter.objects.filter(access__account=account).order_by("-queued_at")
    name, way = _("letter about a new sign-in"), _("paper")
    posted = [
        (name, way, " / ".join(LetterFacts.from_json(row.facts).mail_to), row.queued_at, row.done_at)
        for row in letters[:OTHERS_SHOWN]
    ]
    rows = BillDelivery.objects.filter(bill__in=bills).select_related("bill").order_by("-queued_at")
    sent = [
        (bill_name(row.bill), str(row.get_channel_display()), " ".join(row.to.split()), row.queued_at, row.done_at)
        for row in rows[:OTHERS_SHOWN]
    ]
    return Listing(
        _("Bills and letters sent"),
        (_("What"), _("Way"), _("To"), _("Queued"), _("Sent")),
        tuple(
            (Cell(what), Cell(way), Cell(to), when(at), when(done) if done else Cell(_("waits"), "warn"))
            for what, way, to, at, done in [*posted, *sent]
        ),
        _("No bill was sent yet."),
    )


def kind_of(target_type: str) -> str:
    """Return what sort of thing an audit entry is about, in words."""
    try:
        return str(apps.get_model(target_type)._meta.verbose_name)
    except (LookupError, ValueError):
        return target_type or NONE


def _trail(account: Account, bills: list[Bill], agreements: list[ServiceAgreement]) -> Listing:
    about = Q(target_type="customers.account", target_id=account.public_id)
    about |= Q(target_type="billing.bill", target_id__in=[bill.public_id for bill in bills])
    about |= Q(target_type="billing.serviceagreement", target_id__in=[row.public_id for row in agreements])
    about |= Q(
        target_type="billing.adjustment", target_id__in=account.adjustments.values_list("public_id", flat=True)[:50]
    )
    rows = AuditEntry.objects.filter(about).exclude(action="look.page").select_related("actor").order_by("-pk")
    return Listing(
        _("Who did what"),
        (_("At"), _("Who"), _("What"), _("Of"), _("Reason")),
        tuple(
            (
                when(row.at),
                Cell(row.actor.get_full_name() if row.actor else row.actor_label),
                Cell(row.action, "code"),
                Cell(kind_of(row.target_type)),
                Cell(row.reason or NONE),
            )
            for row in rows[:AUDIT_SHOWN]
        ),
        _("Nothing was changed by hand."),
    )

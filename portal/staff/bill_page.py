"""The page of one bill: its lines, each with the way to the reads behind it, its parts, what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from portal.billing.documents.figures import symbol
from portal.billing.documents.lines import service_name
from portal.billing.models import BillDelivery, BillLine, BillSegment
from portal.staff.account_page import NONE, bill_name, bill_state, label_of, period, terms
from portal.staff.findings import told
from portal.staff.listing import Cell, Listing, day, dollars, last_day, money, when
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portal.billing.models import Bill


@dataclass(frozen=True, slots=True)
class BillPage:
    """Everything that the page shows of one bill."""

    bill: Bill
    name: str
    period: str
    state: Cell
    findings: list[dict[str, Any]]
    lines: Listing
    segments: Listing
    deliveries: Listing
    replaced_by: Bill | None
    charges: str
    before: str
    due: str

    @property
    def held(self) -> bool:
        """Whether somebody must look at it."""
        return self.bill.state == "held"

    @property
    def open(self) -> bool:
        """Whether it is not issued yet and may still be calculated again."""
        return self.bill.state in ("draft", "held")


def bill_page(bill: Bill) -> BillPage:
    """Return the page of a bill."""
    lines = list(BillLine.objects.filter(bill=bill).select_related("segment").order_by("position"))
    segments = list(BillSegment.objects.filter(bill=bill).select_related("agreement", "rate_book").order_by("start"))
    return BillPage(
        bill=bill,
        name=bill_name(bill),
        period=period(bill),
        state=bill_state(bill),
        findings=told(bill.findings),
        lines=lines_listing(
            Charged.of(line, reverse("staff:bill-line", args=[bill.public_id, line.position])) for line in lines
        ),
        segments=_segments(segments),
        deliveries=_deliveries(bill),
        replaced_by=bill.replaced_by.order_by("pk").first(),
        charges=dollars(bill.charges_cents),
        before=dollars(bill.balance_before_cents),
        due=dollars(bill.due_cents),
    )


@dataclass(frozen=True, slots=True)
class Charged:
    """One line, stored or only calculated, with its numbers exact."""

    service: str
    code: str
    label: Mapping[str, str]
    amount_cents: int
    quantity: Fraction | None = None
    price: Fraction | None = None
    per: Fraction = Fraction(1)
    tier: int | None = None
    lower: Fraction | None = None
    upper: Fraction | None = None
    days: int | None = None
    full_days: int | None = None
    version: str = ""
    href: str = ""
    unit: str = ""
    worth: Fraction = Fraction(1)

    @classmethod
    def of(cls, line: BillLine, href: str = "") -> Charged:
        """Return a stored line."""
        metered = line.segment if line.kind == "usage" or line.tier is not None or line.per != "1" else None
        return cls(
            service=line.service,
            code=line.code,
            label=line.label,
            amount_cents=line.amount_cents,
            quantity=_exact(line.quantity),
            price=_exact(line.price),
            per=_exact(line.per) or Fraction(1),
            tier=line.tier,
            lower=_exact(line.lower),
            upper=_exact(line.upper),
            days=line.days,
            full_days=line.full_days,
            version=line.version,
            href=href,
            unit=metered.unit if metered else "",
            worth=Fraction(10) ** metered.unit_scale if metered else Fraction(1),
        )

    @property
    def reckoned(self) -> str:
        """How the amount comes about: quantity, price, tier and share of the period."""
        parts = []
        if self.price is not None:
            per = f" / {self._amount(self.per)}" if self.per != 1 or self.unit else ""
            quantity = self.quantity if self.quantity is not None else Fraction(1)
            parts.append(f"{self._amount(quantity)} × {_price(self.price)}{per}")
        if self.tier is not None:
            upper = self._amount(self.upper) if self.upper is not None else _("no end")
            shown = {"n": self.tier, "lower": number((self.lower or Fraction(0)) * self.worth), "upper": upper}
            parts.append(_("tier %(n)s: %(lower)s to %(upper)s") % shown)
        if self.days is not None and self.full_days and self.days != self.full_days:
            parts.append(_("%(days)s of %(full)s days") % {"days": self.days, "full": self.full_days})
        return "; ".join(parts) or NONE

    def _amount(self, billed: Fraction) -> str:
        """Return so many billed units: of water with their unit."""
        return f"{number(billed * self.worth)} {symbol(self.unit)}".rstrip()


def lines_listing(lines: Iterable[Charged]) -> Listing:
    """List the lines of a bill or of a preview."""
    return Listing(
        _("Lines"),
        (_("What"), _("Service"), _("How it comes about"), _("Rates"), _("Amount")),
        tuple(
            (
                Cell(label_of(line.label, line.code), href=line.href),
                Cell(service_name(line.service)),
                Cell(line.reckoned),
                Cell(line.version or NONE),
                money(line.amount_cents),
            )
            for line in lines
        ),
        _("No line."),
    )


def _exact(text: str) -> Fraction | None:
    return Fraction(text) if text else None


def number(value: Fraction) -> str:
    """Return an exact fraction as people write it, at most three decimals."""
    if value.denominator == 1:
        return f"{int(value):,}"
    shown = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{shown:,.3f}".rstrip("0").rstrip(".")


def _price(value: Fraction) -> str:
    whole, _dot, places = f"{Decimal(value.numerator) / Decimal(value.denominator):,.6f}".rstrip("0").partition(".")
    return f"${whole}.{places:0<2}"


def _segments(rows: list[BillSegment]) -> Listing:
    return Listing(
        _("Parts of the period"),
        (_("From"), _("Until"), _("Class"), _("Depends on"), _("Used"), _("Days"), _("Rates"), _("Quality")),
        tuple(
            (
                day(row.start),
                day(last_day(row.end)),
                Cell(row.agreement.rate_class.replace("_", " ")),
                Cell(terms(row.inputs, [])),
                Cell(used(row), "number"),
                Cell(f"{row.days} / {row.full_days}", "number"),
                Cell(f"{row.rate_book.name} {row.version}"),
                Cell(QUALITY[ReadQuality(row.quality)]()),
            )
            for row in rows
        ),
        _("Nothing was metered."),
    )


def used(segment: BillSegment) -> str:
    """Return what a part of the period used, in its own unit."""
    amount = Decimal(segment.units).scaleb(segment.unit_scale)
    return f"{amount:,f} {symbol(segment.unit)}"


def _deliveries(bill: Bill) -> Listing:
    rows = BillDelivery.objects.filter(bill=bill).order_by("queued_at")
    return Listing(
        _("On its way"),
        (_("Way"), _("To"), _("Queued"), _("Sent")),
        tuple(
            (
                Cell(str(row.get_channel_display())),
                Cell(" ".join(row.to.split())),
                when(row.queued_at),
                when(row.done_at) if row.done_at else Cell(_("waits"), "warn"),
            )
            for row in rows
        ),
        _("Not sent."),
    )

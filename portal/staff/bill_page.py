"""The page of one bill: its lines, each with the way to the reads behind it, its parts, what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.urls import reverse
from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from portal.billing.models import BillDelivery, BillLine, BillSegment
from portal.staff.account_page import NONE, bill_name, bill_state, label_of, period, terms
from portal.staff.findings import told
from portal.staff.listing import Cell, Listing, day, dollars, money, when
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.billing.models import Bill

_BILL_TEMPLATE = "billing/bill.html"


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
    sheet: dict[str, Any] | None

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
        lines=lines_listing(lines, lambda line: reverse("staff:bill-line", args=[bill.public_id, line.position])),
        segments=_segments(segments),
        deliveries=_deliveries(bill),
        replaced_by=bill.replaced_by.order_by("pk").first(),
        charges=dollars(bill.charges_cents),
        before=dollars(bill.balance_before_cents),
        due=dollars(bill.due_cents),
        sheet=_sheet(bill),
    )


def _sheet(bill: Bill) -> dict[str, Any] | None:
    """Return what the bill's own template shows, so that staff see what the customer sees; None without one."""
    try:
        get_template(_BILL_TEMPLATE)
    except TemplateDoesNotExist:
        return None
    return None


def lines_listing(lines: Iterable[Any], href: Any = None) -> Listing:
    """List the lines of a bill or of a preview; `href` gives the address behind a line."""
    return Listing(
        _("Lines"),
        (_("Service"), _("What"), _("How it comes about"), _("Rates"), _("Amount")),
        tuple(
            (
                Cell(line.service),
                Cell(label_of(line.label, line.code), href=href(line) if href else ""),
                Cell(reckoned(line)),
                Cell(line.version or NONE),
                money(line.amount_cents),
            )
            for line in lines
        ),
        _("No line."),
    )


def reckoned(line: Any) -> str:
    """Return how a line's amount comes about: quantity, price, tier and share of the period."""
    parts = []
    if line.price:
        price = _money(line.price)
        per = Fraction(line.per or "1")
        parts.append(f"{number(line.quantity or '1')} × {price}" + (f" / {number(per)}" if per != 1 else ""))
    if line.tier is not None:
        upper = number(line.upper) if line.upper else _("no end")
        parts.append(
            _("tier %(n)s: %(lower)s to %(upper)s")
            % {"n": line.tier, "lower": number(line.lower or "0"), "upper": upper}
        )
    if line.days is not None and line.full_days and line.days != line.full_days:
        parts.append(_("%(days)s of %(full)s days") % {"days": line.days, "full": line.full_days})
    return "; ".join(parts) or NONE


def number(text: str | Fraction) -> str:
    """Return an exact fraction as people write it, at most six decimals."""
    value = Fraction(text)
    if value.denominator == 1:
        return f"{int(value):,}"
    shown = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{shown:,.6f}".rstrip("0").rstrip(".")


def _money(text: str) -> str:
    value = Fraction(text)
    shown = Decimal(value.numerator) / Decimal(value.denominator)
    plain = f"{shown:.6f}".rstrip("0")
    whole, _dot, places = plain.partition(".")
    return f"${int(whole):,}.{places:0<2}"


def _segments(rows: list[BillSegment]) -> Listing:
    return Listing(
        _("Parts of the period"),
        (_("From"), _("Until"), _("Class"), _("Depends on"), _("Used"), _("Days"), _("Rates"), _("Quality")),
        tuple(
            (
                day(row.start),
                day(row.end),
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
    return f"{amount:,f} {segment.unit}"


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

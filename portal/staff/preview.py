"""A bill that is only calculated, as the staff see it: its lines and findings; nothing of it is written."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from portal.staff.bill_page import Charged, lines_listing
from portal.staff.findings import told
from portal.staff.listing import dollars

if TYPE_CHECKING:
    from portal.billing.calculation import BilledLine, CalculatedBill


def preview_page(bill: CalculatedBill) -> dict[str, Any]:
    """Return what the preview page shows of a calculated bill."""
    return {
        "period": f"{bill.period.start.isoformat()} \N{EN DASH} {bill.period.last_day.isoformat()}",
        "charges": dollars(bill.charges_cents),
        "findings": told([finding.as_json() for finding in bill.findings]),
        "lines": lines_listing([_charged(line, bill) for line in bill.lines]),
    }


def _charged(line: BilledLine, bill: CalculatedBill) -> Charged:
    priced = line.line
    if priced is None:
        return Charged(line.service, line.code, line.label, line.amount_cents)
    by_volume = line.kind == "usage" or priced.tier is not None or priced.per != 1
    metered = bill.segments[line.segment].quantity if by_volume and line.segment is not None else None
    return Charged(
        service=line.service,
        code=line.code,
        label=line.label,
        amount_cents=line.amount_cents,
        quantity=priced.quantity,
        price=priced.price,
        per=priced.per,
        tier=priced.tier,
        lower=priced.lower,
        upper=priced.upper,
        days=priced.days,
        full_days=priced.full_days,
        version=priced.version,
        unit=metered.unit.value if metered else "",
        worth=Fraction(10) ** metered.scale if metered else Fraction(1),
    )

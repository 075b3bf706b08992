"""What an account uses a day now, from the same source as its chart: to see whether a leak is over."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.core.clock import now
from portal.core.services import utility_zone
from portal.metering.calendar import midnight
from portal.metering.usage import usage

if TYPE_CHECKING:
    from portal.billing.models import Bill

DAYS = 7


def daily_units_now(bill: Bill) -> Fraction | None:
    """Return the billed units that a day of the last week used at the bill's service points; None with a gap in it."""
    zone = utility_zone()
    today = now().astimezone(zone).date()
    start, end = midnight(today - timedelta(days=DAYS), zone), midnight(today, zone)
    total, seen = Fraction(0), set()
    for segment in bill.segments.select_related("agreement__service_point"):
        point = segment.agreement.service_point
        if point.pk in seen:
            continue
        seen.add(point.pk)
        series = usage(point, start=start, end=end, resolution="day", unit=Unit(segment.unit))
        if not series.rows or any(row.volume is None for row in series.rows):
            return None
        used = sum((Fraction(row.volume) for row in series.rows if row.volume is not None), Fraction(0))
        total += used / Fraction(10) ** segment.unit_scale / DAYS
    return total if seen else None

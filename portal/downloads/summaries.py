"""A bill as Green Button's UsageSummary: period, amount, lines and billed volume."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.units import Unit
from portal.downloads import espi
from portal.downloads.atom import seconds
from portal.metering.calendar import midnight

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.billing.models import Bill, BillLine
    from portal.downloads.atom import Feed
    from portal.downloads.series import Place

_NOTE_CHARS = 256
_USAGE, _FEE, _TAX, _CREDIT = 3, 4, 5, 8


def summary(feed: Feed, bill: Bill, place: Place, zone: ZoneInfo, moment: datetime) -> None:
    """Write a bill: its new charges in all, line by line, and what was billed as used at this place."""
    with feed.inside("espi:UsageSummary"):
        feed.period("espi:billingPeriod", midnight(bill.period_start, zone), midnight(bill.period_end, zone))
        feed.text("espi:billLastPeriod", bill.charges_cents * espi.COST_OF_A_CENT)
        for line in bill.lines.all():
            with feed.inside("espi:costAdditionalDetailLastPeriod"):
                feed.text("espi:amount", line.amount_cents * espi.COST_OF_A_CENT)
                feed.text("espi:note", _note(line))
                feed.text("espi:itemKind", _kind(line))
        feed.text("espi:currency", espi.CURRENCY_US_DOLLAR)
        for uom, power, value in _billed(bill, place):
            with feed.inside("espi:overallConsumptionLastPeriod"):
                feed.text("espi:powerOfTenMultiplier", power)
                feed.text("espi:uom", uom)
                feed.text("espi:value", value)
        feed.text("espi:qualityOfReading", espi.ESTIMATED if bill.estimated else espi.VALIDATED)
        feed.text("espi:statusTimeStamp", seconds(bill.issued_at or moment))
        feed.text("espi:commodity", espi.COMMODITY_POTABLE_WATER)


def _billed(bill: Bill, place: Place) -> Iterator[tuple[int, int, int]]:
    """Yield (unit, power of ten, value) of what was billed here; nothing when it was billed in several units."""
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for segment in bill.segments.all():
        if segment.agreement.service_point_id == place.service_point.pk and segment.quality != ReadQuality.MISSING:
            sums[segment.unit, segment.unit_scale] += segment.units
    if len(sums) == 1:
        (unit, scale), units = sums.popitem()
        measure = espi.measure(Unit(unit), scale)
        yield measure.uom, measure.power, units * measure.factor


def _note(line: BillLine) -> str:
    label = line.label.get("en") or line.code
    return f"{label} ({line.service})"[:_NOTE_CHARS]


def _kind(line: BillLine) -> int:
    if line.amount_cents < 0:
        return _CREDIT
    if line.kind == "tax":
        return _TAX
    return _USAGE if line.kind in ("usage", "minimum") else _FEE

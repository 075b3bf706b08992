"""Water in the words of Green Button (NAESB REQ.21 ESPI): its numbers for units, multipliers and qualities."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, NamedTuple

from domain.reading import ReadQuality
from domain.units import Unit

if TYPE_CHECKING:
    from portal.metering.usage import UsageRow

SERVICE_WATER = 2
COMMODITY_POTABLE_WATER = 9
ACCUMULATION_DELTA = 4
FLOW_FORWARD = 1
QUALIFIER_NORMAL = 12
CURRENCY_US_DOLLAR = 840
COST_OF_A_CENT = 1_000
"""Costs are in 1/100,000 of the currency."""

RAW, EDITED, ESTIMATED, QUESTIONABLE, DERIVED, VALIDATED = 14, 7, 8, 10, 11, 17

_UOM = {
    Unit.LITRE: (134, 0),
    Unit.CUBIC_METRE: (42, 0),
    Unit.GALLON: (128, 0),
    Unit.KILOGALLON: (128, 3),
    Unit.CUBIC_FOOT: (119, 0),
    Unit.CCF: (119, 2),
}
_POWERS = (12, 9, 6, 3, 2, 1, 0, -1, -2, -3, -6, -9, -12)
"""Multipliers that the standard has a name for; readers know no others."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:headwater:green-button")


class Measure(NamedTuple):
    """What one count is as Green Button says it: value x 10**power of a unit, each count being `factor` of a value."""

    uom: int
    power: int
    factor: int


def measure(unit: Unit, scale: int) -> Measure:
    """Return how counts of 10**scale of a unit are written, as integers without a rest."""
    uom, more = _UOM[unit]
    power = scale + more
    named = next(known for known in _POWERS if known <= power)
    return Measure(uom, named, int(10 ** (power - named)))


def quality_of(row: UsageRow, *, screened: bool) -> int:
    """Return the standard's quality of an interval.

    screened  the reads have been through the portal's own checks; before that they are raw.
    A boundary between two reads makes an interval `derived`: it was calculated, though from measured counts alone.
    """
    if row.quality is ReadQuality.MEASURED:
        if row.interpolated:
            return DERIVED
        return VALIDATED if screened else RAW
    return {ReadQuality.EDITED: EDITED, ReadQuality.ESTIMATED: ESTIMATED}.get(row.quality, QUESTIONABLE)


def entry_id(*names: str) -> uuid.UUID:
    """Return the id of a resource: always the same for the same public ids, and telling nothing of them."""
    return uuid.uuid5(_NAMESPACE, "/".join(names))

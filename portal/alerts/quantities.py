"""What was used at many service points between given moments, and whether that is sure enough to alarm somebody.

The same counts as every chart and bill (`portal.metering.spans.metered_at`); no estimate and no suspect read counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.metering.spans import MeteredPart, metered_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from portal.metering.spans import BoundaryCount

_SURE = frozenset({ReadQuality.MEASURED, ReadQuality.EDITED})
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Use:
    """What was used in a span of time.

    until  the newest moment that is known in it. sure: every boundary was measured, or lies between two measured
           reads no further apart than the caller allows.
    """

    litres: Fraction
    until: datetime
    sure: bool


class PlaceUse:
    """The counts of one service point at the moments that were asked for."""

    def __init__(self, parts: Sequence[MeteredPart]) -> None:
        self._parts = [(part, count_value(Unit(part.register.unit), part.register.scale)) for part in parts]

    def between(self, start: datetime, end: datetime, *, apart: timedelta | None) -> Use | None:
        """Return the use between two moments that were asked for, as far as it is known; None when nothing is."""
        litres, until, sure = Fraction(0), None, True
        for part, worth in self._parts:
            inside = [count for count in part.counts if start <= count.at <= end]
            if len(inside) < 2:
                continue
            low, high = inside[0], inside[-1]
            litres += (high.count - low.count) * worth
            until = high.at if until is None else max(until, high.at)
            sure = sure and _sure(low, apart) and _sure(high, apart)
        return None if until is None else Use(litres, until, sure)


def uses(moments: Mapping[int, Sequence[datetime]]) -> dict[int, PlaceUse]:
    """Return what was used at service points around moments of each one's own; the queries do not grow with them."""
    edges = {point: sorted(set(wanted)) for point, wanted in moments.items() if len(set(wanted)) > 1}
    return {point: PlaceUse(parts) for point, parts in metered_at(edges).items()}


def _sure(count: BoundaryCount, apart: timedelta | None) -> bool:
    if count.quality not in _SURE:
        return False
    if apart is None or not count.interpolated or len(count.read_us) < 2:
        return True
    return (count.read_us[-1] - count.read_us[0]) * _MICROSECOND <= apart

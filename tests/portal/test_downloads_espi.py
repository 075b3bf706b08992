"""Green Button's numbers for water: a count keeps its exact volume, a read says how good it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.downloads.espi import measure, quality_of
from portal.metering.usage import UsageRow

NAMED = {-12, -9, -6, -3, -2, -1, 0, 1, 2, 3, 6, 9, 12}
"""UnitMultiplierKind of the standard."""
LITRES = {134: Fraction(1), 42: Fraction(1000), 128: Fraction("3.785411784"), 119: Fraction("28.316846592")}
"""UnitSymbolKind: litre, cubic metre, US gallon, cubic foot."""


@pytest.mark.parametrize("unit", Unit)
def test_a_count_is_the_same_volume_in_the_words_of_the_standard(unit: Unit) -> None:
    for scale in range(-9, 4):
        said = measure(unit, scale)
        assert said.power in NAMED, scale
        assert said.factor * Fraction(10) ** said.power * LITRES[said.uom] == count_value(unit, scale), scale


@pytest.mark.parametrize(
    ("quality", "interpolated", "screened", "said"),
    [
        (ReadQuality.MEASURED, False, True, 17),
        (ReadQuality.MEASURED, False, False, 14),
        (ReadQuality.MEASURED, True, True, 11),
        (ReadQuality.MEASURED, True, False, 11),
        (ReadQuality.ESTIMATED, False, True, 8),
        (ReadQuality.ESTIMATED, True, False, 8),
        (ReadQuality.EDITED, False, True, 7),
        (ReadQuality.SUSPECT, False, True, 10),
    ],
)
def test_an_interval_says_how_it_came_to_be(
    quality: ReadQuality, interpolated: bool, screened: bool, said: int
) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    row = UsageRow(start, start + timedelta(hours=1), None, 5, quality, interpolated=interpolated)
    assert quality_of(row, screened=screened) == said

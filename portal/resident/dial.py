"""What the dial shows, drawn as the drums of a meter: anyone can walk out and compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.metering.spans import counters_of, hung_at
from portal.resident.wording import SYMBOLS, UNITS, meter_name, moment_text, number, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.metering.models import RegisterState
    from portal.metering.usage import DialReading

_LEAST_WHOLE_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Dial:
    """One dial reading.

    name         what the meter is called where a home has several: its service point's label.
    whole, part  digits of the black and the red drums.
    count        the raw count, as the meter transmitted it.
    """

    meter_id: str
    whole: str
    part: str
    unit_symbol: str
    unit_name: str
    text: str
    count: int
    at: str
    at_utc: str
    name: str = ""

    @classmethod
    def of(cls, reading: DialReading, zone: ZoneInfo) -> Dial:
        """Return a reading at a boundary of a series in words."""
        return _dial(reading.meter_id, reading.raw_count, reading.unit, reading.scale, None, reading.at, zone)


def dials(since: Mapping[int, datetime], *, zone: ZoneInfo) -> tuple[Dial, ...]:
    """Return the newest reading of every dial that hangs at some service points now.

    since  by the service point's row id when the viewer's time there began; the dials come in this order. No reading is
           older than that, nor than the meter's own time there: what it showed elsewhere is somebody else's.
    """
    rows = {row.meter_id: row for point in since for row in hung_at(point) if row.end is None}
    counters = [counter for of_meter in counters_of(rows).values() for counter in of_meter]
    states = [register.state for counter in counters for register in counter if hasattr(register, "state")]
    newest: dict[tuple[int, str], RegisterState] = {}
    for state in sorted(
        states, key=lambda state: state.last_read_at
    ):  # a register declared anew (other roll-over) replaces its old self
        row = rows[state.register.meter_id]
        if state.last_read_at >= max(row.start, since[row.service_point_id]):
            newest[state.register.meter_id, state.register.register_id] = state
    places = list(rows)
    found = sorted(newest.values(), key=lambda s: (places.index(s.register.meter_id), s.register.pk))
    return tuple(
        replace(
            _dial(
                state.register.meter.meter_id,
                state.last_count,
                Unit(state.register.unit),
                state.register.scale,
                state.register.modulus,
                state.last_read_at,
                zone,
            ),
            name=meter_name(rows[state.register.meter_id].service_point.label) if len(since) > 1 else "",
        )
        for state in found
    )


def _dial(meter_id: str, count: int, unit: Unit, scale: int, modulus: int | None, at: datetime, zone: ZoneInfo) -> Dial:
    places = max(0, -scale)
    digits = str(abs(count)) + "0" * max(0, scale)
    width = places + _LEAST_WHOLE_DIGITS
    if modulus is not None:
        width = max(len(str(modulus - 1)) + max(0, scale), places + 1)
    digits = digits.rjust(width, "0")
    value = Decimal(count).scaleb(scale)
    name = str(UNITS[unit].name) if unit in UNITS else unit.value
    return Dial(
        meter_id=meter_id,
        whole=digits[: len(digits) - places],
        part=digits[len(digits) - places :] if places else "",
        unit_symbol=SYMBOLS[unit],
        unit_name=name,
        text=f"{number(value)} {SYMBOLS[unit]}",
        count=count,
        at=moment_text(at, zone),
        at_utc=utc_text(at),
    )

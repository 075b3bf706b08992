"""What the dial shows, drawn as the drums of a meter: anyone can walk out and compare."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.metering.models import Installation, RegisterState
from portal.resident.wording import SYMBOLS, UNITS, moment_text, number, utc_text

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.customers.models import ServicePoint
    from portal.customers.services import Span
    from portal.metering.usage import DialReading

_LEAST_WHOLE_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Dial:
    """One dial reading.

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

    @classmethod
    def of(cls, reading: DialReading, zone: ZoneInfo) -> Dial:
        """Return a reading at a boundary of a series in words."""
        return _dial(reading.meter_id, reading.raw_count, reading.unit, reading.scale, None, reading.at, zone)


def dials(service_point: ServicePoint, span: Span, *, zone: ZoneInfo) -> tuple[Dial, ...]:
    """Return the newest reading of every dial that hangs at a service point.

    None is older than the viewer's time there, nor than the meter's: what it showed elsewhere is somebody else's.
    """
    open_ones = Installation.objects.filter(service_point=service_point, end__isnull=True)
    hung_at = dict(open_ones.values_list("meter_id", "start"))
    states = RegisterState.objects.filter(
        register__meter__in=hung_at,
        register__claimed=True,
        register__in_usage=True,
        last_read_at__gte=span.start,
    ).select_related("register__meter")
    newest: dict[tuple[int, str], RegisterState] = {}
    for state in states.order_by("last_read_at"):  # a register declared anew (other roll-over) replaces its old self
        if state.last_read_at >= hung_at[state.register.meter_id]:
            newest[state.register.meter_id, state.register.register_id] = state
    return tuple(
        _dial(
            state.register.meter.meter_id,
            state.last_count,
            Unit(state.register.unit),
            state.register.scale,
            state.register.modulus,
            state.last_read_at,
            zone,
        )
        for state in newest.values()
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

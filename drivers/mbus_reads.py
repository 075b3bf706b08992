"""Which of an M-Bus meter's records are its totals, as register reads. Pure functions.

The total is the volume at storage 0, tariff 0, subunit 0, an instantaneous value without any qualification: storage 1
is last month's, and to mix them up is a billing error.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from domain.ids import MeterId, RegisterId
from domain.reading import ReadFlag, ReadQuality, Reason, Register, RegisterRead
from domain.units import Unit
from drivers.mbus_record import FUNCTIONS, Record
from drivers.mbus_vif import NEGATIVE_ONLY, POSITIVE_ONLY, VOLUME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from domain.clock import ClockState
    from drivers.mbus_telegram import Header

_UNITS = {"m^3": Unit.CUBIC_METRE, "American gallon": Unit.GALLON, "feet^3": Unit.CUBIC_FOOT, "l": Unit.LITRE}
_ACTUAL = (FUNCTIONS[0], "Actual value")
# Reals carry no resolution: their totals count thousandths of the unit.
_REAL_SCALE = -3
NO_VALID_TOTAL, NEGATIVE_TOTAL = "no_valid_total", "negative_total"


def total_of(records: Iterable[Record], direction: str = POSITIVE_ONLY) -> Record | None:
    """Return the record that is the meter's total: the plain one, else the one that counts `direction` only."""
    wanted: tuple[str, ...]
    candidates = [record for record in records if _is_volume_now(record)]
    for wanted in ((), (direction,)) if direction == POSITIVE_ONLY else ((direction,),):
        for record in candidates:
            if record.modifiers == wanted:
                return record
    return None


def register_reads(
    meter_id: MeterId,
    header: Header,
    records: Sequence[Record],
    *,
    read_at: datetime,
    clock: ClockState,
    unexpected: bool,
) -> tuple[tuple[RegisterRead, ...], tuple[str, ...]]:
    """Return the reads of a meter's totals, and what is wrong with those that could not be one."""
    quality, reason = (
        (ReadQuality.SUSPECT, Reason.UNEXPECTED_METER) if unexpected else (ReadQuality.MEASURED, Reason.NONE)
    )
    reads, complaints = [], []
    for register_id, direction in (("total", POSITIVE_ONLY), ("reverse_total", NEGATIVE_ONLY)):
        record = total_of(records, direction)
        if record is None:
            continue
        counted = _counted(record)
        if counted is None:
            complaints.append(NO_VALID_TOTAL)
        elif counted[0] < 0 and counted[2] is not None:
            complaints.append(NEGATIVE_TOTAL)
        else:
            count, scale, modulus = counted
            register = Register(meter_id, RegisterId(register_id), _UNITS[record.unit], scale, modulus)
            reads.append(RegisterRead(register, count, read_at, clock, quality, reason, _flags(header)))
    if not reads and not complaints:
        complaints.append(NO_VALID_TOTAL)
    return tuple(reads), tuple(complaints)


def _is_volume_now(record: Record) -> bool:
    return (
        (record.quantity == VOLUME or (record.quantity == "" and record.function == "Actual value"))
        and record.unit in _UNITS
        and record.storage == record.tariff == record.subunit == 0
        and record.function in _ACTUAL
    )


def _counted(record: Record) -> tuple[int, int, int | None] | None:
    """Return count, scale and modulus; None where the value is no number or its scale has no place in a register."""
    if record.count is not None and record.exponent is not None and -9 <= record.exponent <= 9:
        return record.count, record.exponent, None if record.digits is None else 10**record.digits
    if record.count is None and isinstance(record.value, Decimal):
        thousandths = record.value.scaleb(-_REAL_SCALE).to_integral_value(ROUND_HALF_UP)
        return int(thousandths), _REAL_SCALE, None
    return None


def _flags(header: Header) -> ReadFlag:
    flags = ReadFlag.NONE
    if "power_low" in header.alarms:
        flags |= ReadFlag.LOW_BATTERY
    if set(header.alarms) - {"power_low", "application_busy"}:
        flags |= ReadFlag.METER_ALARM
    return flags

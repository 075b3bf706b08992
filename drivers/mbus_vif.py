"""What a value information field means (EN 13757-3): quantity, normalised unit and factor.

Units are normalised as published decoders write them: Wh, J, W, m^3, m^3/h, deg C, K, s. Codes that the standard
reserves have the quantity and unit "Reserved" and their number as transmitted; codes that later editions gave to
electricity and radio alone stay reserved here, as in the published decoders.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

PRIMARY, EXTENSION_FD, EXTENSION_FB = 0x000, 0x100, 0x200
# A month is a twelfth of the mean tropical year, 31 556 926 s, as published decoders have it.
_YEAR_S = Decimal(31556926)
_MONTH_S = Decimal("2629743.83")
_SECONDS = (Decimal(1), Decimal(60), Decimal(3600), Decimal(86400))


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a count is: count * factor is a value of `quantity` in `unit`.

    exponent  the factor as a power of ten, None where it is none (times).
    moment    whether the data is a date or time, not a number.
    """

    quantity: str
    unit: str
    factor: Decimal = Decimal(1)
    exponent: int | None = 0
    moment: bool = False


RESERVED = Meaning("Reserved", "Reserved")
# A VIF that announces an extension and has none: its number means nothing.
MEANINGLESS = Meaning("", "")
VOLUME = "Volume"


def _names(joined: str) -> list[str]:
    """Return the names of consecutive codes."""
    return joined.split("|")


def _table() -> dict[int, Meaning]:
    table: dict[int, Meaning] = {}

    def powers(code: int, count: int, quantity: str, unit: str, exponent: int) -> None:
        for step in range(count):
            power = exponent + step
            table[code + step] = Meaning(quantity, unit, Decimal(1).scaleb(power), power)

    def durations(code: int, quantity: str, factors: tuple[Decimal, ...] = _SECONDS) -> None:
        for step, factor in enumerate(factors):
            table[code + step] = Meaning(quantity, "s", factor, 0 if factor == 1 else None)

    def plain(code: int, quantity: str, unit: str = "", *, moment: bool = False) -> None:
        table[code] = Meaning(quantity, unit, moment=moment)

    _primary(powers, durations, plain)
    _extension_fd(powers, durations, plain)
    _extension_fb(powers)
    return table


def _primary(powers, durations, plain) -> None:  # type: ignore[no-untyped-def]
    """Fill in the primary table (EN 13757-3, table 10)."""
    powers(0x00, 8, "Energy", "Wh", -3)
    powers(0x08, 8, "Energy", "J", 0)
    powers(0x10, 8, VOLUME, "m^3", -6)
    powers(0x18, 8, "Mass", "kg", -3)
    durations(0x20, "On time")
    durations(0x24, "Operating time")
    powers(0x28, 8, "Power", "W", -3)
    powers(0x30, 8, "Power", "J/h", 0)
    powers(0x38, 8, "Volume flow", "m^3/h", -6)
    powers(0x40, 8, "Volume flow", "m^3/min", -7)
    powers(0x48, 8, "Volume flow", "m^3/s", -9)
    powers(0x50, 8, "Mass flow", "kg/h", -3)
    powers(0x58, 4, "Flow temperature", "°C", -3)
    powers(0x5C, 4, "Return temperature", "°C", -3)
    powers(0x60, 4, "Temperature difference", "K", -3)
    powers(0x64, 4, "External temperature", "°C", -3)
    powers(0x68, 4, "Pressure", "bar", -3)
    plain(0x6C, "Time point (date)", "-", moment=True)
    plain(0x6D, "Time point (date & time)", "-", moment=True)
    plain(0x6E, "H.C.A.", "Units for H.C.A.")
    durations(0x70, "Averaging Duration")
    durations(0x74, "Actuality Duration")
    plain(0x78, "Fabrication No")
    plain(0x79, "(Enhanced) Identification")
    plain(0x7A, "Bus Address")
    plain(0x7E, "Any VIF")
    plain(0x7F, "Manufacturer specific")


def _extension_fd(powers, durations, plain) -> None:  # type: ignore[no-untyped-def]
    """Fill in the table that follows VIF FD (EN 13757-3, table 14)."""
    base = EXTENSION_FD
    powers(base + 0x00, 4, "Credit", "Currency units", -3)
    powers(base + 0x04, 4, "Debit", "Currency units", -3)
    names = _names(
        "Access Number (transmission count)|Medium|Manufacturer|Parameter set identification|Model / Version|"
        "Hardware version|Firmware version|Software version|Customer location|Customer|Access Code User|"
        "Access Code Operator|Access Code System Operator|Access Code Developer|Password|Error flags|Error mask"
    )
    for step, name in enumerate(names):
        plain(base + 0x08 + step, name)
    plain(base + 0x1A, "Digital Output")
    plain(base + 0x1B, "Digital Input")
    plain(base + 0x1C, "Baudrate", "Baud")
    plain(base + 0x1D, "Response delay time", "Bittimes")
    plain(base + 0x1E, "Retry")
    plain(base + 0x20, "First storage # for cyclic storage")
    plain(base + 0x21, "Last storage # for cyclic storage")
    plain(base + 0x22, "Size of storage block")
    durations(base + 0x24, "Storage interval", (*_SECONDS, _MONTH_S, _YEAR_S))
    durations(base + 0x2C, "Duration since last readout")
    plain(base + 0x30, "Start (date/time) of tariff", "-", moment=True)
    durations(base + 0x31, "Duration of tariff", _SECONDS[1:])
    durations(base + 0x34, "Period of tariff", (*_SECONDS, _MONTH_S, _YEAR_S))
    plain(base + 0x3A, "Dimensionless")
    powers(base + 0x40, 16, "Voltage", "V", -9)
    powers(base + 0x50, 16, "Current", "A", -12)
    names = _names(
        "Reset counter|Cumulation counter|Control signal|Day of week|Week number|Time point of day change|"
        "State of parameter activation|Special supplier information"
    )
    for step, name in enumerate(names):
        plain(base + 0x60 + step, name)
    durations(base + 0x68, "Duration since last cumulation", (*_SECONDS[2:], _MONTH_S, _YEAR_S))
    durations(base + 0x6C, "Operating time battery", (*_SECONDS[2:], _MONTH_S, _YEAR_S))
    plain(base + 0x70, "Date and time of battery change", "-", moment=True)


def _extension_fb(powers) -> None:  # type: ignore[no-untyped-def]
    """Fill in the table that follows VIF FB (EN 13757-3, table 12)."""
    base = EXTENSION_FB
    powers(base + 0x00, 2, "Energy", "Wh", 5)
    powers(base + 0x08, 2, "Energy", "J", 8)
    powers(base + 0x10, 2, VOLUME, "m^3", 2)
    powers(base + 0x18, 2, "Mass", "kg", 5)
    powers(base + 0x21, 1, VOLUME, "feet^3", -1)
    powers(base + 0x22, 2, VOLUME, "American gallon", -1)
    powers(base + 0x24, 1, "Volume flow", "American gallon/min", -3)
    powers(base + 0x25, 1, "Volume flow", "American gallon/min", 0)
    powers(base + 0x26, 1, "Volume flow", "American gallon/h", 0)
    powers(base + 0x28, 2, "Power", "W", 5)
    powers(base + 0x30, 2, "Power", "J/h", 8)
    powers(base + 0x58, 4, "Flow temperature", "°F", -3)
    powers(base + 0x5C, 4, "Return temperature", "°F", -3)
    powers(base + 0x60, 4, "Temperature difference", "°F", -3)
    powers(base + 0x64, 4, "External temperature", "°F", -3)
    powers(base + 0x70, 4, "Cold / Warm Temperature Limit", "°F", -3)
    powers(base + 0x74, 4, "Cold / Warm Temperature Limit", "°C", -3)
    powers(base + 0x78, 8, "Cumul count max power", "W", -3)


MEANINGS: dict[int, Meaning] = _table()

_ERRORS = {
    0x01: "too many DIFE",
    0x02: "storage number not implemented",
    0x03: "unit number not implemented",
    0x04: "tariff number not implemented",
    0x05: "function not implemented",
    0x06: "data class not implemented",
    0x07: "data size not implemented",
    0x0B: "too many VIFE",
    0x0C: "illegal VIF group",
    0x0D: "illegal VIF exponent",
    0x0E: "VIF and DIF mismatch",
    0x0F: "unimplemented action",
    0x15: "no data available",
    0x16: "data overflow",
    0x17: "data underflow",
    0x18: "data error",
    0x1C: "premature end of record",
}
_COMBINABLE = dict(
    enumerate(
        _names(
            "per second|per minute|per hour|per day|per week|per month|per year|per revolution|per input pulse 0|"
            "per input pulse 1|per output pulse 0|per output pulse 1|per litre|per m^3|per kg|per K|per kWh|per GJ|"
            "per kW|per K l|per V|per A|times s|times s/V|times s/A|start of|uncorrected|positive contributions only|"
            "negative contributions only|non-metric|at base conditions|OBIS declaration"
        ),
        start=0x20,
    )
)
POSITIVE_ONLY, NEGATIVE_ONLY = _COMBINABLE[0x3B], _COMBINABLE[0x3C]


def modifier(vife: int) -> str:
    """Return what a combinable VIFE (0 to 7F, not a correction) adds to a record's meaning (EN 13757-3, table 15)."""
    if vife < 0x20:
        return "error: " + _ERRORS.get(vife, f"{vife:02X}")
    if vife < 0x40:
        return _COMBINABLE[vife]
    side, time = ("upper" if vife & 8 else "lower"), ("last" if vife & 4 else "first")
    edge = "end of" if vife & 1 else "begin of"
    if vife < 0x50:
        return _limit_modifier(vife, side, time, edge)
    if vife < 0x60:
        return f"duration of {time} {side} limit exceed"
    if vife & 0x7A == 0x6A:
        return f"date of {edge} {time}"
    if vife < 0x68:
        return f"duration of {time}"
    names = {0x68: "value during lower limit exceed", 0x6C: "value during upper limit exceed"}
    names |= {0x69: "leakage", 0x6D: "overflow", 0x7E: "future value"}
    return names.get(vife, f"reserved {vife:02X}")


def _limit_modifier(vife: int, side: str, time: str, edge: str) -> str:
    if vife & 0x07 == 0:
        return f"{side} limit"
    if vife & 0x07 == 1:
        return f"number of {side} limit exceeds"
    if vife & 0x02:
        return f"date of {edge} {time} {side} limit exceed"
    return f"reserved {vife:02X}"

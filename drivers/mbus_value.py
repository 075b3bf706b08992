"""The data types of M-Bus records (EN 13757-3, annex A): BCD, integers, reals, text, dates. Pure functions.

Every function takes the bytes least significant first, as mode 1 transmits them. What is no value (hex digits in BCD,
a date that is none) is None: never a number or a day made up.
"""

from __future__ import annotations

import math
import struct
from datetime import date
from decimal import Decimal

# Two-digit years: the standard puts 81 to 99 in the last century where the century bits are 0.
_LAST_CENTURY_FROM = 81
_EVERY_YEAR = 127


def bcd(data: bytes) -> int | None:
    """Return packed BCD (type A); an F in the highest digit is a minus sign, any other hex digit no number."""
    digits = data[::-1].hex()
    if digits.isdecimal():
        return int(digits)
    if digits[:1] == "f" and digits[1:].isdecimal():
        return -int(digits[1:])
    return None


def display_digits(data: bytes) -> int:
    """Return packed BCD with hex digits as published decoders weigh them: evidence of what stood there, no number.

    Makers put hex digits into error state records for their display; a hex digit in a byte's high half counts as 0.
    """
    value = 0
    for byte in reversed(data):
        high = byte >> 4
        value = value * 100 + (high if high < 10 else 0) * 10 + (byte & 0x0F)
    return value


def real(data: bytes) -> Decimal | None:
    """Return an IEEE 754 single (type H) as the shortest decimal that is this single; None for NaN and infinity."""
    value: float = struct.unpack("<f", data)[0]
    if not math.isfinite(value):
        return None
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("<f", float(text)) == data:
            return Decimal(text)
    return Decimal(repr(value))


def text(data: bytes) -> str:
    """Return text (ISO 8859-1), which mode 1 transmits last character first, without the padding around it."""
    return data[::-1].decode("latin-1").strip(" \0")


def moment(data: bytes) -> str | None:
    """Return a date (G, 2 bytes), time (J, 3), date and time (F, 4; I, 6) in ISO form.

    A meter states no zone; date and time are written with Z, as published decoders do. None for bytes that are no date
    or that the meter itself marks as invalid. A date of every year has the year 2027 there, see `every_year`.
    """
    if len(data) == 2:
        return _day(data[0], data[1])
    if len(data) == 3:
        return _time(data[2] & 0x1F, data[1] & 0x3F, data[0] & 0x3F)
    if len(data) == 4:
        if data[0] & 0x80:
            return None
        day, clock = _day(data[2], data[3], data[1] >> 5 & 3), _time(data[1] & 0x1F, data[0] & 0x3F, 0)
    else:
        if data[1] & 0x80:
            return None
        day, clock = _day(data[3], data[4]), _time(data[2] & 0x1F, data[1] & 0x3F, data[0] & 0x3F)
    return None if day is None or clock is None else f"{day}T{clock}Z"


def every_year(data: bytes) -> bool:
    """Return whether a date (2, 4 or 6 bytes) recurs every year: its year field is 127."""
    at = {2: 0, 4: 2, 6: 3}.get(len(data))
    return at is not None and data[at] & 0xE0 == 0xE0 and data[at + 1] & 0xF0 == 0xF0


def _day(low: int, high: int, century: int = 0) -> str | None:
    year = low >> 5 | high >> 1 & 0x78
    if year == _EVERY_YEAR:
        year = 2027
    elif year > 99:
        return None
    elif century:
        year += 1900 + 100 * century
    else:
        year += 1900 if year >= _LAST_CENTURY_FROM else 2000
    try:
        return date(year, high & 0x0F, low & 0x1F).isoformat()
    except ValueError:
        return None


def _time(hour: int, minute: int, second: int) -> str | None:
    if hour > 23 or minute > 59 or second > 59:
        return None
    return f"{hour:02d}:{minute:02d}:{second:02d}"

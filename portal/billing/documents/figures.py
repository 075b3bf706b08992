"""Numbers, money, days and dials as a bill prints them, in the language that is active. Decimals the US way."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from django.utils.formats import date_format
from django.utils.translation import get_language, pgettext
from django.utils.translation import gettext as _

from domain.units import Unit

if TYPE_CHECKING:
    from datetime import date

MINUS = "\N{MINUS SIGN}"
_SYMBOLS = {"l": "L", "m3": "m³", "ft3": "ft³"}
_MOST_PLACES = 6


def money(cents: int) -> str:
    """Return `$1,234.56`, `−$5.00`."""
    return f"{MINUS if cents < 0 else ''}${abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def price(text: str) -> str:
    """Return an exact price as money with all its decimals and two at least: `$3.46`, `$2.595`."""
    value = _decimal(Fraction(text))
    exponent = value.as_tuple().exponent
    places = max(2, -exponent if isinstance(exponent, int) else 0)
    return f"{MINUS if value < 0 else ''}${abs(value):,.{places}f}"


def amount(value: Fraction | int | str, places: int | None = None) -> str:
    """Return a number with thousands set apart; with `places`, rounded half up to so many decimals.

    Without, it is exact when three decimals can say it; the shares that proration makes are rounded to two.
    """
    exact = Fraction(value)
    if places is None and exact.denominator == 1:
        return f"{exact.numerator:,}".replace("-", MINUS)  # most are whole: a chart and its table have dozens
    if places is None and (exact * 1000).denominator != 1:
        places = 2
    number = _decimal(exact)
    if places is not None:
        number = number.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return f"{number:,f}".replace("-", MINUS)


def _decimal(value: Fraction) -> Decimal:
    """Return a fraction as a decimal: exact when it has an end, else to six places."""
    quantum = Decimal(1).scaleb(-_MOST_PLACES)
    rounded = (Decimal(value.numerator) / Decimal(value.denominator)).quantize(quantum, rounding=ROUND_HALF_UP)
    whole = rounded.to_integral_value()
    return whole if whole == rounded else rounded.normalize()


def symbol(unit: str) -> str:
    """Return the symbol of a unit: `gal`, `ccf`, `m³`."""
    return _SYMBOLS.get(unit, unit)


def unit_name(unit: str) -> str:
    """Return the name of a unit in full."""
    names = {
        "gal": _("gallons"),
        "kgal": _("thousand gallons"),
        "ccf": _("hundred cubic feet"),
        "ft3": _("cubic feet"),
        "m3": _("cubic meters"),
        "l": _("liters"),
    }
    return names.get(unit, unit)


def daily_places(unit: str) -> int:
    """Return the decimals of a day's use: one for gallons, three for units of hundreds of them."""
    return 1 if Unit(unit).litres < 10 else 3


def day(value: date) -> str:
    """Return `June 24, 2026`."""
    return _formatted(value, "long", get_language() or "en")


def short_day(value: date) -> str:
    """Return `Jun 24, 2026`."""
    return _formatted(value, "short", get_language() or "en")


def month_letters(value: date) -> str:
    """Return `Jun`."""
    return _formatted(value, "month", get_language() or "en")


@lru_cache(maxsize=4096)
def _formatted(value: date, form: str, language: str) -> str:  # noqa: ARG001 - the language decides what is kept
    """Return a formatted day; the bills of a run share their days, and formatting one takes 50 microseconds."""
    forms = {
        "long": pgettext("day on a bill", "F j, Y"),
        "short": pgettext("short day on a bill", "M j, Y"),
        "month": "M",
    }
    return date_format(value, forms[form])


def dial(count: int, *, unit: str, scale: int, modulus: int | None) -> str:
    """Return a count as the dial shows it: all its digits, the point, the unit."""
    places = max(0, -scale)
    digits = str(abs(count)) + "0" * max(0, scale)
    width = places + 1 if modulus is None else len(str(modulus - 1)) + max(0, scale)
    digits = digits.rjust(max(width, places + 1), "0")
    whole, part = digits[: len(digits) - places], digits[len(digits) - places :]
    return f"{MINUS if count < 0 else ''}{whole}{'.' + part if part else ''}"

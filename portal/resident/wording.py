"""Numbers, units, dates and hours as a resident reads them. Decimals and thousands are written the US way."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from django.utils.formats import date_format
from django.utils.translation import get_language, gettext_lazy, pgettext
from django.utils.translation import gettext as _

from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class UnitWords:
    """A unit of volume that a resident can choose.

    headline_places  decimals of a figure that is read at a glance; tables show every decimal there is.
    """

    unit: Unit
    symbol: str
    name: _StrPromise
    headline_places: int


UNITS: dict[Unit, UnitWords] = {
    words.unit: words
    for words in (
        UnitWords(Unit.GALLON, "gal", gettext_lazy("gallons"), 1),
        UnitWords(Unit.LITRE, "L", gettext_lazy("liters"), 0),
        UnitWords(Unit.CUBIC_FOOT, "ft³", gettext_lazy("cubic feet"), 2),
        UnitWords(Unit.CCF, "ccf", gettext_lazy("hundred cubic feet"), 3),
        UnitWords(Unit.CUBIC_METRE, "m³", gettext_lazy("cubic meters"), 3),
    )
}
SYMBOLS = {Unit.KILOGALLON: "kgal", **{unit: words.symbol for unit, words in UNITS.items()}}


def meter_name(label: str) -> str:
    """Return what a meter of a home is called: its service point's label, translated where it is a usual one."""
    usual = {"water": _("Water"), "irrigation": _("Irrigation"), "domestic": _("Indoor use"), "fire": _("Fire line")}
    return usual.get(label.lower(), label)


def number(value: Decimal, places: int | None = None) -> str:
    """Return 1234.5 as `1,234.5`, rounded half up when `places` is given."""
    if places is not None:
        value = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return f"{value:,f}".replace("-", "\N{MINUS SIGN}")


def needed_places(values: Iterable[Decimal], most: int) -> int:
    """Return how many decimals the values need, so that a column is neither rounded nor full of zeros."""
    used = 0
    for value in values:
        exponent = value.normalize().as_tuple().exponent
        used = max(used, -exponent if isinstance(exponent, int) else 0)
    return min(used, most)


def headline_number(value: Decimal, unit: Unit) -> str:
    """Return a figure to be read at a glance."""
    return number(value, UNITS[unit].headline_places)


def clock_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return `10:32 AM`."""
    return date_format(moment.astimezone(zone), pgettext("time of day", "g:i A"))


def hour_label(start: datetime, zone: ZoneInfo, *, twice: bool) -> str:
    """Return `2 PM`; in a night when clocks go back the two hours of one name carry their zone: `1 AM CST`."""
    local = start.astimezone(zone)
    text = date_format(local, pgettext("hour of day", "g A"))
    return f"{text} {local.tzname()}" if twice else text


def day_words(day: date, form: str) -> str:
    """Return a day in a form of `date_format`: every row of every page has one, and the days are the same for all."""
    return _day_words(day, form, get_language())


@lru_cache(maxsize=4096)
def _day_words(day: date, form: str, language: str | None) -> str:
    return date_format(day, form)


def day_text(day: date) -> str:
    """Return `Saturday, November 22, 2026`."""
    return day_words(day, pgettext("long date", "l, F j, Y"))


def moment_text(moment: datetime, zone: ZoneInfo) -> str:
    """Return `November 22, 2026, 10:32 AM`."""
    local = moment.astimezone(zone)
    return date_format(local, pgettext("date and time", "F j, Y, g:i A"))


def duration_text(seconds: float) -> str:
    """Return `2 days and 8 hours`, `40 minutes`."""
    from django.utils.translation import ngettext

    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    parts = []
    if days:
        parts.append(ngettext("%(n)d day", "%(n)d days", days) % {"n": days})
    if hours:
        parts.append(ngettext("%(n)d hour", "%(n)d hours", hours) % {"n": hours})
    if not days and not hours:
        parts.append(ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes})
    return _(" and ").join(parts)


def plain_decimal(value: Decimal) -> str:
    """Return a decimal for a script or a test: no grouping, no exponent."""
    return f"{value:f}"


def utc_text(moment: datetime) -> str:
    """Return a moment as ISO text in UTC, for machines."""
    return moment.astimezone(UTC).isoformat()

"""Reads one cell: what spreadsheets do to numbers and dates is recognised, and refused where a guess could be wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from domain.ids import MeterId, RegisterId
from domain.units import Unit

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


class BadCell(ValueError):
    """A cell that cannot be taken; the text says what to do."""


DayOrder = Literal["month-first", "day-first", "unclear"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What the cells of one column are read with.

    order  of 3/4/2025 in this column, as its other cells show; zone: of times without an offset.
    """

    zone: ZoneInfo
    order: DayOrder = "unclear"


_SPREADSHEET_FAULT = re.compile(r"#(N/A|REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|#+)", re.IGNORECASE)
_SCIENTIFIC = re.compile(r"[+-]?\d+([.,]\d+)?E[+-]\d+|[+-]?\d+[.,]\d+E\d+", re.IGNORECASE)
_TURNED_INTO_DATE = re.compile(
    r"\d{1,2}-(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)-\d{2}",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ./_#-]{0,31}")


def cleaned(cell: str) -> str:
    """Return a cell without blanks around it and without Excel's `="0012"`; raises BadCell for a formula's fault."""
    text = cell.replace("\u00a0", " ").strip()
    if len(text) > 3 and text.startswith('="') and text.endswith('"'):
        text = text[2:-1].strip()
    if _SPREADSHEET_FAULT.fullmatch(text):
        raise BadCell(
            _("a spreadsheet's fault stands here instead of a value; correct the formula or widen the column")
        )
    return text


def text_of(limit: int) -> _Text:
    """Return a reader of text of at most so many characters; line breaks are kept."""
    return _Text(limit)


@dataclass(frozen=True, slots=True)
class _Text:
    limit: int

    def __call__(self, cell: str, reading: Reading) -> str:
        text = "\n".join(" ".join(line.split()) for line in cell.splitlines()).strip()
        if len(text) > self.limit:
            raise BadCell(_("%(n)d characters, at most %(limit)d fit") % {"n": len(text), "limit": self.limit})
        return text


def line_of(limit: int) -> _Line:
    """Return a reader of one line of text: line breaks become blanks."""
    return _Line(limit)


@dataclass(frozen=True, slots=True)
class _Line:
    limit: int

    def __call__(self, cell: str, reading: Reading) -> str:
        return _Text(self.limit)(" ".join(cell.split()), reading)


def identifier(cell: str, reading: Reading) -> str:
    """Return an account number, code or the like, zeros kept; what a spreadsheet has spoilt is refused."""
    text = cell.removeprefix("'").strip()
    if _SCIENTIFIC.fullmatch(text):
        raise BadCell(
            _(
                "the spreadsheet has rounded this number and its digits are lost; set the column to Text where the "
                "table comes from, and export it again"
            )
        )
    if _TURNED_INTO_DATE.fullmatch(text):
        raise BadCell(
            _("the spreadsheet has turned this number into a date; set the column to Text and export it again")
        )
    if re.fullmatch(r"\d+\.0+", text):
        raise BadCell(_("this number was exported as a decimal; export the column as Text, without “.0”"))
    if not _ACCOUNT.fullmatch(text):
        raise BadCell(_("letters, digits, blanks and . / _ # - only, at most 32, the first a letter or digit"))
    return text


def input_text(cell: str, reading: Reading) -> str:
    """Return an input of the rate book as it stands; a meter size that became a date is refused."""
    if _TURNED_INTO_DATE.fullmatch(cell):
        raise BadCell(
            _(
                "the spreadsheet has turned this into a date (5/8 becomes 8-May); set the column to Text and export "
                "it again"
            )
        )
    return cell


def account_number(cell: str, reading: Reading) -> str:
    """Return an account number: an identifier with at least one letter or digit that is not 0."""
    text = identifier(cell, reading)
    if not re.search(r"[A-Za-z1-9]", text):
        raise BadCell(_("an account number of zeros only finds nothing; give the whole number"))
    return text


def meter_id(cell: str, reading: Reading) -> str:
    """Return a meter's id."""
    text = identifier(cell, reading).replace(" ", "")
    try:
        return MeterId(text)
    except ValueError:
        raise BadCell(_("a meter id has 1 to 40 letters, digits, '.', '_' and '-'")) from None


def register_id(cell: str, reading: Reading) -> str:
    """Return a register's name in lower case."""
    try:
        return RegisterId(cell.lower().replace(" ", "_").replace("-", "_"))
    except ValueError:
        raise BadCell(_("a register is named by a-z, 0-9 and '_', such as total, total_high, total_low")) from None


_UNITS = {
    Unit.LITRE: "l litre litres liter liters",
    Unit.CUBIC_METRE: "m3 m^3 m³ cum cubicmetre cubicmetres cubicmeter cubicmeters",
    Unit.GALLON: "gal gals gallon gallons usgal usg",
    Unit.CUBIC_FOOT: "ft3 ft^3 ft³ cf cuft cubicfoot cubicfeet",
    Unit.CCF: "ccf hcf 100cf 100ft3 hundredcubicfeet",
    Unit.KILOGALLON: "kgal mgal tgal kgals 1000gal thousandgallons",
}
_UNIT_NAMES = {name: unit for unit, names in _UNITS.items() for name in names.split() if name != "mgal"}


def unit(cell: str, reading: Reading) -> Unit:
    """Return a unit of volume, by any of its usual names."""
    name = re.sub(r"[\s._-]", "", cell.lower())
    if name not in _UNIT_NAMES:
        raise BadCell(_("no unit of volume; write one of l, m3, gal, ft3, ccf, kgal"))
    return _UNIT_NAMES[name]


def whole(cell: str, reading: Reading) -> int:
    """Return a whole number, 0 or more."""
    if _SCIENTIFIC.fullmatch(cell):
        raise BadCell(_("the spreadsheet has rounded this number; set the column to Number without decimals"))
    if re.fullmatch(r"\d{1,18}(\.0+)?", cell):
        return int(cell.partition(".")[0])
    if re.fullmatch(r"\d{1,3}([,.' ]\d{3})+", cell):
        raise BadCell(_("write the number without a separator of thousands: “%(n)s”") % {"n": re.sub(r"\D", "", cell)})
    raise BadCell(_("a whole number is needed, 0 or more, digits only"))


def signed_whole(cell: str, reading: Reading) -> int:
    """Return a whole number."""
    return -whole(cell[1:], reading) if cell.startswith("-") else whole(cell, reading)


def power_of_ten(cell: str, reading: Reading) -> int:
    """Return the exponent of a multiplier such as 0.1, 1 or 100."""
    try:
        value = Decimal(cell.replace(",", "."))
    except InvalidOperation:
        value = Decimal(0)
    digits = value.normalize().as_tuple()
    if value.is_finite() and value > 0 and digits.digits == (1,) and isinstance(digits.exponent, int):
        return digits.exponent
    raise BadCell(_("a multiplier is 1, 10, 100, ... or 0.1, 0.01, ...; another one belongs into the unit"))


_YES, _NO = {"yes", "y", "true", "t", "1", "x", "on", "sí", "si"}, {"no", "n", "false", "f", "0", "off", ""}


def yes_no(cell: str, reading: Reading) -> bool:
    """Return a yes or a no."""
    if (word := cell.lower()) in _YES | _NO:
        return word in _YES
    raise BadCell(_("write yes or no"))


def language(cell: str, reading: Reading) -> str:
    """Return the language of bills."""
    known = {"en": "en", "english": "en", "eng": "en", "es": "es", "spanish": "es", "español": "es", "spa": "es"}
    if (word := cell.lower()) in known:
        return known[word]
    raise BadCell(_("write en for English or es for Spanish"))


def email(cell: str, reading: Reading) -> str:
    """Return an email address in lower case."""
    try:
        validate_email(cell)
    except ValidationError:
        raise BadCell(_("no email address; one address such as name@example.org, or leave the cell empty")) from None
    return cell.lower()


_MONEY = [
    (re.compile(r"\d{1,12}"), ""),
    (re.compile(r"\d{1,12}\.\d{1,2}"), "."),
    (re.compile(r"\d{1,3}(,\d{3})+\.\d{1,2}"), "."),
    (re.compile(r"\d{1,3}(,\d{3}){2,}"), ""),
    (re.compile(r"\d{1,12},\d{1,2}"), ","),
    (re.compile(r"\d{1,3}(\.\d{3})+,\d{1,2}"), ","),
    (re.compile(r"\d{1,3}(\.\d{3}){2,}"), ""),
]


def cents(cell: str, reading: Reading) -> int:
    """Return an amount of money in cents; negative with -, in brackets, or followed by - or CR."""
    text = cell.replace("$", "").removesuffix("USD").strip()
    negative = False
    for mark in ("CR", "cr", "-"):
        if text.endswith(mark):
            text, negative = text.removesuffix(mark).strip(), True
    if text.startswith("(") and text.endswith(")"):
        text, negative = text[1:-1].strip(), True
    if text.startswith("-"):
        if negative:
            raise BadCell(_("two signs of a credit; write the amount as -12.34"))
        text, negative = text[1:].strip(), True
    text = text.removeprefix("+").removesuffix("DR").strip()
    for pattern, mark in _MONEY:
        if pattern.fullmatch(text):
            whole_part, _mark, rest = text.rpartition(mark) if mark else (text, "", "")
            amount = int(re.sub(r"\D", "", whole_part)) * 100 + int((rest + "00")[:2])
            return -amount if negative else amount
    if re.fullmatch(r"\d{1,3}[.,]\d{3}", text):
        raise BadCell(_("thousands, or three decimals? Write the amount as 1234.00 or 1.23"))
    if _SCIENTIFIC.fullmatch(text):
        raise BadCell(_("the spreadsheet has rounded this amount; set the column to Number with 2 decimals"))
    if re.fullmatch(r"\d+[.,]\d{3,}", text):
        raise BadCell(_("more than two decimals; an amount is in dollars and cents, such as 12.34"))
    raise BadCell(_("no amount of money; write it as 1234.56, a credit as -1234.56"))


_ISO_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_SLASHED = re.compile(r"(\d{1,2})[/.](\d{1,2})[/.](\d{4})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?\s*(am|pm)?", re.IGNORECASE)


def order_of(cells: list[str]) -> DayOrder:
    """Return how days are written in a column, when its cells show it: 12/31/2025 can only be month first."""
    pairs = [(int(m[1]), int(m[2])) for cell in cells if (m := _SLASHED.match(cell.strip()))]
    month_second, month_first = any(a > 12 for a, _b in pairs), any(b > 12 for _a, b in pairs)
    if month_first == month_second:
        return "unclear"
    return "month-first" if month_first else "day-first"


def day(cell: str, reading: Reading) -> date:
    """Return a day; a time of 0:00 behind it is allowed (spreadsheets add it)."""
    parts = cell.replace("T", " ").split(None, 1)
    if len(parts) == 2 and not re.fullmatch(r"(0?0|12):00(:00(\.0+)?)?( ?am)?", parts[1], re.IGNORECASE):
        raise BadCell(_("a day is needed, without a time: 2026-01-31"))
    return _day(parts[0], reading)


def _day(text: str, reading: Reading) -> date:
    if match := _ISO_DAY.fullmatch(text):
        year, month, number = (int(part) for part in match.groups())
    elif match := _SLASHED.fullmatch(text):
        one, two, year = (int(part) for part in match.groups())
        if reading.order == "unclear" and one != two and max(one, two) <= 12:
            raise BadCell(
                _("the month or the day first? No cell of this column shows it; write 2026-01-31 (year-month-day)")
            )
        day_first = reading.order == "day-first" or (reading.order == "unclear" and one > 12)
        month, number = (two, one) if day_first else (one, two)
    elif re.fullmatch(r"\d{5}", text):
        raise BadCell(_("a spreadsheet's day number; set the column to Date, or write 2026-01-31"))
    else:
        raise BadCell(_("no day; write it as 2026-01-31"))
    if not 1900 <= year <= 2100:
        raise BadCell(_("the year must be between 1900 and 2100; write the day as 2026-01-31"))
    try:
        return date(year, month, number)
    except ValueError:
        raise BadCell(_("there is no such day; write it as 2026-01-31")) from None


def moment(cell: str, reading: Reading) -> datetime:
    """Return a moment in UTC: a day alone is its first moment, a time without an offset is in the utility's zone."""
    parts = re.split(r"[T ]", cell, maxsplit=1)
    on = _day(parts[0], reading)
    clock = parts[1].strip() if len(parts) == 2 else "0:00"
    offset = re.search(r"(Z|[+-]\d{2}:?\d{2})$", clock)
    match = _CLOCK.fullmatch(clock[: offset.start()].strip() if offset else clock)
    if match is None:
        raise BadCell(_("no time; write 2026-01-31 14:30, or the day alone for its first moment"))
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if match[5]:
        hour = hour % 12 + (12 if match[5].lower() == "pm" else 0)
    try:
        local = datetime(on.year, on.month, on.day, hour, minute, second)  # noqa: DTZ001  # its zone comes next
    except ValueError:
        raise BadCell(_("there is no such time; write 2026-01-31 14:30")) from None
    if offset:
        return datetime.fromisoformat(local.isoformat() + offset[1].replace("Z", "+00:00")).astimezone(UTC)
    return _in_zone(local, reading.zone)


def _in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) != local:
        raise BadCell(_("this time does not exist: the clocks were put forward; write the offset, such as -05:00"))
    if second - first == timedelta(hours=1) and (local.hour or local.minute):
        raise BadCell(_("this time exists twice: the clocks were put back; write the offset, such as -05:00"))
    return first

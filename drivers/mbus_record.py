"""M-Bus data records (EN 13757-3, clause 6): DIF, DIFE, VIF, VIFE and data, taken apart. Pure functions.

Damage anywhere raises BadFrame for the whole telegram: a record after a damaged one cannot be trusted to start where
it seems to, and one before it came in the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING

from drivers.errors import BadFrame
from drivers.mbus_value import bcd, display_digits, every_year, moment, real, text
from drivers.mbus_vif import EXTENSION_FB, EXTENSION_FD, MEANINGLESS, MEANINGS, RESERVED, Meaning, modifier

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = ("Instantaneous value", "Maximum value", "Minimum value", "Value during error state")
ERROR_STATE = FUNCTIONS[3]
# Marks a value that is display digits of an error state and no number.
HEX_DIGITS = "hex digits"
MAKER_SPECIFIC, MORE_FOLLOW = "Manufacturer specific", "More records follow"
MOST_EXTENSIONS = 10
DIF_MAKER_DATA, DIF_MORE_FOLLOW, DIF_FILLER = 0x0F, 0x1F, 0x2F
# Bytes of data by the low four bits of the DIF; D is of variable length, F a special function.
_DATA_BYTES = (0, 1, 2, 3, 4, 4, 6, 8, 0, 1, 2, 3, 4, -1, 6, -1)
_REAL, _SELECTION, _VARIABLE, _SPECIAL = 5, 8, 13, 15
# Wide enough for 64 bytes of binary and every correction: nothing is ever rounded.
_EXACT = Context(prec=400)


@dataclass(frozen=True, slots=True)
class Record:
    """One value of a telegram.

    value      exact number in `unit`, text (also dates, ISO), or None where the meter has no valid value.
    count      the integer as transmitted, None when it is no integer.
    exponent   power of ten from count to value, None where the factor is none.
    digits     number of BCD digits, None for other types.
    modifiers  what further VIFEs add, in words; empty for a plain value.
    """

    index: int
    value: Decimal | str | None
    unit: str
    quantity: str
    storage: int = 0
    tariff: int = 0
    subunit: int = 0
    function: str = FUNCTIONS[0]
    count: int | None = None
    exponent: int | None = None
    digits: int | None = None
    modifiers: tuple[str, ...] = ()

    def value_text(self) -> str | None:
        """Return the value as an exact decimal string without exponent, or the text, or None."""
        return format(self.value, "f") if isinstance(self.value, Decimal) else self.value


def decode_records(data: bytes, *, msb_first: bool = False) -> tuple[Record, ...]:
    """Return the records of a telegram's user data, in order; fillers are left out.

    msb_first  mode 2 (CI 76): multi-byte data has its most significant byte first.
    raises     BadFrame for anything truncated, overlong or reserved: no record is given then.
    """
    return tuple(_records(data, msb_first))


def _records(data: bytes, msb_first: bool) -> Iterator[Record]:
    position, index, size = 0, 0, len(data)
    try:
        while position < size:
            dif = data[position]
            position += 1
            if dif == DIF_FILLER:
                continue
            if dif in (DIF_MAKER_DATA, DIF_MORE_FOLLOW):
                function = MORE_FOLLOW if dif == DIF_MORE_FOLLOW else MAKER_SPECIFIC
                yield Record(index, data[position:].hex(" ").upper(), "", "", function=function)
                return
            record, position = _record(data, position, dif, index, msb_first)
            yield record
            index += 1
    except IndexError:
        raise BadFrame(f"record {index} is cut short", reply=data) from None


def _record(data: bytes, position: int, dif: int, index: int, msb_first: bool) -> tuple[Record, int]:
    """Return the record whose DIF was just read, and where the next one starts. raises IndexError at a cut."""
    field = dif & 0x0F
    if field == _SPECIAL:
        raise BadFrame(f"record {index} has the reserved DIF {dif:02X}", reply=data)
    storage, tariff, subunit = dif >> 6 & 1, 0, 0
    if dif & 0x80:
        storage, tariff, subunit, position = _extended(data, position, storage, index)
    meaning, corrections, position = _value_information(data, position, index)
    if field == _VARIABLE:
        lvar = data[position]
        position += 1
        length = _variable_length(lvar, index, data)
    else:
        lvar, length = 0, _DATA_BYTES[field]
    end = position + length
    if end > len(data):
        raise IndexError
    raw = data[position:end]
    if msb_first:
        raw = raw[::-1]
    value, digits = _variable_value(lvar, raw) if field == _VARIABLE else _fixed_value(field, raw, meaning)
    if meaning is MEANINGLESS:
        value = None
    number = isinstance(value, Decimal)
    count = int(value) if isinstance(value, Decimal) and field != _REAL else None
    function = FUNCTIONS[dif >> 4 & 3]
    modifiers: tuple[str, ...] = ()
    if value is None and digits and function == ERROR_STATE:
        value, number, modifiers = Decimal(display_digits(raw)), True, (HEX_DIGITS,)
    elif meaning.moment and isinstance(value, str) and every_year(raw):
        modifiers = ("every year",)
    if number and meaning.factor != 1:
        value = _EXACT.multiply(value, meaning.factor)  # type: ignore[arg-type]
    exponent = meaning.exponent
    if corrections and meaning is not RESERVED:
        value, exponent, more = _corrected(value, exponent, meaning, corrections)
        modifiers += more
    unit, quantity = meaning.unit, meaning.quantity
    return (
        Record(index, value, unit, quantity, storage, tariff, subunit, function, count, exponent, digits, modifiers),
        end,
    )


def _extended(data: bytes, position: int, storage: int, index: int) -> tuple[int, int, int, int]:
    """Return storage number, tariff, subunit and the position after the DIFEs (EN 13757-3, 6.3)."""
    tariff = subunit = extensions = 0
    extension = 0x80
    while extension & 0x80:
        if extensions == MOST_EXTENSIONS:
            raise BadFrame(f"record {index} has more than {MOST_EXTENSIONS} DIFE", reply=data)
        extension = data[position]
        position += 1
        storage |= (extension & 0x0F) << (1 + 4 * extensions)
        tariff |= (extension >> 4 & 3) << (2 * extensions)
        subunit |= (extension >> 6 & 1) << extensions
        extensions += 1
    return storage, tariff, subunit, position


def _value_information(data: bytes, position: int, index: int) -> tuple[Meaning, bytes, int]:
    """Return what the VIF means, its further VIFEs without their extension bits, and where the data starts."""
    vif = data[position]
    position += 1
    plain_text = None
    if vif & 0x7F == 0x7C:
        length = data[position]
        position += 1
        if position + length > len(data):
            raise IndexError
        plain_text = text(data[position : position + length])
        position += length
    start = position
    last = vif
    while last & 0x80:
        last = data[position]
        position += 1
        if position - start > MOST_EXTENSIONS:
            raise BadFrame(f"record {index} has more than {MOST_EXTENSIONS} VIFE", reply=data)
    extensions = data[start:position]
    if plain_text is not None:
        meaning = Meaning(plain_text, "-")
    elif vif == 0xFD or vif == 0xFB:
        table = EXTENSION_FD if vif == 0xFD else EXTENSION_FB
        meaning = MEANINGS.get(table | extensions[0] & 0x7F, RESERVED)
        extensions = extensions[1:]
    else:
        meaning = MEANINGLESS if vif in (0x7B, 0x7D) else MEANINGS.get(vif & 0x7F, RESERVED)
        if vif == 0xFF:
            # After a maker's VIF the extensions are the maker's too.
            return meaning, b"", position
    return meaning, extensions, position


def _fixed_value(field: int, raw: bytes, meaning: Meaning) -> tuple[Decimal | str | None, int | None]:
    """Return the value of a data field of fixed length before scaling, and its BCD digits."""
    if not raw:
        return None, None
    if field == _REAL:
        return real(raw), None
    if field > _SELECTION:
        number = bcd(raw)
        return None if number is None else Decimal(number), 2 * len(raw)
    if meaning.moment and len(raw) in (2, 3, 4, 6):
        return moment(raw), None
    return Decimal(int.from_bytes(raw, "little", signed=True)), None


def _variable_length(lvar: int, index: int, data: bytes) -> int:
    """Return the bytes that follow an LVAR (EN 13757-3, table 5)."""
    if lvar <= 0xBF:
        return lvar
    if lvar <= 0xEF:
        return lvar & 0x0F
    if lvar <= 0xF4:
        return 4 * (lvar - 0xEC)
    if lvar <= 0xF6:
        return 48 if lvar == 0xF5 else 64
    raise BadFrame(f"record {index} has the reserved LVAR {lvar:02X}", reply=data)


def _variable_value(lvar: int, raw: bytes) -> tuple[Decimal | str | None, int | None]:
    """Return the value of a data field of variable length, and its BCD digits."""
    if lvar <= 0xBF:
        return text(raw), None
    if not raw:
        return None, None
    if lvar <= 0xDF:
        digits = raw[::-1].hex()
        if not digits.isdecimal():
            return None, len(digits)
        return Decimal(-int(digits) if lvar >= 0xD0 else int(digits)), len(digits)
    return Decimal(int.from_bytes(raw, "little", signed=True)), None


def _corrected(
    value: Decimal | str | None, exponent: int | None, meaning: Meaning, extensions: bytes
) -> tuple[Decimal | str | None, int | None, tuple[str, ...]]:
    """Apply combinable VIFEs to a scaled value: corrections change it, the others say what it is in words."""
    modifiers: list[str] = []
    for extension in extensions:
        code = extension & 0x7F
        if code == 0x7F:
            modifiers.append("manufacturer specific")
            break
        if 0x70 <= code <= 0x77 or code == 0x7D:
            power = 3 if code == 0x7D else (code & 7) - 6
            if isinstance(value, Decimal):
                value = _EXACT.scaleb(value, power)
            exponent = None if exponent is None else exponent + power
        elif 0x78 <= code <= 0x7B:
            if isinstance(value, Decimal):
                value = _EXACT.add(value, _EXACT.scaleb(meaning.factor, (code & 3) - 3))
            exponent = None
        elif code:
            modifiers.append(modifier(code))
    return value, exponent, tuple(modifiers)

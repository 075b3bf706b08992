"""An M-Bus meter's answer as a whole (EN 13757-3): header and records, or a named application error. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from drivers.errors import ApplicationError, BadFrame
from drivers.mbus_frame import parse_frame
from drivers.mbus_record import MORE_FOLLOW, Record, decode_records
from drivers.mbus_value import bcd

APPLICATION_ERRORS = {
    0: "Unspecified error",
    1: "Unimplemented CI-Field",
    2: "Buffer too long, truncated",
    3: "Too many records",
    4: "Premature end of record",
    5: "More than 10 DIFE´s",
    6: "More than 10 VIFE´s",
    7: "Reserved",
    8: "Application too busy for handling readout request",
    9: "Too many readouts (for slaves with limited readouts per time)",
}
_MEDIA_FROM_0 = """Other|Oil|Electricity|Gas|Heat: Outlet|Steam|Warm water (30-90°C)|Water|Heat Cost Allocator|\
Compressed Air|Cooling load meter: Outlet|Cooling load meter: Inlet|Heat: Inlet|Heat / Cooling load meter|\
Bus/System component|Unknown Medium"""
_MEDIA = dict(enumerate(_MEDIA_FROM_0.split("|")))
_MEDIA |= {
    0x10: "Irrigation Water",
    0x11: "Water Logger",
    0x12: "Gas Logger",
    0x13: "Gas Converter",
    0x14: "Calorific value",
    0x15: "Hot water (>90°C)",
    0x16: "Cold water",
    0x17: "Dual water",
    0x18: "Pressure",
    0x19: "A/D Converter",
    0x1A: "Smoke detector",
    0x1B: "Room sensor",
    0x1C: "Gas detector",
    0x20: "Breaker: Electricity",
    0x21: "Valve: Gas or Water",
    0x25: "Customer unit",
    0x28: "Waste water",
    0x29: "Waste",
    0x2A: "Carbon dioxide",
}
_FIXED_MEDIA_FROM_0 = """Other|Oil|Electricity|Gas|Heat|Steam|Hot Water|Water|H.C.A.|Reserved|Gas Mode 2|\
Heat Mode 2|Hot Water Mode 2|Water Mode 2|H.C.A. Mode 2|Reserved"""
_FIXED_MEDIA = _FIXED_MEDIA_FROM_0.split("|")
_STATUS_ALARMS = {0x04: "power_low", 0x08: "permanent_error", 0x10: "temporary_error"}
_APPLICATION_STATUS = ("", "application_busy", "application_error", "abnormal_condition")
_ENCRYPTED_AES_CBC = 5


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered. `identification` is 8 digits (some makers use hex digits too), None where the header has none.

    status     the meter's status byte; `alarms` names its bits.
    signature  the configuration word as two bytes of hex, "" where the header has none.
    """

    identification: str | None = None
    manufacturer: str | None = None
    version: int | None = None
    medium: str | None = None
    access_number: int | None = None
    status: int = 0
    signature: str = ""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of what the status byte complains of."""
        found = [name for bit, name in _STATUS_ALARMS.items() if self.status & bit]
        if application := _APPLICATION_STATUS[self.status & 3]:
            found.insert(0, application)
        return (*found, *(f"maker_bit_{bit}" for bit in (5, 6, 7) if self.status >> bit & 1))


@dataclass(frozen=True, slots=True)
class Telegram:
    """One meter's answer. `more_follow`: the meter has further telegrams, to be asked for with the FCB toggled."""

    header: Header
    records: tuple[Record, ...]
    address: int | None = None

    @property
    def more_follow(self) -> bool:
        """Whether the last record announces a further telegram."""
        return bool(self.records) and self.records[-1].function == MORE_FOLLOW


def decode_telegram(frame: bytes) -> Telegram:
    """Return what one whole frame from a meter says.

    raises  BadFrame or BadChecksum when anything in it is damaged: no value of it is given then.
            ApplicationError when the meter answered with one (CI 70), named.
    """
    parsed = parse_frame(frame)
    if parsed.ci is None:
        raise BadFrame(f"this is the link layer's {parsed.kind} frame; it carries no values", reply=frame)
    if parsed.control is not None and parsed.control & 0x40:
        raise BadFrame(f"C field {parsed.control:02X}: a frame from the master, not a meter's answer", reply=frame)
    try:
        header, records = decode_application(parsed.ci, parsed.data)
    except ApplicationError as error:
        raise ApplicationError(str(error), code=error.code, name=error.name, reply=frame) from None
    except BadFrame as error:
        raise BadFrame(str(error), reply=frame) from None
    return Telegram(header, records, parsed.address)


def decode_application(ci: int, data: bytes) -> tuple[Header, tuple[Record, ...]]:
    """Return header and records of the application layer: CI field and what follows it."""
    if ci in (0x72, 0x76):
        header = _long_header(data, msb_first=ci == 0x76)
        return header, decode_records(_plain(data[12:], header.signature), msb_first=ci == 0x76)
    if ci in (0x73, 0x77):
        return _fixed_structure(data, msb_first=ci == 0x77)
    if ci == 0x7A:
        if len(data) < 4:
            raise BadFrame(f"a short header has 4 bytes, not {len(data)}")
        header = Header(access_number=data[0], status=data[1], signature=data[3:1:-1].hex().upper())
        return header, decode_records(_plain(data[4:], header.signature))
    if ci == 0x78:
        return Header(), decode_records(data)
    if ci == 0x70:
        raise _application_error(data)
    raise BadFrame(f"CI {ci:02X} is no answer with values; expected 70, 72, 73, 76, 77, 78 or 7A")


def _application_error(data: bytes) -> ApplicationError:
    code = data[0] if data else None
    name = APPLICATION_ERRORS.get(code or 0, "Reserved")
    number = "no code" if code is None else f"code {code}"
    return ApplicationError(f"the meter answered with an application error: {name} ({number})", code=code, name=name)


def _long_header(data: bytes, *, msb_first: bool) -> Header:
    if len(data) < 12:
        raise BadFrame(f"a long header has 12 bytes, not {len(data)}")
    identification, maker, signature = data[0:4], data[4:6], data[10:12]
    if msb_first:
        identification, maker, signature = identification[::-1], maker[::-1], signature[::-1]
    return Header(
        identification=identification[::-1].hex().upper(),
        manufacturer=manufacturer(int.from_bytes(maker, "little")),
        version=data[6],
        medium=_MEDIA.get(data[7], f"Reserved ({data[7]:02X})"),
        access_number=data[8],
        status=data[9],
        signature=signature[::-1].hex().upper(),
    )


def manufacturer(word: int) -> str:
    """Return the three letters of a manufacturer word (EN 13757-3, 5.6); odd ones give @, [ and the like."""
    return "".join(chr((word >> shift & 0x1F) + 64) for shift in (10, 5, 0))


def manufacturer_word(letters: str) -> int:
    """Return the manufacturer word of three capital letters."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return first << 10 | second << 5 | third


def _plain(data: bytes, signature: str) -> bytes:
    """Return user data that is not encrypted. raises BadFrame when the header says that it is and it looks so."""
    word = int(signature, 16)
    blocks = word >> 4 & 0x0F
    if word >> 8 & 0x1F == _ENCRYPTED_AES_CBC and blocks and len(data) >= 16 * blocks and data[:2] != b"\x2f\x2f":
        raise BadFrame("the data is encrypted (mode 5); give the meter's key to the maker's tool or switch it to plain")
    return data


# Unit codes of the fixed structure (EN 13757-3, annex on fixed data): unit and power of ten, in steps of one code.
_FIXED_UNITS: dict[int, tuple[str, int]] = {0x39: ("Units for H.C.A.", 0), 0x3E: ("reserved but historic", 0)}
_FIXED_UNITS |= {0x00: ("h,m,s", 0), 0x01: ("D,M,Y", 0), 0x38: ("°C", -3), 0x3F: ("", 0)}
for _first, _names in (
    (0x02, "Wh kWh MWh"),
    (0x0B, "kJ MJ GJ"),
    (0x14, "W kW MW"),
    (0x1D, "kJ/h MJ/h GJ/h"),
    (0x26, "ml l m^3"),
    (0x2F, "ml/h l/h m^3/h"),
):
    for _step in range(9):
        _FIXED_UNITS[_first + _step] = (_names.split()[_step // 3], _step % 3)


def _fixed_structure(data: bytes, *, msb_first: bool) -> tuple[Header, tuple[Record, ...]]:
    """Return header and both counters of the old fixed structure, which names a unit and no quantity."""
    if len(data) != 16:
        raise BadFrame(f"the fixed structure has 16 bytes, not {len(data)}")
    order = -1 if msb_first else 1
    status, units = data[5], data[6:8]
    medium = _FIXED_MEDIA[units[0] >> 6 | units[1] >> 6 << 2]
    header = Header(
        identification=data[0:4][::-order].hex().upper(),
        medium=medium,
        access_number=data[4],
        status=status & 0xFC,
    )
    function = "Stored value" if status & 2 else "Actual value"
    records = []
    for index, raw in enumerate((data[8:12][::order], data[12:16][::order])):
        unit, exponent = _FIXED_UNITS.get(units[index] & 0x3F, ("Reserved", 0))
        count = int.from_bytes(raw, "little", signed=True) if status & 1 else bcd(raw)
        value = None if count is None else Decimal(count).scaleb(exponent)
        digits = None if status & 1 else 8
        records.append(Record(index, value, unit, "", function=function, count=count, exponent=exponent, digits=digits))
    return header, tuple(records)

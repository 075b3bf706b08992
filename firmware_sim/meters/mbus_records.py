"""The data records of simulated M-Bus water meters: what different makers send about the same dial (EN 13757-3).

A record is DIF, DIFEs, VIF, VIFEs, data. Low nibble of the DIF: 2 = 16, 3 = 24, 4 = 32 bit integer, A = 4, B = 6,
C = 8, E = 12 digits of BCD; bit 6 is the lowest bit of the storage number. VIF 13h is volume in 10^-3 m3, 3Bh flow in
10^-3 m3/h, 6Dh a date and time (type F), 6Ch a date (type G), 78h the fabrication number, FD 17h the error flags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from firmware_sim.demand import PILOT_ZONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from firmware_sim.dial import Dial

MORE_FOLLOWS = b"\x1f"
ZONE = ZoneInfo(PILOT_ZONE)


def bcd(number: int, size: int) -> bytes:
    """Return a number as packed BCD of `size` bytes, least significant digits first (type A)."""
    return bytes.fromhex(f"{number:0{size * 2}d}")[::-1]


def date_time(moment: datetime) -> bytes:
    """Return a moment as type F (compound CP32): minute, hour, day and year, month; local time with its summer bit."""
    local = moment.astimezone(ZONE)
    year = local.year % 100
    summer = 0x80 if local.dst() else 0
    return bytes(
        (local.minute, local.hour | summer | 0x20, local.day | (year & 7) << 5, local.month | (year >> 3) << 4)
    )


def date_only(moment: datetime) -> bytes:
    """Return a moment's local date as type G (compound CP16)."""
    local = moment.astimezone(ZONE)
    year = local.year % 100
    return bytes((local.day | (year & 7) << 5, local.month | (year >> 3) << 4))


def due(moment: datetime) -> datetime:
    """Return the last due date: the local midnight with which the month began."""
    return moment.astimezone(ZONE).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class State:
    """What a meter's registers hold at one moment."""

    digits: str
    count: int
    due_count: int
    flow_l_per_h: int
    moment: datetime

    @classmethod
    def of(cls, dial: Dial, moment: datetime, digits: str) -> State:
        """Latch a dial."""
        return cls(
            digits,
            dial.count(moment),
            dial.count(due(moment)),
            dial.litres_per_h(moment),
            moment,
        )

    def flow_bcd6(self) -> bytes:
        """Return the flow as BCD of six digits in 10^-3 m3/h."""
        return b"\x0b\x3b" + bcd(min(self.flow_l_per_h, 999_999), 3)


@dataclass(frozen=True, slots=True)
class Layout:
    """A maker's telegrams: how many follow each other, and the dial's shape that they can carry.

    modulus  where the transmitted total returns to zero; None for a binary number.
    also     other registers in the first telegram; they stand at 0 because no water flows backwards here.
    """

    name: str
    manufacturer: str
    modulus: int | None
    records: Callable[[State], tuple[bytes, ...]]
    count: int
    bytes_estimate: int
    also: tuple[str, ...] = ()

    def telegrams(self, dial: Dial, moment: datetime, digits: str) -> list[tuple[bytes, tuple[tuple[str, int], ...]]]:
        """Return the records of each telegram and the register counts that it carries; the total is in the first."""
        state = State.of(dial, moment, digits)
        carried = (("total", state.count), *((name, 0) for name in self.also))
        return [(part, carried if n == 0 else ()) for n, part in enumerate(self.records(state))]


def _bcd_litres(state: State) -> tuple[bytes, ...]:
    return (
        b"\x0c\x78"
        + bcd(int(state.digits), 4)
        + b"\x04\x6d"
        + date_time(state.moment)
        + b"\x0c\x13"
        + bcd(state.count, 4)
        + b"\x4c\x13"
        + bcd(state.due_count, 4)
        + b"\x42\x6c"
        + date_only(due(state.moment))
        + state.flow_bcd6()
        + b"\x02\xfd\x17"
        + bytes(2),
    )


def _due_date_first(state: State) -> tuple[bytes, ...]:
    # The stored total comes before the present one: who takes the first volume of a telegram bills last month's.
    return (
        b"\x44\x13"
        + state.due_count.to_bytes(4, "little")
        + b"\x42\x6c"
        + date_only(due(state.moment))
        + b"\x04\x13"
        + state.count.to_bytes(4, "little")
        + b"\x04\x6d"
        + date_time(state.moment)
        + b"\x02\x3b"
        + min(state.flow_l_per_h, 32767).to_bytes(2, "little")
        + b"\x02\xfd\x17"
        + bytes(2),
    )


def _twelve_digits(state: State) -> tuple[bytes, ...]:
    return (
        b"\x0e\x13"
        + bcd(state.count, 6)
        + b"\x0e\x93\x3c"
        + bcd(0, 6)  # VIFE 3C: backward flow
        + b"\x04\x6d"
        + date_time(state.moment)
        + b"\x4e\x13"
        + bcd(state.due_count, 6)
        + b"\x42\x6c"
        + date_only(due(state.moment)),
    )


def _two_telegrams(state: State) -> tuple[bytes, ...]:
    return (
        b"\x0c\x78"
        + bcd(int(state.digits), 4)
        + b"\x04\x6d"
        + date_time(state.moment)
        + b"\x0c\x13"
        + bcd(state.count, 4)
        + state.flow_bcd6()
        + MORE_FOLLOWS,
        b"\x4c\x13" + bcd(state.due_count, 4) + b"\x42\x6c" + date_only(due(state.moment)) + b"\x02\xfd\x17" + bytes(2),
    )


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("bcd-litres", "EFE", 10**8, _bcd_litres, 1, 62),
        Layout("due-date-first", "ZRI", None, _due_date_first, 1, 54),
        Layout("twelve-digits", "DME", 10**12, _twelve_digits, 1, 60, also=("reverse_total",)),
        Layout("two-telegrams", "SEN", 10**8, _two_telegrams, 2, 85),
    )
}

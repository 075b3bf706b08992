"""Register images of real Modbus water meters, from the public documents that each names.

Addresses are 0-based PDU addresses. An image is a mapping of address to two bytes; addresses inside a readable block
that hold nothing read as 0, addresses outside are refused (exception 2). What a maker leaves open (unit and resolution
of a total) is set here as the meters of this street are commissioned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.units import Unit, count_value
from firmware_sim.dial import RegisterShape

if TYPE_CHECKING:
    from collections.abc import Mapping, Set
    from datetime import datetime

    from firmware_sim.dial import Dial

Words = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Image:
    """What a meter's registers are made from at one moment.

    count   the total in the register's own unit and scale.
    flow    litres an hour.
    faults  names of the faults that are switched on.
    """

    count: int
    shape: RegisterShape
    flow_l_per_h: int
    moment: datetime
    serial: str
    faults: frozenset[str]

    @classmethod
    def of(cls, dial: Dial, moment: datetime, serial: str, faults: Set[str]) -> Image:
        """Latch a dial."""
        return cls(dial.count(moment), dial.shape, dial.litres_per_h(moment), moment, serial, frozenset(faults))

    @property
    def units(self) -> float:
        """The total in whole units, as a float: what a meter with a float register transmits."""
        return float(self.count * count_value(self.shape.unit, self.shape.scale) / self.shape.unit.litres)

    @property
    def flow_m3_per_h(self) -> float:
        """The flow in cubic metres an hour."""
        return self.flow_l_per_h / 1000

    def alarms(self, *, battery: int, fault: int) -> int:
        """Return an alarm word: the bit (as its value) of a low battery and of a fault, where they are on."""
        return (battery if "low-battery" in self.faults else 0) | (fault if "alarm" in self.faults else 0)


@dataclass(frozen=True, slots=True)
class Model:
    """A meter model: which functions and blocks it answers, and where its totals lie.

    blocks     readable (first address, number of registers).
    registers  register id -> spans (address, number of registers) that carry it whole.
    """

    name: str
    maker: str
    product: str
    functions: tuple[int, ...]
    shape: RegisterShape
    blocks: tuple[tuple[int, int], ...]
    registers: Mapping[str, tuple[tuple[int, int], ...]]
    words: Callable[[Image], Words]
    most_registers: int = 125
    sleeps: bool = False
    states_serial: bool = False
    largest_start_count: int = 3_000_000

    def readable(self, address: int, count: int) -> bool:
        """Return whether a read of `count` registers lies inside one block."""
        return any(first <= address and address + count <= first + size for first, size in self.blocks)


def place(words: Words, address: int, data: bytes) -> None:
    """Put bytes into registers from an address on."""
    padded = data + bytes(len(data) % 2)
    for n in range(0, len(padded), 2):
        words[address + n // 2] = padded[n : n + 2]


def u16(value: int) -> bytes:
    """Return a register."""
    return struct.pack(">H", value)


def i32(value: int) -> bytes:
    """Return two registers, most significant first (ABCD)."""
    return struct.pack(">i", value)


def f32(value: float) -> bytes:
    """Return two registers, most significant first (ABCD)."""
    return struct.pack(">f", value)


def swapped(data: bytes) -> bytes:
    """Return four bytes with their two words changed over (CDAB)."""
    return data[2:4] + data[0:2]


def octave(image: Image) -> Words:
    """Arad Octave: 64 bit floats stored byte for byte backwards beside 32 bit integers stored forwards.

    source  Octave Modbus memory map, as used by DeltaLabo/OctaveModbusWrapper.
    """
    words: Words = {}
    place(words, 0, u16(image.alarms(battery=1 << 7, fault=1 << 5)))
    place(words, 1, image.serial.encode("ascii").ljust(32, b"\0"))
    at = image.moment
    for offset, value in enumerate((at.isoweekday() % 7, at.day, at.month, at.year % 100, at.hour, at.minute)):
        place(words, 17 + offset, u16(value))
    place(words, 23, u16(0))  # volume unit: m3
    place(words, 24, struct.pack("<d", image.units))
    place(words, 32, struct.pack("<d", 0.0))
    place(words, 40, u16(1))  # resolution: 0.001
    place(words, 41, struct.pack("<d", image.flow_m3_per_h))
    place(words, 49, u16(1))
    place(words, 50, u16(0))  # flow unit: m3/h
    place(words, 51, u16(1 if image.flow_l_per_h else 0))
    place(words, 52, struct.pack(">h", 12))
    place(words, 54, struct.pack(">I", image.count))
    place(words, 62, i32(image.flow_l_per_h))
    place(words, 66, struct.pack("<d", image.units))
    place(words, 74, struct.pack("<d", image.units))
    place(words, 82, i32(image.count))
    place(words, 86, struct.pack(">I", image.count))
    return words


def mag5000(image: Image) -> Words:
    """Siemens MAG 5000/6000: 64 bit totals in cubic metres, plain order (SFIDK.PS.023.D2.02, 6.1)."""
    words: Words = {}
    place(words, 528, u16(1))
    place(words, 514, struct.pack(">I", 9600))
    place(words, 3002, f32(image.flow_l_per_h / 3_600_000))
    place(words, 3014, struct.pack(">d", image.units))
    place(words, 3018, struct.pack(">d", 0.0))
    place(words, 3022, f32(image.units))
    return words


def mag8000(image: Image) -> Words:
    """Siemens MAG 8000, a battery meter that sleeps: whole litres and billionths in two longs (A5E03409989-01)."""
    words: Words = {}
    place(words, 79, u16(10779))
    place(words, 80, struct.pack(">I", 12_345))
    place(words, 210, b"l/s".ljust(12, b"\0"))
    place(words, 216, b"l".ljust(12, b"\0"))
    place(words, 3002, f32(image.flow_l_per_h / 3600))
    place(words, 3016, u16(image.alarms(battery=1 << 7, fault=1)))
    place(words, 3017, i32(image.count))
    place(words, 3019, i32(0))
    place(words, 3030, u16(5 if "low-battery" in image.faults else 92))
    place(words, 3042, f32(14.5))
    return words


def tuf2000m(image: Image) -> Words:
    """TUF-2000M: 32 bit values with the low word first; the total is a long (manual section 7)."""
    words: Words = {}
    place(words, 0, swapped(f32(image.flow_m3_per_h)))
    place(words, 8, swapped(i32(image.count)))
    place(words, 32, swapped(f32(13.0)))
    place(words, 71, u16(image.alarms(battery=0, fault=1)))
    place(words, 102, swapped(i32(1_000_000)))
    place(words, 114, swapped(f32(image.units)))
    place(words, 1436, u16(0))
    return words


def badger_m2000(image: Image) -> Words:
    """Badger M2000: 32 bit float totals with litres up to 16 777 m3 and a roll-over counter (MAG-AS-01087-EN-08)."""
    words: Words = {}
    place(words, 207, f32(image.units))
    place(words, 211, f32(image.units))
    place(words, 215, f32(0.0))
    place(words, 223, f32(image.units))
    place(words, 237, f32(image.flow_l_per_h / 3_600_000))
    place(words, 241, f32(image.flow_m3_per_h))
    place(words, 262, u16(image.alarms(battery=0, fault=1)))
    place(words, 301, u16(1 if image.flow_l_per_h else 0))
    return words


def ultrad(image: Image) -> Words:
    """Dynaflox ultraD: the total split into cubic metres and millilitres, two longs (ultraD manual, 5.1 to 5.3)."""
    words: Words = {}
    whole_m3, rest_ml = divmod(image.count, 1_000_000)
    place(words, 0, i32(image.flow_l_per_h))
    place(words, 2, i32(whole_m3))
    place(words, 4, i32(rest_ml))
    place(words, 10, i32(5_000_000))
    place(words, 14, i32(2900 if "low-battery" in image.faults else 3600))
    place(words, 16, u16(image.alarms(battery=0, fault=1)))
    return words


def tfx_ultra(image: Image) -> Words:
    """Dynasonics TFX Ultra, commissioned in US gallons: 32 bit float totals (public register listing)."""
    words: Words = {}
    place(words, 699, f32(78.0))
    gallons_per_min = image.flow_l_per_h / float(Unit.GALLON.litres) / 60
    place(words, 701, f32(gallons_per_min))
    place(words, 703, f32(image.units))
    place(words, 705, f32(image.units))
    place(words, 707, f32(0.0))
    place(words, 729, f32(gallons_per_min))
    return words


_LITRES_OF_M3 = RegisterShape(Unit.CUBIC_METRE, -3, None)
_MODELS = (
    Model(
        name="arad-octave",
        maker="Arad",
        product="Octave",
        functions=(4,),
        shape=_LITRES_OF_M3,
        blocks=((0, 90),),
        words=octave,
        states_serial=True,
        registers={"total": ((24, 4), (54, 2)), "reverse_total": ((32, 4), (58, 2))},
    ),
    Model(
        name="siemens-mag8000",
        maker="Siemens",
        product="MAG 8000",
        functions=(3,),
        shape=RegisterShape(Unit.LITRE, 0, None),
        words=mag8000,
        sleeps=True,
        blocks=((79, 3), (210, 12), (226, 2), (239, 2), (366, 1), (407, 12), (476, 3), (3000, 44)),
        registers={"total": ((3017, 4),)},
    ),
    Model(
        name="siemens-mag5000",
        maker="Siemens",
        product="MAG 5000",
        functions=(3,),
        shape=_LITRES_OF_M3,
        blocks=((500, 32), (3000, 26)),
        words=mag5000,
        registers={"total": ((3014, 4),)},
    ),
    Model(
        name="tuf2000m",
        maker="TUF",
        product="TUF-2000M",
        functions=(3,),
        shape=_LITRES_OF_M3,
        blocks=((0, 200), (1436, 10)),
        words=tuf2000m,
        registers={"total": ((8, 2),)},
    ),
    Model(
        name="badger-m2000",
        maker="Badger Meter",
        product="M2000",
        functions=(3, 4),
        shape=_LITRES_OF_M3,
        blocks=((200, 110),),
        words=badger_m2000,
        registers={"total": ((207, 2),), "reverse_total": ((215, 2),)},
    ),
    Model(
        name="dynaflox-ultrad",
        maker="Dynaflox",
        product="ultraD",
        functions=(3,),
        most_registers=22,
        shape=RegisterShape(Unit.CUBIC_METRE, -6, None),
        blocks=((0, 18), (36864, 2)),
        words=ultrad,
        registers={"total": ((2, 4),), "reverse_total": ((6, 4),)},
        largest_start_count=1_500_000_000,
    ),
    Model(
        name="dynasonics-tfx-ultra",
        maker="Dynasonics",
        product="TFX Ultra",
        functions=(3,),
        shape=RegisterShape(Unit.GALLON, 0, None),
        blocks=((699, 38),),
        words=tfx_ultra,
        registers={"total": ((705, 2),), "reverse_total": ((707, 2),)},
        largest_start_count=800_000,
    ),
)
MODELS = {model.name: model for model in _MODELS}

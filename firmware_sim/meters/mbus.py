"""M-Bus water meters on a shared two-wire line, written from EN 13757-2 (link layer) and EN 13757-3 (application).

A slave answers SND_NKE (40h), SND_UD (53h/73h) with a selection by secondary address (CI 52h, 56h for most significant
byte first) or an application reset (CI 50h), REQ_UD1 (5Ah/7Ah) and REQ_UD2 (5Bh/7Bh). Bytes only, no I/O: the line
that paces them is firmware_sim/serial_line.py, and what several answers at once become is firmware_sim/wire.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_sim.demand import seeded
from firmware_sim.faults import Faults
from firmware_sim.meters.mbus_records import LAYOUTS, Layout, bcd
from firmware_sim.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from firmware_sim.dial import Dial

ACK = b"\xe5"
SELECTED, TEST, BROADCAST = 253, 254, 255
SND_NKE = 0x40
SND_UD = (0x53, 0x73, 0x43)
REQ_UD1 = (0x5A, 0x7A, 0x4A)
REQ_UD2 = (0x5B, 0x7B, 0x4B)
RSP_UD = 0x08
FCB, FCV = 0x20, 0x10
CI_APPLICATION_RESET, CI_SELECT, CI_SELECT_MSB, CI_LONG_HEADER = 0x50, 0x52, 0x56, 0x72
WATER = 0x07
STATUS_LOW_BATTERY, STATUS_PERMANENT_ERROR = 0x04, 0x08


@dataclass(frozen=True, slots=True)
class Identity:
    """What an M-Bus meter states about itself: eight digits, three letters, generation and medium."""

    digits: str
    manufacturer: str
    version: int = 1
    medium: int = WATER

    @property
    def meter_id(self) -> str:
        """The id under which the collector knows it: `EFE-04990254`."""
        return f"{self.manufacturer}-{self.digits}"

    def secondary(self) -> bytes:
        """Return the 8 bytes of the secondary address, least significant first (EN 13757-3, 5.5)."""
        return bcd(int(self.digits), 4) + manufacturer_code(self.manufacturer) + bytes((self.version, self.medium))


def manufacturer_code(letters: str) -> bytes:
    """Return the two bytes of a manufacturer's three letters, five bits each (EN 62056-21)."""
    first, second, third = (ord(letter) - 64 for letter in letters)
    return (first * 1024 + second * 32 + third).to_bytes(2, "little")


def long_frame(control: int, address: int, ci: int, data: bytes) -> bytes:
    """Return a long frame: 68 L L 68 C A CI data checksum 16 (FT 1.2)."""
    body = bytes((control, address, ci)) + data
    return bytes((0x68, len(body), len(body), 0x68)) + body + bytes((sum(body) % 256, 0x16))


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came over the line."""

    control: int
    address: int
    ci: int | None = None
    data: bytes = b""


def take_request(buffer: bytearray) -> bytes | None:
    """Cut the first whole frame from a line's buffer, dropping what cannot be one; None when more must come."""
    while buffer:
        if buffer[0] == 0x10:
            if len(buffer) < 5:
                return None
            if buffer[4] == 0x16 and sum(buffer[1:3]) % 256 == buffer[3]:
                return _cut(buffer, 5)
        elif buffer[0] == 0x68:
            if len(buffer) < 4:
                return None
            size = buffer[1] + 6
            if buffer[1] == buffer[2] and buffer[3] == 0x68 and buffer[1] >= 3:
                if len(buffer) < size:
                    return None
                if buffer[size - 1] == 0x16 and sum(buffer[4 : size - 2]) % 256 == buffer[size - 2]:
                    return _cut(buffer, size)
        del buffer[0]
    return None


def _cut(buffer: bytearray, size: int) -> bytes:
    frame = bytes(buffer[:size])
    del buffer[:size]
    return frame


def parse(frame: bytes) -> Request:
    """Return the request in a whole short or long frame."""
    if frame[0] == 0x10:
        return Request(frame[1], frame[2])
    return Request(frame[4], frame[5], frame[6], frame[7:-2])


class MBusMeter:
    """One slave: its addresses, its frame count bit and its telegrams.

    delay  0 to 1: where in the standard's window (11 bit times to 330 bit times + 50 ms) it starts to answer.
    """

    def __init__(
        self, identity: Identity, address: int, dial: Dial, layout: str, faults: Faults, *, battery_low: bool = False
    ) -> None:
        self.installed = self.identity = identity
        self.address, self.dial, self.faults = address, dial, faults
        self.layout: Layout = LAYOUTS[layout]
        self.battery_low = battery_low
        self.selected = False
        self._delay = seeded("delay", identity.meter_id).random() ** 2 * 0.9
        self._access = seeded("access", identity.meter_id).randrange(256)
        self._last_fcb: dict[int, int | None] = {}
        self._last_answer: tuple[bytes, tuple[tuple[str, int], ...]] = (b"", ())
        self._telegrams: list[tuple[bytes, tuple[tuple[str, int], ...]]] = []

    @property
    def meter_id(self) -> str:
        """The id of the meter that sits here now."""
        return self.identity.meter_id

    def swap(self, identity: Identity, dial: Dial) -> None:
        """Put another meter of the same make at this address."""
        self.identity, self.dial = identity, dial
        self._reset_link()

    def delay_s(self, baudrate: int) -> float:
        """Return how long after the request the answer starts."""
        return (11 + self._delay * 319) / baudrate + self._delay * 0.050

    def answer(self, request: Request, baudrate: int, moment: datetime) -> Answer | None:
        """Return this slave's answer to a request, None when it keeps silent."""
        said = self._said(request, moment)
        if said is None:
            return None
        data, counts = said
        return self.faults.struck(Answer(self.meter_id, data, self.delay_s(baudrate), counts))

    def _said(self, request: Request, moment: datetime) -> tuple[bytes, tuple[tuple[str, int], ...]] | None:
        mine = request.address in (self.address, TEST) or (request.address == SELECTED and self.selected)
        if request.control == SND_NKE and request.ci is None:
            return self._initialised(request.address, mine=mine)
        if request.control in SND_UD:
            return self._sent(request, mine=mine)
        if not mine or request.ci is not None:
            return None
        if request.control in REQ_UD1:
            return ACK, ()
        if request.control in REQ_UD2:
            return self._requested(request, moment)
        return None

    def _initialised(self, address: int, *, mine: bool) -> tuple[bytes, tuple[tuple[str, int], ...]] | None:
        if not mine and address != BROADCAST:
            return None
        if address == SELECTED:
            self.selected = False
        self._reset_link()
        return None if address == BROADCAST else (ACK, ())

    def _sent(self, request: Request, *, mine: bool) -> tuple[bytes, tuple[tuple[str, int], ...]] | None:
        if request.ci in (CI_SELECT, CI_SELECT_MSB) and request.address == SELECTED:
            self.selected = self._matches(request.data, msb_first=request.ci == CI_SELECT_MSB)
            self._last_fcb.pop(SELECTED, None)
            self._telegrams = []
            return (ACK, ()) if self.selected else None
        if request.ci == CI_APPLICATION_RESET:
            if not mine and request.address != BROADCAST:
                return None
            self._telegrams = []
            return None if request.address == BROADCAST else (ACK, ())
        # Anything else would change the meter's settings; this one has no writable ones and does not acknowledge.
        return None

    def _requested(self, request: Request, moment: datetime) -> tuple[bytes, tuple[tuple[str, int], ...]]:
        """Answer REQ_UD2: the same frame count bit again repeats the last answer, a toggled one brings the next."""
        key = SELECTED if request.address == SELECTED else self.address
        fcb = request.control & FCB if request.control & FCV else None
        if fcb is not None and fcb == self._last_fcb.get(key) and self._last_answer[0]:
            return self._last_answer
        self._last_fcb[key] = fcb
        if not self._telegrams:
            self._telegrams = self.layout.telegrams(self.dial, moment, self.identity.digits)
        records, counts = self._telegrams.pop(0)
        self._access = (self._access + 1) % 256
        status = STATUS_LOW_BATTERY if self.battery_low or "low-battery" in self.faults.on else 0
        status |= STATUS_PERMANENT_ERROR if "alarm" in self.faults.on else 0
        header = self.identity.secondary() + bytes((self._access, status, 0, 0))
        self._last_answer = long_frame(RSP_UD, self.address, CI_LONG_HEADER, header + records), counts
        return self._last_answer

    def _matches(self, data: bytes, *, msb_first: bool) -> bool:
        """Return whether a selection means this meter: nibbles F of the digits and bytes FF of the rest are wildcards.

        An enhanced selection adds the fabrication number as a record (0C 78 and four bytes).
        """
        if len(data) not in (8, 14):
            return False
        asked = data[:4][::-1] + data[4:6][::-1] + data[6:8] if msb_first else data[:8]
        own = self.identity.secondary()
        digits = _digits_match(asked[:4], own[:4])
        rest = all(a in (0xFF, o) for a, o in zip(asked[4:], own[4:], strict=True))
        enhanced = len(data) == 8 or (data[8:10] == b"\x0c\x78" and _digits_match(data[10:14], own[:4]))
        return digits and rest and enhanced

    def _reset_link(self) -> None:
        self._last_fcb.clear()
        self._telegrams = []
        self._last_answer = (b"", ())


def _digits_match(asked: bytes, own: bytes) -> bool:
    return all(
        (a >> shift) & 15 in (15, (o >> shift) & 15) for a, o in zip(asked, own, strict=True) for shift in (0, 4)
    )


class MBusLine:
    """The meters of one line as a bus: every request reaches all of them."""

    # The pause inside a frame after which a slave gives the frame up: 33 bit times at 300 Bd (EN 13757-2, 5.5).
    gap_chars = 3.0

    def __init__(self, meters: Sequence[MBusMeter], baudrate: int) -> None:
        self.meters, self.baudrate = list(meters), baudrate

    @property
    def size(self) -> int:
        """How many meters hang on the line."""
        return len(self.meters)

    def take(self, buffer: bytearray, *, silence: bool) -> bytes | None:
        """Cut one request from the line's buffer; after a silence a half request is dropped."""
        request = take_request(buffer)
        if request is None and silence:
            buffer.clear()
        return request

    def answers(self, frame: bytes, moment: datetime) -> list[Answer]:
        """Return what the meters send after one request."""
        request = parse(frame)
        found = [meter.answer(request, self.baudrate, moment) for meter in self.meters]
        found += [meter.faults.babble(meter.meter_id) for meter in self.meters]
        return [answer for answer in found if answer is not None]

    def round_s(self) -> float:
        """Return the wire time of reading every meter once: SND_NKE, REQ_UD2 and the telegrams of each."""
        char_s = 11 / self.baudrate
        return sum(
            (5 + 1) * char_s
            + meter.delay_s(self.baudrate)
            + meter.layout.count * (5 * char_s + meter.delay_s(self.baudrate))
            + meter.layout.bytes_estimate * char_s
            for meter in self.meters
        )

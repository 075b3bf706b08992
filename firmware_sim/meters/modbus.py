"""Modbus water meters, written from the Modbus Application Protocol v1.1b3 and Modbus over serial line v1.02.

A meter answers function codes 3 and 4 (as its maker allows), 17 (report server id) and 43/14 (read device
identification); everything that would write is refused with exception 1. RTU frames carry a CRC-16, TCP frames an MBAP
header. Bytes only, no I/O: see serial_line.py and tcp_server.py for the wires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_sim.demand import seeded
from firmware_sim.meters.modbus_models import MODELS, Image
from firmware_sim.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.clock import Clock
    from firmware_sim.dial import Dial
    from firmware_sim.faults import Faults

READ_HOLDING, READ_INPUT, REPORT_ID, ENCAPSULATED, DEVICE_ID = 3, 4, 17, 43, 14
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, NO_TARGET = 1, 2, 3, 0x0B
MOST_REGISTERS = 125
SLEEP_AFTER_S = 10.0
Counts = tuple[tuple[str, int], ...]


def crc16(data: bytes) -> bytes:
    """Return the CRC of an RTU frame, low byte first: polynomial A001h, start FFFFh (serial line v1.02, 6.2.2)."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


def rtu_request_size(buffer: bytes | bytearray) -> int | None:
    """Return how long the RTU request at the buffer's start is by its function code; None while that is not known."""
    if len(buffer) < 2:
        return None
    match buffer[1]:
        case 1 | 2 | 3 | 4 | 5 | 6 | 8:
            return 8
        case 7 | 11 | 12 | 17:
            return 4
        case 15 | 16:
            return 9 + buffer[6] if len(buffer) > 6 else None
        case 43:
            return 7
        case _:
            return None


class ModbusMeter:
    """One Modbus server: an address, a register image, a dial."""

    def __init__(
        self, meter_id: str, unit: int, dial: Dial, model: str, faults: Faults, *, clock: Clock, serial: str
    ) -> None:
        self.installed_id = self.meter_id = meter_id
        self.unit, self.dial, self.faults, self.serial = unit, dial, faults, serial
        self.model = MODELS[model]
        self._clock = clock
        self._last_exchange_s = float("-inf")
        self._delay_s = seeded("delay", meter_id).uniform(0.010, 0.060)

    def swap(self, meter_id: str, dial: Dial, serial: str) -> None:
        """Put another meter of the same model at this address."""
        self.meter_id, self.dial, self.serial = meter_id, dial, serial

    @property
    def delay_s(self) -> float:
        """Seconds from a request's end to the answer's start."""
        return self._delay_s

    def asleep(self) -> bool:
        """Return whether this exchange only wakes the meter, and note that one took place."""
        now_s = self._clock.monotonic()
        slept = self.model.sleeps and now_s - self._last_exchange_s > SLEEP_AFTER_S
        self._last_exchange_s = now_s
        return slept

    def reply(self, pdu: bytes, moment: datetime) -> tuple[bytes, Counts]:
        """Return the reply PDU to a request PDU and the register counts that it carries."""
        code = pdu[0]
        if code in (READ_HOLDING, READ_INPUT) and code in self.model.functions:
            return self._registers(pdu, moment)
        if code == REPORT_ID:
            text = bytes((self.unit, 0xFF)) + self.model.product.encode()
            return bytes((code, len(text))) + text, ()
        if code == ENCAPSULATED and pdu[1:2] == bytes((DEVICE_ID,)):
            return self._identification(pdu), ()
        return _exception(code, ILLEGAL_FUNCTION), ()

    def _registers(self, pdu: bytes, moment: datetime) -> tuple[bytes, Counts]:
        if len(pdu) != 5:
            return _exception(pdu[0], ILLEGAL_VALUE), ()
        address, count = int.from_bytes(pdu[1:3], "big"), int.from_bytes(pdu[3:5], "big")
        if not 1 <= count <= min(self.model.most_registers, MOST_REGISTERS):
            return _exception(pdu[0], ILLEGAL_VALUE), ()
        if not self.model.readable(address, count):
            return _exception(pdu[0], ILLEGAL_ADDRESS), ()
        image = Image.of(self.dial, moment, self.serial, self.faults.on)
        words = self.model.words(image)
        data = b"".join(words.get(address + n, b"\0\0") for n in range(count))
        carried = tuple(
            (register, image.count if register == "total" else 0)
            for register, spans in self.model.registers.items()
            if any(address <= first and first + size <= address + count for first, size in spans)
        )
        return bytes((pdu[0], len(data))) + data, carried

    def _identification(self, pdu: bytes) -> bytes:
        """Return the basic identification objects: maker, product code, revision (application protocol, 6.21)."""
        if len(pdu) != 4 or pdu[2] != 1 or pdu[3] != 0:
            return _exception(ENCAPSULATED, ILLEGAL_VALUE if len(pdu) != 4 or pdu[2] != 1 else ILLEGAL_ADDRESS)
        objects = (self.model.maker, self.model.product, "1.0")
        listed = b"".join(bytes((n, len(text))) + text.encode() for n, text in enumerate(objects))
        return bytes((ENCAPSULATED, DEVICE_ID, 1, 1, 0, 0, len(objects))) + listed


def _exception(code: int, number: int) -> bytes:
    return bytes((code | 0x80, number))


class RtuLine:
    """The meters of one RS-485 line: a frame reaches all, the one addressed answers after its turnaround time."""

    # A frame ends with 3.5 characters of silence (serial line v1.02, 2.5.1.1).
    gap_chars = 3.5

    def __init__(self, meters: Sequence[ModbusMeter], baudrate: int) -> None:
        self.meters, self.baudrate = list(meters), baudrate

    @property
    def size(self) -> int:
        """How many meters hang on the line."""
        return len(self.meters)

    def take(self, buffer: bytearray, *, silence: bool) -> bytes | None:
        """Cut one request from the line's buffer: by its length, or after a silence whatever is there."""
        size = len(buffer) if silence else rtu_request_size(buffer)
        if not size or len(buffer) < size:
            return None
        frame = bytes(buffer[:size])
        del buffer[:size]
        return frame

    def answers(self, frame: bytes, moment: datetime) -> list[Answer]:
        """Return what the meters send after one frame; nothing after a broadcast or a wrong CRC."""
        babble = [meter.faults.babble(meter.meter_id) for meter in self.meters]
        found = [answer for answer in babble if answer is not None]
        if len(frame) < 4 or crc16(frame[:-2]) != frame[-2:] or frame[0] == 0:
            return found
        for meter in self.meters:
            if meter.unit != frame[0] or meter.asleep():
                continue
            pdu, counts = meter.reply(frame[1:-2], moment)
            body = bytes((meter.unit,)) + pdu
            silence_s = max(self.gap_chars * 11 / self.baudrate, 0.00175)
            whole = Answer(meter.meter_id, body + crc16(body), silence_s + meter.delay_s, counts)
            struck = meter.faults.struck(whole)
            found += [struck] if struck is not None else []
        return found

    def round_s(self) -> float:
        """Return the wire time of reading every meter once, a request of 8 and an answer of about 40 bytes each."""
        return sum(48 * 11 / self.baudrate + meter.delay_s for meter in self.meters)


class TcpUnits:
    """The meters behind one Modbus TCP endpoint, by unit id."""

    def __init__(self, meters: Sequence[ModbusMeter]) -> None:
        self.meters = list(meters)
        self._by_unit = {meter.unit: meter for meter in meters}

    def take(self, buffer: bytearray) -> bytes | None:
        """Cut one ADU (MBAP header and PDU) from a connection's buffer.

        raises  ValueError when the bytes are not Modbus: the connection is then closed.
        """
        if len(buffer) < 8:
            return None
        length = int.from_bytes(buffer[4:6], "big")
        if buffer[2:4] != b"\0\0" or not 2 <= length <= 254:
            raise ValueError("not a Modbus TCP header")
        if len(buffer) < 6 + length:
            return None
        adu = bytes(buffer[: 6 + length])
        del buffer[: 6 + length]
        return adu

    def answer(self, adu: bytes, moment: datetime) -> Answer | None:
        """Return the answer to one ADU; a unit that does not exist is reported as gateways do, with exception 0Bh."""
        meter = self._by_unit.get(adu[6])
        if meter is None:
            return Answer("", _adu(adu, _exception(adu[7], NO_TARGET)), 0.05)
        if meter.asleep():
            return None
        pdu, counts = meter.reply(adu[7:], moment)
        return meter.faults.struck(Answer(meter.meter_id, _adu(adu, pdu), meter.delay_s, counts), checked=False)


def _adu(request: bytes, pdu: bytes) -> bytes:
    return request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7] + pdu

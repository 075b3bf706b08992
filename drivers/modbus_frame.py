"""One Modbus exchange: a read request out, its registers in. PDUs and framing by pymodbus, bytes by our link.

Only the two functions that read registers exist here; nothing in Headwater can write to a meter.
"""

from __future__ import annotations

import itertools
import logging
import struct
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import ApplicationError, BadChecksum, BadFrame, BadReply, NoReply

if TYPE_CHECKING:
    from domain.clock import Clock
    from drivers.base import Deadline, Link

READ_FUNCTIONS = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target failed to respond",
}
# Above 19200 Bd the silence between frames is fixed (Modbus over serial line V1.02, 2.5.1.1).
FIXED_SILENCE_S, FIXED_FROM_CHAR_S = 0.00175, 10 / 19200
ADAPTER_S = 0.05
_SHORTEST_TCP, _MOST_MBAP_LENGTH = 9, 254
_REPLY_HEAD = struct.Struct(">HHHBBB")
# They keep nothing between frames.
_RTU, _MBAP = FramerRTU(DecodePDU(is_server=False)), FramerSocket(DecodePDU(is_server=False))
# pymodbus logs each damaged frame; the error that we raise says it.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())


def parse_reply(frame: bytes, *, unit: int, function: int, count: int, rtu: bool, transaction: int = 0) -> list[int]:
    """Return the registers in one whole reply frame.

    raises  BadChecksum, BadFrame when it is damaged or answers another question, ApplicationError (named) when the
            meter answered with an exception.
    """
    if rtu and (len(frame) < 4 or FramerRTU.compute_CRC(frame[:-2]) != int.from_bytes(frame[-2:], "big")):
        raise BadChecksum("the reply's CRC disagrees with its bytes", reply=frame)
    size = 2 * count
    if rtu and len(frame) == size + 5 and frame.startswith(bytes((unit, function, size))):
        return list(words_struct(count).unpack_from(frame, 3))
    try:
        _, pdu = (_RTU if rtu else _MBAP).handleFrame(frame, 0, transaction)
    except (ModbusException, ValueError, IndexError) as error:
        raise BadFrame(f"the reply cannot be decoded: {error}", reply=frame) from error
    if pdu is None:
        raise BadFrame("the reply is no Modbus frame, or one for another transaction", reply=frame)
    if pdu.dev_id != unit:
        raise BadFrame(f"unit {pdu.dev_id} answered a question to unit {unit}", reply=frame)
    if isinstance(pdu, ExceptionResponse):
        name = EXCEPTIONS.get(pdu.exception_code, "unknown exception")
        message = f"the meter refused function {function}: {name} (exception {pdu.exception_code})"
        raise ApplicationError(message, code=pdu.exception_code, name=name, reply=frame)
    if pdu.function_code != function or len(pdu.registers) != count:
        raise BadFrame(f"the reply has {len(pdu.registers)} registers, {count} were asked for", reply=frame)
    return list(pdu.registers)


@cache
def words_struct(count: int) -> struct.Struct:
    """Return what unpacks so many registers."""
    return struct.Struct(f">{count}H")


@lru_cache(maxsize=4096)
def request_frame(unit: int, function: int, address: int, count: int, *, rtu: bool) -> bytes:
    """Return a read request as pymodbus frames it, with transaction 0 where the framing has transactions."""
    return (_RTU if rtu else _MBAP).buildFrame(READ_FUNCTIONS[function](address=address, count=count, dev_id=unit))


class ModbusMaster:
    """Exchanges on one link under one deadline, in RTU or MBAP framing."""

    _transactions = itertools.count(1)

    def __init__(
        self,
        link: Link,
        *,
        rtu: bool,
        deadline: Deadline,
        clock: Clock,
        answer_s: float,
        silence_chars: float = 3.5,
    ) -> None:
        self.link, self.rtu, self.deadline, self.clock = link, rtu, deadline, clock
        self.answer_s, self.silence_chars = answer_s, silence_chars
        self.frames = b""

    def read_registers(self, unit: int, function: int, address: int, count: int) -> list[int]:
        """Ask for `count` registers from `address` (on the wire, from 0) and return them.

        raises  NoReply, BadFrame, BadChecksum, ApplicationError, LinkDown.
        """
        transaction = 0 if self.rtu else next(self._transactions) % 0xFFFF + 1
        data = request_frame(unit, function, address, count, rtu=self.rtu)
        if not self.rtu:
            data = transaction.to_bytes(2, "big") + data[2:]
        if self.rtu and self.link.char_time_s:
            self._keep_silence()
        self.link.discard_input()
        self.link.send(data)
        if self.rtu:
            frame, registers = self._receive_rtu(unit, function, count, len(data))
        else:
            frame, registers = self._receive_tcp(unit, function, count, transaction)
        self.frames = self.frames + frame if self.frames else frame
        return registers

    def _keep_silence(self) -> None:
        char_time_s = self.link.char_time_s
        silence_s = FIXED_SILENCE_S if char_time_s < FIXED_FROM_CHAR_S else self.silence_chars * char_time_s
        self.clock.sleep(silence_s - (self.clock.monotonic() - self.link.last_byte_at[1]))

    def _receive_rtu(self, unit: int, function: int, count: int, request_chars: int) -> tuple[bytes, list[int]]:
        """Find the reply among echo and noise; its length is known from the question, so it is read exactly."""
        char_time_s = self.link.char_time_s
        until = self.deadline.within(self.answer_s + (request_chars + 5) * char_time_s + ADAPTER_S)
        seen, position = bytearray(), 0
        damage: BadReply | None = None
        wanted = 5
        while True:
            received = self.link.receive(wanted, until)
            seen += received
            cut = len(received) < wanted
            while position < len(seen):
                length = _rtu_length(seen, position, function, count)
                if length > len(seen) - position and not cut:
                    break
                if length and length <= len(seen) - position:
                    frame = bytes(seen[position : position + length])
                    try:
                        return frame, parse_reply(frame, unit=unit, function=function, count=count, rtu=True)
                    except ApplicationError:
                        raise
                    except BadReply as error:
                        damage = damage or error
                elif length and len(seen) - position >= 3 and damage is None:
                    damage = BadFrame(f"the reply was cut short after {len(seen) - position} bytes", reply=bytes(seen))
                position += 1
            if cut:
                raise damage or NoReply(_silence(self.answer_s, seen), seen=bytes(seen))
            missing = _rtu_length(seen, position, function, count) - (len(seen) - position)
            wanted = missing if position < len(seen) else 5
            rest = self.deadline.within(1.2 * wanted * char_time_s + ADAPTER_S)
            # After a damaged reply nothing else is to come; else the meter has its full time.
            until = rest if damage is not None or rest.remaining_s() > until.remaining_s() else until
            if len(seen) > 512:
                raise damage or NoReply(_silence(self.answer_s, seen), seen=bytes(seen))

    def _receive_tcp(self, unit: int, function: int, count: int, transaction: int) -> tuple[bytes, list[int]]:
        """Read MBAP frames until the one of this transaction comes; late ones of earlier questions are passed over."""
        until = self.deadline.within(self.answer_s + ADAPTER_S)
        link, size = self.link, 2 * count
        while True:
            # As much as the shortest reply has, an exception; a plain one continues with its registers.
            head = link.receive(_SHORTEST_TCP, until)
            if head == _REPLY_HEAD.pack(transaction, 0, size + 3, unit, function, size):
                body = link.receive(size, until)
                if len(body) == size:
                    return head + body, list(words_struct(count).unpack(body))
                raise BadFrame(f"the reply was cut short after {len(head + body)} bytes", reply=head + body)
            if len(head) < _SHORTEST_TCP:
                if head:
                    raise BadFrame(f"the reply was cut short after {len(head)} bytes", reply=head)
                raise NoReply(_silence(self.answer_s, head))
            length = int.from_bytes(head[4:6], "big")
            if head[2:4] != b"\0\0" or not 3 <= length <= _MOST_MBAP_LENGTH:
                raise BadFrame(f"{head.hex(' ')} is no Modbus TCP header", reply=head)
            body = link.receive(length + 6 - _SHORTEST_TCP, until)
            if len(head) + len(body) < length + 6:
                raise BadFrame(f"the reply was cut short after {len(head + body)} bytes", reply=head + body)
            if int.from_bytes(head[:2], "big") == transaction:
                frame = head + body
                return frame, parse_reply(
                    frame, unit=unit, function=function, count=count, rtu=False, transaction=transaction
                )


def _rtu_length(seen: bytearray, position: int, function: int, count: int) -> int:
    """Return the length of the reply that may start here: 5 while it is open, 0 when none can."""
    if len(seen) - position < 2:
        return 5
    if seen[position + 1] == function | 0x80:
        return 5
    if seen[position + 1] != function or (len(seen) - position > 2 and seen[position + 2] != 2 * count):
        return 0
    return 5 + 2 * count


def _silence(answer_s: float, seen: bytes | bytearray) -> str:
    noise = f"{len(seen)} bytes seen that are no reply: {bytes(seen[:16]).hex(' ')}" if seen else "0 bytes seen"
    return f"no reply within {answer_s:.2f} s, {noise}"

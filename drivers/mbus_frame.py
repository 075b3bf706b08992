"""M-Bus link layer: the four frames of format FT 1.2 (EN 13757-2), made and taken apart. No I/O.

single character   E5
short frame        10 C A CS 16
control frame      68 03 03 68 C A CI CS 16
long frame         68 L L 68 C A CI data CS 16, L counts C, A, CI and data
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import BadChecksum, BadFrame

ACK = 0xE5
SHORT_START, LONG_START, STOP = 0x10, 0x68, 0x16
# C fields of the master, without the frame count bits (EN 13757-2, 5.3).
SND_NKE, SND_UD, REQ_UD2 = 0x40, 0x53, 0x5B
FCB = 0x20
# A fields with a meaning of their own.
ADDRESS_SELECTED, ADDRESS_ANY, ADDRESS_LAST = 253, 254, 250
LONGEST_FRAME_BYTES = 261


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `control`, `address` and `ci` are None where its kind has none; `data` follows CI."""

    kind: str
    control: int | None = None
    address: int | None = None
    ci: int | None = None
    data: bytes = b""


def short_frame(control: int, address: int) -> bytes:
    """Return a short frame: a request without data."""
    return bytes((SHORT_START, control, address, (control + address) & 0xFF, STOP))


def long_frame(control: int, address: int, ci: int, data: bytes = b"") -> bytes:
    """Return a long frame (a control frame when data is empty). raises ValueError above 252 bytes of data."""
    body = bytes((control, address, ci)) + data
    if len(body) > 255:
        raise ValueError(f"an M-Bus frame carries up to 252 bytes of data, not {len(data)}")
    return bytes((LONG_START, len(body), len(body), LONG_START)) + body + bytes((sum(body) & 0xFF, STOP))


def parse_frame(data: bytes) -> Frame:
    """Return what one whole frame says.

    raises  BadFrame when fixed bytes or lengths disagree or bytes are left over, BadChecksum when the sum does.
    """
    if not data:
        raise BadFrame("no bytes; an M-Bus frame has 1, 5 or 9 to 261")
    if data[0] == ACK and len(data) == 1:
        return Frame("ack")
    if data[0] == SHORT_START:
        return _parse_short(data)
    if data[0] == LONG_START:
        return _parse_long(data)
    raise BadFrame(f"no M-Bus frame starts with {data[0]:02X}; expected 68, 10 or a lone E5", reply=data)


def _parse_short(data: bytes) -> Frame:
    if len(data) != 5 or data[4] != STOP:
        raise BadFrame(f"a short frame is 5 bytes and ends with 16; got {len(data)} bytes", reply=data)
    _check_sum(data[1:3], data[3], data)
    return Frame("short", data[1], data[2])


def _parse_long(data: bytes) -> Frame:
    if len(data) < 9:
        raise BadFrame(f"a long frame has at least 9 bytes, not {len(data)}; it was cut short", reply=data)
    length = data[1]
    if data[2] != length or data[3] != LONG_START or length < 3:
        raise BadFrame(f"the frame's head {data[:4].hex(' ')} is not 68 L L 68 with L from 3", reply=data)
    if len(data) != length + 6:
        raise BadFrame(f"the frame states {length + 6} bytes and has {len(data)}", reply=data)
    if data[-1] != STOP:
        raise BadFrame(f"the frame ends with {data[-1]:02X}, not 16", reply=data)
    body = data[4:-2]
    _check_sum(body, data[-2], data)
    return Frame("control" if length == 3 else "long", body[0], body[1], body[2], body[3:])


def _check_sum(body: bytes, checksum: int, frame: bytes) -> None:
    if (computed := sum(body) & 0xFF) != checksum:
        raise BadChecksum(f"checksum {checksum:02X} came with bytes that sum to {computed:02X}", reply=frame)

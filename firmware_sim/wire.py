"""What travels on a wire: answers, how long they take, and what becomes of several that are sent at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Start bit, eight data bits, parity (or a second stop bit), stop bit: EN 13757-2 and Modbus over serial line 2.5.1.
CHAR_BITS = 11


@dataclass(frozen=True, slots=True)
class Answer:
    """What one meter sends after a request.

    delay_s  virtual seconds from the request's last bit to the answer's first.
    counts   (register id, count) of each register that the answer carries whole.
    fault    what was done to it, None for an answer as the meter meant it.
    """

    meter_id: str
    data: bytes
    delay_s: float
    counts: tuple[tuple[str, int], ...] = ()
    damaged: bool = False
    fault: str | None = None
    closes: bool = False


@dataclass(frozen=True, slots=True)
class Transmission:
    """What the master sees on the line: bytes, how long they take, and the answers that they were."""

    data: bytes
    delay_s: float
    lasts_s: float
    answers: tuple[Answer, ...]


def char_time_s(baudrate: int) -> float:
    """Return the seconds of one character on a serial line."""
    return CHAR_BITS / baudrate


def join(answers: Sequence[Answer], baudrate: int) -> Transmission | None:
    """Put the answers to one request on a two-wire line; None when nobody answers.

    A slave signals a 0 by drawing current, so where several talk the line shows 0 if any of them does (EN 13757-2):
    the bits are joined by AND at their true offsets and read back as the master's UART would.
    """
    talking = [answer for answer in answers if answer.data]
    if not talking:
        return None
    if len(talking) == 1:
        only = talking[0]
        return Transmission(only.data, only.delay_s, len(only.data) * char_time_s(baudrate), (only,))
    first_s = min(answer.delay_s for answer in talking)
    starts = [round((answer.delay_s - first_s) * baudrate) for answer in talking]
    line = [1] * max(start + len(answer.data) * CHAR_BITS for start, answer in zip(starts, talking, strict=True))
    for start, answer in zip(starts, talking, strict=True):
        for at, bit in enumerate(_bits(answer.data), start):
            line[at] &= bit
    data = _received(line)
    marked = tuple(
        answer if answer.data == data else replace(answer, damaged=True, fault=answer.fault or "collision")
        for answer in talking
    )
    return Transmission(data, first_s, len(line) / baudrate, marked)


def _bits(data: bytes) -> list[int]:
    bits = []
    for byte in data:
        eight = [byte >> n & 1 for n in range(8)]
        bits += [0, *eight, sum(eight) % 2, 1]
    return bits


def _received(line: list[int]) -> bytes:
    """Read characters from a line's bits as a UART does; a wrong parity or stop bit still delivers the character."""
    data, at = bytearray(), 0
    while at + CHAR_BITS - 1 < len(line):
        if line[at]:
            at += 1
            continue
        data.append(sum(line[at + 1 + n] << n for n in range(8)))
        at += CHAR_BITS - 1
        while at < len(line) and not line[at]:
            at += 1
    return bytes(data)

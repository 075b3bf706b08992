"""Registers decoded by hand: words from a text, values by a map. Pure functions, for the command line and tests."""

from __future__ import annotations

import re
from decimal import Decimal

from drivers.errors import BadFrame
from drivers.modbus import count_total, value_of
from drivers.modbus_map import TOTALS, MapRegister, RegisterMap, load_map


def words_of(text: str) -> list[int]:
    """Return the register words in a text.

    Tokens of two hex digits each are bytes and of four (or 8, 12, ...) words in hex, together perhaps a whole RTU
    reply; tokens of any other length are words as 0x1234 or decimal. raises ValueError for neither.
    """
    tokens = re.split(r"[\s,;]+", text.strip())
    for pattern in (r"[0-9A-Fa-f]{2}", r"(?:[0-9A-Fa-f]{4})+"):
        if all(re.fullmatch(pattern, token) for token in tokens):
            return _words_of_bytes(bytes.fromhex("".join(tokens)))
    if len(tokens) == 1 and re.fullmatch(r"(?:[0-9A-Fa-f]{2}){7,}", tokens[0]):
        return _words_of_bytes(bytes.fromhex(tokens[0]))
    try:
        words = [int(token, 16) if token.lower().startswith("0x") else int(token) for token in tokens]
    except ValueError:
        raise ValueError("expected hex digits, or words as 0x1234 or decimal") from None
    if not all(0 <= word <= 0xFFFF for word in words):
        raise ValueError("a register holds 0 to 65535")
    return words


def decode_words(map_name: str, words: list[int], *, start: int | None = None) -> list[dict[str, object]]:
    """Return the values of a map that lie in the words, each as an object.

    value  exact decimal string or text, None where it is none; totals also have count and scale.
    """
    register_map = load_map(map_name)
    if start is None:
        totals = register_map.of_role("total")
        start = (totals or register_map.registers)[0].address
    by_address = dict(enumerate(words, start))
    rows = [
        _row(register_map, register, by_address)
        for register in register_map.registers
        if all(at in by_address for at in range(register.address, register.end))
    ]
    if not rows:
        raise BadFrame(f"no register of {register_map.name} lies in {len(words)} words from {start}; see --start")
    return rows


def _row(register_map: RegisterMap, register: MapRegister, words: dict[int, int]) -> dict[str, object]:
    value = value_of(register, words)
    number = Decimal(value) if isinstance(value, int) else value
    if isinstance(number, Decimal):
        number = number.scaleb(register.scale) if register.scale else number
    row: dict[str, object] = {
        "name": register.name,
        "address": register.address,
        "value": format(number, "f") if isinstance(number, Decimal) else number,
        "unit": register.unit,
        "role": register.role,
    }
    if register.role in TOTALS and _has_parts(register_map, register, words):
        counted = count_total(register_map, register, words)
        if counted is not None:
            row |= {"count": counted[0], "unit": counted[1].value, "scale": counted[2]}
    return row


def _has_parts(register_map: RegisterMap, register: MapRegister, words: dict[int, int]) -> bool:
    parts = [register_map.register(name) for name in (register.fraction, register.unit_from) if name]
    return all(at in words for part in parts for at in range(part.address, part.end))


def _words_of_bytes(data: bytes) -> list[int]:
    from pymodbus.framer import FramerRTU

    if len(data) >= 7 and data[2] == len(data) - 5 and data[1] in (3, 4):
        if FramerRTU.compute_CRC(data[:-2]) != int.from_bytes(data[-2:], "big"):
            raise BadFrame("this looks like an RTU reply, and its CRC disagrees", reply=data)
        data = data[3:-2]
    if len(data) % 2:
        raise BadFrame(f"{len(data)} bytes are no whole registers; the reply was cut", reply=data)
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]

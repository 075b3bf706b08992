"""Values in Modbus registers: types and byte orders. Pure functions.

A register is 16 bits, most significant byte first on the wire; what a meter does with more than one is its maker's
choice. A byte order names the bytes of a value in wire order, A the most significant: CDAB is 'low word first'.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

# Bytes of each type; a string has as many as its registers hold.
TYPE_BYTES = {"u16": 2, "i16": 2, "u32": 4, "i32": 4, "f32": 4, "u64": 8, "i64": 8, "f64": 8, "string": 0}
BYTE_ORDERS = {
    2: {"AB": "AB", "BA": "BA"},
    4: {order: order for order in ("ABCD", "CDAB", "BADC", "DCBA")},
    8: {order: order for order in ("ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA")}
    | {"ABCD": "ABCDEFGH", "CDAB": "GHEFCDAB", "BADC": "BADCFEHG", "DCBA": "HGFEDCBA"},
    0: {"AB": "AB", "ABCD": "AB", "BA": "BA", "BADC": "BA"},
}
AS_ON_THE_WIRE = ("AB", "ABCD", "ABCDEFGH")
_FLOATS = {"f32": ">f", "f64": ">d"}


def registers_of(kind: str) -> int:
    """Return how many registers a value of a type takes; 0 for a string, which states it itself."""
    return TYPE_BYTES[kind] // 2


def decode_value(words: Sequence[int], kind: str, byte_order: str) -> int | Decimal | str | None:
    """Return the value in whole registers: int, exact Decimal of a float (None for NaN and infinity), or text."""
    data = struct.pack(f">{len(words)}H", *words)
    order = BYTE_ORDERS[TYPE_BYTES[kind]][byte_order]
    if kind == "string":
        if order == "BA":
            data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
        return data.decode("latin-1").split("\0")[0].strip()
    if order not in AS_ON_THE_WIRE:
        data = bytes(data[order.index(letter)] for letter in "ABCDEFGH"[: len(order)])
    if kind in _FLOATS:
        value: float = struct.unpack(_FLOATS[kind], data)[0]
        return Decimal(value) if math.isfinite(value) else None
    return int.from_bytes(data, "big", signed=kind[0] == "i")


def counts_of(value: Decimal, scale: int) -> int:
    """Return how many counts of 10**scale a float total is, rounded half up."""
    return int(value.scaleb(-scale).to_integral_value(ROUND_HALF_UP))


def split_counts(whole: int, fraction: int, *, fraction_per_unit: int, scale: int) -> int:
    """Return how many whole counts of 10**scale a total in two registers is; what is left over is left away.

    whole     units; fraction  parts of a unit, `fraction_per_unit` of which make one; both with the total's sign.
    """
    total = whole * fraction_per_unit + fraction
    counts: int = abs(total) * 10 ** max(0, -scale) // (fraction_per_unit * 10 ** max(0, scale))
    return counts if total >= 0 else -counts

"""Standard-library compression of a batch, and decompression that cannot be made to fill the memory."""

from __future__ import annotations

import lzma
import zlib
from typing import Any

from sync.errors import BadBatch

STORED, DEFLATE, LZMA2 = 0, 1, 2
_RAW = -15
# 1 MiB of dictionary bounds what a decoder allocates. lc, lp, pb were tried on the batches of tests/bench/batches.py:
# bytes of CBOR integers have no alignment, so position bits (pb, lp) only dilute the statistics.
_FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 20, "lc": 3, "lp": 0, "pb": 0}
]
# Under this size LZMA2's headers lose against deflate in every case measured; skipping it saves time on small batches.
_LZMA_WORTH_BYTES = 512


def compress(plain: bytes) -> tuple[int, bytes]:
    """Return (tag, bytes): the shortest of stored, raw deflate at level 9 and raw LZMA2."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9)
    choices = [(STORED, plain), (DEFLATE, deflate.compress(plain) + deflate.flush())]
    if len(plain) >= _LZMA_WORTH_BYTES:
        choices.append((LZMA2, lzma.compress(plain, lzma.FORMAT_RAW, filters=_FILTERS)))
    return min(choices, key=lambda choice: (len(choice[1]), choice[0]))


def decompress(tag: int, data: bytes, *, max_plain_bytes: int) -> bytes:
    """Return the plain bytes; raises BadBatch for damage, left-over bytes and anything above `max_plain_bytes`."""
    if tag == STORED:
        plain, whole = data[: max_plain_bytes + 1], True
    elif tag == DEFLATE:
        plain, whole = _inflate(data, max_plain_bytes + 1)
    elif tag == LZMA2:
        plain, whole = _unlzma(data, max_plain_bytes + 1)
    else:
        raise BadBatch("compression", f"tag {tag}")
    if len(plain) > max_plain_bytes:
        raise BadBatch("oversized", f"more than {max_plain_bytes} plain bytes")
    if not whole:
        raise BadBatch("compression", "cut short or followed by other bytes")
    return plain


def _inflate(data: bytes, most: int) -> tuple[bytes, bool]:
    machine = zlib.decompressobj(_RAW)
    try:
        plain = machine.decompress(data, most)
    except zlib.error:
        raise BadBatch("compression", "deflate") from None
    return plain, machine.eof and not machine.unused_data and not machine.unconsumed_tail


def _unlzma(data: bytes, most: int) -> tuple[bytes, bool]:
    machine = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        plain = machine.decompress(data, most)
    except lzma.LZMAError:
        raise BadBatch("compression", "lzma") from None
    return plain, machine.eof and not machine.unused_data

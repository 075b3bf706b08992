"""One register's reads of one storage day in one value: columns of varints, compressed. Lossless.

Layout: one byte 2 (version), one byte 0 (plain) or 1 (raw deflate), then the columns one after the other, of varints:
  count     number of reads n
  times     microseconds since the start of the day: first, step, period in steps, then how far each difference is from
            the period, in steps. Clocks tick in whole milliseconds and meters are read about every so often, so that
            what is left of a time is the jitter of its poll.
  counts    raw count: first, then differences
  epochs    runs of (length, epoch row id as a difference)
  appends   append_seq: first, first difference, then differences of differences
  marks     runs of (length, quality, reason, flags)
Version 1 had the times as differences of differences and zlib around the columns; it is still read. Signed numbers are
zigzag. Reads are in the order of (read_us, epoch, append_seq), so packing is canonical: the same reads give the same
bytes whatever the order in which they arrived.
"""

from __future__ import annotations

import zlib
from functools import partial
from itertools import accumulate, groupby, pairwise
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from portal.metering.errors import PackedReadsDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DAY_US = 86_400_000_000
_VERSION, _PLAIN, _DEFLATE = 2, 0, 1
_VERSION_BEFORE = 1


class KeptRead(NamedTuple):
    """A read as the read tables keep it; sorts by time. `epoch` is the Epoch's row id, read_us microseconds UTC."""

    read_us: int
    epoch: int
    append_seq: int
    raw_count: int
    quality: int
    reason: int
    flags: int


def pack_day(day: int, reads: Iterable[KeptRead]) -> bytes:
    """Return the packed reads of one register on one storage day (days since 1970)."""
    ordered = sorted(reads)
    if any(read.read_us // DAY_US != day for read in ordered):
        raise ValueError(f"a read of another day than {day}")
    numbers = [len(ordered)]
    numbers += _periodic([read.read_us - day * DAY_US for read in ordered])
    numbers += _differenced([read.raw_count for read in ordered])
    numbers += _runs([(read.epoch,) for read in ordered])
    numbers += _twice_differenced([read.append_seq for read in ordered])
    numbers += _runs([(read.quality, read.reason, read.flags) for read in ordered])
    plain = b"".join(map(_varint, numbers))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    squeezed = deflate.compress(plain) + deflate.flush()
    if len(squeezed) < len(plain):
        return bytes((_VERSION, _DEFLATE)) + squeezed
    return bytes((_VERSION, _PLAIN)) + plain


class Columns(NamedTuple):
    """The reads of a packed day as columns, in time order: who needs two of a hundred reads makes those alone.

    appends  the column as it is packed. marks: (quality, reason, flags).
    """

    moments: list[int]
    counts: list[int]
    epochs: list[tuple[int, ...]]
    appends: list[int]
    marks: list[tuple[int, ...]]

    def qualities(self) -> list[int]:
        """Return the quality of each."""
        return [mark[0] for mark in self.marks]

    def read(self, place: int) -> KeptRead:
        """Return one of the reads."""
        append_seq = _summed_twice(self.appends[: place + 1])[place]
        return _read((self.moments[place], *self.epochs[place], append_seq, self.counts[place], *self.marks[place]))

    def reads(self) -> list[KeptRead]:
        """Return all of them."""
        appends = _summed_twice(self.appends)
        return [
            _read((at, *epoch, append_seq, count, *mark))
            for at, epoch, append_seq, count, mark in zip(
                self.moments, self.epochs, appends, self.counts, self.marks, strict=True
            )
        ]


def unpack_day(day: int, packed: bytes) -> list[KeptRead]:
    """Return the reads of a packed day, in time order; raises PackedReadsDamaged."""
    return unpack_columns(day, packed).reads()


def unpack_columns(day: int, packed: bytes) -> Columns:
    """Return the same as columns; raises PackedReadsDamaged."""
    try:
        return _unpack(day, packed)
    except (IndexError, ValueError, zlib.error) as error:
        raise PackedReadsDamaged(
            f"a packed day of reads (day {day}, {len(packed)} bytes) does not unpack: {error!r}; "
            "run `headwater portal rebuild`"
        ) from error


def _unpack(day: int, packed: bytes) -> Columns:
    version, squeezed = packed[0], packed[1] == _DEFLATE
    if version not in (_VERSION, _VERSION_BEFORE):
        raise ValueError(f"version {version}")
    plain = zlib.decompress(packed[2:], -15 if version == _VERSION else 15) if squeezed else packed[2:]
    numbers = _varints(plain)
    n, at = numbers[0], 1
    if version == _VERSION:
        times, at = _from_period(numbers, at, n, day * DAY_US)
    else:
        times, at = _summed_twice(numbers[at : at + n], day * DAY_US), at + n
    counts, at = _summed(numbers[at : at + n]), at + n
    epochs, at = _expanded(numbers, at, n, width=1)
    appends, at = numbers[at : at + n], at + n
    marks, at = _expanded(numbers, at, n, width=3)
    if at != len(numbers):
        raise ValueError("bytes behind the last column, or a column cut short")
    return Columns(times, counts, epochs, appends, marks)


_read = partial(tuple.__new__, KeptRead)  # a page unpacks thousands: by position, without a call of Python's own


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1


def _unzigzag(value: int) -> int:
    return value >> 1 if not value & 1 else -((value + 1) >> 1)


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _varints(data: bytes) -> list[int]:
    """Return the numbers; those behind the last one of more than one byte, mostly a row of zeros, at once."""
    mixed = len(data.rstrip(_ONE_BYTE)) + 1
    result: list[int] = []
    rest = iter(data[:mixed])
    for byte in rest:
        if byte < 0x80:
            result.append(byte)
            continue
        value, shift = byte & 0x7F, 7
        for more in rest:
            if more < 0x80:
                result.append(value | more << shift)
                break
            value |= (more & 0x7F) << shift
            shift += 7
        else:
            raise ValueError("cut inside a number")
    result += data[mixed:]
    return result


_ONE_BYTE = bytes(range(0x80))


def _differenced(values: Sequence[int]) -> list[int]:
    return [_zigzag(value - before) for value, before in zip(values, [0, *values], strict=False)]


def _summed(numbers: Sequence[int]) -> list[int]:
    if not numbers:
        return []
    first, differences = _unzigzag(numbers[0]), numbers[1:]
    try:
        return list(accumulate(map(_SMALL.__getitem__, differences), initial=first))
    except IndexError:
        return list(accumulate(map(_unzigzag, differences), initial=first))


_SMALL = [_unzigzag(n) for n in range(1 << 14)]
"""Differences are nearly all of these: to look one up takes less than to reckon it."""


def _twice_differenced(values: Sequence[int]) -> list[int]:
    first = [value - before for value, before in zip(values, [0, *values], strict=False)]
    return [*map(_zigzag, first[:1]), *_differenced(first[1:])]


def _summed_twice(numbers: Sequence[int], base: int = 0) -> list[int]:
    return list(accumulate([*(base + _unzigzag(n) for n in numbers[:1]), *_summed(numbers[1:])]))


def _periodic(values: Sequence[int]) -> list[int]:
    """Return first, step, period in steps, and each difference less the period; nothing of no values."""
    if not values:
        return []
    differences = [after - before for before, after in pairwise(values)]
    step = gcd(*differences) or 1
    steps = [difference // step for difference in differences]
    period = sorted(steps)[len(steps) // 2] if steps else 0
    return [values[0], step, period, *(_zigzag(difference - period) for difference in steps)]


def _from_period(numbers: Sequence[int], at: int, n: int, base: int) -> tuple[list[int], int]:
    """Return n values that stand from a place on, and the place behind them."""
    if not n:
        return [], at
    first, step, period = numbers[at : at + 3]
    behind = at + n + 2
    whole, differences = step * period, numbers[at + 3 : behind]
    try:
        steps = [whole + step * _SMALL[difference] for difference in differences]
    except IndexError:
        steps = [whole + step * _unzigzag(difference) for difference in differences]
    return list(accumulate(steps, initial=base + first)), behind


def _runs(rows: Sequence[tuple[int, ...]]) -> list[int]:
    return [n for row, group in groupby(rows) for n in (sum(1 for _ in group), *row)]


def _expanded(numbers: Sequence[int], at: int, n: int, *, width: int) -> tuple[list[tuple[int, ...]], int]:
    """Return the rows of runs that stand from a place on, and the place behind them."""
    result: list[tuple[int, ...]] = []
    while len(result) < n:
        length, behind = numbers[at], at + 1 + width
        if not 0 < length <= n - len(result):
            raise ValueError("a run's length")
        result += [tuple(numbers[at + 1 : behind])] * length
        at = behind
    return result, at

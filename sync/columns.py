"""Columns of integers and checked fields: what the batch format is made of, strict in what it accepts.

A column of n integers is written in the shortest of three forms: one integer (all n are equal), a list of n integers,
or a map {0: values, 1: run lengths}. Every reader here raises BadBatch for anything else.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from sync.errors import BadBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INTEGERS = frozenset({int})


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_at(us: int) -> datetime:
    """Return the UTC moment `us` microseconds after 1970; raises BadBatch outside the years 1 to 9999."""
    try:
        return _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        raise BadBatch("range", "a time outside the calendar") from None


def pack(values: Sequence[int]) -> int | list[int] | dict[int, list[int]]:
    """Return a column in the form that is shortest before compression."""
    if not values:
        return []
    runs = [(value, len(list(group))) for value, group in groupby(values)]
    if len(runs) == 1:
        return values[0]
    if 4 * len(runs) <= len(values):
        return {0: [value for value, _ in runs], 1: [length for _, length in runs]}
    return list(values)


def unpack(column: Any, count: int) -> list[int]:
    """Return the `count` integers of a column; raises BadBatch when it does not hold exactly that many."""
    if type(column) is int:
        return [integer(column)] * count
    if type(column) is dict:
        if column.keys() != {0, 1}:
            raise BadBatch("format", "a run-length column")
        values, lengths = integers(column[0]), integers(column[1])
        if len(values) != len(lengths) or any(length < 1 for length in lengths) or sum(lengths) != count:
            raise BadBatch("format", "run lengths")
        return [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
    result = integers(column)
    if len(result) != count:
        raise BadBatch("format", f"a column of {len(result)} for {count}")
    return result


def deltas(values: Sequence[int], start: int = 0) -> list[int]:
    """Return each value minus the one before it, the first minus `start`."""
    return [value - before for value, before in zip(values, [start, *values], strict=False)]


def sums(differences: Sequence[int], start: int = 0) -> list[int]:
    """Undo `deltas`."""
    return list(accumulate(differences, initial=start))[1:]


def integer(value: Any, low: int = -2 * LIMIT, high: int = 2 * LIMIT) -> int:
    """Return an integer of [low, high), else raise BadBatch; True is not 1 here."""
    if type(value) is not int:
        raise BadBatch("format", "an integer was expected")
    if not low <= value < high:
        raise BadBatch("range", "an integer is outside its range")
    return value


def integers(value: Any) -> list[int]:
    """Return a list of integers, each within 65 bits, else raise BadBatch."""
    if type(value) is not list or not set(map(type, value)) <= _INTEGERS:
        raise BadBatch("format", "a list of integers was expected")
    if value and not (min(value) >= -2 * LIMIT and max(value) < 2 * LIMIT):
        raise BadBatch("range", "an integer beyond 64 bits")
    return value


def within(values: list[int], low: int, high: int) -> list[int]:
    """Return the values when all lie in [low, high), else raise BadBatch."""
    if values and not (low <= min(values) and max(values) < high):
        raise BadBatch("range", "a column leaves its range")
    return values


def octets(value: Any, size: int) -> bytes:
    """Return a byte string of exactly `size` bytes, else raise BadBatch."""
    if type(value) is not bytes or len(value) != size:
        raise BadBatch("format", f"{size} bytes were expected")
    return value


def text(value: Any, longest: int) -> str:
    """Return a string of at most `longest` characters, else raise BadBatch."""
    if type(value) is not str:
        raise BadBatch("format", "text was expected")
    if len(value) > longest:
        raise BadBatch("oversized", f"text of {len(value)} characters")
    return value


def items(value: Any, count: int | None = None, *, most: int | None = None) -> list[Any]:
    """Return a list of exactly `count` (or at most `most`) items, else raise BadBatch."""
    if type(value) is not list or (count is not None and len(value) != count):
        raise BadBatch("format", "a list was expected" if count is None else f"a list of {count} was expected")
    if most is not None and len(value) > most:
        raise BadBatch("oversized", f"a list of {len(value)}")
    return value


def fields(value: Any, *, required: frozenset[int], optional: frozenset[int] = frozenset()) -> dict[int, Any]:
    """Return a map with all required keys and no unknown ones, else raise BadBatch."""
    if type(value) is not dict or not (required <= value.keys() <= required | optional):
        raise BadBatch("format", "the keys of a map")
    return value

"""What a page's one look at its meters found: later looks of the same page that ask for less take it from here."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from portal.core.remembering import remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from domain.usage import CountPoint
    from portal.metering.models import Installation, MeterRegister


class _Look(NamedTuple):
    """The points beside moments, unrolled from one of them; more of them than somebody asked for do no harm."""

    moments: frozenset[datetime]
    points: list[CountPoint]


_Looks = dict[tuple[int, tuple[int, ...]], list[_Look]]


def _looks() -> _Looks:
    kept: _Looks = remembered("looks", dict)
    return kept


def _key(row: Installation, counter: Sequence[MeterRegister]) -> tuple[int, tuple[int, ...]]:
    return row.pk, tuple(register.pk for register in counter)


def seen_before(
    row: Installation, counter: Sequence[MeterRegister], moments: Iterable[datetime]
) -> list[CountPoint] | None:
    """Return the points beside an installation's moments, if one look of this page was at all of them."""
    for look in _looks().get(_key(row, counter), ()):
        if look.moments.issuperset(moments):
            return look.points
    return None


def keep_look(
    row: Installation, counter: Sequence[MeterRegister], moments: Iterable[datetime], points: list[CountPoint]
) -> None:
    """Keep what a look found for as long as the page is made. Nobody may change the points."""
    _looks().setdefault(_key(row, counter), []).append(_Look(frozenset(moments), points))


def clusters(moments: Iterable[datetime], apart: timedelta) -> list[list[datetime]]:
    """Return moments in order, those behind a longer gap in a list of their own."""
    ordered = sorted(set(moments))
    result = [ordered[:1]] if ordered else []
    for before, moment in pairwise(ordered):
        if moment - before > apart:
            result.append([])
        result[-1].append(moment)
    return result

"""Rows with a start and an end: two of them at one place must not hold at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from portal.importing.columns import Findings


class _Comparable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """One row's time at one place.

    line  0 for a row that stands in the database and is not in the file; column: the file's column of the place.
    """

    place: Hashable
    start: Any
    end: Any
    line: int
    column: str
    says: str


def refuse_overlaps(stretches: Iterable[Stretch], findings: Findings) -> None:
    """Make a problem of every row of the file that begins before the one before it at the same place has ended."""
    before: dict[Any, Stretch] = {}
    for stretch in sorted(stretches, key=lambda s: (s.start, s.line)):
        earlier = before.get(stretch.place)
        if (
            earlier is not None
            and (earlier.end is None or earlier.end > stretch.start)
            and (earlier.line or stretch.line)
        ):
            _say(earlier, stretch, findings)
        if earlier is None or earlier.end is not None and (stretch.end is None or stretch.end > earlier.end):
            before[stretch.place] = stretch


def _say(earlier: Stretch, later: Stretch, findings: Findings) -> None:
    at_fault, other = (later, earlier) if later.line else (earlier, later)
    where = _("line %(line)d") % {"line": other.line} if other.line else _("the portal")
    if other.end is None:
        text = _("%(other)s (%(where)s) holds from %(start)s on without an end; give its end first, on its own line")
    else:
        text = _("%(other)s (%(where)s) holds from %(start)s to %(end)s; correct one of the two")
    parts = {"other": other.says, "where": where, "start": _short(other.start), "end": _short(other.end)}
    findings.add(at_fault.line, at_fault.column, text % parts)


def _short(moment: Any) -> str:
    return "" if moment is None else moment.isoformat().removesuffix(":00+00:00").replace("T", " ")

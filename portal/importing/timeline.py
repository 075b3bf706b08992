"""Rows with a start and an end: compared with those that stand in the portal; no two hold at one place at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from django.utils.translation import gettext as _

from portal.importing.kind import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from portal.importing.columns import Findings, Row
    from portal.importing.kind import By


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


class _Held(Protocol):
    """A row of the database with a start and an end."""

    pk: Any

    @property
    def start(self) -> Any: ...

    @property
    def end(self) -> Any: ...


Held = TypeVar("Held", bound=_Held)
Change = dict[str, list[Any]]
Place = tuple["Hashable", str]
"""A place that a row takes, and the file's column of it."""


@dataclass(slots=True)
class Comparison(Generic[Held]):
    """What the rows of a file would change: rows that are new, rows that are changed; the rest stands as it is."""

    new: list[Held] = field(default_factory=list)
    changed: list[tuple[Held, Change]] = field(default_factory=list)
    _unchanged: int = 0
    _met: set[Any] = field(default_factory=set)
    _stretches: list[Stretch] = field(default_factory=list)

    def meet(self, row: Row, standing: Held | None, change: Change, says: str, *places: Place) -> None:
        """Take in a sound row of the file and what stands for it; the caller adds to `new` where nothing does."""
        end = row["end"] or (standing.end if standing else None)
        self._stretches += [Stretch(place, row["start"], end, row.line, column, says) for place, column in places]
        if standing is None:
            return
        self._met.add(standing.pk)
        if change:
            self.changed.append((standing, change))
        self._unchanged += not change

    def leave(self, standing: Held, says: str, *places: Hashable) -> None:
        """Take in a row that stands in the portal, unless the file had it."""
        if standing.pk not in self._met:
            self._stretches += [Stretch(place, standing.start, standing.end, 0, "", says) for place in places]

    def outcome(
        self, findings: Findings, write: Callable[[list[Held], list[tuple[Held, Change]], By], None]
    ) -> Outcome:
        """Make problems of rows that overlap; return what there is to write."""
        refuse_overlaps(self._stretches, findings)
        return Outcome(
            new=len(self.new),
            changed=len(self.changed),
            unchanged=self._unchanged,
            write=lambda by: write(self.new, self.changed, by),
        )


def check_end(row: Row, findings: Findings) -> None:
    """Make a problem of a row that ends before it starts."""
    if row["end"] is not None and row["end"] <= row["start"]:
        findings.add(row.line, "end", _("the end is not after the start; correct one of them"), value=row["end"])


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

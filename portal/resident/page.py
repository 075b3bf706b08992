"""What the usage page's template is given: words, figures and links, nothing to be computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.resident.periods import PERIOD_WORDS
from portal.resident.wording import headline_number, number, plain_decimal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from decimal import Decimal

    from domain.units import Unit
    from portal.customers.models import ServicePoint
    from portal.resident.compare import Comparison
    from portal.resident.dial import Dial
    from portal.resident.leak import LeakBanner
    from portal.resident.links import Choice, Links
    from portal.resident.periods import By, Period, PeriodWords
    from portal.resident.rows import Row
    from portal.resident.wording import UnitWords

_MARKED = {"shared", "estimated", "edited", "suspect", "partial"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One volume as the page shows it: rounded for the eye, exact for a script."""

    text: str
    exact: str

    @classmethod
    def of(cls, value: Decimal | None, unit: Unit, *, exact_text: bool = False) -> Figure | None:
        """Return a volume in words; None when it is not known."""
        if value is None:
            return None
        text = number(value.normalize()) if exact_text else headline_number(value, unit)
        return cls(text, plain_decimal(value))


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures that are read at a glance; only for the person who lives there now.

    hour  what was used in the hour that runs now, None while there is no read in it.
    """

    hour: Figure | None
    today: Figure | None
    yesterday: Figure | None
    month: Figure | None
    as_of: str


@dataclass(frozen=True, slots=True)
class UsagePage:
    """All that the page's template needs, in words.

    meters     the meters of this home and all of them together, as links; empty when there is but one.
    others     the person's other places.
    streams    the service points whose changes the page follows; none after a move-out.
    moved_out  when the viewer's time at this place ended, in words; empty while they live there.
    previous   the period before, None when it lies before the viewer's time; `following` likewise.
    is_now     the period holds the present moment.
    change     the change number that the page rests on: the stream carries on from it.
    """

    service_point: ServicePoint
    meters: tuple[Choice, ...]
    others: tuple[ServicePoint, ...]
    streams: tuple[ServicePoint, ...]
    unit: UnitWords
    links: Links
    views: tuple[Choice, ...]
    compares: tuple[Choice, ...]
    comparison: Comparison | None
    previous: Period | None
    following: Period | None
    first_day: date
    today: date
    is_now: bool
    moved_out: str
    waiting: bool
    headline: Headline | None
    dials: tuple[Dial, ...]
    leak: LeakBanner | None
    rows: tuple[Row, ...]
    total: Figure | None
    boundary_dials: tuple[Dial, ...]
    as_of: str
    change: int

    @property
    def period(self) -> Period:
        """The period of the chart."""
        return self.links.period

    @property
    def by(self) -> By:
        """What one bar of the chart is."""
        return self.period.by

    @property
    def words(self) -> PeriodWords:
        """What the period and its bars are called."""
        return PERIOD_WORDS[self.by]

    @property
    def previous_href(self) -> str:
        """The address of the period before, empty when there is none."""
        return self.links.to(self.previous) if self.previous else ""

    @property
    def following_href(self) -> str:
        """The address of the period after, empty when there is none."""
        return self.links.to(self.following) if self.following else ""

    @property
    def table_rows(self) -> list[Row]:
        """The rows that a table shows: none of the hours and days before the first reading or after now."""
        return [row for row, _ in self._shown()]

    @property
    def compared_rows(self) -> list[tuple[Row, str]]:
        """The same rows, each with what it is compared with."""
        return list(self._shown())

    def _shown(self) -> Iterator[tuple[Row, str]]:
        texts = self.comparison.texts if self.comparison else ("",) * len(self.rows)
        for row, text in zip(self.rows, texts, strict=True):
            if row.mark not in ("before", "ahead"):
                yield row, text

    @property
    def marks(self) -> set[str]:
        """What the chart's key has to explain beside plain bars: `estimated`, `none`, or nothing at all."""
        marks = {row.mark for row in self.rows}
        return ({"estimated"} if marks & _MARKED else set()) | (marks & {"none"})

    def chart(self) -> dict[str, object]:
        """Return what the chart draws."""
        other = self.comparison
        return {
            "change": self.change,
            "rows": [row.as_json() for row in self.rows],
            "other": None if other is None else {"name": other.name, "volumes": other.as_json(), "texts": other.texts},
        }

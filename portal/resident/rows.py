"""The bars of the chart and the rows of the table: one list serves both, so that they cannot differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from portal.metering.usage import PLACES
from portal.resident.wording import SYMBOLS, needed_places, number, plain_decimal

if TYPE_CHECKING:
    from datetime import datetime

    from portal.metering.usage import UsageRow, UsageSeries
    from portal.resident.periods import Period


@dataclass(frozen=True, slots=True)
class Row:
    """One bar, one line.

    mark    measured, shared (no read inside, so the volume between two reads was shared out by time), estimated,
            edited, suspect, partial (one of several meters is missing); none (a gap), waiting (the first read of it
            has not come), ahead (the future), before (older than the first reading of the viewer's time).
    volume  exact decimal text, None where nothing is known.
    """

    label: str
    title: str
    volume: str | None
    text: str
    mark: str
    note: str

    def as_json(self) -> dict[str, object]:
        """Return what the chart needs; the number is for drawing, the text for reading.

        Water that flowed back has no bar below the line: the text and the note beside it say what it was.
        """
        return {
            "label": self.label,
            "title": self.title,
            "volume": None if self.volume is None else max(0.0, float(self.volume)),
            "text": self.text,
            "mark": self.mark,
            "note": self.note,
        }


def finished_rows(
    series: UsageSeries,
    period: Period,
    *,
    moment: datetime,
    known_from: datetime,
) -> tuple[Row, ...]:
    """Put the rows of a series into words."""
    places = needed_places((row.volume for row in series.rows if row.volume is not None), PLACES[series.unit])
    symbol = SYMBOLS[series.unit]
    rows = []
    for row, (label, title) in zip(series.rows, period.labels, strict=True):
        mark, note = _mark(row, series, moment=moment, known_from=known_from)
        rows.append(
            Row(
                label=label,
                title=title,
                volume=None if row.volume is None else plain_decimal(row.volume),
                text=note if row.volume is None else f"{number(row.volume, places)} {symbol}",
                mark=mark,
                note="" if row.volume is None else note,
            )
        )
    return tuple(rows)


def _mark(row: UsageRow, series: UsageSeries, *, moment: datetime, known_from: datetime) -> tuple[str, str]:
    """Return a row's mark and its note in words."""
    if row.volume is None:
        if row.start > moment:
            return "ahead", ""
        if row.end <= known_from:
            return "before", ""
        if series.as_of is None or row.start >= series.as_of:
            return "waiting", _("not read yet")
        return "none", _("no data")
    if row.quality is ReadQuality.SUSPECT:
        return "suspect", _("doubtful: being checked")
    if row.quality is ReadQuality.ESTIMATED:
        return "estimated", _("estimated")
    if row.quality is ReadQuality.EDITED:
        return "edited", _("corrected by the utility")
    if row.volume < 0:
        return "measured", _("the meter counted backwards")
    if row.partial and not row.start <= moment < row.end:
        return "partial", _("one of the meters has no data")
    if row.shared:
        return "shared", _("not read at this time: shared out evenly")
    return "measured", _("so far") if row.start <= moment < row.end else ""

"""Usage as CSV (RFC 4180, UTF-8): one row an interval, for spreadsheets and scripts.

No cell can become a formula: texts that begin with a sign of one get an apostrophe in front, as spreadsheets do it
themselves; a number may be negative (water that flowed back), and a number is no formula.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC
from typing import TYPE_CHECKING

from portal.core.files import safe_text
from portal.downloads.series import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from portal.downloads.series import CountedRow, Place, Wanted

CONTENT_TYPE = "text/csv; charset=utf-8"
HEADER = (
    "place", "service_point", "start_local", "end_local", "start_utc", "end_utc", "volume", "unit",
    "counts", "counts_unit", "counts_scale", "quality", "interpolated",
)  # fmt: skip


def csv_file(wanted: Wanted) -> Iterator[bytes]:
    """Yield the file, a piece of at most a month at a time; gaps are rows without a volume."""
    yield csv_rows([HEADER])
    for place in wanted.places:
        for piece in pieces(wanted, place):
            yield csv_rows([_cells(wanted, place, row) for row in piece.rows()])


def csv_rows(rows: Sequence[Sequence[object]]) -> bytes:
    """Return rows as they stand in a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def place_name(place: Place) -> str:
    """Return what a place is called: its address, and its label where that says more than `water`."""
    point = place.service_point
    return point.premise.address if point.label == "water" else f"{point.premise.address}, {point.label}"


def _cells(wanted: Wanted, place: Place, row: CountedRow) -> tuple[object, ...]:
    use = row.usage
    return (
        safe_text(place_name(place)),
        place.service_point.public_id,
        use.start.astimezone(wanted.zone).isoformat(),
        use.end.astimezone(wanted.zone).isoformat(),
        _utc(use.start),
        _utc(use.end),
        "" if use.volume is None else format(use.volume, "f"),
        wanted.unit.value,
        "" if use.counts is None else use.counts,
        "" if row.counts_unit is None else row.counts_unit.value,
        "" if row.counts_scale is None else row.counts_scale,
        use.quality.name.lower(),
        "yes" if use.interpolated else "no",
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

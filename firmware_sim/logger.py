"""What the meters logged by themselves before the street was started: the count of every full hour."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from firmware_sim.dial import Dial

EVERY = timedelta(hours=1)


def first_logged(since: date, zone: str) -> datetime:
    """Return the moment (UTC) at which a local day begins."""
    return datetime.combine(since, time(), ZoneInfo(zone)).astimezone(UTC)


def write_log(path: Path, dials: Iterable[tuple[str, Dial]], *, start: datetime, end: datetime) -> None:
    """Write `meter,read_at,count`, meter by meter, for every hour from `start` up to and without `end`."""
    rows = ["meter,read_at,count\n"]
    for meter_id, dial in dials:
        moment = start
        while moment < end:
            rows.append(f"{meter_id},{moment.isoformat()},{dial.count(moment)}\n")
            moment += EVERY
    written = path.with_suffix(".new")
    written.write_text("".join(rows), encoding="utf-8")
    written.replace(path)

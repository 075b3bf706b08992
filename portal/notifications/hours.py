"""When texts may be sent: from 8 in the morning to 9 in the evening of the utility's zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FIRST, END = time_of_day(8), time_of_day(21)
"""The hours in which the rules for texts to consumers (TCPA) allow them, by the clock on the wall."""


def text_time(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment, `moment` or later, at which a text may go out."""
    local = moment.astimezone(zone)
    if FIRST <= local.time() < END:
        return moment
    day = local.date() if local.time() < FIRST else local.date() + timedelta(days=1)
    # Built from the wall clock, not by adding hours: the night between may have 23 or 25 of them.
    return datetime.combine(day, FIRST, tzinfo=zone).astimezone(UTC)

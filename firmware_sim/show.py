"""A household's water use as rows for a person or a plot."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import ConfigError
from firmware_sim.household import Household


def household_rows(
    seed: str, *, first: object, days: int, every_s: int, uses: bool, zone: str
) -> tuple[str, list[dict[str, object]]]:
    """Return the household in words and its rows.

    first  a datetime whose date is the first local day; None for today.
    rows   {"at", "volume_ml"} cumulative from the first midnight, or {"start", "duration_s", "volume_ml", "fixture"}.
    """
    try:
        today = datetime.now(ZoneInfo(zone)).date()
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(f"--zone {zone}   is not a time zone of the tz database") from error
    begin: date = first.date() if isinstance(first, datetime) else today
    home = Household(seed, origin=begin, zone=zone)
    if uses:
        found: list[dict[str, object]] = [
            {
                "start": start.isoformat(),
                "duration_s": use.duration_s,
                "volume_ml": use.volume_ml,
                "fixture": use.fixture,
            }
            for start, use in home.uses_between(begin, begin + timedelta(days=days - 1))
        ]
        return home.describe(), found
    at, end = home.midnight(begin), home.midnight(begin + timedelta(days=days))
    rows: list[dict[str, object]] = []
    while at <= end:
        rows.append({"at": at.astimezone(UTC).isoformat(), "volume_ml": home.volume_ml(at)})
        at += timedelta(seconds=every_s)
    return home.describe(), rows

"""Water use as a pure function of the moment: what a household's taps have passed since a day of origin.

A demand is made of uses (a flush, a shower) that belong to one local day each. Days are generated when they are first
asked for, so the volume at any moment costs one day's work, and two processes that are given the same seed agree to the
millilitre without talking to each other.
"""

from __future__ import annotations

import hashlib
import random
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

PILOT_ZONE = "America/Chicago"
_MICROSECOND = timedelta(microseconds=1)
_CACHED_DAYS = 4


def seeded(*parts: object) -> random.Random:
    """Return a random generator that depends on the parts alone: not on the process, its hash seed or the order."""
    text = "/".join(str(part) for part in parts)
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))  # noqa: S311


@dataclass(frozen=True, slots=True)
class Use:
    """One use of water inside a local day, at a constant flow.

    start_s     seconds since local midnight, as they elapse.
    duration_s  at least 1.
    volume_ml   passed evenly over the duration.
    """

    start_s: int
    duration_s: int
    volume_ml: int
    fixture: str


class DailyDemand(ABC):
    """A demand generated day by day.

    origin  the local day at whose midnight the volume is 0.
    zone    where the household lives: days are its local days (23 and 25 hours long twice a year).
    """

    def __init__(self, *, origin: date, zone: str = PILOT_ZONE) -> None:
        self.origin, self.zone = origin, ZoneInfo(zone)
        self._lock = threading.Lock()
        self._before_ml = [0]
        self._days: dict[date, tuple[datetime, tuple[Use, ...]]] = {}

    @abstractmethod
    def uses(self, day: date) -> tuple[Use, ...]:
        """Return the day's uses in order of their start, each ending inside the day; a pure function."""

    @abstractmethod
    def describe(self) -> str:
        """Return the household in a few words, for the street's list."""

    def day_ml(self, day: date) -> int:
        """Return the volume of a whole local day: the sum of its uses."""
        return sum(use.volume_ml for use in self.uses(day))

    def midnight(self, day: date) -> datetime:
        """Return the moment (UTC) at which a local day begins."""
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    def day_length_s(self, day: date) -> int:
        """Return the seconds in a local day: 82,800, 86,400 or 90,000."""
        return int((self.midnight(day + timedelta(days=1)) - self.midnight(day)).total_seconds())

    def volume_ml(self, moment: datetime) -> int:
        """Return the millilitres passed from the origin to a moment: never falls, the same in every process.

        raises  ValueError before the origin.
        """
        day = moment.astimezone(self.zone).date()
        index = (day - self.origin).days
        if index < 0:
            raise ValueError(f"{moment.isoformat()} lies before this demand's origin {self.origin}")
        with self._lock:
            while len(self._before_ml) <= index:
                past = self.origin + timedelta(days=len(self._before_ml) - 1)
                self._before_ml.append(self._before_ml[-1] + self.day_ml(past))
            starts_at, uses = self._day(day)
            before_ml = self._before_ml[index]
        return before_ml + _passed_ml(uses, (moment - starts_at) // _MICROSECOND)

    def uses_between(self, first: date, last: date) -> Iterator[tuple[datetime, Use]]:
        """Yield (start as UTC, use) of every use from the first to the last local day."""
        day = first
        while day <= last:
            starts_at = self.midnight(day)
            for use in self.uses(day):
                yield starts_at + timedelta(seconds=use.start_s), use
            day += timedelta(days=1)

    def _day(self, day: date) -> tuple[datetime, tuple[Use, ...]]:
        if day not in self._days:
            while len(self._days) >= _CACHED_DAYS:
                self._days.pop(next(iter(self._days)))
            self._days[day] = self.midnight(day), self.uses(day)
        return self._days[day]


def _passed_ml(uses: tuple[Use, ...], elapsed_us: int) -> int:
    passed_ml = 0
    for use in uses:
        running_us = elapsed_us - use.start_s * 1_000_000
        if running_us <= 0:
            break
        whole_us = use.duration_s * 1_000_000
        passed_ml += use.volume_ml if running_us >= whole_us else use.volume_ml * running_us // whole_us
    return passed_ml

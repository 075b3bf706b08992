"""A household that uses water as American households do, from a seed; and the leaks that a home can have.

The uses and their calibration are in fixtures.py. Here is who lives in the home, when they rise, work and travel, and
what the garden gets. Everything is a pure function of (seed, local day).
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from firmware_sim.demand import PILOT_ZONE, DailyDemand, Use, seeded
from firmware_sim.fixtures import GALLON_ML, HOURS, Fixtures

if TYPE_CHECKING:
    import random

# Persons in a single-family home and how common that is; the mean is REU2016's 2.65 within 0.1.
PERSONS = ((1, 20), (2, 36), (3, 17), (4, 16), (5, 7), (6, 4))
MEAN_PERSONS = 2.65

# Operations a person and day (REU2016, see fixtures.py).
PER_PERSON_DAY = {
    "toilet": 5.0,
    "shower": 0.69,
    "faucet": 20.0,
    "washer": 0.30,
    "dishwasher": 0.10,
    "bath": 0.07,
    "other": 0.5,
}
# Cooking, laundry and cleaning are shared: per person they fall as the household grows, as REU2016's household
# regression does (indoor use grows with about the 0.7th power of the persons).
SHARED = frozenset({"faucet", "washer", "dishwasher", "other"})
SHARED_EXPONENT = -0.35

# Share of a summer's watering in each month, for a garden in the southern plains.
IRRIGATION_MONTHS = (0, 0, 0.15, 0.35, 0.6, 0.9, 1, 1, 0.7, 0.35, 0, 0)
AWAY_HOURS = range(9, 16)


@dataclass(frozen=True, slots=True)
class Irrigation:
    """A garden's controller: `weekdays` (0 is Monday) at `start_s`, one zone after the other."""

    weekdays: tuple[int, ...]
    start_s: int
    zones: int
    zone_minutes: int
    zone_ml_per_min: int

    @classmethod
    def draw(cls, rng: random.Random) -> Irrigation:
        """Draw a controller as they are found: before sunrise, two or three days a week."""
        return cls(
            weekdays=rng.choice(((0, 3), (1, 4), (2, 5), (0, 2, 4), (1, 3, 5))),
            start_s=rng.randrange(4 * 3600, 6 * 3600, 900),
            zones=rng.randint(3, 6),
            zone_minutes=rng.randint(8, 15),
            zone_ml_per_min=round(rng.uniform(9, 14) * GALLON_ML),
        )

    def uses(self, day: date, rng: random.Random) -> list[Use]:
        """Return the day's watering: shorter in spring and autumn, none in winter or after rain."""
        season = IRRIGATION_MONTHS[day.month - 1]
        if day.weekday() not in self.weekdays or not season or rng.random() < 0.2:
            return []
        zone_s = max(60, round(self.zone_minutes * 60 * season))
        volume_ml = self.zone_ml_per_min * zone_s // 60
        return [Use(self.start_s + n * (zone_s + 5), zone_s, volume_ml, "irrigation") for n in range(self.zones)]


# Seconds of flow in each period: a flapper that does not seat lets the tank fall until the valve opens again.
LEAK_PATTERNS = {"steady": (1, 1), "running-toilet": (20 * 60, 45 * 60)}


@dataclass(frozen=True, slots=True)
class Leak:
    """Water lost at a steady rate from `onset` to `until`; `on_s` of every `period_s` for one that comes and goes."""

    ml_per_h: int
    onset: datetime
    until: datetime | None = None
    on_s: int = 1
    period_s: int = 1
    kind: str = "leak"

    @classmethod
    def drip(cls, onset: datetime, *, litres_per_h: float = 1.5) -> Leak:
        """A dripping tap: about 80 drips a minute lose 1.2 litres an hour (AWWA drip table)."""
        return cls(round(litres_per_h * 1000), onset, kind="drip")

    @classmethod
    def running_toilet(cls, onset: datetime, *, litres_per_h: float = 90.0) -> Leak:
        """A toilet that runs 20 of every 45 minutes at the given flow."""
        on_s, period_s = LEAK_PATTERNS["running-toilet"]
        return cls(round(litres_per_h * 1000), onset, on_s=on_s, period_s=period_s, kind="running toilet")

    @classmethod
    def service_line(cls, onset: datetime, *, litres_per_h: float = 250.0) -> Leak:
        """A hole in the pipe between meter and house: never stops."""
        return cls(round(litres_per_h * 1000), onset, kind="service line")

    def volume_ml(self, moment: datetime) -> int:
        """Return the millilitres lost up to a moment."""
        end = moment if self.until is None else min(moment, self.until)
        elapsed_us = (end - self.onset) // timedelta(microseconds=1)
        if elapsed_us <= 0:
            return 0
        periods, rest_us = divmod(elapsed_us, self.period_s * 1_000_000)
        running_us = periods * self.on_s * 1_000_000 + min(rest_us, self.on_s * 1_000_000)
        return self.ml_per_h * running_us // 3_600_000_000


class Household(DailyDemand):
    """A generated household.

    seed    any text or number; the same seed lives the same life in every process.
    leaks   what the home loses; none unless told, so that a street is quiet until somebody makes it leak.
    """

    def __init__(self, seed: object, *, origin: date, zone: str = PILOT_ZONE, leaks: tuple[Leak, ...] = ()) -> None:
        super().__init__(origin=origin, zone=zone)
        self.seed, self.leaks = str(seed), leaks
        rng = seeded("household", self.seed)
        self.persons = rng.choices([n for n, _ in PERSONS], weights=[w for _, w in PERSONS])[0]
        self.fixtures = Fixtures.draw(rng)
        self.works_away = rng.random() < 0.6
        self.rises_later_h = rng.choices((-1, 0, 1, 2), weights=(15, 50, 25, 10))[0]
        self.irrigation = Irrigation.draw(rng) if rng.random() < 0.45 else None
        shared = (self.persons / MEAN_PERSONS) ** SHARED_EXPONENT
        habit = rng.uniform(0.8, 1.2)
        self.operations_a_day = {
            name: rate * self.persons * habit * (shared if name in SHARED else 1.0)
            for name, rate in PER_PERSON_DAY.items()
        }
        self._hours = {
            (name, weekend): list(itertools.accumulate(self._hour_weights(name, weekend=weekend)))
            for name in HOURS
            for weekend in (False, True)
        }
        self._vacations: dict[int, tuple[tuple[date, date], ...]] = {}

    def describe(self) -> str:
        """Return who lives here: `family of 4, irrigation`."""
        kind = {1: "one person", 2: "couple"}.get(self.persons, f"family of {self.persons}")
        return kind + (", irrigation" if self.irrigation else "")

    def volume_ml(self, moment: datetime) -> int:
        """Return the millilitres used and lost from the origin to a moment."""
        return super().volume_ml(moment) + sum(leak.volume_ml(moment) for leak in self.leaks)

    def uses(self, day: date) -> tuple[Use, ...]:
        """Return the uses of one local day."""
        rng = seeded("day", self.seed, day.toordinal())
        found = self.irrigation.uses(day, rng) if self.irrigation else []
        if not self.on_vacation(day):
            weekend = day.weekday() >= 5
            for name, mean in self.operations_a_day.items():
                hours = self._hours[name, weekend]
                for _ in range(_poisson(rng, mean)):
                    hour = bisect.bisect(hours, rng.random() * hours[-1])
                    found.extend(self.fixtures.run(name, hour * 3600 + rng.randrange(3600), rng))
        return _fitted(found, self.day_length_s(day))

    def on_vacation(self, day: date) -> bool:
        """Return whether nobody is at home that day: about a fortnight a year, mostly in summer."""
        if day.year not in self._vacations:
            rng = seeded("vacation", self.seed, day.year)
            trips = []
            for share, first, last in ((0.3, 70, 90), (0.6, 155, 225), (0.3, 350, 354)):
                if rng.random() < share:
                    start = date(day.year, 1, 1) + timedelta(days=rng.randint(first, last))
                    trips.append((start, start + timedelta(days=rng.randint(4, 10))))
            self._vacations[day.year] = tuple(trips)
        return any(start <= day <= end for start, end in self._vacations[day.year])

    def _hour_weights(self, name: str, *, weekend: bool) -> list[float]:
        weights = HOURS[name]
        shift = self.rises_later_h + (1 if weekend else 0)
        shifted = [weights[(hour - shift) % 24] for hour in range(24)]
        if self.works_away and not weekend:
            return [weight * (0.3 if hour in AWAY_HOURS else 1.0) for hour, weight in enumerate(shifted)]
        return shifted


def _fitted(uses: list[Use], length_s: int) -> tuple[Use, ...]:
    """Return the uses of a day in order, moved so that each ends before the next midnight."""
    kept = [
        use
        if use.start_s + use.duration_s <= length_s
        else Use(max(0, length_s - use.duration_s), min(use.duration_s, length_s), use.volume_ml, use.fixture)
        for use in uses
    ]
    return tuple(sorted(kept, key=lambda use: (use.start_s, use.fixture, use.volume_ml, use.duration_s)))


def _poisson(rng: random.Random, mean: float) -> int:
    """Draw a Poisson number: Knuth's product of uniforms, in steps that keep exp() away from zero."""
    drawn = 0
    while mean > 30:
        drawn += _poisson(rng, 30)
        mean -= 30
    limit, product = math.exp(-mean), rng.random()
    while product > limit:
        drawn += 1
        product *= rng.random()
    return drawn

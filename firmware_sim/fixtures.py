"""What comes out of a home's fixtures: volumes, flows, frequencies and hours of the day.

Calibrated to *Residential End Uses of Water, Version 2* (W. DeOreo, P. Mayer, B. Dziegielewski, J. Kiefer; Water
Research Foundation report 4309b, 2016: "REU2016", 737 homes logged in 2012-2013). Its averages per household and day
are toilet 33.1 gal, shower 28.1, faucet 26.3, clothes washer 22.7, leaks 17.0, other 5.3, bath 3.6, dishwasher 1.6:
together 137.7 gal indoors, and 58.6 gal per person. Events: toilets 5.0 flushes a person and day of 2.6 gal on average
(1.28 gal for efficient ones, the WaterSense limit), showers 0.69 of 7.8 minutes at 2.1 gal a minute, faucets about 20
of half a gallon, clothes washers 0.30 loads of about 31 gal, dishwashers 0.10 loads of 6.1 gal, baths 0.07 of 20 gal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_sim.demand import Use

if TYPE_CHECKING:
    import random

GALLON_ML = 3785.411784

# Relative frequency of a use in each local hour of the day, of a household that rises at 6:30.
HOURS: dict[str, tuple[float, ...]] = {
    "toilet": (1.2, 0.8, 0.6, 0.6, 0.8, 2, 5, 7, 6, 4.5, 4, 4, 4.2, 4, 4, 4.5, 5.5, 6.5, 6.5, 6, 6, 6, 5, 3),
    "shower": (0.2, 0.1, 0.1, 0.1, 0.5, 3, 9, 11, 8, 5, 3.5, 2.5, 2, 1.5, 1.5, 2, 2.5, 3, 4, 5, 6.5, 6, 4, 1.5),
    "faucet": (
        0.5,
        0.3,
        0.2,
        0.2,
        0.4,
        1.5,
        4.5,
        6.5,
        6,
        5,
        4.5,
        4.8,
        5.5,
        4.5,
        4,
        4.5,
        6,
        8.5,
        9,
        7,
        5.5,
        4.5,
        3,
        1.2,
    ),
    "washer": (0.2, 0.1, 0, 0, 0, 0.5, 2, 5, 8, 9, 9, 8.5, 7.5, 7, 6.5, 6, 6, 6, 5.5, 5, 4, 3, 1.5, 0.6),
    "dishwasher": (1, 0.3, 0.1, 0, 0, 0.1, 0.8, 2, 3.5, 4, 3, 2.5, 3.5, 4, 2.5, 2, 2, 3.5, 6, 9, 10, 8, 5, 2.5),
    "bath": (0, 0, 0, 0, 0, 0.2, 1, 1.5, 1.5, 1.5, 1, 1, 1, 1, 1, 1.5, 2.5, 4, 7, 9, 8, 5, 2, 0.5),
    "other": (0, 0, 0, 0, 0, 0.3, 1, 3, 6, 8, 8, 7, 6, 6, 6, 6, 6, 5, 4, 3, 2, 1, 0.5, 0.2),
}


@dataclass(frozen=True, slots=True)
class Fixtures:
    """The fixtures of one home. Volumes in millilitres, flows in millilitres a minute."""

    flush_ml: float
    shower_ml_per_min: float
    washer_ml: float
    faucet_ml_per_min: float

    @classmethod
    def draw(cls, rng: random.Random) -> Fixtures:
        """Draw a home's fixtures so that a street of them averages as REU2016 does."""
        flush_gal = rng.choices((1.28, 1.6, 2.6, 3.5), weights=(16, 24, 30, 30))[0]
        washer_gal = rng.choices((18, 38), weights=(40, 60))[0]
        return cls(
            flush_ml=flush_gal * GALLON_ML,
            shower_ml_per_min=rng.uniform(1.6, 2.6) * GALLON_ML,
            washer_ml=washer_gal * rng.uniform(0.9, 1.1) * GALLON_ML,
            faucet_ml_per_min=rng.uniform(0.9, 1.6) * GALLON_ML,
        )

    def run(self, fixture: str, start_s: int, rng: random.Random) -> list[Use]:
        """Return the uses that one operation of a fixture makes: one for most, several fills for a machine."""
        match fixture:
            case "toilet":
                volume_ml = self.flush_ml * rng.uniform(0.9, 1.1)
                return [_use("toilet", start_s, volume_ml, 2.5 * GALLON_ML)]
            case "shower":
                minutes = _lognormal(rng, 7.8, 0.45)
                return [_use("shower", start_s, minutes * self.shower_ml_per_min, self.shower_ml_per_min)]
            case "faucet":
                volume_ml = _lognormal(rng, 0.5 * GALLON_ML, 0.8)
                return [_use("faucet", start_s, volume_ml, self.faucet_ml_per_min * rng.uniform(0.6, 1.2))]
            case "bath":
                return [_use("bath", start_s, 20 * GALLON_ML * rng.uniform(0.8, 1.2), 4.5 * GALLON_ML)]
            case "washer":
                return _fills("washer", start_s, self.washer_ml, (0.4, 0.3, 0.3), 15 * 60, 4.0 * GALLON_ML)
            case "dishwasher":
                return _fills("dishwasher", start_s, 6.1 * GALLON_ML, (0.3, 0.25, 0.25, 0.2), 14 * 60, GALLON_ML)
            case _:
                return [_use("other", start_s, _lognormal(rng, 4 * GALLON_ML, 0.7), 2.5 * GALLON_ML)]


def _use(fixture: str, start_s: int, volume_ml: float, flow_ml_per_min: float) -> Use:
    volume = max(1, round(volume_ml))
    return Use(start_s, max(1, round(volume * 60 / flow_ml_per_min)), volume, fixture)


def _fills(
    fixture: str, start_s: int, load_ml: float, parts: tuple[float, ...], every_s: int, flow_ml_per_min: float
) -> list[Use]:
    return [_use(fixture, start_s + n * every_s, load_ml * part, flow_ml_per_min) for n, part in enumerate(parts)]


def _lognormal(rng: random.Random, mean: float, sigma: float) -> float:
    return min(rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma), 6 * mean)


def split_hour(volume_ml: int, rng: random.Random, fixtures: Fixtures) -> list[Use]:
    """Split the water of one hour into uses a home could have made of it; their volumes sum to it exactly.

    Starts are seconds since the hour began and no use reaches beyond its end: what does not fit runs faster.
    """
    uses: list[Use] = []
    left_ml = volume_ml
    while left_ml > 0:
        kinds, weights = ("faucet", "toilet", "shower", "other"), (60, 30, 6, 4)
        use = fixtures.run(rng.choices(kinds, weights)[0], 0, rng)[0]
        if left_ml > 150_000:
            # More than the taps of a home pass in an hour: a garden, or a pool being filled.
            use = _use("outdoor", 0, min(left_ml, rng.uniform(100, 400) * 1000), rng.uniform(20, 40) * 1000)
        part_ml = left_ml if left_ml - use.volume_ml < 300 else use.volume_ml
        duration_s = min(max(1, use.duration_s * part_ml // use.volume_ml), 3600)
        uses.append(Use(rng.randint(0, 3600 - duration_s), duration_s, part_ml, use.fixture))
        left_ml -= part_ml
    return sorted(uses, key=lambda use: use.start_s)

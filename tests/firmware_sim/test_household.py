"""Generated households: deterministic, exact, and like the households that were measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from firmware_sim.fixtures import GALLON_ML
from firmware_sim.household import Household, Leak

MONDAY = date(2026, 2, 2)
SCRIPT = """
from datetime import UTC, date, datetime
from firmware_sim.household import Household
home = Household("a street/7", origin=date(2026, 6, 1))
print(home.describe(), home.volume_ml(datetime(2026, 6, 20, 3, 4, 5, 678901, UTC)))
"""


def run_with_hash_seed(script: str, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_the_same_seed_uses_the_same_water_in_every_process() -> None:
    first, second = run_with_hash_seed(SCRIPT, "1"), run_with_hash_seed(SCRIPT, "4242")
    assert first == second
    assert int(first.split()[-1]) > 100_000


def test_other_seeds_use_other_water() -> None:
    moment = datetime(2026, 2, 20, tzinfo=UTC)
    assert len({Household(seed, origin=MONDAY).volume_ml(moment) for seed in range(20)}) == 20


def test_volume_does_not_depend_on_the_order_of_questions() -> None:
    moments = [datetime(2026, 2, 2, 7, tzinfo=UTC) + timedelta(minutes=97 * n) for n in range(200)]
    forwards, backwards = Household(3, origin=MONDAY), Household(3, origin=MONDAY)
    asked_forwards = [forwards.volume_ml(moment) for moment in moments]
    asked_backwards = [backwards.volume_ml(moment) for moment in reversed(moments)][::-1]
    assert asked_forwards == asked_backwards
    assert asked_forwards == sorted(asked_forwards)


@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 11, 1), date(2026, 7, 4)], ids=["23h", "25h", "24h"])
def test_a_local_day_passes_exactly_the_sum_of_its_uses(day: date) -> None:
    home = Household(11, origin=day)
    uses = home.uses(day)
    assert home.day_length_s(day) == {3: 82_800, 11: 90_000, 7: 86_400}[day.month]
    assert all(use.start_s + use.duration_s <= home.day_length_s(day) for use in uses)
    assert home.volume_ml(home.midnight(day + timedelta(days=1))) == sum(use.volume_ml for use in uses) > 0


def test_before_its_origin_a_household_has_no_volume() -> None:
    with pytest.raises(ValueError, match="origin"):
        Household(1, origin=MONDAY).volume_ml(datetime(2026, 2, 1, tzinfo=UTC))


def test_statistics_are_those_of_the_residential_end_uses_study() -> None:
    """Published: REU2016 (see firmware_sim/fixtures.py); generated: seeds 0 to 199, a week each."""
    operations, volume_ml = Counter[str](), Counter[str]()
    person_days, homes = 0, 200
    shower_s = []
    for seed in range(homes):
        home = Household(seed, origin=MONDAY)
        if any(home.on_vacation(MONDAY + timedelta(days=n)) for n in range(7)):
            continue
        person_days += home.persons * 7
        for _, use in home.uses_between(MONDAY, MONDAY + timedelta(days=6)):
            operations[use.fixture] += 1
            volume_ml[use.fixture] += use.volume_ml
            if use.fixture == "shower":
                shower_s.append(use.duration_s)

    def gallons(fixture: str) -> float:
        return volume_ml[fixture] / GALLON_ML

    assert 4.7 <= operations["toilet"] / person_days <= 5.3
    assert 2.2 <= gallons("toilet") / operations["toilet"] <= 2.8  # 2.6 on average, 1.28 to 3.5 by home
    assert 0.62 <= operations["shower"] / person_days <= 0.76
    assert 7.2 <= sum(shower_s) / len(shower_s) / 60 <= 8.4
    assert 1.9 <= gallons("shower") / (sum(shower_s) / 60) <= 2.3
    assert 0.25 <= operations["washer"] / 3 / person_days <= 0.34
    assert 8.5 <= gallons("faucet") / person_days <= 11.3
    assert 1.0 <= gallons("bath") / person_days <= 1.8
    indoor = sum(volume for fixture, volume in volume_ml.items() if fixture != "irrigation") / GALLON_ML / person_days
    # 137.7 gal a household less 17.0 of leaks, by 2.65 persons, is 45.5 gal; with leaks the homes' mean is 58.6.
    assert 42 <= indoor <= 50


def test_nights_are_quiet_and_gardens_are_watered_in_summer_only() -> None:
    by_hour = Counter[int]()
    winter = summer = 0
    for seed in range(60):
        home = Household(seed, origin=MONDAY)
        for start, use in home.uses_between(MONDAY, MONDAY + timedelta(days=6)):
            by_hour[start.astimezone(home.zone).hour] += use.volume_ml
            winter += use.fixture == "irrigation"
        summer += sum(use.fixture == "irrigation" for _, use in home.uses_between(date(2026, 7, 6), date(2026, 7, 12)))
    assert winter == 0 < summer
    assert max(by_hour[2], by_hour[3]) * 5 < min(by_hour[7], by_hour[19])


def test_most_homes_have_still_hours_every_night() -> None:
    """A home without a leak must not look like one: within each day some hour passes no water."""
    for seed in range(30):
        home = Household(seed, origin=MONDAY)
        for n in range(7):
            midnight = home.midnight(MONDAY + timedelta(days=n))
            volumes = [home.volume_ml(midnight + timedelta(hours=hour)) for hour in range(25)]
            assert any(low == high for low, high in zip(volumes, volumes[1:], strict=False)), (seed, n)


def test_a_vacation_leaves_the_taps_closed() -> None:
    home = next(
        home
        for home in (Household(seed, origin=MONDAY) for seed in range(50))
        if any(home.on_vacation(date(2026, 1, 1) + timedelta(days=n)) for n in range(365))
    )
    away = next(day for n in range(365) if home.on_vacation(day := date(2026, 1, 1) + timedelta(days=n)))
    assert {use.fixture for use in home.uses(away)} <= {"irrigation"}


ONSET = datetime(2026, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("leak", "after_h", "expected_ml"),
    [
        (Leak.drip(ONSET, litres_per_h=1.5), 10, 15_000),
        (Leak.service_line(ONSET, litres_per_h=250), 0.5, 125_000),
        (Leak.running_toilet(ONSET, litres_per_h=90), 0.75, 30_000),  # 20 minutes of every 45
        (Leak.running_toilet(ONSET, litres_per_h=90), 7.5, 300_000),
        (Leak(60_000, ONSET, ONSET + timedelta(hours=2)), 5, 120_000),
        (Leak(60_000, ONSET), -3, 0),
    ],
)
def test_leaks_lose_what_they_are_told(leak: Leak, after_h: float, expected_ml: int) -> None:
    moment = ONSET + timedelta(hours=after_h)
    dry = Household(5, origin=MONDAY)
    leaking = Household(5, origin=MONDAY, leaks=(leak,))
    assert leaking.volume_ml(moment) - dry.volume_ml(moment) == leak.volume_ml(moment) == expected_ml

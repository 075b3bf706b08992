"""Replayed homes: cleaned as told, and the recorded hours come out to the millilitre."""

from __future__ import annotations

import gzip
import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from domain.errors import ConfigError
from firmware_sim.replay import FIRST_MONDAY_S, WEEK_S, Record, Replay, load_homes, make_record, monotonic, read_record

MONDAY_S = FIRST_MONDAY_S + 2400 * WEEK_S


def recorded(weeks: int, seed: int = 1) -> list[tuple[int, int]]:
    """Rows of an hourly logger that reads at eleven minutes past, with quiet nights."""
    rng = random.Random(seed)
    total, rows = 5_000_000, []
    for hour in range(weeks * 168 + 3):
        rows.append((MONDAY_S - 3600 + hour * 3600 + 660 + rng.randint(-90, 90), total))
        total += 0 if hour % 24 < 6 else rng.choice((0, 1, 2, 9, 40, 160)) * 1000
    return rows


def test_glitches_falls_and_jumps_are_repaired() -> None:
    hour = 3600
    rows = [
        (0, 100), (hour, 200), (2 * hour, 9_000), (3 * hour, 300),  # a glitch upwards
        (4 * hour, 50), (5 * hour, 400),  # and one downwards
        (6 * hour, 500), (7 * hour, 20), (8 * hour, 70),  # a new register
        (9 * hour, 90_000_070), (10 * hour, 90_000_170),  # a jump that no pipe passes
    ]  # fmt: skip
    volumes = [volume for _, volume in monotonic(rows)]
    assert volumes == sorted(volumes)
    assert volumes[-1] == (500 - 100) + (70 - 20) + 100


def test_every_hour_of_the_record_comes_back_exactly() -> None:
    rows = recorded(3)
    record = make_record("home", rows)
    assert record is not None
    assert len(record.weeks) == 3
    expected = [high - low for (_, low), (_, high) in zip(rows[1:], rows[2:], strict=False)][: 3 * 168]
    assert [volume for week in record.weeks for volume in week or ()] == expected


def test_a_replayed_hour_passes_what_was_recorded_in_it() -> None:
    record = make_record("home", recorded(3))
    assert record is not None
    home = Replay(record, origin=date(2026, 10, 26), seed="x")
    for n in range(10):  # across 2026-11-01, which has 25 hours
        day = date(2026, 10, 26) + timedelta(days=n)
        midnight = home.midnight(day)
        for nth in range(home.day_length_s(day) // 3600):
            start = midnight + timedelta(hours=nth)
            passed = home.volume_ml(start + timedelta(hours=1)) - home.volume_ml(start)
            assert passed == home.hour_ml(day, start.astimezone(home.zone).hour)


def test_weekday_and_hour_stay_and_the_record_wraps_around() -> None:
    weeks = tuple(tuple(week * 1000 + hour for hour in range(168)) for week in range(3))
    record = Record("home", weeks, first_week=2400, longest_h=0)
    home = Replay(record, origin=date(2026, 1, 1))
    monday = date(2026, 1, 5)
    seen = [home.hour_ml(monday + timedelta(weeks=n, days=2), 7) for n in range(4)]
    assert [value % 1000 for value in seen] == [2 * 24 + 7] * 4
    assert seen[0] == seen[3]
    assert len(set(seen)) == 3


def test_a_year_keeps_its_season() -> None:
    weeks = tuple((week,) * 168 for week in range(60))
    record = Record("home", weeks, first_week=(date(2016, 3, 7) - date(1970, 1, 5)).days // 7, longest_h=0)
    home = Replay(record, origin=date(2026, 1, 1))
    week = home.hour_ml(date(2026, 7, 15), 12)
    replayed_from = date(2016, 3, 7) + timedelta(weeks=week)
    assert abs((replayed_from.replace(year=2026) - date(2026, 7, 15)).days) < 21


def test_a_short_gap_is_filled_as_the_home_lives_and_a_long_one_leaves_its_week_out() -> None:
    rows = recorded(4)
    short, long = range(200, 220), range(400, 500)
    kept = [row for n, row in enumerate(rows) if n not in short and n not in long]
    record = make_record("home", kept)
    assert record is not None
    assert [week is None for week in record.weeks] == [False, False, True, False]
    second = record.weeks[1]
    assert second is not None
    whole = make_record("home", rows)
    assert whole is not None
    assert whole.weeks[1] is not None
    assert sum(second) == sum(whole.weeks[1])
    nights = [second[slot] for slot in range(31, 51) if slot % 24 < 5]
    assert sum(nights) == 0 and nights  # noqa: PT018


def test_a_folder_without_homes_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no recorded homes"):
        load_homes(tmp_path, seed=1)
    with gzip.open(tmp_path / "short.csv.gz", "wt") as file:
        file.write("ts,cumulative_l\n1,2\nnot,numbers\n3,4\n")
    with pytest.raises(ConfigError, match="two whole weeks"):
        load_homes(tmp_path, seed=1)


def test_homes_are_shared_out_by_seed_and_twins_are_shifted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = recorded(5, seed=ord(name))
        with gzip.open(tmp_path / f"{name}.csv.gz", "wt") as file:
            file.write("ts,cumulative_l\n" + "".join(f"{at},{volume / 1000}\n" for at, volume in rows))
    origin, moment = date(2026, 2, 1), date(2026, 2, 20)
    demand_for = load_homes(tmp_path, seed=1)
    homes = [demand_for(index, origin) for index in range(4)]
    assert sorted(home.describe() for home in homes[:2]) == ["recorded home a", "recorded home b"]
    assert homes[0].describe() == homes[2].describe()
    volumes = [home.volume_ml(home.midnight(moment)) for home in homes]
    assert len(set(volumes)) == 4
    again = load_homes(tmp_path, seed=1)
    assert [again(index, origin).volume_ml(homes[0].midnight(moment)) for index in range(4)] == volumes


def test_real_homes_replay_their_hours(data_dir: Path) -> None:
    files = sorted((data_dir / "usage" / "daiad").glob("*.csv.gz"))[:6]
    for path in files:
        record = read_record(path)
        assert record is not None, path.name
        home = Replay(record, origin=date(2026, 11, 16))
        for n in range(3):
            day = date(2026, 11, 16) + timedelta(days=n)
            passed = home.volume_ml(home.midnight(day + timedelta(days=1))) - home.volume_ml(home.midnight(day))
            assert passed == sum(home.hour_ml(day, hour) for hour in range(24))


def test_a_clean_real_record_keeps_its_whole_volume(data_dir: Path) -> None:
    path = data_dir / "usage" / "daiad" / "14388098.csv.gz"
    rows = [line.split(",") for line in gzip.decompress(path.read_bytes()).decode().split()[1:]]
    points = [(int(at), int(volume) * 1000) for at, volume in rows]
    assert monotonic(points)[-1][1] == points[-1][1] - points[0][1]

"""Real homes as demands: recorded cumulative volumes, cleaned, shifted to now and repeated.

A record is read into whole hours of the home's local time, sorted into weeks that begin on a Monday, and replayed
week by week: the same weekday and hour, and where the record is longer than a year the same season. Below the hour
the generator's fixtures make uses of each hour's water; the hourly totals stay exactly the recorded ones.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from domain.errors import ConfigError
from firmware_sim.demand import PILOT_ZONE, DailyDemand, Use, seeded
from firmware_sim.fixtures import Fixtures, split_hour

HOUR_S, WEEK_HOURS = 3600, 168
# 1970-01-01 was a Thursday; the first Monday's midnight came four days later.
FIRST_MONDAY_S = 4 * 86_400
# A home's service pipe passes less than this; a register that claims more has jumped.
MOST_ML_PER_H = 6_000_000
# A gap up to this long is filled with what the register says passed; a week with a longer one is left out.
LONGEST_GAP_H = 72


@dataclass(frozen=True, slots=True)
class Record:
    """A recorded home in whole weeks.

    weeks     168 hourly volumes in millilitres each, Monday 0:00 first; None where the record has a long gap.
    longest_h the longest run of hours in which water never stood still: 24 and more is a leak by most rules.
    """

    name: str
    weeks: tuple[tuple[int, ...] | None, ...]
    first_week: int
    longest_h: int


def load_homes(folder: Path, *, seed: int, zone: str = PILOT_ZONE) -> Callable[[int, date], DailyDemand]:
    """Return who lives in home number n: the folder's homes in an order that the seed shuffles, then again shifted.

    folder  holds *.csv.gz (or *.csv) files of `epoch_s,cumulative_l` rows, also in sub-folders.
    raises  ConfigError when no home in it can be replayed.
    """
    files = sorted(path for pattern in ("*.csv.gz", "*.csv") for path in folder.rglob(pattern))
    if not files:
        raise ConfigError(f"--usage {folder}   holds no recorded homes (*.csv.gz with epoch_s,cumulative_l)")
    seeded("usage", seed).shuffle(files)
    records: dict[Path, Record | None] = {}

    def record(path: Path) -> Record | None:
        if path not in records:
            records[path] = read_record(path)
        return records[path]

    if not any(record(path) for path in files):
        raise ConfigError(f"--usage {folder}   none of its {len(files)} files holds two whole weeks of a home")

    def demand_for(index: int, origin: date) -> DailyDemand:
        usable = [path for path in files if record(path)]
        chosen = record(usable[index % len(usable)])
        if chosen is None:
            raise AssertionError
        return Replay(chosen, origin=origin, zone=zone, seed=f"{seed}/{index}", shift_weeks=index // len(usable))

    return demand_for


def read_record(path: Path) -> Record | None:
    """Read one file; None when it does not hold two whole weeks of cumulative volume."""
    points = []
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", errors="replace")
    for row in csv.reader(text.splitlines()):
        try:
            points.append((int(row[0]), round(float(row[1]) * 1000)))
        except (ValueError, IndexError):
            continue
    return make_record(path.name.split(".")[0], points)


def make_record(name: str, points: list[tuple[int, int]]) -> Record | None:
    """Make whole weeks of (local epoch seconds, cumulative millilitres) rows; None when fewer than two are good."""
    clean = monotonic(points)
    if len(clean) < 2:
        return None
    first_week = -(-(clean[0][0] - FIRST_MONDAY_S) // (WEEK_HOURS * HOUR_S))
    last_week = (clean[-1][0] - FIRST_MONDAY_S) // (WEEK_HOURS * HOUR_S)
    if last_week - first_week < 2:
        return None
    hours = _hourly(clean, FIRST_MONDAY_S + first_week * WEEK_HOURS * HOUR_S, (last_week - first_week) * WEEK_HOURS)
    weeks: list[tuple[int, ...] | None] = []
    for first in range(0, len(hours), WEEK_HOURS):
        week = hours[first : first + WEEK_HOURS]
        whole = tuple(volume for volume in week if volume is not None)
        weeks.append(whole if len(whole) == WEEK_HOURS else None)
    if sum(week is not None for week in weeks) < 2:
        return None
    return Record(name, tuple(weeks), first_week, _longest_run(hours))


def monotonic(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the points in time order as a register that never falls and never jumps.

    A point that stands out alone (up or down) is a glitch and is left out. A register that falls and stays low was
    exchanged or reset: counting goes on from where it was. A rise that no service pipe could pass counts as nothing.
    """
    ordered = sorted(dict(points).items())
    kept: list[tuple[int, int]] = []
    for n, (at, volume) in enumerate(ordered):
        if 0 < n < len(ordered) - 1:
            before, after = ordered[n - 1][1], ordered[n + 1][1]
            alone = volume > after >= before or volume < before <= after
            if alone:
                continue
        kept.append((at, volume))
    result: list[tuple[int, int]] = []
    total_ml, last = 0, None
    for at, volume in kept:
        if last is not None:
            rise_ml = volume - last[1]
            possible_ml = MOST_ML_PER_H * max(at - last[0], 60) // HOUR_S
            total_ml += rise_ml if 0 <= rise_ml <= possible_ml else 0
        result.append((at, total_ml))
        last = (at, volume)
    return result


def _hourly(points: list[tuple[int, int]], start_s: int, number: int) -> list[int | None]:
    """Return the volume of each hour, the register read by straight line between points; None inside a long gap."""
    registers: list[int | None] = []
    at = 0
    for n in range(number + 1):
        moment_s = start_s + n * HOUR_S
        while at + 1 < len(points) and points[at + 1][0] <= moment_s:
            at += 1
        (t0, v0), (t1, v1) = points[at], points[min(at + 1, len(points) - 1)]
        if t1 - t0 > LONGEST_GAP_H * HOUR_S and moment_s > t0:
            registers.append(None)
        else:
            registers.append(v0 + (v1 - v0) * (moment_s - t0) // (t1 - t0) if t1 > t0 else v0)
    return [
        None if low is None or high is None else high - low for low, high in zip(registers, registers[1:], strict=False)
    ]


def _longest_run(hours: list[int | None]) -> int:
    longest = run = 0
    for volume in hours:
        run = run + 1 if volume else 0
        longest = max(longest, run)
    return longest


class Replay(DailyDemand):
    """A recorded home, living now what it lived then.

    shift_weeks  lets the same record be used for several homes without their being twins.
    """

    def __init__(
        self, record: Record, *, origin: date, zone: str = PILOT_ZONE, seed: object = "", shift_weeks: int = 0
    ) -> None:
        super().__init__(origin=origin, zone=zone)
        self.record, self._seed, self._shift = record, seed, shift_weeks
        self._fixtures = Fixtures.draw(seeded("fixtures", seed, record.name))

    def describe(self) -> str:
        """Return which recorded home this is, and that it leaked when it did."""
        leaks = f", once ran {self.record.longest_h} h without a pause" if self.record.longest_h >= 24 else ""
        return f"recorded home {self.record.name}{leaks}"

    def hour_ml(self, day: date, hour: int) -> int:
        """Return the recorded volume that is replayed in one local hour of a day."""
        return self._week(day)[day.weekday() * 24 + hour]

    def uses(self, day: date) -> tuple[Use, ...]:
        """Return the day's uses: each local hour's volume, split by the generator's fixtures."""
        found: list[Use] = []
        midnight = self.midnight(day)
        for nth in range(self.day_length_s(day) // HOUR_S):
            hour = (midnight + timedelta(hours=nth)).astimezone(self.zone).hour
            rng = seeded("hour", self._seed, self.record.name, day.toordinal(), nth)
            for use in split_hour(self.hour_ml(day, hour), rng, self._fixtures):
                found.append(Use(nth * HOUR_S + use.start_s, use.duration_s, use.volume_ml, use.fixture))
        return tuple(sorted(found, key=lambda use: (use.start_s, use.duration_s, use.volume_ml)))

    def _week(self, day: date) -> tuple[int, ...]:
        """Return the recorded week for a day's week; a week left out is replaced by the next good one."""
        weeks = self.record.weeks
        monday_s = (day - timedelta(days=day.weekday()) - date(1970, 1, 5)).days // 7
        period = len(weeks) - len(weeks) % 52 if len(weeks) >= 52 else len(weeks)
        wanted = (monday_s - self.record.first_week + self._shift) % period
        for step in range(len(weeks)):
            week = weeks[(wanted + step) % len(weeks)]
            if week is not None:
                return week
        raise AssertionError("a record has at least two good weeks")

"""Real homes as demands: recorded cumulative volumes, cleaned, shifted to now and repeated.

A record is read into whole hours of the home's local time, sorted into weeks that begin on a Monday, and replayed
week by week: the same weekday and hour (within the half hour at which its logger read), and where the record is longer
than a year the same season. Below the hour the generator's fixtures make uses of each hour's water; the hourly totals
stay exactly the recorded ones.
"""

from __future__ import annotations

import cmath
import csv
import gzip
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from domain.errors import ConfigError
from firmware_sim.demand import PILOT_ZONE, DailyDemand, Use, seeded
from firmware_sim.fixtures import Fixtures, split_hour

HOUR_S, WEEK_HOURS, WEEK_S = 3600, 168, 168 * 3600
# 1970-01-01 was a Thursday; the first Monday's midnight came four days later.
FIRST_MONDAY_S = 4 * 86_400
# A home's service pipe passes less than this; a register that claims more has jumped.
MOST_ML_PER_H = 6_000_000
# A gap up to this long is filled with what the register says passed; a week with a longer one is left out.
LONGEST_GAP_H = 72
# Hours are all that is kept, so a record by the minute is read in steps of ten.
READ_EVERY_S = 600
# Readings further apart than this leave hours between them open.
LONGEST_STEP_S = 5400


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
    unread = iter(files)
    usable: list[Record] = []

    def read_until(number: int) -> None:
        while len(usable) < number and (path := next(unread, None)) is not None:
            if (record := read_record(path)) is not None:
                usable.append(record)

    read_until(1)
    if not usable:
        raise ConfigError(f"--usage {folder}   none of its {len(files)} files holds two whole weeks of a home")

    def demand_for(index: int, origin: date) -> DailyDemand:
        read_until(index + 1)
        record, round_ = usable[index % len(usable)], index // len(usable)
        return Replay(record, origin=origin, zone=zone, seed=f"{seed}/{index}", shift_weeks=round_)

    return demand_for


def read_record(path: Path) -> Record | None:
    """Read one file; None when it does not hold two whole weeks of cumulative volume."""
    points = []
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", errors="replace")
    last_s = -READ_EVERY_S
    for row in csv.reader(text.splitlines()):
        try:
            at_s = int(row[0])
            if 0 <= at_s - last_s < READ_EVERY_S:
                continue
            points.append((at_s, round(float(row[1]) * 1000)))
            last_s = at_s
        except (ValueError, IndexError):
            continue
    return make_record(path.name.split(".")[0], points)


def make_record(name: str, points: list[tuple[int, int]]) -> Record | None:
    """Make whole weeks of (local epoch seconds, cumulative millilitres) rows; None when fewer than two are good."""
    clean = monotonic(points)
    if len(clean) < 2:
        return None
    offset_s = _usual_offset_s([at for at, _ in clean])
    clean = [(at - offset_s, volume) for at, volume in clean]
    first_week = -(-(clean[0][0] - FIRST_MONDAY_S) // WEEK_S)
    last_week = (clean[-1][0] - FIRST_MONDAY_S) // WEEK_S
    if last_week - first_week < 2:
        return None
    hours, longest_h = _hourly(clean, FIRST_MONDAY_S + first_week * WEEK_S, (last_week - first_week) * WEEK_HOURS)
    weeks: list[tuple[int, ...] | None] = []
    for first in range(0, len(hours), WEEK_HOURS):
        whole = tuple(volume for volume in hours[first : first + WEEK_HOURS] if volume is not None)
        weeks.append(whole if len(whole) == WEEK_HOURS else None)
    if sum(week is not None for week in weeks) < 2:
        return None
    return Record(name, tuple(weeks), first_week, longest_h)


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


def _usual_offset_s(moments: list[int]) -> int:
    """Return how long after the full hour a logger usually reads, -1800 to 1800 seconds: a mean on the circle."""
    turns = [cmath.exp(2j * cmath.pi * (at % HOUR_S) / HOUR_S) for at in moments]
    return round(cmath.phase(sum(turns)) / (2 * cmath.pi) * HOUR_S)


def _hourly(points: list[tuple[int, int]], start_s: int, number: int) -> tuple[list[int | None], int]:
    """Return the volume of each hour, None inside a long gap, and the longest run of hours with water.

    What passed between two readings an hour apart belongs to the one hour that holds their middle: sharing it out would
    let water run in hours in which the register stood still.
    """
    hours: list[int | None] = [0] * number
    gaps: list[tuple[range, int]] = []
    filled: set[int] = set()
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        if t1 - t0 <= LONGEST_STEP_S:
            slot = ((t0 + t1) // 2 - start_s) // HOUR_S
            if 0 <= slot < number:
                hours[slot] = (hours[slot] or 0) + v1 - v0
            continue
        first, last = (t0 + HOUR_S // 2 - start_s) // HOUR_S, (t1 - HOUR_S // 2 - start_s) // HOUR_S
        slots = range(max(0, first), min(number, last + 1))
        filled.update(slots)
        if t1 - t0 <= LONGEST_GAP_H * HOUR_S:
            gaps.append((slots, v1 - v0))
        else:
            for slot in slots:
                hours[slot] = None
    longest_h = _longest_run([None if slot in filled else volume for slot, volume in enumerate(hours)])
    for slots, volume in gaps:
        _fill(hours, slots, volume, filled)
    return hours, longest_h


def _fill(hours: list[int | None], slots: range, volume_ml: int, filled: set[int]) -> None:
    """Share a gap's volume out over its hours as the home used water in the same hours of another week or day."""
    weights = []
    for slot in slots:
        known = (slot + step for step in (-WEEK_HOURS, WEEK_HOURS, -24, 24, -2 * WEEK_HOURS, 2 * WEEK_HOURS))
        weights.append(next((hours[n] or 0 for n in known if 0 <= n < len(hours) and n not in filled), 0))
    if not sum(weights):
        # Nothing is known of such hours: nobody draws water at night.
        weights = [1 if 7 <= slot % 24 < 22 else 0 for slot in slots]
    whole = sum(weights) or len(weights)
    passed = 0
    for nth, slot in enumerate(slots):
        before = passed
        passed += weights[nth] if sum(weights) else 1
        hours[slot] = (hours[slot] or 0) + volume_ml * passed // whole - volume_ml * before // whole


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

    def day_ml(self, day: date) -> int:
        """Return the recorded volume of a local day, without splitting its hours."""
        return sum(self.hour_ml(day, hour) for hour in self._hours(day))

    def uses(self, day: date) -> tuple[Use, ...]:
        """Return the day's uses: each local hour's volume, split by the generator's fixtures."""
        found: list[Use] = []
        for nth, hour in enumerate(self._hours(day)):
            rng = seeded("hour", self._seed, self.record.name, day.toordinal(), nth)
            for use in split_hour(self.hour_ml(day, hour), rng, self._fixtures):
                found.append(Use(nth * HOUR_S + use.start_s, use.duration_s, use.volume_ml, use.fixture))
        return tuple(sorted(found, key=lambda use: (use.start_s, use.duration_s, use.volume_ml)))

    def _hours(self, day: date) -> list[int]:
        """Return the clock hours of a local day as they pass: 23, 24 or 25 of them."""
        midnight, passed = self.midnight(day), range(self.day_length_s(day) // HOUR_S)
        return [(midnight + timedelta(hours=nth)).astimezone(self.zone).hour for nth in passed]

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

"""What a city's meters counted: so many different households, each as ingest and its nightly fold would have kept it.

Use is firmware_sim's: persons, fixtures, gardens, holidays. Times are those of a meter on a bus of 250 that is polled
in turn (`homes.py`), every hour or every quarter of one. Days are packed by the product's own code.
"""

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import repeat
from math import sqrt
from multiprocessing import get_context
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.usage import CountPoint, split
from firmware_sim.household import Household
from portal.metering.calendar import midnight
from portal.metering.packed import DAY_US, KeptRead, pack_day
from tests.bench.homes import MODULUS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from zoneinfo import ZoneInfo

ON_A_BUS = 250
EPOCH = 1
"""The row id of the epoch in which all of them were sent."""
_EPOCH_DAY = date(1970, 1, 1)
_EPOCH_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Of which time reads are made: `days` storage days from `first_day` on, cut in `zone`.

    until  reads of the last day are kept as recent ones, up to this moment; None: all days are folded.
    """

    first_day: date
    days: int
    zone: ZoneInfo
    until: datetime | None = None

    @property
    def first(self) -> int:
        """The first storage day, in days since 1970."""
        return (self.first_day - _EPOCH_DAY).days


@dataclass(frozen=True, slots=True)
class Kept:
    """One household's meter in the portal's tables.

    folded   (storage day, reads, packed) of every day that is folded.
    volumes  (day, counts, quality, interpolated) of every day in the utility's zone, as the fold's roll-up has them.
    recent   reads of the day that is not folded yet.
    """

    folded: list[tuple[int, int, bytes]]
    volumes: list[tuple[date, int, int, bool]]
    recent: list[KeptRead]
    last: KeptRead


def kept_by(profiles: int, span: Span, *, hourly: int) -> list[Kept]:
    """Return so many households, the first ones read every hour, the others every quarter of an hour."""
    a_day = [24 if profile < hourly else 96 for profile in range(profiles)]
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        return list(pool.map(kept, range(profiles), repeat(span), a_day, chunksize=4))


def kept(profile: int, span: Span, reads_a_day: int) -> Kept:
    """Return what is kept of one household's meter."""
    days = list(_days(profile, span, reads_a_day))
    folded = days if span.until is None else days[:-1]
    recent: list[KeptRead] = []
    if span.until is not None:
        until_us = (span.until - _EPOCH_MOMENT) // timedelta(microseconds=1)
        recent = [read for read in days[-1] if read.read_us <= until_us]
    points = [CountPoint(_moment(read.read_us), read.raw_count) for reads in (*folded, recent) for read in reads]
    last = recent[0] if recent else folded[-1][-1]  # the fold follows each register to the read after its days
    volumes = _volumes(points, points[0].at, _moment(last.read_us), span.zone)
    packed = [(span.first + n, len(reads), pack_day(span.first + n, reads)) for n, reads in enumerate(folded)]
    return Kept(packed, volumes, recent, recent[-1] if recent else days[-1][-1])


def _volumes(
    points: Sequence[CountPoint], first: datetime, last: datetime, zone: ZoneInfo
) -> list[tuple[date, int, int, bool]]:
    start, end = (moment.astimezone(zone).date() for moment in (first, last))
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    parts = split(points, [midnight(day, zone) for day in (*days, end + timedelta(days=1))])
    return [
        (day, part.counts, int(part.quality), part.interpolated)
        for day, part in zip(days, parts, strict=True)
        if part.counts is not None
    ]


def _days(profile: int, span: Span, reads_a_day: int) -> Iterator[Sequence[KeptRead]]:
    """Yield the reads of each storage day."""
    rng = random.Random(f"city/{profile}")
    household = Household(f"city/{profile}", origin=span.first_day - timedelta(days=2))
    first_count, place, append = rng.randrange(10**7), rng.randrange(ON_A_BUS), rng.randrange(10**6)
    for day in range(span.first, span.first + span.days):
        reads = []
        for slot in range(reads_a_day):
            late_ms = round(rng.gauss(67.5 * (place + 1), 4.3 * sqrt(place + 1))) + rng.randrange(20)
            at_us = day * DAY_US + slot * (DAY_US // reads_a_day) + late_ms * 1000
            count = (first_count + household.volume_ml(_moment(at_us)) // 1000) % MODULUS
            append += ON_A_BUS
            reads.append(KeptRead(at_us, EPOCH, append, count, int(ReadQuality.MEASURED), 0, 0))
        yield reads


def _moment(us: int) -> datetime:
    return _EPOCH_MOMENT + timedelta(microseconds=us)

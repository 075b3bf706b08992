"""Folds the reads of closed storage days into one packed row per register and day, and rolls up daily volumes.

A late read simply stands in `RecentRead` again and is merged into its day by the next fold.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

from django.db import transaction

from domain.usage import split, unrolled
from portal.core.services import utility_zone
from portal.metering.calendar import midnight
from portal.metering.models import DailyVolume, MeterRegister, RecentRead, RegisterDay
from portal.metering.packed import DAY_US, KeptRead, pack_day, unpack_day
from portal.metering.points import actual_reach, added_to, points_of
from portal.metering.read_rows import upsert_days, upsert_volumes
from portal.metering.reads import from_us, to_us
from portal.metering.validation.screening import screen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portal.metering.points import Added

GRACE = timedelta(hours=2)
"""How long after a storage day's end its reads are left where they are: most late reads come within it."""

_REGISTERS_AT_ONCE = 50
_IDS_AT_ONCE = 500


def fold_closed_days(now: datetime, *, grace: timedelta = GRACE) -> int:
    """Fold every read of a storage day that closed `grace` before `now`; return how many reads were folded."""
    cutoff_us = to_us(now - grace) // DAY_US * DAY_US
    open_reads = RecentRead.objects.filter(read_us__lt=cutoff_us)
    registers = sorted(open_reads.values_list("register", flat=True).distinct())
    return sum(
        _fold(registers[start : start + _REGISTERS_AT_ONCE], cutoff_us)
        for start in range(0, len(registers), _REGISTERS_AT_ONCE)
    )


@transaction.atomic
def _fold(registers: Sequence[int], cutoff_us: int) -> int:
    rows = list(
        RecentRead.objects.select_for_update()
        .filter(register__in=registers, read_us__lt=cutoff_us)
        .values_list("id", "register", "read_us", "epoch", "append_seq", "raw_count", "quality", "reason", "flags")
    )
    days: dict[tuple[int, int], list[KeptRead]] = defaultdict(list)
    for _, register, *read in rows:
        days[register, read[0] // DAY_US].append(KeptRead(*read))
    folded_before = RegisterDay.objects.filter(register__in=registers, day__in={day for _, day in days})
    spans = {key: (min(reads).read_us, max(reads).read_us) for key, reads in days.items()}
    for register, day, packed in folded_before.values_list("register", "day", "packed"):
        if (register, day) in days:
            days[register, day] += unpack_day(day, bytes(packed))
    upsert_days([(register, day, len(reads), pack_day(day, reads)) for (register, day), reads in days.items()])
    ids = [row[0] for row in rows]
    for start in range(0, len(ids), _IDS_AT_ONCE):
        RecentRead.objects.filter(id__in=ids[start : start + _IDS_AT_ONCE]).delete()
    reach = _reach(spans)
    screen(reach, _by_register(days, reach))
    _roll_up(reach)
    return len(rows)


def _by_register(
    days: dict[tuple[int, int], list[KeptRead]], reach: dict[int, tuple[int, int]]
) -> dict[int, list[KeptRead]]:
    """Return each register's reads in time order, from its first new one to its last.

    A day that was folded before has earlier ones too: they are not what follows the read before the first new one.
    """
    found: dict[int, list[KeptRead]] = defaultdict(list)
    for register, day in sorted(days):
        low, high = reach[register]
        found[register] += sorted(read for read in days[register, day] if low <= read.read_us <= high)
    return found


def _reach(spans: dict[tuple[int, int], tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Return for each register the first and the last moment of its new reads."""
    reach: dict[int, tuple[int, int]] = {}
    for (register, _), (low, high) in spans.items():
        before = reach.get(register, (low, high))
        reach[register] = min(low, before[0]), max(high, before[1])
    return reach


def _roll_up(reach: dict[int, tuple[int, int]]) -> None:
    """Compute the daily volumes again wherever a new read lies between two others."""
    moduli = dict(MeterRegister.objects.filter(pk__in=reach).values_list("pk", "modulus"))
    added = added_to(reach)
    for register, (low, high) in reach.items():
        roll_up_register(register, moduli.get(register), low, high, added[register])


def roll_up_register(register: int, modulus: int | None, low_us: int, high_us: int, added: Added) -> None:
    """Write the daily volumes of a register for every local day that points in [low_us, high_us] bear on.

    A day of which nothing is known any more, because its reads were excluded or taken out, loses its row.
    """
    zone = utility_zone()
    low_us, high_us = actual_reach(register, low_us, high_us, added)
    first, last = (from_us(moment).astimezone(zone).date() for moment in (low_us, high_us))
    edges = [midnight(day, zone) for day in _days(first, last + timedelta(days=1))]
    points = unrolled(points_of(register, to_us(edges[0]), to_us(edges[-1]), added), modulus)
    known, unknown = [], []
    for day, interval in zip(_days(first, last), split(points, edges), strict=True):
        if interval.counts is None:
            unknown.append(day)
        else:
            known.append((register, day.isoformat(), interval.counts, int(interval.quality), interval.interpolated))
    upsert_volumes(known)
    for start in range(0, len(unknown), _IDS_AT_ONCE):
        DailyVolume.objects.filter(register=register, day__in=unknown[start : start + _IDS_AT_ONCE]).delete()


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]

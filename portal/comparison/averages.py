"""What the groups of similar homes used a day: a job of the worker, from the daily roll-ups alone.

How no home can be made out is told in docs/algorithms/similar-homes.md: members fixed per month, each home's share
bounded by a cap, at least 15 homes, and a rounding that is never finer than what one home can add.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from statistics import median
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Min, Q

from domain.reading import ReadQuality
from domain.units import Unit
from portal.billing.models import ServiceAgreement
from portal.comparison.models import OptOut, PeerDay, PeerGroup, PeerHome
from portal.comparison.peers import HOMES_LEAST
from portal.core.services import utility_zone
from portal.customers.models import Occupancy
from portal.metering.calendar import midnight
from portal.metering.models import DailyVolume, Installation
from portal.metering.spans import counters_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.metering.models import MeterRegister

DAYS_AGAIN = 35
"""So many days are computed anew each time: reads that came late, corrections, homes that were left out since."""
CAP_MEDIANS = 3
_DAY = timedelta(days=1)
_SIZES = ((2, "1-2"), (4, "3-4"), (10**6, "5+"))
_SIZE_INPUTS = ("household_size", "hhsize", "people", "residents", "occupants")
_TRUSTED = {int(ReadQuality.MEASURED), int(ReadQuality.EDITED)}


def compute_similar_homes(moment: datetime) -> int:
    """Compute the means of the last days, and of one month further back that was never computed; return the days.

    Doing it again gives the same rows, whatever was there.
    """
    zone = utility_zone()
    today = moment.astimezone(zone).date()
    first = today - _DAY * DAYS_AGAIN
    if not PeerHome.objects.exists():  # the first time: no month begins in its middle
        first = first.replace(day=1)
    days = [first + _DAY * n for n in range((today - first).days)]
    months = sorted({day.replace(day=1) for day in days})
    for month in months:
        compute_days(month, [day for day in days if day.replace(day=1) == month], zone)
    return len(days) + fill_earlier_month(moment)


def fill_earlier_month(_moment: datetime) -> int:
    """Compute the youngest month that was never computed and return its days; 0: there is none with water use.

    One month a turn: the worker has other things to do, and comes back soon as long as there is one.
    """
    oldest = PeerHome.objects.aggregate(month=Min("month"))["month"]
    if oldest is None or not DailyVolume.objects.filter(day__lt=oldest).exists():
        return 0
    before = (oldest - _DAY).replace(day=1)
    days = [before + _DAY * n for n in range((oldest - before).days)]
    return len(days) if compute_days(before, days, utility_zone()) else 0


@transaction.atomic
def compute_days(month: date, days: Sequence[date], zone: ZoneInfo) -> bool:
    """Write the means of some days of a month; return whether there is any home in it."""
    left_out = set(OptOut.objects.values_list("account_id", flat=True))
    homes = [home for home in members(month, zone) if home.account_id not in left_out]
    if not homes or not days:
        return bool(homes)
    places = _places(
        {home.service_point_id for home in homes}, midnight(days[0], zone), midnight(days[-1] + _DAY, zone)
    )
    caps = dict(PeerGroup.objects.filter(month=month).values_list("name", "cap_ml"))
    for day in days:
        used = _used_on(day, places, zone)
        groups: dict[str, list[int]] = defaultdict(list)
        for home in homes:
            if (volume := used.get(home.service_point_id)) is not None:
                for name in {home.by_class, home.by_size} - {""}:
                    groups[name].append(volume)
        kept = []
        for name, volumes in groups.items():
            if len(volumes) < HOMES_LEAST:
                continue
            if name not in caps and (cap := cap_of(volumes)):
                caps[name] = PeerGroup.objects.create(month=month, name=name, cap_ml=cap).cap_ml
            if name in caps:
                kept.append(PeerDay(group=name, day=day, homes=len(volumes), mean_ml=shown_mean(volumes, caps[name])))
        PeerDay.objects.filter(day=day).delete()
        PeerDay.objects.bulk_create(kept)
    return True


def members(month: date, zone: ZoneInfo) -> list[PeerHome]:
    """Return the homes of a month with their groups; they are fixed the first time that somebody asks.

    Whoever moves in later in the month is counted from the next one, so that a mean never steps when somebody comes.
    """
    standing = list(PeerHome.objects.filter(month=month))
    if standing:
        return standing
    start = midnight(month, zone)
    living = Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=start), start__lte=start)
    lives_at = dict(living.values_list("service_point_id", "account_id"))
    agreements = ServiceAgreement.objects.filter(Q(end__isnull=True) | Q(end__gt=month), start__lte=month)
    rows = [
        PeerHome(
            month=month,
            service_point_id=point,
            account_id=lives_at[point],
            by_class=rate_class,
            by_size=_size_group(rate_class, inputs),
        )
        for point, rate_class, inputs in agreements.values_list("service_point_id", "rate_class", "inputs")
        if point in lives_at
    ]
    PeerHome.objects.bulk_create({row.service_point_id: row for row in rows}.values(), batch_size=500)
    return list(PeerHome.objects.filter(month=month))


def _size_group(rate_class: str, inputs: Mapping[str, object]) -> str:
    text = next((str(inputs[name]) for name in _SIZE_INPUTS if inputs.get(name) not in (None, "")), "")
    if not text.isdecimal() or int(text) < 1:
        return ""
    return f"{rate_class}/{next(name for most, name in _SIZES if int(text) <= most)}"


@dataclass(frozen=True, slots=True)
class _Place:
    """A meter at a home. counters: the register ids of each of its counters; factors: millilitres of one count."""

    start: datetime
    end: datetime | None
    counters: tuple[tuple[int, ...], ...]
    factors: tuple[Fraction, ...]


def _places(points: set[int], start: datetime, end: datetime) -> dict[int, list[_Place]]:
    rows = Installation.objects.filter(Q(end__isnull=True) | Q(end__gt=start), start__lt=end)
    hung = [row for row in rows if row.service_point_id in points]
    found: dict[int, list[_Place]] = defaultdict(list)
    meters = sorted({row.meter_id for row in hung})
    counters: dict[int, list[list[MeterRegister]]] = {}
    for first in range(0, len(meters), 5_000):
        counters |= counters_of(meters[first : first + 5_000])
    for row in hung:
        read = [[r for r in counter if hasattr(r, "state")] for counter in counters.get(row.meter_id, ())]
        read = [counter for counter in read if counter]
        factors = tuple(Unit(c[0].unit).litres * Fraction(10) ** (c[0].scale + 3) for c in read)
        of_counters = tuple(tuple(r.pk for r in counter) for counter in read)
        found[row.service_point_id].append(_Place(row.start, row.end, of_counters, factors))
    return found


def _used_on(day: date, places: Mapping[int, Iterable[_Place]], zone: ZoneInfo) -> dict[int, int]:
    """Return the millilitres of each home whose meter hung there the whole day and was really read."""
    start, end = midnight(day, zone), midnight(day + _DAY, zone)
    rows = DailyVolume.objects.filter(day=day, quality__in=_TRUSTED)
    counted = dict(rows.values_list("register", "counts"))
    result = {}
    for point, hung in places.items():
        place = next((p for p in hung if p.start <= start and (p.end is None or p.end >= end)), None)
        if place is None or not place.counters:
            continue
        total = 0
        for registers, factor in zip(place.counters, place.factors, strict=True):
            known = [counted[register] for register in registers if register in counted]
            if not known:
                break
            total += sum(known) * factor.numerator // factor.denominator
        else:
            result[point] = max(0, total)
    return result


def cap_of(volumes: Sequence[int]) -> int:
    """Return what one home may add at most, from a day's volumes: three times the median, a round figure."""
    return round_up(int(CAP_MEDIANS * median(volumes)))


def shown_mean(volumes: Sequence[int], cap: int) -> int:
    """Return the mean of capped volumes, so rounded that no home alone moves it by more than one step.

    The step is that of two significant figures, or what one home can add to the mean where that is more.
    """
    total, homes = sum(min(volume, cap) for volume in volumes), len(volumes)
    two_figures: int = 10 ** max(0, len(str(total // homes)) - 2)
    step = max(round_up(-(-cap // homes)), two_figures)
    return (2 * total + step * homes) // (2 * step * homes) * step


def round_up(value: int) -> int:
    """Return the next of 1, 2, 5, 10, 20, 50, ... that is not less; 0 stays."""
    if value <= 0:
        return 0
    power: int = 10 ** (len(str(value)) - 1)
    return next(figure * power for figure in (1, 2, 5, 10) if figure * power >= value)

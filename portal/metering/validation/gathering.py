"""What the rules look at, gathered for many service points with a constant number of queries."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Count, F, Max, Min, Q, Sum

from domain.reading import EventKind, ReadQuality
from domain.units import Unit, count_value
from portal.core.services import utility_zone
from portal.customers.models import Occupancy
from portal.metering.models import (
    DailyVolume,
    Installation,
    MeterEvent,
    MeterRegister,
    RecentRead,
    RegisterDay,
    RegisterState,
)
from portal.metering.nearest import counted_between
from portal.metering.packed import DAY_US
from portal.metering.points import extra_points
from portal.metering.reads import to_us

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from portal.metering.spans import MeteredPart

HISTORY_DAYS = 91
"""Thirteen whole weeks before a period: every weekday is in it as often as any other."""
YEAR_DAYS = 364
"""Fifty-two weeks: the same weekdays at the same time of the year."""


class Volume(NamedTuple):
    """The daily volumes of a window in counts: their sum, how many days, the least, the greatest, zeros, suspect days.

    last_used  the newest day with any use.
    """

    counts: int = 0
    days: int = 0
    least: int = 0
    most: int = 0
    zeros: int = 0
    suspect: int = 0
    last_used: date | None = None


@dataclass(slots=True)
class Counter:
    """One register of one installation, over the part of the period in which it hung there.

    registers  its definitions (they differ in the roll-over alone); register: the one that speaks for it.
    recent     of the account that lives there now.
    worth_l  litres of one count. parts: its boundary counts. read_days: storage days (UTC) with a read in them.
    all_days whether it hung there for the whole period. unfolded_us: its first read, from the period's start on, that
             the roll-ups do not know yet.
    """

    register: int
    registers: tuple[int, ...]
    meter: int
    start: datetime
    end: datetime
    worth_l: Fraction
    period: Volume
    recent: Volume
    last_year: Volume
    read_days: int
    estimates: int
    by_collector: bool
    all_days: bool
    unfolded_us: int | None
    identity_events: int = 0
    parts: list[MeteredPart] = field(default_factory=list)


@dataclass(slots=True)
class Place:
    """A service point in a period.

    lived_since  when the account that has it at the end of the period moved in; None: nobody has it at any time.
    """

    service_point: int
    start: datetime
    end: datetime
    first_day: date
    days: int
    lived_since: datetime | None
    occupied: bool
    counters: list[Counter]
    size: str = ""


def gather(
    service_points: Sequence[int],
    start: datetime,
    end: datetime,
    parts: dict[int, list[MeteredPart]],
    sizes: dict[int, str],
) -> list[Place]:
    """Return what there is to look at of each service point; one without a meter has no counters."""
    zone = utility_zone()
    first = start.astimezone(zone).date()
    last = (end - timedelta(microseconds=1)).astimezone(zone).date()
    hung = _installations(service_points, start, end)
    counters_of = _counters({one.meter for rows in hung.values() for one in rows})
    every = [pk for counters in counters_of.values() for ids, _ in counters for pk in ids]
    windows = _windows(every, first, last)
    read_days, unfolded = _read_days(every, start, end)
    estimates = {pk: sum(p.quality == ReadQuality.ESTIMATED for p in ps) for pk, ps in extra_points(every).items()}
    events = _identity_events(counters_of, start, end)
    lived = _occupancies(service_points, start, end)
    states = set(RegisterState.objects.filter(register__in=every).values_list("register_id", flat=True))
    places = []
    for service_point in service_points:
        own_parts = parts.get(service_point, [])
        counters = [
            Counter(
                register=ids[0],
                registers=ids,
                meter=one.meter,
                start=max(start, one.start),
                end=end if one.end is None else min(end, one.end),
                worth_l=worth,
                period=_merged(windows[0], ids),
                recent=_merged(windows[1], ids),
                last_year=_merged(windows[2], ids),
                read_days=sum(read_days.get(pk, 0) for pk in ids),
                estimates=max(estimates.get(pk, 0) for pk in ids),
                by_collector=not states.isdisjoint(ids),
                all_days=one.start <= start and (one.end is None or one.end >= end),
                unfolded_us=min((unfolded[pk] for pk in ids if pk in unfolded), default=None),
                identity_events=events.get(one.meter, 0),
                parts=[p for p in own_parts if p.register.pk in ids and p.installation_id == one.installation],
            )
            for one in hung[service_point]
            for ids, worth in counters_of.get(one.meter, ())
        ]
        since, occupied = lived.get(service_point, (None, False))
        places.append(
            Place(
                service_point, start, end, first, (last - first).days + 1, since, occupied, counters,
                sizes.get(service_point, ""),
            )
        )  # fmt: skip
    _forget_those_before(places)
    return places


def _forget_those_before(places: Iterable[Place]) -> None:
    """Where somebody moved in within the recent weeks, leave the days of those before out of them."""
    zone = utility_zone()
    wanted: dict[int, tuple[date, date]] = {}
    movers = []
    for place in places:
        first = place.first_day - timedelta(days=HISTORY_DAYS)
        since = None if place.lived_since is None else place.lived_since.astimezone(zone).date()
        if since is not None and since > first:
            movers.append(place)
            wanted |= {pk: (since, place.first_day - timedelta(days=1)) for c in place.counters for pk in c.registers}
    known = counted_between({(pk, *span) for pk, span in wanted.items() if span[0] <= span[1]})
    for place in movers:
        for counter in place.counters:
            sums = [known.get((pk, *wanted[pk]), (0, 0)) for pk in counter.registers]
            days = sum(days for _, days in sums)
            # How many of them were at zero is not asked for: all, so that nothing follows from it.
            counter.recent = Volume(counts=sum(counts for counts, _ in sums), days=days, zeros=days)


_NOTHING = Volume()
_WORTH: dict[tuple[str, int], Fraction] = {}


def _worth(unit: str, scale: int) -> Fraction:
    if (unit, scale) not in _WORTH:
        _WORTH[unit, scale] = count_value(Unit(unit), scale)
    return _WORTH[unit, scale]


class _Hung(NamedTuple):
    installation: int
    meter: int
    start: datetime
    end: datetime | None


def _installations(service_points: Collection[int], start: datetime, end: datetime) -> dict[int, list[_Hung]]:
    rows = Installation.objects.filter(service_point__in=service_points, start__lt=end)
    found: dict[int, list[_Hung]] = defaultdict(list)
    rows = rows.filter(Q(end__isnull=True) | Q(end__gt=start)).order_by("start")
    for row in rows.only("service_point_id", "meter_id", "start", "end"):
        found[row.service_point_id].append(_Hung(row.pk, row.meter_id, row.start, row.end))
    return found


_Counters = list[tuple[tuple[int, ...], Fraction]]
"""Of one meter: the row ids of each counter's definitions, and the litres of one count."""


def _counters(meters: Iterable[int]) -> dict[int, _Counters]:
    grouped: dict[tuple[int, str, str, int], list[int]] = defaultdict(list)
    rows = MeterRegister.objects.filter(meter__in=list(meters), in_usage=True, claimed=True)
    for row in rows.only("pk", "meter_id", "register_id", "unit", "scale").order_by("pk"):
        grouped[row.meter_id, row.register_id, row.unit, row.scale].append(row.pk)
    found: dict[int, _Counters] = defaultdict(list)
    for (meter, _, unit, scale), ids in grouped.items():
        found[meter].append((tuple(ids), _worth(unit, scale)))
    return found


def _merged(volumes: dict[int, Volume], ids: tuple[int, ...]) -> Volume:
    known = [volumes[pk] for pk in ids if pk in volumes]
    if len(known) < 2:
        return known[0] if known else _NOTHING
    return Volume(
        counts=sum(v.counts for v in known),
        days=sum(v.days for v in known),
        least=min(v.least for v in known),
        most=max(v.most for v in known),
        zeros=sum(v.zeros for v in known),
        suspect=sum(v.suspect for v in known),
        last_used=max((v.last_used for v in known if v.last_used is not None), default=None),
    )


def _windows(registers: Collection[int], first: date, last: date) -> tuple[dict[int, Volume], ...]:
    """Return the volumes of the period, of the 91 days before it and of the same weeks of last year."""
    year = timedelta(days=YEAR_DAYS)
    spans = (
        (first, last),
        (first - timedelta(days=HISTORY_DAYS), first - timedelta(days=1)),
        (first - year, last - year),
    )
    return tuple(_volumes(registers, *span) for span in spans)


def _volumes(registers: Collection[int], first: date, last: date) -> dict[int, Volume]:
    rows = (
        DailyVolume.objects.filter(register__in=registers, day__gte=first, day__lte=last)
        .order_by()
        .values("register")
        .annotate(
            total=Sum("counts"),
            days=Count("day"),
            least=Min("counts"),
            most=Max("counts"),
            zeros=Count("day", filter=Q(counts=0)),
            suspect=Count("day", filter=Q(quality=ReadQuality.SUSPECT)),
            last_used=Max("day", filter=Q(counts__gt=0)),
        )
    )
    columns = ("register", "total", "days", "least", "most", "zeros", "suspect", "last_used")
    return {row[0]: Volume(int(row[1]), *row[2:]) for row in rows.values_list(*columns)}


def _read_days(registers: Collection[int], start: datetime, end: datetime) -> tuple[dict[int, int], dict[int, int]]:
    """Return on how many storage days of a span each register was read, and its first read that is not folded."""
    low, high = to_us(start), to_us(end) - 1
    folded = RegisterDay.objects.filter(register__in=registers, day__gte=low // DAY_US, day__lte=high // DAY_US)
    counted = folded.order_by().values("register").annotate(days=Count("day"))
    found: dict[int, int] = {int(row["register"]): int(row["days"]) for row in counted}
    recent = RecentRead.objects.filter(register__in=registers, read_us__gte=low).order_by()
    oldest = recent.values("register").annotate(oldest=Min("read_us"))
    unfolded = {int(row["register"]): int(row["oldest"]) for row in oldest}
    inside = recent.filter(register__in=[pk for pk, read_us in unfolded.items() if read_us <= high])
    open_days = inside.filter(read_us__lte=high).annotate(day=F("read_us") / DAY_US)
    for register, _ in open_days.values_list("register", "day").distinct():
        found[register] = found.get(register, 0) + 1
    return found, unfolded


def _identity_events(meters: Iterable[int], start: datetime, end: datetime) -> dict[int, int]:
    kinds = (EventKind.IDENTITY_CHANGED.value, EventKind.REGISTER_SWAP.value)
    rows = MeterEvent.objects.filter(meter__in=list(meters), kind__in=kinds, at__gte=start, at__lt=end)
    found: dict[int, int] = {}
    for meter in rows.values_list("meter_id", flat=True):
        if meter is not None:
            found[meter] = found.get(meter, 0) + 1
    return found


def _occupancies(
    service_points: Collection[int], start: datetime, end: datetime
) -> dict[int, tuple[datetime | None, bool]]:
    """Return since when the last account of a span has lived there, and whether any lived there in it."""
    found: dict[int, tuple[datetime | None, bool]] = {}
    rows = Occupancy.objects.filter(service_point__in=service_points, start__lt=end)
    for service_point, since, until in rows.order_by("start").values_list("service_point_id", "start", "end"):
        if until is None or until > start:
            found[service_point] = (since, True)
    return found

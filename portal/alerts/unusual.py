"""Unusual use: an hour or a day well above what this home itself has used at such times, with the figures to say so.

An hour: at least 200 litres, and more than twice the most that one hour took at this time of day, an hour either way,
in the 28 days before (of which at least 14 must be known). A day: at least 400 litres, more than twice the most of the
same weekday in the eight weeks before (at least four known), and more than on any other day of them. Only the time of
the account that lives there counts. One alert for a meter and day.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.db.models import Q

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert
from portal.alerts.quantities import uses
from portal.alerts.telling import Found
from portal.metering.calendar import midnight
from portal.metering.models import DailyVolume, Installation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from zoneinfo import ZoneInfo

    from portal.alerts.choices import Choices
    from portal.alerts.places import Place
    from portal.alerts.quantities import PlaceUse, Use

TIMES = 2
HOUR_LITRES_LEAST = 200
HOUR_DAYS, HOUR_DAYS_LEAST = 28, 14
DAY_LITRES_LEAST = 400
WEEKS, WEEKDAYS_LEAST = 8, 4
_APART = timedelta(hours=2)
_APART_DAY = timedelta(hours=26)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An hour or a day with so much use that its home's past is worth asking for."""

    place: Place
    start: datetime
    day: date
    used: Use


def look_at(seen: Sequence[tuple[Place, PlaceUse]], choices: Choices, now: datetime, zone: ZoneInfo) -> list[Found]:
    """Return the unusual use of a chunk of places; few have a candidate, so few pasts are asked for."""
    hours, days = list[_Candidate](), list[_Candidate]()
    listening = [(place, use) for place, use in seen if choices.of(Kind.UNUSUAL, place.account, place.service_point)]
    for place, use in listening:
        for start, until in place.hours(now, zone):
            used = use.between(start, until, apart=_APART)
            if used is not None and used.sure and used.litres >= HOUR_LITRES_LEAST:
                hours.append(_Candidate(place, start, start.astimezone(zone).date(), used))
        for day, start, until in place.days(now, zone):
            used = use.between(start, until, apart=_APART_DAY)
            if used is not None and used.sure and used.litres >= DAY_LITRES_LEAST:
                days.append(_Candidate(place, start, day, used))
    known = _known({_key(one) for one in (*hours, *days)})
    hours = [one for one in hours if _key(one) not in known]
    days = [one for one in days if _key(one) not in known]
    found: dict[str, Found] = {}
    for one, evidence in (*_unusual_hours(hours, zone), *_unusual_days(days)):
        found.setdefault(_key(one), _found(one, evidence, choices, zone))
    return list(found.values())


def _key(one: _Candidate) -> str:
    return f"unusual:{one.place.public_id}:{one.place.account_id}:{one.day.isoformat()}"


def _known(keys: set[str]) -> set[str]:
    return set(Alert.objects.filter(key__in=keys).values_list("key", flat=True)) if keys else set()


def _unusual_hours(candidates: Sequence[_Candidate], zone: ZoneInfo) -> Iterable[tuple[_Candidate, dict[str, object]]]:
    past = {(one.place.service_point, one.start): _same_hours(one, zone) for one in candidates}
    moments = defaultdict[int, set[datetime]](set)
    for (point, _), spans in past.items():
        moments[point].update(moment for span in spans for hour in span for moment in hour)
    counted = uses({point: sorted(wanted) for point, wanted in moments.items()})
    for one in candidates:
        use = counted.get(one.place.service_point)
        most, days = Fraction(0), 0
        for span in past[one.place.service_point, one.start] if use is not None else ():
            assert use is not None
            hours = [use.between(start, end, apart=_APART) for start, end in span]
            volumes = [hour.litres for hour in hours if hour is not None]
            days += bool(volumes)
            most = max([most, *volumes])
        if days >= HOUR_DAYS_LEAST and one.used.litres > TIMES * most:
            yield one, {"what": "hour", "litres": round(one.used.litres), "most_litres": round(most), "days": days}


def _same_hours(one: _Candidate, zone: ZoneInfo) -> list[list[tuple[datetime, datetime]]]:
    """Return, for each day before, its hours at this time of day, one earlier and one later, in the account's time."""
    local = one.start.astimezone(zone)
    found = []
    for back in range(1, HOUR_DAYS + 1):
        day = one.day - timedelta(days=back)
        middle = datetime(day.year, day.month, day.day, local.hour, tzinfo=zone).astimezone(UTC)
        hours = [(middle + n * _HOUR, middle + (n + 1) * _HOUR) for n in (-1, 0, 1)]
        found.append([hour for hour in hours if hour[0] >= one.place.since and hour[1] <= one.start])
    return [hours for hours in found if hours]


def _unusual_days(candidates: Sequence[_Candidate]) -> Iterable[tuple[_Candidate, dict[str, object]]]:
    volumes = _days_of(candidates)
    for one in candidates:
        first = one.day - timedelta(weeks=WEEKS)
        past = {
            day: litres for day, litres in volumes.get(one.place.service_point, {}).items() if first <= day < one.day
        }
        weekdays = [litres for day, litres in past.items() if day.weekday() == one.day.weekday()]
        if len(weekdays) < WEEKDAYS_LEAST:
            continue
        most = max(weekdays)
        if one.used.litres > TIMES * most and one.used.litres > max(past.values()):
            yield (
                one,
                {
                    "what": "day",
                    "day": one.day.isoformat(),
                    "litres": round(one.used.litres),
                    "most_litres": round(most),
                    "days": len(weekdays),
                },
            )


def _days_of(candidates: Sequence[_Candidate]) -> dict[int, dict[date, Fraction]]:
    """Return the measured days of each candidate's meter from the roll-ups, in litres, in its account's own time."""
    if not candidates:
        return {}
    since = {one.place.service_point: one.place.since for one in candidates}
    first = min(one.day for one in candidates) - timedelta(weeks=WEEKS)
    rows = Installation.objects.filter(
        Q(end__isnull=True) | Q(end__gt=datetime(first.year, first.month, first.day, tzinfo=UTC)),
        service_point__in=since,
        meter__registers__in_usage=True,
        meter__registers__claimed=True,
    ).values_list("service_point", "start", "meter__registers", "meter__registers__unit", "meter__registers__scale")
    registers = {row[2]: (row[0], max(row[1], since[row[0]]), count_value(Unit(row[3]), row[4])) for row in rows}
    found = defaultdict[int, dict[date, Fraction]](dict)
    counted = DailyVolume.objects.filter(
        register__in=registers, day__gte=first, quality=ReadQuality.MEASURED.value
    ).values_list("register", "day", "counts")
    for register, day, counts in counted:
        point, start, worth = registers[register]
        if day > start.date():  # the first day is not whole
            found[point][day] = found[point].get(day, Fraction(0)) + counts * worth
    return found


def _found(one: _Candidate, evidence: dict[str, object], choices: Choices, zone: ZoneInfo) -> Found:
    return Found(
        key=_key(one),
        kind=Kind.UNUSUAL,
        account=one.place.account,
        service_point=one.place.service_point,
        since=one.start,
        happened_at=one.used.until,
        evidence=dict(evidence),
        who=choices.of(Kind.UNUSUAL, one.place.account, one.place.service_point),
        ended_at=midnight(one.day + timedelta(days=1), zone),
    )

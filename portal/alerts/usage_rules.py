"""What the use of meters is judged by: own thresholds, use while away, no use; unusual use is in `unusual`.

Chunks of places, each with the same few queries; each chunk keeps its alerts, messages and marks together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.alerts import unusual
from portal.alerts.choices import Choices, choices_of
from portal.alerts.kinds import LATE, MONEY, Kind, Per
from portal.alerts.models import Alert, AlertSetting
from portal.alerts.places import HOUR, Place, period_starts
from portal.alerts.quantities import PlaceUse, Use, uses
from portal.alerts.telling import Found, is_late
from portal.metering.calendar import midnight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

APART_IN_AN_HOUR = timedelta(hours=2)
"""An hour is judged when the reads around its ends are no further apart."""
APART_IN_A_DAY = timedelta(hours=26)
"""A day, a billing period or some days without use likewise: daily reads are enough."""
TRICKLE_LITRES = 20
"""On a day away no more than this is expected: an ice maker, a softener that rinses."""


@dataclass
class Looked:
    """What came of looking at a chunk of places.

    known  by service point, up to when its use was judged with sound figures.
    ended  alerts that are over.
    """

    found: list[Found] = field(default_factory=list)
    known: dict[int, datetime] = field(default_factory=dict)
    ended: list[Alert] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """What is to be looked at for one place."""

    place: Place
    now: datetime
    zone: ZoneInfo
    thresholds: Sequence[AlertSetting]
    vacations: Sequence[AlertSetting]
    no_use: Sequence[AlertSetting]
    period: tuple[datetime, datetime] | None

    def moments(self) -> set[datetime]:
        """Return the moments at which a count is wanted."""
        spans = [*self.place.hours(self.now, self.zone), *((a, b) for _, a, b in self.days())]
        found = {moment for span in spans for moment in span} | {self.now}
        found |= {self.still_since(setting) for setting in self.no_use}
        if self.period is not None:
            found.add(max(self.period[0], self.place.since))
        return {moment for moment in found if self.place.since <= moment <= self.now}

    def days(self) -> list[tuple[date, datetime, datetime]]:
        """Return the days to be looked at."""
        return self.place.days(self.now, self.zone)

    def still_since(self, setting: AlertSetting) -> datetime:
        """Return since when there must have been no use."""
        return self.now - timedelta(days=setting.number or 3)


def look_at(places: Sequence[Place], now: datetime, zone: ZoneInfo) -> Looked:
    """Judge the use of a chunk of places since each was looked at last."""
    accounts = sorted({place.account for place in places})
    choices = choices_of(accounts)
    with_period = {
        account
        for (account, _), rows in choices.thresholds.items()
        if any(row.per == Per.PERIOD and row.unit != MONEY for row in rows)
    }
    periods = period_starts(sorted(with_period), now.astimezone(zone).date(), zone) if with_period else {}
    asked = [_asked(place, choices, periods.get(place.account), now, zone) for place in places]
    known = uses({one.place.service_point: sorted(one.moments()) for one in asked})
    result = Looked()
    seen: list[tuple[Place, PlaceUse]] = []
    for one in asked:
        use = known.get(one.place.service_point)
        result.known[one.place.service_point] = one.place.known_until if use is None else _known_until(one, use)
        if use is None:
            continue
        result.found += _over_thresholds(one, use, choices)
        result.found += _used_while_away(one, use, choices)
        seen.append((one.place, use))
    result.found += unusual.look_at(seen, choices, now, zone)
    _still(asked, known, choices, result)
    return result


def _asked(
    place: Place, choices: Choices, period: tuple[datetime, datetime] | None, now: datetime, zone: ZoneInfo
) -> Asked:
    where = place.account, place.service_point
    own = [one.setting for kind in (Kind.VACATION, Kind.NO_USE) for one in choices.of(kind, *where) if one.setting]
    volumes = [row for row in choices.thresholds.get(where, ()) if row.unit != MONEY]
    return Asked(
        place=place,
        now=now,
        zone=zone,
        thresholds=volumes,
        vacations=[row for row in own if row.kind == Kind.VACATION and row.first_day is not None],
        no_use=[row for row in own if row.kind == Kind.NO_USE],
        period=period if any(row.per == Per.PERIOD for row in volumes) else None,
    )


def _known_until(one: Asked, use: PlaceUse) -> datetime:
    """Return up to when the hours are known soundly: what is not is looked at again, for as long as it may be sent."""
    known = one.place.known_until
    for start, end in one.place.hours(one.now, one.zone):
        used = use.between(start, end, apart=APART_IN_AN_HOUR)
        if used is None or not used.sure:
            break
        known = max(known, used.until)
    return max(known, one.now - LATE, one.place.since)


def _over_thresholds(one: Asked, use: PlaceUse, choices: Choices) -> Iterator[Found]:
    for setting in one.thresholds:
        who = choices.own(setting)
        if not who or setting.amount is None:
            continue
        limit = Fraction(setting.amount) * Unit(setting.unit).litres
        for start, end, until, apart in _buckets(one, setting):
            used = use.between(start, until, apart=apart)
            if used is None or not used.sure or used.litres <= limit or end <= setting.changed_at:
                continue
            if end > one.now and is_late(used.until, one.now):
                continue  # a period that still runs: told when newer reads come, and not lost as too old
            yield Found(
                key=f"threshold:{setting.public_id}:{start.isoformat()}",
                kind=Kind.THRESHOLD,
                account=one.place.account,
                service_point=one.place.service_point,
                since=start,
                happened_at=used.until,
                evidence={**limit_of(setting), "litres": litres(used)},
                who=who,
                about=setting.public_id,
                ended_at=end,
            )


def limit_of(setting: AlertSetting) -> dict[str, str]:
    """Return a threshold as evidence, as it was set."""
    assert setting.amount is not None
    return {"amount": f"{setting.amount.normalize():f}", "unit": setting.unit, "per": setting.per}


def litres(used: Use) -> int:
    """Return a volume as evidence: whole litres."""
    return round(used.litres)


def _buckets(one: Asked, setting: AlertSetting) -> Iterator[tuple[datetime, datetime, datetime, timedelta | None]]:
    """Yield the hours, days or the period of a threshold: start, end, up to when it is known, how far reads may be."""
    if setting.per == Per.HOUR:
        for start, until in one.place.hours(one.now, one.zone):
            yield start, start + HOUR, until, APART_IN_AN_HOUR
    elif setting.per == Per.DAY:
        for day, start, until in one.days():
            yield start, midnight(day + timedelta(days=1), one.zone), until, APART_IN_A_DAY
    elif one.period is not None:
        yield max(one.period[0], one.place.since), one.period[1], one.now, APART_IN_A_DAY


def _used_while_away(one: Asked, use: PlaceUse, choices: Choices) -> Iterator[Found]:
    for setting in one.vacations:
        assert setting.first_day is not None
        assert setting.last_day is not None
        for day, start, until in one.days():
            used = use.between(start, until, apart=APART_IN_A_DAY)
            if not setting.first_day <= day <= setting.last_day or used is None or not used.sure:
                continue
            if used.litres > TRICKLE_LITRES:
                late = is_late(used.until, one.now)  # kept by itself: what runs later while they are away is news
                key = f"vacation:{setting.public_id}:{setting.first_day.isoformat()}"
                yield Found(
                    key=f"{key}:late" if late else key,
                    kind=Kind.VACATION,
                    account=one.place.account,
                    service_point=one.place.service_point,
                    since=start,
                    happened_at=used.until,
                    evidence={
                        "day": day.isoformat(),
                        "litres": litres(used),
                        "trickle_litres": TRICKLE_LITRES,
                        "last_day": setting.last_day.isoformat(),
                    },
                    who=[
                        choice
                        for choice in choices.of(Kind.VACATION, one.place.account, one.place.service_point)
                        if choice.setting == setting
                    ],
                    about=setting.public_id,
                )
                if not late:
                    break


def _still(asked: Sequence[Asked], known: dict[int, PlaceUse], choices: Choices, result: Looked) -> None:
    """Look for days without use; water that flows again ends what stands."""
    wanted = {setting.public_id for one in asked for setting in one.no_use}
    if not wanted:
        return
    rows = Alert.objects.filter(kind=Kind.NO_USE, about__in=wanted, ended_at__isnull=True)
    standing = {row.about: row for row in rows}
    for one in asked:
        use = known.get(one.place.service_point)
        for setting in one.no_use if use is not None else ():
            assert use is not None
            since = one.still_since(setting)
            used = use.between(since, one.now, apart=APART_IN_A_DAY) if since >= one.place.since else None
            if used is None or not used.sure or one.now - used.until > APART_IN_A_DAY:
                continue
            if used.litres > 0 and setting.public_id in standing:
                result.ended.append(standing[setting.public_id])
            elif used.litres == 0 and setting.public_id not in standing:
                result.found.append(_no_use(one, setting, since, used, choices))


def _no_use(one: Asked, setting: AlertSetting, since: datetime, used: Use, choices: Choices) -> Found:
    where = one.place.account, one.place.service_point
    return Found(
        key=f"no-use:{setting.public_id}:{one.now.isoformat()}",
        kind=Kind.NO_USE,
        account=where[0],
        service_point=where[1],
        since=since,
        happened_at=used.until,
        evidence={"days": setting.number or 3},
        who=[choice for choice in choices.of(Kind.NO_USE, *where) if choice.setting == setting],
        about=setting.public_id,
    )

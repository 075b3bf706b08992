"""Everything the usage page shows, gathered by the rules of who may see what; and what one person prefers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Min

from domain.units import Unit
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import current_change, utility_zone
from portal.customers.models import ServicePoint
from portal.customers.permissions import Viewer, viewer
from portal.customers.services import Span, visible_places, visible_service_points, visible_spans
from portal.metering.models import Installation
from portal.metering.usage import UsageSeries, usage
from portal.resident.dial import Dial, dials
from portal.resident.leak import LeakBanner, open_leak
from portal.resident.models import Preference
from portal.resident.periods import By, Period, period_of
from portal.resident.rows import Row, finished_rows, read_hours
from portal.resident.wording import UNITS, UnitWords, clock_time, headline_number, moment_text, number, plain_decimal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from decimal import Decimal
    from zoneinfo import ZoneInfo

    from portal.core.models import User


@dataclass(frozen=True, slots=True)
class Figure:
    """One volume as the page shows it: rounded for the eye, exact for a script."""

    text: str
    exact: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures that are read at a glance; only for the person who lives there now."""

    today: Figure | None
    yesterday: Figure | None
    month: Figure | None
    as_of: str


@dataclass(frozen=True, slots=True)
class UsagePage:
    """All that the page's template needs, in words.

    moved_out  when the viewer's time at this place ended, in words; empty while they live there.
    previous   first day of the period before, None when it lies before the viewer's time; `following` likewise.
    is_now     the period holds the present moment, so that its address needs no date.
    change     the change number that the page rests on: the stream carries on from it.
    """

    service_point: ServicePoint
    others: tuple[ServicePoint, ...]
    unit: UnitWords
    by: By
    period: Period
    previous: date | None
    following: date | None
    first_day: date
    today: date
    is_now: bool
    moved_out: str
    waiting: bool
    headline: Headline | None
    dials: tuple[Dial, ...]
    leak: LeakBanner | None
    rows: tuple[Row, ...]
    total: Figure | None
    boundary_dials: tuple[Dial, ...]
    as_of: str
    change: int

    @property
    def table_rows(self) -> list[Row]:
        """The rows that a table shows: none of the hours and days before the first reading or after now."""
        return [row for row in self.rows if row.mark not in ("before", "ahead")]

    @property
    def marks(self) -> set[str]:
        """What the chart's key has to explain beside plain bars: `estimated`, `none`, or nothing at all."""
        marks = {row.mark for row in self.rows}
        return ({"estimated"} if marks & _MARKED else set()) | (marks & {"none"})


_MARKED = {"shared", "estimated", "edited", "suspect"}


def preferred_unit(user: User) -> Unit:
    """Return the unit that a person wants to see."""
    chosen = Preference.objects.filter(pk=user.pk).values_list("unit", flat=True).first()
    return Unit(chosen) if chosen else Unit.GALLON


def prefer_unit(user: User, text: str) -> Unit:
    """Keep the unit that a person chose; raises Refused for one that pages do not offer."""
    words = next((words for words in UNITS.values() if words.unit.value == text), None)
    if words is None:
        raise Refused("unit", f"{text!r} is not one of {', '.join(unit.value for unit in UNITS)}")
    Preference.objects.update_or_create(user=user, defaults={"unit": words.unit.value})
    return words.unit


def places_of(user: User | Viewer) -> list[ServicePoint]:
    """Return the service points that a person may look at, those where they live now first."""
    moment = now()
    spans = visible_places(user)
    points = list(visible_service_points(user))
    return sorted(points, key=lambda point: not any(_holds(span, moment) for span in spans.get(point.pk, ())))


def usage_page(user: User | Viewer, service_point: ServicePoint, *, by: By, day: date | None) -> UsagePage:
    """Gather the page of one service point.

    day     any day of the wanted period; None for the present one.
    raises  Refused(`not-yours`) when the person never lived there.
    """
    change = current_change()  # read first: what is committed later is announced by the stream
    moment, zone = now(), utility_zone()
    spans = visible_spans(user, service_point)
    if not spans:
        raise Refused("not-yours", "this service point is not one of yours")
    span = next((s for s in spans if _holds(s, moment)), spans[-1])
    lives_there = _holds(span, moment)
    unit = preferred_unit(viewer(user).user)
    today = moment.astimezone(zone).date()
    last_day = today if lives_there else (span.end - timedelta(microseconds=1)).astimezone(zone).date()
    known_from = max(spans[0].start, _first_installed(service_point) or spans[0].start)
    period = period_of(by, _within(day or last_day, known_from.astimezone(zone).date(), last_day), zone)
    series = _series(service_point, period.start, period.end, by, unit, spans)
    rows = finished_rows(
        series, period, moment=moment, known_from=known_from, read_hours=read_hours(service_point, period, spans)
    )
    headline = _headline(service_point, moment, zone, unit, spans) if lives_there else None
    current = dials(service_point, span, zone=zone) if lives_there else ()
    others = [point for point in places_of(user) if point.pk != service_point.pk]
    return UsagePage(
        service_point=service_point,
        others=tuple(others),
        unit=UNITS[unit],
        by=by,
        period=period,
        previous=period.previous_first() if period.start > known_from else None,
        following=period.last_excluded if period.last_excluded <= last_day else None,
        first_day=known_from.astimezone(zone).date(),
        today=last_day,
        is_now=period.start <= moment < period.end,
        moved_out="" if lives_there else moment_text(span.end, zone),
        waiting=lives_there and not current,
        headline=headline,
        dials=current,
        leak=open_leak(service_point, span, now=moment, zone=zone, unit=unit) if lives_there else None,
        rows=rows,
        total=_figure(series.total, unit, exact_text=True),
        boundary_dials=tuple(Dial.of(reading, zone) for reading in (series.first, series.last) if reading),
        as_of=moment_text(series.as_of, zone) if series.as_of else "",
        change=change,
    )


def _holds(span: Span, moment: datetime) -> bool:
    return span.start <= moment < span.end


def _within(day: date, first: date, last: date) -> date:
    return max(first, min(day, last))


def _first_installed(service_point: ServicePoint) -> datetime | None:
    found: datetime | None = Installation.objects.filter(service_point=service_point).aggregate(at=Min("start"))["at"]
    return found


def _series(
    service_point: ServicePoint, start: datetime, end: datetime, by: By, unit: Unit, spans: Sequence[Span]
) -> UsageSeries:
    return usage(service_point, start=start, end=end, resolution=by.resolution, unit=unit, spans=spans)


def _headline(
    service_point: ServicePoint, moment: datetime, zone: ZoneInfo, unit: Unit, spans: Sequence[Span]
) -> Headline:
    """Return today, yesterday and this month so far: days of one series, so that they agree with every chart."""
    today = period_of(By.HOUR, moment.astimezone(zone).date(), zone)
    yesterday = period_of(By.HOUR, today.previous_first(), zone)
    month = period_of(By.DAY, today.first, zone)
    days = _series(service_point, min(month.start, yesterday.start), today.end, By.DAY, unit, spans)
    volumes = {row.start: row.volume for row in days.rows}
    of_month = [v for row in days.rows if row.start >= month.start and (v := row.volume) is not None]
    return Headline(
        today=_figure(volumes.get(today.start), unit),
        yesterday=_figure(volumes.get(yesterday.start), unit),
        month=_figure(sum(of_month[1:], of_month[0]), unit) if of_month else None,
        as_of=_as_of(days.as_of, today, zone),
    )


def _as_of(as_of: datetime | None, today: Period, zone: ZoneInfo) -> str:
    if as_of is None:
        return ""
    return clock_time(as_of, zone) if as_of >= today.start else moment_text(as_of, zone)


def _figure(value: Decimal | None, unit: Unit, *, exact_text: bool = False) -> Figure | None:
    if value is None:
        return None
    return Figure(number(value.normalize()) if exact_text else headline_number(value, unit), plain_decimal(value))

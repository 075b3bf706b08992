"""Everything the usage page shows, gathered by the rules of who may see what; and what one person prefers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext as _

from domain.units import Unit
from portal.comparison.peers import similar_use
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.prepared import Prepared
from portal.core.services import current_change, utility_zone
from portal.customers.permissions import viewer
from portal.customers.services import Span, accounts_seen_at, points_seen_by, visible_places
from portal.metering.spans import counters_of, hung_at, look_together, moments_read
from portal.metering.usage import Cut, counters_at, usages
from portal.resident.compare import Compare, Sides, counterpart, offered, other_period, with_period, with_similar
from portal.resident.dial import Dial, dials
from portal.resident.leak import open_leak
from portal.resident.links import Choice, Links
from portal.resident.models import Preference
from portal.resident.page import Figure, Headline, UsagePage
from portal.resident.periods import PERIOD_WORDS, By, period_of
from portal.resident.rows import finished_rows
from portal.resident.together import together
from portal.resident.wording import UNITS, clock_time, meter_name, moment_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from zoneinfo import ZoneInfo

    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.customers.permissions import Viewer
    from portal.metering.usage import UsageSeries
    from portal.resident.compare import Comparison
    from portal.resident.periods import Period

_MICROSECOND, _DAY = timedelta(microseconds=1), timedelta(days=1)
_PIECES = (timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=30))
_READS_BEFORE = timedelta(hours=3)
_SECOND_METERS = {"irrigation", "fire"}


def preferred_unit(user: User) -> Unit:
    """Return the unit that a person wants to see."""
    chosen = UNIT_OF(user.pk)
    return Unit(chosen[0]) if chosen else Unit.GALLON


UNIT_OF: Prepared[str] = Prepared(lambda user: Preference.objects.filter(pk=user).values_list("unit", flat=True))


def prefer_unit(user: User, text: str) -> Unit:
    """Keep the unit that a person chose; raises Refused for one that pages do not offer."""
    words = next((words for words in UNITS.values() if words.unit.value == text), None)
    if words is None:
        raise Refused("unit", f"{text!r} is not one of {', '.join(unit.value for unit in UNITS)}")
    Preference.objects.update_or_create(user=user, defaults={"unit": words.unit.value})
    return words.unit


def places_of(user: User | Viewer) -> list[ServicePoint]:
    """Return the service points that a person may look at, those where they live now first."""
    return _sorted(points_seen_by(user), visible_places(user), now())


def _sorted(
    points: Sequence[ServicePoint], spans: Mapping[int, Sequence[Span]], moment: datetime
) -> list[ServicePoint]:
    """Return places where the person lives now first, and of each home the meter of the household first."""

    def key(point: ServicePoint) -> tuple[bool, str, bool, str]:
        lived_in = any(_holds(span, moment) for span in spans.get(point.pk, ()))
        return not lived_in, point.premise.address, point.label.lower() in _SECOND_METERS, point.label

    return sorted(points, key=key)


def _holds(span: Span, moment: datetime) -> bool:
    return span.start <= moment < span.end


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one page looks at: service points, and what the viewer may see of each.

    spans       by the service point's row id, as `known_from`: since when anything can be known of it.
    begun       of those where the viewer lives now: when that time began.
    last        now; after a move-out the last moment of the viewer's time.
    """

    points: tuple[ServicePoint, ...]
    spans: Mapping[int, Sequence[Span]]
    known_from: Mapping[int, datetime]
    begun: Mapping[int, datetime]
    moment: datetime
    last: datetime
    zone: ZoneInfo
    unit: Unit

    @property
    def first(self) -> datetime:
        return min(self.known_from.values())

    def series(self, cuts: Sequence[Cut]) -> list[UsageSeries]:
        """Return series over these cuts: of one meter, or the sums of all."""
        of_points = [
            usages(point, cuts, zone=self.zone, unit=self.unit, spans=self.spans[point.pk]) for point in self.points
        ]
        since = [self.known_from[point.pk] for point in self.points]
        return [together(parts, since) for parts in zip(*of_points, strict=True)]


def _sight(points: Sequence[ServicePoint], spans: Mapping[int, Sequence[Span]], unit: Unit) -> _Sight:
    moment = now()
    installed = {p.pk: rows[0].start for p in points if (rows := hung_at(p.pk))}
    known_from = {p.pk: max(spans[p.pk][0].start, installed.get(p.pk) or spans[p.pk][0].start) for p in points}
    begun = {p.pk: span.start for p in points for span in spans[p.pk] if _holds(span, moment)}
    ended = max(spans[p.pk][-1].end for p in points)
    last = moment if begun else ended - _MICROSECOND
    shown = {p.pk: spans[p.pk] for p in points}
    return _Sight(tuple(points), shown, known_from, begun, moment, last, utility_zone(), unit)


def usage_page(
    user: User | Viewer,
    service_point: ServicePoint,
    *,
    by: By,
    day: date | None,
    at: datetime | None = None,
    compare: Compare | None = None,
    all_meters: bool = False,
    looked_at: Mapping[int, Sequence[datetime]] | None = None,
) -> UsagePage:
    """Gather the page of one service point, or of all that its home has.

    day, at    any day of the wanted period, or a moment of the wanted hour; None for the present one.
    looked_at  at which moments else the page looks at which service points, to be looked at with the chart's.
    raises     Refused(`not-yours`) when the person never lived there.
    """
    change = current_change()  # read first: what is committed later is announced by the stream
    spans = visible_places(user)
    if not spans.get(service_point.pk):
        raise Refused("not-yours", "this service point is not one of yours")
    points = _sorted([point for point in points_seen_by(user) if point.pk in spans], spans, now())
    home = [point for point in points if point.premise_id == service_point.premise_id]
    unit = preferred_unit(viewer(user).user)
    sight = _sight(home if all_meters else [service_point], spans, unit)
    period = _period(sight, by, day, at)
    cuts = _cuts(sight, period)
    _look(sight, cuts, period, compare, looked_at or {})
    series, headline = _series(sight, period, cuts)
    current = dials(sight.begun, zone=sight.zone) if sight.begun else ()
    links = Links(reverse("resident:usage", args=[service_point.public_id]), period, compare, all_meters)
    last_day = sight.last.astimezone(sight.zone).date()
    ahead = period.next()
    return UsagePage(
        service_point=service_point,
        meters=_meters(home, links, service_point),
        others=tuple(point for point in points if point.premise_id != service_point.premise_id),
        streams=tuple(point for point in sight.points if point.pk in sight.begun),
        unit=UNITS[unit],
        links=links,
        views=_views(links, sight),
        compares=_compares(links),
        comparison=_comparison(user, sight, links, series),
        previous=period.previous() if period.start > sight.first else None,
        following=ahead if ahead.start <= sight.last else None,
        first_day=sight.first.astimezone(sight.zone).date(),
        today=last_day,
        is_now=period.start <= sight.moment < period.end,
        moved_out="" if sight.begun else moment_text(sight.last + _MICROSECOND, sight.zone),
        waiting=bool(sight.begun) and not current,
        headline=headline,
        dials=current,
        leak=open_leak(sight.begun, now=sight.moment, zone=sight.zone, unit=unit) if sight.begun else None,
        rows=finished_rows(series, period, moment=sight.moment, known_from=sight.first),
        total=Figure.of(series.total, unit, exact_text=True),
        boundary_dials=_boundary_dials(series, sight),
        as_of=moment_text(series.as_of, sight.zone) if series.as_of else "",
        change=change,
    )


def _period(sight: _Sight, by: By, day: date | None, at: datetime | None) -> Period:
    first, last = (moment.astimezone(sight.zone).date() for moment in (sight.first, sight.last))
    day = max(first, min(day or last, last))
    if by is not By.MINUTE:
        return period_of(by, day, sight.zone)
    if at is None:
        at = sight.last if day == last else period_of(By.HOUR, day, sight.zone).start
    at = max(sight.first, min(at, sight.last))
    hour = period_of(by, day, sight.zone, at=at)
    return period_of(by, day, sight.zone, at=at, piece=_piece(sight, hour))


def _piece(sight: _Sight, hour: Period) -> timedelta:
    """Return how long one bar of an hour is: about as long as it usually is from one read to the next."""
    start = hour.start - _READS_BEFORE
    gaps: list[int] = []
    for point in sight.points:
        for counter in counters_at(point, Span(start, hour.end)):
            moments = moments_read([register.pk for register in counter.registers], start, hour.end)
            gaps += [b - a for a, b in zip(moments, moments[1:], strict=False)]
    usual = timedelta(microseconds=median(gaps)) if gaps else _PIECES[1]
    return next((piece for piece in _PIECES if usual <= piece * 1.5), timedelta(hours=1))


def _cuts(sight: _Sight, period: Period) -> list[Cut]:
    """Return the cuts of the chart and, where the viewer lives now, of the headline: days, month, hour."""
    chart = Cut(period.edges, period.by.resolution)
    if not sight.begun:
        return [chart]
    day = sight.moment.astimezone(sight.zone).date()
    today, month = period_of(By.HOUR, day, sight.zone), period_of(By.DAY, day, sight.zone)
    hour = period_of(By.MINUTE, day, sight.zone, at=sight.moment)
    return [
        chart,
        Cut((today.previous().start, today.start, today.end), "day"),
        Cut((month.start, today.end), "month"),
        Cut((hour.start, hour.end), "hour"),
    ]


def _look(
    sight: _Sight,
    cuts: Sequence[Cut],
    period: Period,
    compare: Compare | None,
    looked_at: Mapping[int, Sequence[datetime]],
) -> None:
    """Look once at all that the page will ask of its meters."""
    moments = {edge for cut in cuts for edge in cut.edges}
    if compare in (Compare.PREVIOUS, Compare.YEAR):
        other = other_period(period, compare)
        moments.update(other.edges)
        for newest in _newest_reads(sight):  # up to there a running period is compared
            if period.start < newest < period.end:
                moments.update((newest, counterpart(newest, period, other)))
    wanted = {point: set(also) for point, also in looked_at.items()}
    for point in sight.points:
        bounds = {bound for span in sight.spans[point.pk] for bound in (span.start, span.end)}
        inside = (bound for bound in bounds if min(moments) < bound < max(moments))
        wanted.setdefault(point.pk, set()).update(moments, inside)
    look_together(wanted, sight.zone)


def _newest_reads(sight: _Sight) -> list[datetime]:
    meters = {row.meter_id for point in sight.points for row in hung_at(point.pk)}
    registers = [register for of_meter in counters_of(meters).values() for counter in of_meter for register in counter]
    return [register.state.last_read_at for register in registers if hasattr(register, "state")]


def _series(sight: _Sight, period: Period, cuts: Sequence[Cut]) -> tuple[UsageSeries, Headline | None]:
    """Return the chart's series and the headline: cut from one look, so that they agree."""
    if not sight.begun:
        return sight.series(cuts)[0], None
    series, days, of_month, of_hour = sight.series(cuts)
    today = period_of(By.HOUR, sight.moment.astimezone(sight.zone).date(), sight.zone)
    yesterday_row, today_row = days.rows
    headline = Headline(
        hour=Figure.of(of_hour.total, sight.unit),
        today=Figure.of(today_row.volume, sight.unit),
        yesterday=Figure.of(yesterday_row.volume, sight.unit),
        month=Figure.of(of_month.total, sight.unit),
        as_of=_as_of(days.as_of or of_month.as_of, today, sight.zone),
    )
    return series, headline


def _as_of(as_of: datetime | None, today: Period, zone: ZoneInfo) -> str:
    if as_of is None:
        return ""
    return clock_time(as_of, zone) if as_of >= today.start else moment_text(as_of, zone)


def _boundary_dials(series: UsageSeries, sight: _Sight) -> tuple[Dial, ...]:
    """Return the dials between which the total lies; of several meters each has its own page for that."""
    if len(sight.points) > 1:
        return ()
    return tuple(Dial.of(reading, sight.zone) for reading in (series.first, series.last) if reading)


def _meters(home: Sequence[ServicePoint], links: Links, service_point: ServicePoint) -> tuple[Choice, ...]:
    if len(home) < 2:
        return ()
    each = [
        Choice(
            f"meter-{number}",
            meter_name(point.label),
            Links(reverse("resident:usage", args=[point.public_id]), links.period, links.compare).here,
            point.pk == service_point.pk and not links.together,
        )
        for number, point in enumerate(sorted(home, key=lambda point: point.pk), start=1)
    ]
    whole = Links(links.path, links.period, links.compare, together=True)
    return (*each, Choice("meters-all", _("All meters of this home"), whole.here, links.together))


def _views(links: Links, sight: _Sight) -> tuple[Choice, ...]:
    period = links.period
    holds_now = period.start <= sight.last < period.end
    day = sight.last.astimezone(sight.zone).date() if holds_now else period.first
    at = sight.last if holds_now else max(period.start, sight.first)
    return tuple(
        Choice(f"by-{by.value}", str(words.view), links.to(period_of(by, day, sight.zone, at=at)), by is period.by)
        for by, words in PERIOD_WORDS.items()
    )


def _compares(links: Links) -> tuple[Choice, ...]:
    without = Choice("compare-none", _("None"), links.comparing(None), links.compare is None)
    found = offered(links.period.by, together=links.together)
    return (
        without,
        *(Choice(f"compare-{c.value}", text, links.comparing(c), c is links.compare) for c, text in found),
    )


def _comparison(user: User | Viewer, sight: _Sight, links: Links, series: UsageSeries) -> Comparison | None:
    period, compare = links.period, links.compare
    if compare is None or compare not in dict(offered(period.by, together=links.together)):
        return None
    if compare is Compare.SIMILAR:
        (point,) = sight.points
        peers = similar_use(point, accounts_seen_at(user, point), period.first, period.last_excluded)
        return with_similar(period, series, peers, sight.unit)
    other = other_period(period, compare)
    running = period.start <= sight.moment < period.end
    until = series.as_of if running else period.end
    cuts = [Cut(other.edges, other.by.resolution)]
    if until is not None and until > period.start:
        same = counterpart(until, period, other)
        cuts += [Cut((other.start, max(same, other.start + _MICROSECOND)), "hour"), Cut((period.start, until), "hour")]
    found = sight.series(cuts)
    before, own = (found[1], found[2]) if len(found) > 1 else (found[0], None)
    return with_period(compare, found[0], Sides(period, other, own, before, running), sight.unit)

"""One period beside another: the one before, the same days a year ago, or what similar homes used.

A running period is compared with the same part of the other one, and the sentence says so. Where something is missing
on either side there is no percentage: the sentence says why instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from portal.resident.periods import By, period_of
from portal.resident.wording import SYMBOLS, headline_number, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_stubs_ext import StrPromise

    from domain.units import Unit
    from portal.comparison.peers import PeerUse
    from portal.metering.usage import UsageSeries
    from portal.resident.periods import Period

_DAY, _YEAR_OF_WEEKS = timedelta(days=1), timedelta(weeks=52)


class Compare(Enum):
    """With what a period is compared."""

    PREVIOUS = "previous"
    YEAR = "year"
    SIMILAR = "similar"


_BEFORE: dict[By, StrPromise] = {
    By.MINUTE: gettext_lazy("the hour before"),
    By.HOUR: gettext_lazy("the day before"),
    By.WEEK: gettext_lazy("the week before"),
    By.DAY: gettext_lazy("the month before"),
    By.MONTH: gettext_lazy("the year before"),
}
_A_YEAR_AGO: dict[By, StrPromise] = {
    By.MINUTE: gettext_lazy("the same hour 52 weeks before"),
    By.HOUR: gettext_lazy("the same weekday 52 weeks before"),
    By.WEEK: gettext_lazy("the same week 52 weeks before"),
    By.DAY: gettext_lazy("the same month of the year before"),
}
_SO_FAR: dict[By, StrPromise] = {
    By.MINUTE: gettext_lazy("same minutes so far"),
    By.HOUR: gettext_lazy("same hours so far"),
    By.WEEK: gettext_lazy("same days and hours so far"),
    By.DAY: gettext_lazy("same days and hours so far"),
    By.MONTH: gettext_lazy("same days so far"),
}
_LINKS: dict[Compare, StrPromise] = {
    Compare.PREVIOUS: gettext_lazy("Before"),
    Compare.YEAR: gettext_lazy("Last year"),
    Compare.SIMILAR: gettext_lazy("Similar homes"),
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second series of a chart, ready to be read.

    name      what it is: `the week before`; title: which period that was, empty for similar homes.
    volumes   one for each bar, None where there is none; texts: the same in words.
    percent   how much more (or less) than the other; None where no fair figure exists: `sentence` says why.
    """

    compare: Compare
    name: str
    title: str
    volumes: tuple[Decimal | None, ...]
    texts: tuple[str, ...]
    percent: int | None
    sentence: str

    def as_json(self) -> list[float | None]:
        """Return what the chart draws."""
        return [None if volume is None else max(0.0, float(volume)) for volume in self.volumes]


def offered(by: By, *, together: bool) -> list[tuple[Compare, str]]:
    """Return the comparisons that make sense for a view, with the words of their links."""
    without = {Compare.YEAR} if by is By.MONTH else {Compare.SIMILAR} if by is By.MINUTE else set()
    if together:
        without |= {Compare.SIMILAR}
    return [(compare, str(text)) for compare, text in _LINKS.items() if compare not in without]


def other_period(period: Period, compare: Compare) -> Period:
    """Return the period with which one is compared; weeks and days keep their weekday."""
    if compare is Compare.PREVIOUS:
        return period.previous()
    if period.by is By.DAY:
        return period_of(By.DAY, _a_year_before(period.first), period.zone)
    hour = period.hour
    if hour is not None:
        local = hour.astimezone(period.zone)
        hour = (local.replace(tzinfo=None) - _YEAR_OF_WEEKS).replace(tzinfo=period.zone, fold=local.fold)
    return period_of(period.by, period.first - _YEAR_OF_WEEKS, period.zone, at=hour, piece=period.piece)


def _a_year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=1)


def counterpart(moment: datetime, period: Period, other: Period) -> datetime:
    """Return the moment of the other period that corresponds to one of this period: same day of it, same local time."""
    if period.hour is not None:
        return other.start + (moment - period.start)
    local = moment.astimezone(period.zone)
    if period.by is By.MONTH:
        last = (date(other.first.year, local.month, 1) + timedelta(days=32)).replace(day=1) - _DAY
        day = min(date(other.first.year, local.month, min(local.day, last.day)), last)
    else:
        day = other.first + (local.date() - period.first)
    shifted = datetime.combine(day, local.time(), tzinfo=period.zone).replace(fold=local.fold)
    return min(max(shifted, other.start), other.end)


@dataclass(frozen=True, slots=True)
class Sides:
    """What both sides used in the parts that are compared. running: the period is not over."""

    period: Period
    other: Period
    own: UsageSeries | None
    before: UsageSeries
    running: bool


def with_period(compare: Compare, rows: UsageSeries, sides: Sides, unit: Unit) -> Comparison:
    """Return the comparison with another period of the same home.

    rows  the other period's rows.
    """
    names = _BEFORE if compare is Compare.PREVIOUS else _A_YEAR_AGO
    name = str(names[sides.period.by])
    volumes = _aligned(sides.period, sides.other, rows)
    percent, sentence = _against(name, sides, unit)
    return Comparison(compare, name, sides.other.title, volumes, _texts(volumes, unit), percent, sentence)


def _aligned(period: Period, other: Period, rows: UsageSeries) -> tuple[Decimal | None, ...]:
    """Return for each bar the volume of its counterpart: the hour of the same name, the day at the same place."""
    keys = [_key(other, row.start, place) for place, row in enumerate(rows.rows)]
    found = dict(zip(keys, (row.volume for row in rows.rows), strict=True))
    return tuple(found.get(_key(period, start, place)) for place, start in enumerate(period.edges[:-1]))


def _key(period: Period, start: datetime, place: int) -> tuple[int, int]:
    if period.by is not By.HOUR:
        return place, 0
    local = start.astimezone(period.zone)
    return local.hour, local.fold


def _against(name: str, sides: Sides, unit: Unit) -> tuple[int | None, str]:
    own, other = sides.own, sides.before
    if other.total is None:
        return None, _("There are no readings of %(what)s to compare with.") % {"what": name}
    if not other.whole:
        return None, _("No percentage: of %(what)s some readings are missing.") % {"what": name}
    if own is None or own.total is None or not own.whole:
        return None, _("No percentage: of this time some readings are missing.")
    if other.total <= 0:
        return None, _("No percentage: nothing was used in %(what)s.") % {"what": name}
    what = name
    if sides.running:
        what = _("%(what)s, %(part)s") % {"what": name, "part": _SO_FAR[sides.period.by]}
    elif sides.period.by is By.DAY and (lengths := _lengths(sides.period, sides.other)):
        what = _("%(what)s, %(days)s days against %(others)s") % {"what": name, **lengths}
    percent = _percent(own.total, other.total)
    return percent, _sentence(percent, what, own.total, other.total, unit)


def _lengths(period: Period, other: Period) -> dict[str, int]:
    days, others = ((one.last_excluded - one.first).days for one in (period, other))
    return {} if days == others else {"days": days, "others": others}


def with_similar(period: Period, series: UsageSeries, peers: PeerUse, unit: Unit) -> Comparison:
    """Return the comparison with similar homes: over the days (or months) of which both are known to the end."""
    per_bar = _bars_of(period, peers.litres)
    volumes = tuple(None if litres is None else Decimal(litres) / _litres(unit) for litres in per_bar)
    shown = tuple(None if volume is None else two_figures(volume) for volume in volumes)
    pairs = [
        (row.volume, volume)
        for row, volume in zip(series.rows, volumes, strict=True)
        if row.volume is not None and volume is not None and series.as_of is not None and row.end <= series.as_of
    ]
    name = _("similar homes")
    if period.by is By.HOUR and peers.litres:
        own, other = series.total, Decimal(next(iter(peers.litres.values()))) / _litres(unit)
        pairs = [(own, other)] if own is not None and series.whole else []
    percent, sentence = None, str(peers.why)
    if pairs and not peers.why:
        own_total, others_total = (sum((pair[side] for pair in pairs), Decimal(0)) for side in (0, 1))
        if others_total > 0:
            what = _("similar homes (about %(homes)s), same days") % {"homes": peers.homes_text}
            percent = _percent(own_total, others_total)
            sentence = _sentence(percent, what, own_total, two_figures(others_total), unit, about=True)
    elif not peers.why:
        sentence = _("Similar homes are known a day later; of this time there is nothing to compare yet.")
    return Comparison(Compare.SIMILAR, name, "", shown, _texts(shown, unit, about=True), percent, sentence)


def _bars_of(period: Period, litres: Mapping[date, int]) -> list[int | None]:
    """Return the litres of each bar: of its day, or of all days of its month."""
    result: list[int | None] = []
    edges = period.edges
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        if period.by is By.HOUR:
            result.append(None)  # similar homes are known by days
            continue
        first, last = start.astimezone(period.zone).date(), end.astimezone(period.zone).date()
        days = [litres.get(first + n * _DAY) for n in range((last - first).days)]
        known = [day for day in days if day is not None]
        result.append(sum(known) if known and len(known) == len(days) else None)
    return result


def two_figures(value: Decimal) -> Decimal:
    """Return a mean rounded to two significant figures: it is no exact thing."""
    if value == 0:
        return value
    return value.quantize(Decimal(1).scaleb(value.adjusted() - 1), rounding=ROUND_HALF_UP)


def _litres(unit: Unit) -> Decimal:
    return Decimal(unit.litres.numerator) / Decimal(unit.litres.denominator)


def _percent(own: Decimal, other: Decimal) -> int:
    return int(((own - other) * 100 / other).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _sentence(percent: int, what: str, own: Decimal, other: Decimal, unit: Unit, *, about: bool = False) -> str:
    symbol = SYMBOLS[unit]
    theirs = number(other.normalize()) if about else headline_number(other, unit)
    words = {
        "percent": number(Decimal(abs(percent))),
        "what": what,
        "own": f"{headline_number(own, unit)} {symbol}",
        "other": f"{theirs} {symbol}",
    }
    if percent > 0:
        return _("%(percent)s%% more than %(what)s: %(own)s against %(other)s.") % words
    if percent < 0:
        return _("%(percent)s%% less than %(what)s: %(own)s against %(other)s.") % words
    return _("As much as %(what)s: %(own)s against %(other)s.") % words


def _texts(volumes: Sequence[Decimal | None], unit: Unit, *, about: bool = False) -> tuple[str, ...]:
    def text(volume: Decimal) -> str:
        return f"{number(volume.normalize()) if about else headline_number(volume, unit)} {SYMBOLS[unit]}"

    return tuple("" if volume is None else text(volume) for volume in volumes)

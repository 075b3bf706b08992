"""Estimates of a boundary count from the place's own profile: exact whole counts, never backwards, marked as estimates.

The profile is what the same register counted on the same weekdays a year before; else its own mean of each weekday of
the last thirteen weeks; else what meters of its kind counted on a mean day. An estimate goes on from the newest point
in force, be it another estimate, and is in force only until an actual read of a later moment is here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Count, Sum
from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import utility_zone
from portal.customers.models import Occupancy
from portal.metering.calendar import midnight
from portal.metering.models import DailyVolume, Installation, MeterRegister, OfficeRead
from portal.metering.points import added_to
from portal.metering.reads import to_us
from portal.metering.validation.gathering import HISTORY_DAYS, YEAR_DAYS
from portal.metering.validation.office import enter_read, installation_at, neighbours
from portal.metering.validation.thresholds import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portal.core.models import User
    from portal.customers.models import ServicePoint

_KNOWN_SHARE = Fraction(4, 5)
_RECENT_DAYS_MIN = 14
_WEEKDAY_SAMPLES_MIN = 2
_KIND_DAYS = 28


@dataclass(frozen=True, slots=True)
class EstimatedCount:
    """A count that nobody read. count: unrolled from the base; shown: as the dial would show it.

    basis    last-year, recent or class; base_at, base_count: the point it goes on from; in_a_row: with this one.
    detail   the profile in whole counts, for the page and the bill.
    """

    at: datetime
    count: int
    shown: int
    basis: str
    base_at: datetime
    base_count: int
    in_a_row: int
    detail: dict[str, Any]

    @property
    def quality(self) -> ReadQuality:
        """Always an estimate."""
        return ReadQuality.ESTIMATED


def estimate_boundary(
    service_point: ServicePoint,
    installation: Installation,
    register: MeterRegister,
    at: datetime,
    *,
    max_consecutive: int = DEFAULTS.estimates_max,
) -> EstimatedCount | None:
    """Return what a register will have shown at a moment after its last read.

    None when there is nothing to go on from, when a later actual read is there (then the count is between two reads),
    or when as many estimates in a row as allowed are in force already.
    """
    before, after = neighbours(register, at, installation)
    if before is None or after is not None or at > now():
        return None
    in_a_row = 1 + sum(
        point.quality == ReadQuality.ESTIMATED
        for point in added_to([register.pk])[register.pk].extra
        if point.read_us < to_us(at)
    )
    if in_a_row > max_consecutive:
        return None
    profile = _profile(service_point, register, before.at, at)
    if profile is None:
        return None
    basis, by_day = profile
    counts = sum((by_day[day] * share for day, share in _day_shares(before.at, at)), Fraction(0))
    whole = max(0, counts.numerator // counts.denominator)
    raw = before.count + whole
    detail = {"basis": basis, "counts": whole, "days": len(by_day), "base_at": before.at.isoformat()}
    shown = raw if register.modulus is None else raw % register.modulus
    return EstimatedCount(at, raw, shown, basis, before.at, before.count, in_a_row, detail)


@transaction.atomic
def write_estimate(
    register: MeterRegister,
    at: datetime,
    *,
    reason: str,
    max_consecutive: int = DEFAULTS.estimates_max,
    actor: User | None = None,
    label: str = "",
) -> OfficeRead:
    """Keep an estimate for a moment as an office read. raises Refused `no-estimate` when there can be none."""
    MeterRegister.objects.select_for_update().get(pk=register.pk)
    installation = installation_at(register, at)
    found = None
    if installation is not None:
        point = installation.service_point
        found = estimate_boundary(point, installation, register, at, max_consecutive=max_consecutive)
    if found is None:
        raise Refused(
            "no-estimate",
            _("No estimate is possible: there is nothing to go on from, a later read is there, or too many in a row."),
        )
    return enter_read(
        register,
        at,
        found.shown,
        source=OfficeRead.Source.ESTIMATE,
        quality=ReadQuality.ESTIMATED,
        reason=reason,
        evidence=found.detail,
        actor=actor,
        label=label,
    )


def _day_shares(start: datetime, end: datetime) -> Iterator[tuple[date, Fraction]]:
    """Yield every local day that a span touches, with the share of the day that lies in it, exact."""
    zone = utility_zone()
    day = start.astimezone(zone).date()
    while (begin := midnight(day, zone)) < end:
        following = midnight(day + timedelta(days=1), zone)
        inside = min(end, following) - max(start, begin)
        yield day, Fraction(to_us(_EPOCH + inside), to_us(_EPOCH + (following - begin)))
        day += timedelta(days=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _profile(
    service_point: ServicePoint, register: MeterRegister, start: datetime, end: datetime
) -> tuple[str, Mapping[date, Fraction]] | None:
    """Return the basis and the expected counts of each local day from start to end."""
    days = [day for day, _ in _day_shares(start, end)]
    if not days:
        return "recent", {}
    lived_since = _lived_since(service_point, end)
    year = timedelta(days=YEAR_DAYS)
    if lived_since is None or lived_since <= days[0] - year:
        last_year = _counted(register, days[0] - year, days[-1] - year)
        if len(last_year) >= _KNOWN_SHARE * len(days):
            mean = Fraction(sum(last_year.values()), len(last_year))
            return "last-year", {
                day: Fraction(last_year[day - year]) if day - year in last_year else mean for day in days
            }
    first = days[0] - timedelta(days=HISTORY_DAYS)
    if lived_since is not None:
        first = max(first, lived_since)
    recent = _counted(register, first, days[0] - timedelta(days=1))
    if len(recent) >= _RECENT_DAYS_MIN:
        return "recent", _by_weekday(recent, days)
    of_kind = _mean_of_kind(register, days[0])
    return None if of_kind is None else ("class", dict.fromkeys(days, of_kind))


def _lived_since(service_point: ServicePoint, moment: datetime) -> date | None:
    """Return the first day of whoever lives there; None when nobody does: then the place is its own history."""
    row = Occupancy.objects.filter(service_point=service_point, start__lt=moment).order_by("-start").first()
    if row is None or (row.end is not None and row.end < moment):
        return None
    return row.start.astimezone(utility_zone()).date()


def _counted(register: MeterRegister, first: date, last: date) -> dict[date, int]:
    """Return the register's own measured days; a day that went backwards counts as none."""
    rows = DailyVolume.objects.filter(register=register.pk, day__gte=first, day__lte=last)
    measured = rows.exclude(quality__in=(ReadQuality.ESTIMATED, ReadQuality.SUSPECT))
    return {day: max(0, counts) for day, counts in measured.values_list("day", "counts")}


def _by_weekday(recent: Mapping[date, int], days: list[date]) -> dict[date, Fraction]:
    by_weekday: dict[int, list[int]] = defaultdict(list)
    for day, counts in recent.items():
        by_weekday[day.weekday()].append(counts)
    mean = Fraction(sum(recent.values()), len(recent))
    means = {
        weekday: Fraction(sum(counts), len(counts)) if len(counts) >= _WEEKDAY_SAMPLES_MIN else mean
        for weekday, counts in by_weekday.items()
    }
    return {day: means.get(day.weekday(), mean) for day in days}


def _mean_of_kind(register: MeterRegister, before: date) -> Fraction | None:
    """Return what registers of the same unit and scale counted on a mean day of the four weeks before."""
    kind = MeterRegister.objects.filter(unit=register.unit, scale=register.scale, claimed=True, in_usage=True)
    rows = DailyVolume.objects.filter(
        register__in=kind.values("pk"), day__gte=before - timedelta(days=_KIND_DAYS), day__lt=before, counts__gte=0
    )
    found = rows.aggregate(counts=Sum("counts"), days=Count("day"))
    return Fraction(int(found["counts"]), found["days"]) if found["days"] else None

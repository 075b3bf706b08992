"""What the pages about findings show: the work list, one finding with the reads around it, the office's own reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Count
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from domain.reading import ReadQuality
from domain.units import rollover_difference
from portal.billing.documents.figures import symbol
from portal.core.services import utility_zone
from portal.metering.calendar import midnight
from portal.metering.models import DailyVolume, OfficeRead, ReadFinding
from portal.metering.points import added_to
from portal.metering.reads import first_after, from_us, last_before, to_us
from portal.staff.findings import words
from portal.staff.listing import Cell, Listing, count, page_of, when
from portal.staff.lists import QUALITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portal.metering.models import MeterRegister
    from portal.metering.packed import KeptRead

_MICROSECOND = timedelta(microseconds=1)
_AROUND = 6
_DAYS_SHOWN = 62


def work_list(asked: Mapping[str, str], page: int) -> Listing:
    """List findings: the open ones unless resolved ones are asked for, those that hold bills first."""
    found = ReadFinding.objects.select_related("service_point__premise")
    found = found.filter(resolved_at__isnull=asked.get("state") != "resolved")
    if (rule := asked.get("rule", "")[:40]) != "":
        found = found.filter(rule=rule)
    if search := asked.get("q", "").strip()[:80]:
        found = found.filter(service_point__premise__address__icontains=search)
    rows, more = page_of(found.order_by("severity", "-opened_at", "-pk"), page)
    return Listing(
        _("Reads to look at"),
        (_("Place"), _("What was seen"), _("Bills"), _("From"), _("To"), _("Opened"), _("State")),
        tuple(
            (
                Cell(row.service_point.premise.address, href=reverse("staff:finding", args=[row.public_id])),
                Cell(words(row.rule)),
                Cell(_("holds the bill"), "bad") if row.severity == "hold" else Cell(_("note"), "warn"),
                _day(row.start),
                _day(max(row.start, row.end - _MICROSECOND)),
                when(row.opened_at),
                state_of(row),
            )
            for row in rows
        ),
        _("Nothing to look at."),
        page,
        more,
    )


def state_of(row: ReadFinding) -> Cell:
    """Return how far a finding is."""
    if row.resolved_at is not None:
        return Cell(str(row.get_resolution_display()), "good")
    return Cell(_("somebody is sent"), "warn") if row.visit_ordered_at is not None else Cell(_("open"), "bad")


def by_rule() -> list[tuple[str, str, int]]:
    """Return how many findings of each rule are open, the most frequent first."""
    rows = ReadFinding.objects.filter(resolved_at__isnull=True).values("rule").annotate(n=Count("pk"))
    return [(row["rule"], words(row["rule"]), row["n"]) for row in rows.order_by("-n", "rule")]


@dataclass(frozen=True, slots=True)
class ReadRow:
    """One read as the page about a finding shows it.

    key  register and moment, for the forms. step: counts since the read before. counts_in: it is in the usage.
    """

    key: str
    at: datetime
    count: int
    step: int | None
    quality: str
    origin: str
    counts_in: bool

    @property
    def shown(self) -> str:
        """The count with its thousands apart."""
        return f"{self.count:,}"

    @property
    def shown_step(self) -> str:
        """The step with its sign; a dash for the first read."""
        return "\N{EN DASH}" if self.step is None else f"{self.step:+,}"

    @property
    def label(self) -> str:
        """The read in a list to choose from."""
        return f"{_moment(self.at)}: {self.count:,}"


def reads_around(finding: ReadFinding, register: MeterRegister) -> list[ReadRow]:
    """Return the reads next to the moments that a finding is about, in time order."""
    added = added_to([register.pk])[register.pk]
    stored: dict[int, KeptRead] = {}
    for moment in _moments(finding, register):
        stored |= _near(register.pk, to_us(moment))
    low, high = min(stored, default=to_us(finding.start)), max(stored, default=to_us(finding.end))
    office = OfficeRead.objects.filter(
        register=register,
        superseded_by__isnull=True,
        withdrawn=False,
        read_at__gte=min(from_us(low), finding.start),
        read_at__lte=max(from_us(high), finding.end),
    )
    in_force = {point.office_read for point in added.extra}
    rows = [
        _Entry(us, read.raw_count, added.judged.quality(us, ReadQuality(read.quality)), _("collector"),
               us not in added.judged)
        for us, read in stored.items()
    ] + [
        _Entry(to_us(row.read_at), row.raw_count, ReadQuality(row.quality), str(row.get_source_display()),
               row.pk in in_force)
        for row in office
    ]  # fmt: skip
    result: list[ReadRow] = []
    before: _Entry | None = None
    for row in sorted(rows):
        result.append(
            ReadRow(
                key=f"{register.public_id}.{row.us}",
                at=from_us(row.us),
                count=row.raw_count,
                step=None if before is None else rollover_difference(before.raw_count, row.raw_count, register.modulus),
                quality=QUALITY[row.quality](),
                origin=row.origin,
                counts_in=row.counts_in,
            )
        )
        before = row
    return result


class _Entry(NamedTuple):
    us: int
    raw_count: int
    quality: ReadQuality
    origin: str
    counts_in: bool


_BY_HIGHEST, _BY_LOWEST = ("spike", "impossible", "high"), ("negative", "backflow")


def _moments(finding: ReadFinding, register: MeterRegister) -> Iterator[datetime]:
    """Yield the ends of what a finding is about, and the day that a rule speaks of."""
    yield finding.start
    if "verdict" in finding.detail:
        return
    yield finding.end
    if finding.rule in _BY_HIGHEST + _BY_LOWEST:
        zone = utility_zone()
        first, last = (moment.astimezone(zone).date() for moment in (finding.start, finding.end))
        days = DailyVolume.objects.filter(register=register.pk, day__gte=first, day__lt=last)
        found = days.order_by("-counts" if finding.rule in _BY_HIGHEST else "counts").first()
        if found is not None:
            yield midnight(found.day, zone)


def _near(register: int, moment_us: int) -> dict[int, KeptRead]:
    """Return a few stored reads on either side of a moment, and at it."""
    found: dict[int, KeptRead] = {}
    at: int | None = moment_us + 1
    while at is not None and len(found) < _AROUND:
        before = last_before(register, at)
        at = None if before is None else before.read_us
        found |= {} if before is None else {before.read_us: before}
    at, earlier = moment_us, len(found)
    while at is not None and len(found) < earlier + _AROUND:
        after = first_after(register, at)
        at = None if after is None else after.read_us
        found |= {} if after is None else {after.read_us: after}
    return found


def days_of(finding: ReadFinding, registers: list[MeterRegister]) -> Listing:
    """Return the daily volumes of what a finding is about."""
    zone = utility_zone()
    first, last = finding.start.astimezone(zone).date(), finding.end.astimezone(zone).date()
    rows = DailyVolume.objects.filter(register__in=[r.pk for r in registers], day__gte=first, day__lte=last)
    units = {r.pk: f"{Decimal(1).scaleb(r.scale):f} {symbol(r.unit)}" for r in registers}
    return Listing(
        _("Days"),
        (_("Day"), _("Counts"), _("One count"), _("Quality")),
        tuple(
            (
                Cell(date_format(row.day, pgettext("day in a staff table", "D, Y-m-d"))),
                count(row.counts),
                Cell(units[row.register]),
                Cell(QUALITY[ReadQuality(row.quality)]()),
            )
            for row in rows.order_by("day", "register")[:_DAYS_SHOWN]
        ),
        _("No day of it is known."),
    )


def office_reads(search: str, page: int) -> Listing:
    """List the office's own reads in force, newest entry first."""
    found = OfficeRead.objects.filter(superseded_by__isnull=True).select_related("register__meter", "entered_by")
    if search:
        found = found.filter(register__meter__meter_id__icontains=search)
    rows, more = page_of(found.order_by("-pk"), page)
    return Listing(
        _("Entered reads"),
        (_("Meter"), _("Read at"), _("Count"), _("Source"), _("Quality"), _("Entered"), _("By"), _("State")),
        tuple(
            (
                Cell(row.register.meter.meter_id, href=reverse("staff:entered-read", args=[row.public_id])),
                when(row.read_at),
                count(row.raw_count),
                Cell(str(row.get_source_display())),
                Cell(QUALITY[ReadQuality(row.quality)]()),
                when(row.entered_at),
                Cell(row.entered_by.email if row.entered_by else _("the system")),
                Cell(_("withdrawn"), "warn") if row.withdrawn else Cell(_("in force"), "good"),
            )
            for row in rows
        ),
        _("Nobody has entered a read yet."),
        page,
        more,
    )


def versions_of(rows: Iterable[OfficeRead]) -> Listing:
    """List the versions of one read, the first one first."""
    return Listing(
        _("Versions"),
        (_("Entered"), _("By"), _("Count"), _("Quality"), _("Reason"), _("State")),
        tuple(
            (
                when(row.entered_at),
                Cell(row.entered_by.email if row.entered_by else _("the system")),
                count(row.raw_count),
                Cell(QUALITY[ReadQuality(row.quality)]()),
                Cell(row.reason or "–"),
                Cell(_("withdrawn"), "warn") if row.withdrawn else Cell(_("entered"), "good"),
            )
            for row in rows
        ),
        "",
    )


def _day(moment: datetime) -> Cell:
    return Cell(date_format(moment.astimezone(utility_zone()), pgettext("in a list", "Y-m-d")))


def _moment(moment: datetime) -> str:
    return date_format(moment.astimezone(utility_zone()), pgettext("in a list", "Y-m-d g:i:s A"))

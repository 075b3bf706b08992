"""Many office reads at once: what stands against each of them, and their entry with a few statements.

One read typed in by a person passes `office.enter_read`; a file of them passes here, under the same rules.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from domain.reading import ReadQuality
from domain.units import rollover_difference
from portal.core.clock import now
from portal.core.models import AuditEntry
from portal.core.services import bump_change
from portal.metering.folding import roll_up_register
from portal.metering.models import Installation, MeterRegister, OfficeRead
from portal.metering.nearest import Probe, nearest_reads
from portal.metering.points import added_to, excluded
from portal.metering.reads import from_us, to_us
from portal.metering.validation.steps import allowance_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from portal.core.models import User

_AT_ONCE = 500
_NEVER_US = 2**62
_STORED = -1


@dataclass(frozen=True, slots=True)
class NewRead:
    """A read that somebody wants to enter."""

    register: MeterRegister
    read_at: datetime
    raw_count: int
    source: OfficeRead.Source
    quality: ReadQuality = ReadQuality.MEASURED
    reason: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is known of a new read. code: empty when it may be entered, `same` when it is there already."""

    code: str = ""
    text: str = ""
    supersedes: int | None = None


def examine(reads: Sequence[NewRead]) -> list[Opinion]:
    """Return an opinion on each read, looking at what is there and at the other reads of the list."""
    opinions = [Opinion()] * len(reads)
    hung = _installations({read.register.meter_id for read in reads})
    standing = _standing({read.register.pk for read in reads})
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for place, read in enumerate(reads):
        span = _span(hung[read.register.meter_id], to_us(read.read_at))
        opinions[place] = _alone(read, span, standing.get((read.register.pk, read.read_at)))
        if not opinions[place].code and span is not None:
            groups[(read.register.pk, *span)].append(place)
    _among_themselves(reads, groups, opinions)
    _among_stored(reads, groups, standing, opinions)
    return opinions


def enter_many(
    reads: Sequence[NewRead], opinions: Sequence[Opinion], *, actor: User | None = None, label: str = ""
) -> int:
    """Enter the reads that are new, in the caller's transaction, and roll up what they bear on; return how many."""
    new = [(read, opinion) for read, opinion in zip(reads, opinions, strict=True) if not opinion.code]
    moment = now()
    rows = [
        OfficeRead(
            register=read.register,
            read_at=read.read_at,
            raw_count=read.raw_count,
            quality=read.quality,
            source=read.source,
            reason=read.reason,
            evidence=read.evidence,
            supersedes_id=opinion.supersedes,
            entered_by=actor,
            entered_at=moment,
        )
        for read, opinion in new
    ]
    OfficeRead.objects.bulk_create(rows, batch_size=_AT_ONCE)
    who = label or (actor.public_id if actor else "system")
    entries = [
        AuditEntry(
            action="read.enter",
            actor=actor,
            actor_label=who,
            target_type=row._meta.label_lower,
            target_id=row.public_id,
            reason=row.reason,
            detail={"count": row.raw_count, "read_at": row.read_at.isoformat(), "source": row.source, **row.evidence},
        )
        for row in rows
    ]
    AuditEntry.objects.bulk_create(entries, batch_size=_AT_ONCE)
    reach: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        reach[row.register_id].append(to_us(row.read_at))
    moduli = {row.register_id: row.register.modulus for row in rows}
    added = added_to(reach)
    for register, moments in reach.items():
        roll_up_register(register, moduli[register], min(moments), max(moments), added[register])
    if rows:
        bump_change()
    return len(rows)


def _installations(meters: set[int]) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = Installation.objects.filter(meter__in=meters).order_by("start")
    for meter, start, end in rows.values_list("meter_id", "start", "end"):
        found[meter].append((to_us(start), _NEVER_US if end is None else to_us(end)))
    return found


def _span(spans: Sequence[tuple[int, int]], at_us: int) -> tuple[int, int] | None:
    """Return the newest installation that a moment lies in, ends included."""
    return next((span for span in reversed(spans) if span[0] <= at_us <= span[1]), None)


def _standing(registers: set[int]) -> dict[tuple[int, datetime], OfficeRead]:
    rows = OfficeRead.objects.filter(register__in=registers, superseded_by__isnull=True)
    return {(row.register_id, row.read_at): row for row in rows}


def _alone(read: NewRead, span: tuple[int, int] | None, standing: OfficeRead | None) -> Opinion:
    """Return what stands against a read by itself."""
    if read.raw_count < 0 or (read.register.modulus is not None and read.raw_count >= read.register.modulus):
        return Opinion("count", _("the register cannot show this: it counts in its own unit, and has so many digits"))
    if read.read_at > now():
        return Opinion("future", _("the read lies in the future; check the date and the time"))
    if span is None:
        return Opinion("not-installed", _("the meter was not installed then; check the date, or import installations"))
    if standing is None:
        return Opinion()
    if standing.withdrawn:
        return Opinion(supersedes=standing.pk)
    if standing.raw_count == read.raw_count and standing.quality == read.quality:
        return Opinion("same", _("this read is there already"))
    return Opinion(
        "conflict", _("%(n)d is kept for this moment already; edit that read instead") % {"n": standing.raw_count}
    )


def _among_themselves(
    reads: Sequence[NewRead], groups: dict[tuple[int, int, int], list[int]], opinions: list[Opinion]
) -> None:
    for places in groups.values():
        seen: dict[datetime, int] = {}
        for place in list(places):
            read = reads[place]
            before = seen.setdefault(read.read_at, place)
            if before == place:
                continue
            if reads[before].raw_count == read.raw_count:
                opinions[place] = Opinion("duplicate", _("the same read stands in another line"))
            else:
                text = _("another line has %(n)d for the same moment") % {"n": reads[before].raw_count}
                opinions[place] = Opinion("conflict", text)
            places.remove(place)


def _among_stored(
    reads: Sequence[NewRead],
    groups: dict[tuple[int, int, int], list[int]],
    standing: dict[tuple[int, datetime], OfficeRead],
    opinions: list[Opinion],
) -> None:
    """Compare the reads with the ones next to them in time: stored, of the office, and in the list."""
    keys = list(groups)
    probes = [
        Probe(
            register, low, high, tuple(sorted({to_us(reads[place].read_at) for place in groups[register, low, high]}))
        )
        for register, low, high in keys
    ]
    by_office: dict[int, list[OfficeRead]] = defaultdict(list)
    for row in standing.values():
        if not row.withdrawn and row.quality != ReadQuality.ESTIMATED:
            by_office[row.register_id].append(row)
    found = nearest_reads(probes, excluded=excluded(probe.register for probe in probes))
    for key, stored in zip(keys, found, strict=True):
        register, low, high = key
        track = [(read.read_us, _STORED, read.raw_count) for read in stored]
        office = [(to_us(row.read_at), _STORED, row.raw_count) for row in by_office[register]]
        track += [one for one in office if low <= one[0] <= high]
        track += [(to_us(reads[place].read_at), place, reads[place].raw_count) for place in groups[key]]
        for earlier, later in pairwise(sorted(track)):
            place = later[1] if later[1] != _STORED else earlier[1]
            if place != _STORED and reads[place].quality != ReadQuality.SUSPECT and not opinions[place].code:
                opinions[place] = _of_step(reads[place].register, earlier, later, opinions[place])


def _of_step(
    register: MeterRegister, earlier: tuple[int, int, int], later: tuple[int, int, int], opinion: Opinion
) -> Opinion:
    counts = rollover_difference(earlier[2], later[2], register.modulus)
    other = earlier if later[1] != _STORED else later
    at = from_us(other[0]).isoformat(sep=" ", timespec="minutes")
    if earlier[0] == later[0]:
        if counts == 0:
            return Opinion("same", _("a collector has brought this very read"))
        return Opinion("conflict", _("a collector has brought %(n)d for this moment") % {"n": other[2]})
    if counts < 0:
        text = _("the dial would have turned back: %(n)d was read at %(at)s")
        return Opinion("falls", text % {"n": other[2], "at": at})
    allowance = allowance_of(register.unit, register.scale, register.modulus)
    if allowance.excess((earlier[0], earlier[2]), (later[0], later[2])):
        text = _("more than the meter can pass since or until %(at)s, when %(n)d was read")
        return Opinion("jump", text % {"n": other[2], "at": at})
    return opinion

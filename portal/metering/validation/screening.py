"""Screens new reads for steps that no meter makes, before anything of them reaches a roll-up.

A meter that was swapped at its address, and whose model states no identity, is seen by this alone: its counts go on
from another dial. Its reads are kept out of the usage from the first one on, and staff find it in the work list.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Max

from domain.reading import ReadQuality
from portal.core.clock import now
from portal.core.services import audit, bump_change, utility_zone
from portal.metering.models import DailyVolume, Installation, MeterRegister, ReadFinding, ReadVerdict
from portal.metering.nearest import Probe, nearest_reads
from portal.metering.points import excluded
from portal.metering.reads import from_us, reads_of, to_us
from portal.metering.validation.steps import Allowance, OffTrack, allowance_of, off_track
from portal.metering.validation.thresholds import DEFAULTS, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from portal.metering.packed import KeptRead

RULE = "screening"
_EVER_US = -(2**62)
_DAY_MIN = 24 * 60
_HISTORY = timedelta(days=91)
_OVERLAP = timedelta(hours=2)
_WELL_KNOWN_DAYS = 7


def screen(
    spans: Mapping[int, tuple[int, int]],
    stored: Mapping[int, Sequence[KeptRead]] | None = None,
    *,
    thresholds: Thresholds = DEFAULTS,
) -> int:
    """Look at the stored reads of registers in spans of microseconds, ends included; return how many verdicts came.

    stored  the reads of the spans, when they are at hand.
    Runs in the caller's transaction. Nothing that somebody has decided about is judged again.
    """
    registers = MeterRegister.objects.filter(pk__in=spans, claimed=True, in_usage=True).in_bulk()
    if not registers:
        return 0
    judged, settled = excluded(registers), _settled(registers)
    probes = [Probe(pk, _EVER_US, spans[pk][0] - 1, (spans[pk][0] - 1,)) for pk in registers]
    made = 0
    for (pk, register), before in zip(registers.items(), nearest_reads(probes, excluded=judged), strict=True):
        here = reads_of(pk, *spans[pk]) if stored is None else stored[pk]
        counted = [read for read in here if read.quality != ReadQuality.MISSING and read.read_us not in judged[pk]]
        track = [(read.read_us, read.raw_count) for read in (*before[-1:], *counted)]
        made += _screen(register, track, settled.get(pk, set()), thresholds)
    return made


def screen_recent(moment: datetime) -> int:
    """Look at the reads that are not folded yet; return how many verdicts came. The worker does so every few minutes.

    The database finds the steps that may be wrong, so that the reads themselves are only fetched where there is one.
    """
    since_us = to_us(moment - _OVERLAP)
    stepping = _stepping(since_us)
    if not stepping:
        return 0
    with transaction.atomic():
        made = screen(dict.fromkeys(stepping, (since_us, to_us(moment + _OVERLAP))))
        if made:
            bump_change()
    return made


def _stepping(since_us: int) -> list[int]:
    """Return the registers of which a recent read falls, or rises by more than 1,000 counts.

    Coarse on purpose: what it lets through is judged exactly, and a quiet fleet gives none.
    """
    sql = (
        "SELECT DISTINCT register FROM (SELECT register, raw_count, lag(raw_count) OVER "
        "(PARTITION BY register ORDER BY read_us, append_seq) AS before FROM metering_recentread "
        "WHERE read_us >= %s) AS steps WHERE raw_count < before OR raw_count - before > 1000"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [since_us])
        return [row[0] for row in cursor.fetchall()]


def _settled(registers: Iterable[int]) -> dict[int, set[int]]:
    """Return the moments of reads about which a verdict was ever made, which is not in force any more, or accepts."""
    result: dict[int, set[int]] = {}
    rows = ReadVerdict.objects.filter(register__in=list(registers))
    for register, read_us, verdict, followed in rows.values_list(
        "register_id", "read_us", "verdict", "superseded_by__pk"
    ):
        if verdict != ReadVerdict.Verdict.EXCLUDED or followed is not None:
            result.setdefault(register, set()).add(read_us)
    return result


def _screen(
    register: MeterRegister, track: Sequence[tuple[int, int]], settled: set[int], thresholds: Thresholds
) -> int:
    allowance = allowance_of(register.unit, register.scale, register.modulus, thresholds)
    if not off_track(track, allowance, settled):
        return 0
    starts = Installation.objects.filter(meter=register.meter_id).values_list("start", flat=True)
    installed = set(map(to_us, starts))
    known, allowance = _own_allowance(register, track[0][0], allowance, thresholds)
    found = [run for run in off_track(track, allowance, settled) if not _hung_up_between(run, installed)]
    for run in found:
        _keep_out(register, run, certain=run.kind == "fall" or known)
    return len(found)


def _hung_up_between(run: OffTrack, installed: set[int]) -> bool:
    """Tell whether the meter was hung up somewhere between the reads: its counts there are another story."""
    return any(run.before[0] < start_us <= run.first_us for start_us in installed)


def _own_allowance(
    register: MeterRegister, from_us_: int, base: Allowance, thresholds: Thresholds
) -> tuple[bool, Allowance]:
    """Return whether the register's own highest flow is known, and what it may count at so many times of it."""
    day = from_us(from_us_).astimezone(utility_zone()).date()
    rows = DailyVolume.objects.filter(register=register.pk, day__gte=day - _HISTORY, day__lt=day)
    highest = rows.aggregate(highest=Max("counts"))["highest"] or 0
    own = Fraction(highest * thresholds.flow_factor, _DAY_MIN)
    return rows.count() >= _WELL_KNOWN_DAYS, Allowance(base.step, max(base.flow, own), base.modulus)


def _keep_out(register: MeterRegister, run: OffTrack, *, certain: bool) -> None:
    """Keep the reads of a run out of the usage and open a finding; a jump of a meter of unknown size is only marked."""
    detail: dict[str, Any] = {
        "kind": run.kind,
        "open": run.open,
        "before_at": from_us(run.before[0]).isoformat(),
        "before_count": run.before[1],
        "first_count": run.first_count,
        "reads": run.reads,
    }
    verdict = ReadVerdict.objects.create(
        register=register,
        read_us=run.first_us,
        until_us=None if run.open else run.last_us,
        verdict=ReadVerdict.Verdict.EXCLUDED if certain else ReadVerdict.Verdict.SUSPECT,
        rule=RULE,
        detail=detail,
        decided_at=now(),
    )
    audit(
        "read.verdict",
        label="validation",
        target=verdict,
        detail={"verdict": verdict.verdict, "rule": RULE, "from_us": run.first_us, "until_us": verdict.until_us},
    )
    moment = from_us(run.first_us)
    hung = Installation.objects.filter(meter=register.meter_id, start__lte=moment).order_by("-start").first()
    if hung is None or (hung.end is not None and hung.end < moment):
        return
    rule = "wrong-meter" if run.open or not certain else "misread"
    ReadFinding.objects.get_or_create(
        service_point_id=hung.service_point_id,
        rule=rule,
        start=moment,
        end=from_us(run.last_us),
        fingerprint=hashlib.sha256(f"{verdict.public_id}".encode()).hexdigest(),
        defaults={
            "register": register,
            "severity": DEFAULTS.severity(rule),
            "detail": detail | {"verdict": verdict.public_id},
            "opened_at": now(),
        },
    )

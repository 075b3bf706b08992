"""Makes the counts of a service point whole for a bill: every meter has a count at both ends of its time in it.

Where a bill before this one ended, this one starts: with the count that was billed, so that no water is billed twice or
never, even when late reads have moved the boundary since. Where nobody knows the count it is estimated, and said so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.units import rollover_difference
from domain.usage import CountPoint, count_at
from portal.billing.calculation import Finding
from portal.metering.reads import to_us
from portal.metering.spans import BoundaryCount, MeteredPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

Estimator = Callable[[MeteredPart, "datetime"], int | None]
"""Returns what a counter is likely to have shown at a moment (raw count); None when it cannot tell."""

_FIRST_READ_SOON = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class KnownDial:
    """What a register showed where the bill before ended."""

    shown: int
    quality: ReadQuality
    interpolated: bool
    read_us: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """Where the bill before ended at a service point: the litres carried on, and its dials by register (row id)."""

    litres: Fraction
    dials: Mapping[int, KnownDial] = field(default_factory=dict)


def complete(
    parts: Iterable[MeteredPart],
    moments: Sequence[datetime],
    known: Known | None,
    estimate: Estimator,
) -> tuple[list[MeteredPart], list[Finding]]:
    """Return the parts with a count at each of the moments that lies in their time, and what was found missing.

    moments  rising: where the bill starts and ends, and between them the days on which prices change.
    """
    result, findings = list[MeteredPart](), list[Finding]()
    hung = [part for part in parts if part.start < moments[-1] and part.end > moments[0]]
    if not hung:
        findings.append(_hold("no-meter", None, moments[0], "no meter was installed in the period; install one"))
    for part in hung:
        whole, seen = _completed(part, moments, known, estimate)
        result.append(whole)
        findings += seen
    return result, findings


def _completed(
    part: MeteredPart, moments: Sequence[datetime], known: Known | None, estimate: Estimator
) -> tuple[MeteredPart, list[Finding]]:
    first, last = max(moments[0], part.start), min(moments[-1], part.end)
    findings = list[Finding]()
    before = known.dials.get(part.register.pk) if known is not None and first == moments[0] else None
    if before is not None:
        part, moved = _started(part, first, before)
        findings += [moved] if moved else []
    elif part.at(first) is None and first == part.start and part.counts:
        if part.counts[0].at - first > _FIRST_READ_SOON:
            findings.append(_note("no-first-count", part, first))
    elif part.at(first) is None:
        part, missing = _estimated(part, first, estimate, "no-start-read")
        findings += missing
    if part.at(last) is None and last == part.end < moments[-1] and part.counts:
        findings.append(_note("no-last-count", part, last))
    elif part.at(last) is None:
        part, missing = _estimated(part, last, estimate, "no-end-read")
        findings += missing
    return _filled(part, moments), findings


def _started(part: MeteredPart, first: datetime, before: KnownDial) -> tuple[MeteredPart, Finding | None]:
    """Return the part with the count that the bill before ended with, and a note when later reads say another."""
    now = part.at(first)
    if now is not None and (now.shown == before.shown or before.quality == ReadQuality.ESTIMATED != now.quality):
        return part, None
    anchor = now or next(iter(part.counts), None)
    count = before.shown
    if anchor is not None:
        count = anchor.count - rollover_difference(before.shown, anchor.shown, part.modulus)
    start = BoundaryCount(first, count, before.shown, before.quality, before.interpolated, before.read_us)
    moved = None
    if now is not None:
        moved = _note("boundary-moved", part, first, billed=before.shown, now=now.shown)
    return _with(part, start), moved


def _estimated(part: MeteredPart, at: datetime, estimate: Estimator, code: str) -> tuple[MeteredPart, list[Finding]]:
    raw = estimate(part, at)
    if raw is None:
        text = (
            "no read is known there and none can be estimated; enter a read, or calculate again when late ones are here"
        )
        return part, [_hold(code, part, at, text)]
    anchor = min(part.counts, key=lambda count: abs(count.at - at), default=None)
    count = raw
    if anchor is not None:
        count = anchor.count + rollover_difference(anchor.shown, raw, part.modulus)
    beside = () if anchor is None else anchor.read_us
    made = BoundaryCount(at, count, raw, ReadQuality.ESTIMATED, True, beside)
    return _with(part, made), [_note("estimated", part, at, count=raw)]


def _filled(part: MeteredPart, moments: Sequence[datetime]) -> MeteredPart:
    """Return the part with a count at each moment between two that are known."""
    points = [CountPoint(count.at, count.count, count.quality) for count in part.counts]
    for moment in moments:
        if part.at(moment) is None and (found := count_at(points, moment)) is not None:
            count, quality, interpolated = found
            shown = count if part.modulus is None else count % part.modulus
            around = (to_us(p.at) for p in (*_last(points, moment), *_next(points, moment)))
            part = _with(part, BoundaryCount(moment, count, shown, quality, interpolated, tuple(around)))
    return part


def _last(points: Sequence[CountPoint], moment: datetime) -> Sequence[CountPoint]:
    return [point for point in points if point.at <= moment][-1:]


def _next(points: Sequence[CountPoint], moment: datetime) -> Sequence[CountPoint]:
    return [point for point in points if point.at > moment][:1]


def _with(part: MeteredPart, count: BoundaryCount) -> MeteredPart:
    others = (other for other in part.counts if other.at != count.at)
    return replace(part, counts=tuple(sorted((*others, count), key=lambda one: one.at)))


def _hold(code: str, part: MeteredPart | None, at: datetime, text: str) -> Finding:
    return Finding(code, "hold", {**_where(part, at), "text": text})


def _note(code: str, part: MeteredPart, at: datetime, **more: int) -> Finding:
    return Finding(code, "note", {**_where(part, at), **more})


def _where(part: MeteredPart | None, at: datetime) -> dict[str, str]:
    register = {} if part is None else {"meter": part.register.meter.meter_id, "register": part.register.register_id}
    return {**register, "at": at.isoformat()}

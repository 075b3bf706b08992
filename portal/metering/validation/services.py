"""Validation before billing: many service points at once, what was found kept in the work list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.db.models import Q

from portal.core.clock import now
from portal.metering.models import ReadFinding
from portal.metering.spans import metered
from portal.metering.validation.findings import Finding
from portal.metering.validation.gathering import gather
from portal.metering.validation.rules import RULES
from portal.metering.validation.thresholds import DEFAULTS, HOLD, NOTE, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.metering.spans import MeteredPart

_AT_ONCE = 1_000
SCREENED = ("wrong-meter", "misread")
"""Rules whose findings come from screening the reads as they arrive; no period closes them, only people do."""


def validate(
    service_point_ids: Sequence[int],
    start: datetime,
    end: datetime,
    *,
    parts: Mapping[int, Sequence[MeteredPart]] | None = None,
    sizes: Mapping[int, str] | None = None,
    thresholds: Thresholds = DEFAULTS,
    record: bool = True,
) -> dict[int, list[Finding]]:
    """Return what the rules see in a period; every service point has its list, most of them an empty one.

    parts   what `spans.metered` said of the same service points, with start and end among the edges; looked up if None.
    sizes   the meter's size in inches by service point, where it is known.
    record  write new findings to the work list and close those that are no longer so. A preview asks with False.
    What staff have accepted comes back as a note, `accepted`, as long as the rule sees the very same numbers.
    """
    found: dict[int, list[Finding]] = {}
    ids = list(dict.fromkeys(service_point_ids))
    for place in range(0, len(ids), _AT_ONCE):
        chunk = ids[place : place + _AT_ONCE]
        here = metered(chunk, [start, end]) if parts is None else {pk: list(parts.get(pk, ())) for pk in chunk}
        places = gather(chunk, start, end, here, dict(sizes or {}))
        seen = {one.service_point: [f for rule in RULES for f in rule(one, thresholds)] for one in places}
        found |= _known(seen, start, end, record=record)
    return found


def open_holds(service_point_ids: Iterable[int], start: datetime, end: datetime) -> dict[int, list[ReadFinding]]:
    """Return the unresolved findings that hold a bill of a period, by service point."""
    result: dict[int, list[ReadFinding]] = {}
    rows = _bearing_on(list(service_point_ids), start, end).filter(resolved_at__isnull=True, severity=HOLD)
    for row in rows:
        result.setdefault(row.service_point_id, []).append(row)
    return result


def _bearing_on(service_points: Sequence[int], start: datetime, end: datetime) -> QuerySet[ReadFinding]:
    """Return the items about a period; another dial bears on every period from there on."""
    rows = ReadFinding.objects.filter(service_point__in=service_points, start__lt=end)
    return rows.filter(Q(end__gt=start) | Q(rule__in=SCREENED, detail__open=True))


def _known(
    seen: Mapping[int, Sequence[Finding]], start: datetime, end: datetime, *, record: bool
) -> dict[int, list[Finding]]:
    """Join what was seen now with the work list."""
    items = list(_bearing_on(list(seen), start, end))
    by_key = {_key(row.service_point_id, row): row for row in items}
    result: dict[int, list[Finding]] = {}
    new: list[ReadFinding] = []
    again: list[int] = []
    still: set[int] = set()
    for service_point, findings in seen.items():
        result[service_point] = []
        for finding in findings:
            row = by_key.get(_key(service_point, finding))
            if row is None:
                row = _item(service_point, finding)
                new.append(row)
            elif row.resolved_at is not None and row.resolution != ReadFinding.Resolution.ACCEPTED:
                again.append(row.pk)
            still.add(row.pk)
            result[service_point].append(_joined(finding, row, recorded=record or row.pk is not None))
    for row in items:
        if row.rule in SCREENED and row.pk not in still and row.resolved_at is None and "verdict" in row.detail:
            result[row.service_point_id].append(_finding_of(row))
    if record:
        ReadFinding.objects.bulk_create(new, batch_size=500, ignore_conflicts=True)
        if again:
            # It was estimated, excluded or simply gone, and is here again as it was: somebody has to look once more.
            reopened = ReadFinding.objects.filter(pk__in=again)
            reopened.update(resolved_at=None, resolution="", resolved_by=None, reason="", visit_ordered_at=None)
        gone = [
            row.pk
            for row in items
            if row.resolved_at is None
            and row.pk not in still
            and "verdict" not in row.detail
            and row.start == start
            and row.end == end
        ]
        if gone:
            ReadFinding.objects.filter(pk__in=gone, resolved_at__isnull=True).update(
                resolved_at=now(), resolution=ReadFinding.Resolution.GONE
            )
    return result


def _key(service_point: int, one: ReadFinding | Finding) -> tuple[int, str, datetime, datetime, str]:
    return service_point, one.rule, one.start, one.end, one.fingerprint


def _item(service_point: int, finding: Finding) -> ReadFinding:
    return ReadFinding(
        service_point_id=service_point,
        register_id=finding.register_id,
        rule=finding.rule,
        severity=finding.severity,
        start=finding.start,
        end=finding.end,
        fingerprint=finding.fingerprint,
        detail=finding.detail,
        opened_at=now(),
    )


def _joined(finding: Finding, row: ReadFinding, *, recorded: bool) -> Finding:
    """Return a finding with its item; what staff accepted holds no bill any more."""
    settled = row.resolution == ReadFinding.Resolution.ACCEPTED
    return replace(
        finding,
        public_id=row.public_id if recorded else "",
        severity=NOTE if settled else finding.severity,
        accepted=settled,
    )


def _finding_of(row: ReadFinding) -> Finding:
    return Finding(row.rule, row.severity, dict(row.detail), row.start, row.end, row.register_id, row.public_id)

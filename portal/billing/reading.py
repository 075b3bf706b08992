"""What billing asks of validation and estimation: findings about the reads, and counts that nobody read."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from portal.billing.calculation import Finding
from portal.core.clock import now
from portal.core.errors import Refused
from portal.metering.models import Installation
from portal.metering.validation.estimating import estimate_boundary, write_estimate
from portal.metering.validation.services import validate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from portal.metering.spans import MeteredPart

LATE_READS = timedelta(hours=12)
"""How long after a boundary a read that is not here is waited for, before it is estimated."""

_OWN = frozenset({"no-boundary"})
"""Rules that a preview leaves out: where a run would estimate, nothing is missing yet."""

Parts = dict[int, list["MeteredPart"]]
Place = tuple[int, int]
"""Account and service point."""


def likely_count(part: MeteredPart, at: datetime) -> int | None:
    """Return what a counter is likely to have shown at a moment, by its own profile; None when nobody can tell."""
    installation = Installation.objects.select_related("service_point").get(pk=part.installation_id)
    found = estimate_boundary(installation.service_point, installation, part.register, at)
    return None if found is None else found.shown


def no_count(part: MeteredPart, at: datetime) -> int | None:
    """Return None: what can be estimated is written down already."""
    return None


def write_estimates(ends: Mapping[int, datetime], parts: Parts, most: Mapping[int, int]) -> set[int]:
    """Write an estimate for each meter that is silent where a bill ends; return the service points that got one.

    most  by service point how many estimates in a row are allowed. Where none is possible, the bill is held; so it is
          within LATE_READS of its end, because the read is probably on its way.
    """
    written, latest = set(), now() - LATE_READS
    for point, end in ends.items():
        if end > latest:
            continue
        for part in parts[point]:
            if part.end != end or part.at(end) is not None:
                continue
            try:
                write_estimate(part.register, end, reason="billing", max_consecutive=most[point], label="billing")
            except Refused:
                continue
            written.add(point)
    return written


def validated(
    places: Mapping[Place, tuple[datetime, datetime]], parts: Parts, *, record: bool
) -> dict[int, list[Finding]]:
    """Return by account what validation sees at its service points between the moments given for each."""
    by_span: dict[tuple[datetime, datetime], list[Place]] = defaultdict(list)
    for place, span in places.items():
        by_span[span].append(place)
    result: dict[int, list[Finding]] = defaultdict(list)
    for (start, end), of_span in by_span.items():
        points = [point for _, point in of_span]
        seen = validate(points, start, end, parts={point: parts[point] for point in points}, record=record)
        for account, point in of_span:
            for found in seen[point]:
                if record or found.rule not in _OWN:
                    detail = {**found.detail, "item": found.public_id}
                    result[account].append(Finding(found.rule, "hold" if found.holds else "note", detail))
    return result

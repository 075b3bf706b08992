"""What a collector said of a leak, read from the evidence of its case: both shapes that collectors have sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portal.metering.models import LeakCase


def began_at(case: LeakCase) -> datetime:
    """Return when the flow began that never stopped: it is older than the alarm."""
    for evidence in _levels(case.evidence):
        since = evidence.get("since")
        if isinstance(since, str):
            try:
                moment = datetime.fromisoformat(since)
            except ValueError:
                continue
            return min(moment if moment.tzinfo else moment.replace(tzinfo=UTC), case.opened_at)
        if (since_ms := evidence.get("since_ms")) and isinstance(since_ms, int):
            return min(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_ms), case.opened_at)
    return case.opened_at


def whole_number(evidence: object, name: str) -> int:
    """Return a whole number of the evidence (`litres_per_h`, `litres`), 0 where it has none."""
    return next((value for level in _levels(evidence) if isinstance(value := level.get(name), int)), 0)


def _levels(evidence: object) -> list[dict[str, object]]:
    """Return the evidence itself and what it holds under `opened`: both shapes are read."""
    if not isinstance(evidence, dict):
        return []
    inner = evidence.get("opened")
    return [evidence, *([inner] if isinstance(inner, dict) else [])]

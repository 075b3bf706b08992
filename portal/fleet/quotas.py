"""Which collectors sent more than ingest takes in hand of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F

from portal.fleet.models import Collector

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


def count_over_quota(counts: Mapping[str, int], *, at: datetime) -> None:
    """Add the messages of each collector (by its name) that were left unprocessed since the last time."""
    for name, messages in counts.items():
        Collector.objects.filter(collector_id=name).update(over_quota=F("over_quota") + messages, over_quota_at=at)

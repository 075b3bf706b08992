"""The worker's looks: leaks, bills, notices and what moved every minute; the use of meters every ten minutes.

Each look asks for what changed since the last one and keeps alerts, messages and marks in one transaction: a worker
that is killed in the middle repeats nothing and loses nothing. A chunk of meters that fails is written down, the others
go on and it is looked at again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db import Error as DatabaseFault
from django.db import transaction

from portal.alerts import bills, leaks, money, notices, silence, usage_rules
from portal.alerts.kinds import Kind
from portal.alerts.models import Alert, Watermark
from portal.alerts.places import changed_places, mark
from portal.alerts.telling import end, end_of_moved, keep, remind
from portal.core.services import current_change, utility_zone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.alerts.places import Place

PLACES_A_CHUNK = 500
_MARK = "usage change"
_LOG = logging.getLogger(__name__)


@transaction.atomic
def look_at_events(now: datetime) -> int:
    """Look for leaks, bills and notices that are new, end what is over, remind; return how many alerts are new."""
    end_of_moved(now)
    alerts = [*leaks.look(now), *bills.look_for_new(now), *bills.look_for_due(now), *notices.look(now)]
    remind(now)
    return len(alerts)


@transaction.atomic
def look_at_usage(now: datetime) -> int:
    """Judge the use of the meters that were read since the last look, and the silence of the others; count alerts."""
    zone, upto = utility_zone(), current_change()
    seen, _ = Watermark.objects.get_or_create(name=_MARK)
    _end_vacations(now, zone)
    alerts, failed = len(silence.look(now)), False
    for places in _chunks(changed_places(seen.value, now)):
        try:
            with transaction.atomic():
                alerts += _look_at(places, now, zone)
        except Exception as error:
            if isinstance(error, DatabaseFault):
                raise
            _LOG.exception("the use of %d meters from %s on was not judged", len(places), places[0].public_id)
            failed = True
    if not failed:
        Watermark.objects.filter(pk=seen.pk).update(value=upto)
    return alerts


def _look_at(places: list[Place], now: datetime, zone: ZoneInfo) -> int:
    looked = usage_rules.look_at(places, now, zone)
    alerts = keep([*looked.found, *money.look_at(places, now, zone)], now)
    end(looked.ended, now, now)
    mark(looked.known)
    return len(alerts)


def _end_vacations(now: datetime, zone: ZoneInfo) -> None:
    """End the alerts of times away that are over."""
    today = now.astimezone(zone).date().isoformat()
    rows = Alert.objects.filter(kind=Kind.VACATION, ended_at__isnull=True)
    end((alert for alert in rows if alert.evidence["last_day"] < today), now, now)


def _chunks(places: list[Place]) -> Iterator[list[Place]]:
    return (places[begin : begin + PLACES_A_CHUNK] for begin in range(0, len(places), PLACES_A_CHUNK))

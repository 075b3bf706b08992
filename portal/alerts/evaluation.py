"""The worker's looks: leaks, bills and notices every minute, the use of meters every ten.

Each look asks for what changed since the last one and keeps alerts, messages and marks in one transaction: a worker
that is killed in the middle repeats nothing and loses nothing. They are jobs of their own, so that a fault with bills
keeps no leak back; a meter that cannot be judged is written down and the others go on.
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
def look_at_leaks(now: datetime) -> int:
    """Look for leaks that are new or over, end what was moved away from, remind; return how many alerts are new."""
    end_of_moved(now)
    alerts = leaks.look(now)
    remind(now)
    return len(alerts)


@transaction.atomic
def look_at_bills(now: datetime) -> int:
    """Look for bills that are new or due soon; return how many alerts are new."""
    return len([*bills.look_for_new(now), *bills.look_for_due(now)])


@transaction.atomic
def look_at_notices(now: datetime) -> int:
    """Look for notices to send; return how many alerts are new."""
    return len(notices.look(now))


@transaction.atomic
def look_at_usage(now: datetime) -> int:
    """Judge the use of the meters that were read since the last look, and the silence of the others; count alerts."""
    zone, upto = utility_zone(), current_change()
    seen, _ = Watermark.objects.get_or_create(name=_MARK)
    _end_vacations(now, zone)
    alerts = len(silence.look(now))
    for places in _chunks(changed_places(seen.value, now)):
        alerts += _look_at_all(places, now, zone)
    Watermark.objects.filter(pk=seen.pk).update(value=upto)
    return alerts


def _look_at_all(places: list[Place], now: datetime, zone: ZoneInfo) -> int:
    """Judge a chunk of places; when that fails, one by one. A mark that stays behind is looked at from there again."""
    try:
        with transaction.atomic():
            return _look_at(places, now, zone)
    except Exception as error:
        if isinstance(error, DatabaseFault):
            raise
        if len(places) == 1:
            _LOG.exception("the use of service point %s was not judged", places[0].public_id)
            return 0
    return sum(_look_at_all([place], now, zone) for place in places)


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

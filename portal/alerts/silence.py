"""Meters that are not heard of: silence is an alert too, because no leak can be seen meanwhile.

While the portal hears of no meter at all the fault is ours (broker, network, database): staff see that, nobody is sent
anything.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Max, Q

from portal.alerts.choices import Choice, choices_of
from portal.alerts.kinds import RULES, Kind
from portal.alerts.models import Alert
from portal.alerts.places import lived_in
from portal.alerts.telling import Found, end, keep
from portal.customers.models import Occupancy
from portal.metering.models import Installation, RegisterState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

OURS = timedelta(hours=1)
"""When nothing at all was heard for so long, no meter is called silent."""


def look(now: datetime) -> list[Alert]:
    """Open alerts for meters that fell silent, and end those of meters that are heard of again."""
    newest = RegisterState.objects.aggregate(at=Max("last_read_at"))["at"]
    if newest is None or now - newest > OURS:
        return []
    _end_heard(now)
    silent = _silent(now)
    lives = Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=now), lived_in(), service_point__in=silent)
    rows = [
        (row, silent[row.service_point_id])
        for row in lives.filter(start__lte=now).select_related("account", "service_point")
        if row.start <= silent[row.service_point_id]
    ]
    return keep(list(_found(rows, now)), now)


def _silent(now: datetime) -> dict[int, datetime]:
    """Return the service points whose meter was not heard of for the least time that anybody may choose."""
    rows = (
        Installation.objects.filter(end__isnull=True, meter__registers__in_usage=True, meter__registers__claimed=True)
        .values("service_point")
        .annotate(at=Max("meter__registers__state__last_read_at"))
        .filter(at__lte=now - timedelta(hours=RULES[Kind.SILENT].least))
    )
    return {row["service_point"]: row["at"] for row in rows}


def _found(rows: list[tuple[Occupancy, datetime]], now: datetime) -> Iterator[Found]:
    choices = choices_of({row.account_id for row, _ in rows})
    for row, heard in rows:
        by_hours = defaultdict[int, list[Choice]](list)
        for choice in choices.of(Kind.SILENT, row.account_id, row.service_point_id):
            by_hours[choice.number].append(choice)
        for hours, who in by_hours.items():
            if now - heard < timedelta(hours=hours):
                continue
            yield Found(
                key=f"silent:{row.service_point.public_id}:{row.account.public_id}:{heard.isoformat()}:{hours}",
                kind=Kind.SILENT,
                account=row.account_id,
                service_point=row.service_point_id,
                since=heard,
                happened_at=heard + timedelta(hours=hours),
                evidence={"hours": hours},
                who=who,
            )


def _end_heard(now: datetime) -> None:
    rows = Alert.objects.filter(kind=Kind.SILENT, ended_at__isnull=True)
    standing = list(rows.select_related("account"))
    heard = dict(
        Installation.objects.filter(
            service_point__in={alert.service_point_id for alert in standing},
            end__isnull=True,
            meter__registers__in_usage=True,
        )
        .values_list("service_point")
        .annotate(at=Max("meter__registers__state__last_read_at"))
    )
    for alert in standing:
        at = heard.get(alert.service_point_id or 0)
        if at is not None and at > alert.since:
            end([alert], min(at, now), now)

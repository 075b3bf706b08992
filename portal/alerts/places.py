"""The meters whose use is to be looked at: those that were read since the last look and that somebody is told about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from portal.alerts.models import UsageMark
from portal.billing.models import BillingAccount
from portal.billing.periods import period_with
from portal.customers.models import AccountAccess, Occupancy
from portal.customers.permissions import Permission, levels_with
from portal.metering.calendar import floor, midnight
from portal.metering.models import Installation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.db.models import QuerySet

    from portal.billing.models import Cycle

BACK = timedelta(days=31)
"""What came later than this is not looked at any more."""
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Place:
    """One meter, who lives there since when, and up to when its use was looked at."""

    service_point: int
    public_id: str
    account: int
    account_id: str
    since: datetime
    known_until: datetime

    def hours(self, now: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
        """Return the clock hours to be looked at, as far as they lie in the account's time and before now."""
        start, found = floor(self.known_until, "hour", zone), []
        while start < now:
            found.append((max(start, self.since), min(start + HOUR, now)))
            start += HOUR
        return [(a, b) for a, b in found if a < b]

    def days(self, now: datetime, zone: ZoneInfo) -> list[tuple[date, datetime, datetime]]:
        """Return the days to be looked at: each with the part of it that lies in the account's time and before now."""
        day, last = self.known_until.astimezone(zone).date(), now.astimezone(zone).date()
        found = []
        while day <= last:
            start, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
            found.append((day, max(start, self.since), min(end, now)))
            day += timedelta(days=1)
        return [(day, a, b) for day, a, b in found if a < b]


def changed_places(since_change: int, now: datetime) -> list[Place]:
    """Return the places to be looked at: read since a change number, lived in, with somebody who is told.

    A place that was never looked at begins with the present hour: nobody is told what was before they asked.
    """
    hung = Installation.objects.filter(
        service_point=OuterRef("service_point"),
        end__isnull=True,
        meter__registers__in_usage=True,
        meter__registers__claimed=True,
        meter__registers__state__change_number__gt=since_change,
    )
    rows = (
        Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=now), start__lte=now)
        .filter(Exists(hung), Exists(_listening()))
        .order_by("account", "service_point")
        .values_list(
            "service_point",
            "service_point__public_id",
            "account",
            "account__public_id",
            "start",
            "service_point__usage_mark__known_until",
        )
    )
    return [
        Place(point, code, account, account_code, start, max(known or now, start, now - BACK))
        for point, code, account, account_code, start, known in rows
    ]


def lived_in() -> Exists:
    """Return the condition that somebody who is told of alerts lives at an occupancy's account."""
    return Exists(_listening())


def mark(known: dict[int, datetime]) -> None:
    """Note up to when places were looked at."""
    UsageMark.objects.bulk_create(
        [UsageMark(service_point_id=point, known_until=until) for point, until in known.items()],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["service_point"],
        update_fields=["known_until"],
    )


def period_starts(accounts: Sequence[int], today: date, zone: ZoneInfo) -> dict[int, tuple[datetime, datetime]]:
    """Return the first and the last moment of the billing period of each account that is billed."""
    rows = BillingAccount.objects.filter(account__in=accounts, closed_on__isnull=True).select_related("cycle")
    return {row.account_id: _span(row.cycle, today, zone) for row in rows}


def _span(cycle: Cycle, today: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    period = period_with(cycle, today)
    return midnight(period.start, zone), midnight(period.end, zone)


def _listening() -> QuerySet[AccountAccess]:
    return AccountAccess.objects.filter(
        Q(level__in=levels_with(Permission.ALERTS)) & Q(level__in=levels_with(Permission.USAGE)),
        account=OuterRef("account"),
        ended_at__isnull=True,
    )

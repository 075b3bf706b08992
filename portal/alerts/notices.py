"""Service notices: outages and changes of the portal that the office announces on a banner, sent to whom it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from portal.alerts.choices import choices_of
from portal.alerts.kinds import RULES, Kind
from portal.alerts.models import Alert
from portal.alerts.telling import Found, keep
from portal.billing.addressed import within
from portal.customers.models import Account, AccountAccess, Occupancy
from portal.customers.permissions import Permission, levels_with
from portal.service.models import Banner

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.alerts.choices import Choice

ACCOUNTS_A_LOOK = 500
"""So many accounts are told of a notice in one look: the rest a minute later, and nothing else waits meanwhile."""
_SENT = (Banner.Kind.OUTAGE, Banner.Kind.TRANSITION)


def look(now: datetime) -> list[Alert]:
    """Tell of notices from the moment they are announced until they are over; plain notices stay on the pages."""
    rows = Banner.objects.filter(Q(ends_at__isnull=True) | Q(ends_at__gt=now), kind__in=_SENT, made_at__lte=now)
    alerts: list[Alert] = []
    for banner in rows.order_by("pk"):
        told = Alert.objects.filter(about=banner.public_id, kind=Kind.SERVICE, account=OuterRef("pk"))
        lives = Occupancy.objects.filter(Q(end__isnull=True) | Q(end__gt=now), account=OuterRef("pk"))
        accounts = list(
            Account.objects.filter(
                within(banner.audience), ~Exists(told), Exists(_listening()), Exists(lives)
            ).order_by("pk")[:ACCOUNTS_A_LOOK]
        )
        choices = choices_of({account.pk for account in accounts})
        alerts += keep(
            [_found(banner, account, choices.of(Kind.SERVICE, account.pk), now) for account in accounts], now
        )
    return alerts


def _found(banner: Banner, account: Account, who: list[Choice], now: datetime) -> Found:
    return Found(
        key=f"service:{banner.public_id}:{account.public_id}",
        kind=Kind.SERVICE,
        account=account.pk,
        service_point=None,
        since=banner.starts_at,
        happened_at=banner.starts_at,
        evidence={
            "title": banner.title,
            "text": banner.text,
            "until": banner.ends_at.isoformat() if banner.ends_at else "",
        },
        who=who,
        about=banner.public_id,
        ended_at=banner.ends_at,
        fresh=now,
    )


def _listening() -> QuerySet[AccountAccess]:
    return AccountAccess.objects.filter(
        Q(level__in=levels_with(Permission.ALERTS)) & Q(level__in=levels_with(RULES[Kind.SERVICE].needs)),
        account=OuterRef("pk"),
        ended_at__isnull=True,
    )

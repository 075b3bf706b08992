"""What is judged in money, at the account's own rates: thresholds in dollars, and the bill that is to be expected.

Priced like a bill (`portal.billing.projection`), which takes some queries an account: only for those who asked.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q

from portal.alerts.choices import Choices, choices_of
from portal.alerts.kinds import MONEY, Kind, Per
from portal.alerts.models import Alert, AlertSetting
from portal.alerts.quantities import uses
from portal.alerts.telling import Found, is_late
from portal.alerts.usage_rules import APART_IN_A_DAY, APART_IN_AN_HOUR, limit_of
from portal.billing.projection import cost_so_far, projected
from portal.customers.models import Account
from portal.metering.calendar import floor, midnight
from rates.errors import RatesError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from portal.alerts.places import Place
    from portal.billing.periods import Period

_log = logging.getLogger(__name__)


def look_at(places: Sequence[Place], now: datetime, zone: ZoneInfo) -> list[Found]:
    """Return what passed a limit in money among the accounts of a chunk of places."""
    by_account: dict[int, list[Place]] = {}
    for place in places:
        by_account.setdefault(place.account, []).append(place)
    settings = _settings(by_account)
    if not settings:
        return []
    accounts = Account.objects.in_bulk({setting.account_id for setting in settings})
    choices = choices_of(accounts)
    found: list[Found] = []
    for setting in settings:
        account = accounts[setting.account_id]
        try:
            if setting.kind == Kind.PROJECTED:
                found += _expected(setting, account, choices, now, zone)
            else:
                found += _passed(setting, account, by_account[account.pk], choices, now, zone)
        except RatesError as error:  # terms that no rate fits: for the office to mend, no reason to look at nobody else
            _log.warning("no cost so far for account %s: %s", account.public_id, error)
    return found


def _settings(accounts: Collection[int]) -> list[AlertSetting]:
    rows = AlertSetting.objects.filter(account__in=accounts, on=True, amount__isnull=False, unit=MONEY)
    return list(rows.filter(Q(kind=Kind.PROJECTED) | Q(kind=Kind.THRESHOLD)).order_by("pk"))


def _passed(
    setting: AlertSetting, account: Account, places: Sequence[Place], choices: Choices, now: datetime, zone: ZoneInfo
) -> Iterator[Found]:
    """Yield the running hour, day or period when what it costs so far is more than the limit."""
    who, limit_cents = choices.own(setting), _cents(setting)
    so_far = cost_so_far(account, now) if who else None
    if so_far is None:
        return
    start, end = _bucket(setting, now, zone, so_far.period)
    if is_late(so_far.as_of, now):
        return  # newer reads will tell: an alert of what is too old to be sent would keep theirs back
    start = max(start, min(place.since for place in places))
    if so_far.as_of <= start or _known(setting, start) or not _sure(places, start, now, setting):
        return
    before = cost_so_far(account, start) if setting.per != Per.PERIOD else None
    if setting.per != Per.PERIOD and (before is None or before.period != so_far.period):
        return  # the fixed charges of a period that has just begun are no water that ran
    cents = so_far.cents - (0 if before is None else before.cents)
    if cents > limit_cents:
        yield Found(
            key=_key(setting, start),
            kind=Kind.THRESHOLD,
            account=account.pk,
            service_point=None,
            since=start,
            happened_at=so_far.as_of,
            evidence={**limit_of(setting), "cents": cents},
            who=who,
            about=setting.public_id,
            ended_at=end,
        )


def _bucket(setting: AlertSetting, now: datetime, zone: ZoneInfo, period: Period) -> tuple[datetime, datetime]:
    if setting.per == Per.HOUR:
        start = floor(now, "hour", zone)
        return start, start + timedelta(hours=1)
    if setting.per == Per.DAY:
        day = now.astimezone(zone).date()
        return midnight(day, zone), midnight(day + timedelta(days=1), zone)
    return midnight(period.start, zone), midnight(period.end, zone)


def _sure(places: Sequence[Place], start: datetime, now: datetime, setting: AlertSetting) -> bool:
    """Tell whether the use behind a cost was measured: no estimate and no suspect read alarms anybody."""
    apart = APART_IN_AN_HOUR if setting.per == Per.HOUR else APART_IN_A_DAY
    counted = uses({place.service_point: [max(start, place.since), now] for place in places})
    found = [
        use.between(max(start, place.since), now, apart=apart)
        for place in places
        if (use := counted.get(place.service_point)) is not None
    ]
    return any(used is not None for used in found) and all(used is None or used.sure for used in found)


def _expected(
    setting: AlertSetting, account: Account, choices: Choices, now: datetime, zone: ZoneInfo
) -> Iterator[Found]:
    who = [choice for choice in choices.of(Kind.PROJECTED, account.pk) if choice.setting == setting]
    ahead = projected(account, now) if who else None
    if ahead is None or ahead.cents <= _cents(setting) or is_late(ahead.as_of, now):
        return
    yield Found(
        key=f"projected:{setting.public_id}:{setting.amount}:{ahead.period.start.isoformat()}",
        kind=Kind.PROJECTED,
        account=account.pk,
        service_point=None,
        since=now,
        happened_at=ahead.as_of,
        evidence={"cents": ahead.cents, "limit_cents": _cents(setting), "last_day": ahead.period.last_day.isoformat()},
        who=who,
        about=setting.public_id,
        ended_at=midnight(ahead.period.end, zone),
    )


def _key(setting: AlertSetting, start: datetime) -> str:
    return f"threshold:{setting.public_id}:{start.isoformat()}"


def _known(setting: AlertSetting, start: datetime) -> bool:
    return Alert.objects.filter(key=_key(setting, start)).exists()


def _cents(setting: AlertSetting) -> int:
    assert setting.amount is not None
    return int(setting.amount * 100)

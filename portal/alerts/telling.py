"""Keeps what was found and tells those who want to know: each thing once, in the transaction that keeps it.

A worker that is killed in the middle has kept nothing and sent nothing; the next one finds the same things again. Two
workers that find the same thing at once keep one alert, and only the one that kept it tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse

from portal.alerts.choices import Choice, Choices, choices_of
from portal.alerts.kinds import LATE, RULES, Kind
from portal.alerts.models import Alert, AlertRecipient, Watermark
from portal.alerts.texts import Reader, words_for
from portal.core.services import utility_zone
from portal.customers.models import Occupancy
from portal.notifications.models import Category
from portal.notifications.notify import Notice, notify, person_language

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from portal.notifications.notify import Channel

REMIND_FROM_HOUR = 10
"""Reminders go out once a day, from ten in the morning on: nobody is woken by what they know already."""
_REMIND_APART = timedelta(hours=8)
_ROWS_A_QUERY = 500
_CATEGORY = {Kind.BILL_READY: Category.BILL, Kind.BILL_DUE: Category.BILL, Kind.SERVICE: Category.SERVICE}


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a rule found, and who is to know; see Alert for the fields.

    fresh  the moment that decides whether it is too late to send it: when it happened unless it still goes on.
    without  by person, the channels by which they have learned it already.
    """

    key: str
    kind: Kind
    account: int
    service_point: int | None
    since: datetime
    happened_at: datetime
    evidence: dict[str, Any]
    who: Sequence[Choice]
    about: str = ""
    ended_at: datetime | None = None
    fresh: datetime | None = None
    without: Mapping[int, frozenset[Channel]] = field(default_factory=dict)


def is_late(at: datetime, now: datetime) -> bool:
    """Tell whether something is found out so long afterwards that it is kept and not sent."""
    return now - at > LATE


@transaction.atomic
def keep(found: Sequence[Found], now: datetime) -> list[Alert]:
    """Keep what is new among the findings and tell its people; return the new alerts."""
    by_key = {one.key: one for one in found}
    for key in _known(by_key):
        del by_key[key]
    rows = [_alert(one, now) for one in by_key.values()]
    if not rows:
        return []
    Alert.objects.bulk_create(rows, batch_size=_ROWS_A_QUERY, ignore_conflicts=True)
    mine = {row.public_id for row in rows}
    kept = [
        alert
        for chunk in _chunks(list(by_key))
        for alert in Alert.objects.filter(key__in=chunk).select_related("account", "service_point__premise")
        if alert.public_id in mine  # another worker's alert of that key is told by the other worker
    ]
    for alert in kept:
        one = by_key[alert.key]
        for choice in one.who:
            by = choice.channels - one.without.get(choice.user.pk, frozenset())
            tell(alert, choice, now, by=frozenset() if alert.late or choice.quiet_at(now) else by)
    return kept


def tell(alert: Alert, choice: Choice, now: datetime, *, by: frozenset[Channel]) -> None:
    """Tell one person of an alert, for the first time or again; without a channel they only find it on the page."""
    recipient, _ = AlertRecipient.objects.get_or_create(alert=alert, user=choice.user)
    if not by:
        return
    number = recipient.times + 1
    _send(alert, choice, f"alert:{alert.public_id}:{number}", by=by, again=number > 1)
    recipient.times, recipient.last_told_at = number, now
    recipient.told_at = recipient.told_at or now
    recipient.save(update_fields=["times", "last_told_at", "told_at"])


def end(alerts: Iterable[Alert], at: datetime, now: datetime) -> None:
    """End alerts; those who were told of a kind that tells its end learn that it is over, once."""
    rows = [alert for alert in alerts if Alert.objects.filter(pk=alert.pk, ended_at__isnull=True).update(ended_at=at)]
    spoken = [alert for alert in rows if RULES[Kind(alert.kind)].tells_end]
    choices = choices_of({alert.account_id for alert in spoken})
    for alert in spoken:
        alert.ended_at = at
        told = {row.user_id: row for row in alert.recipients.filter(told_at__isnull=False, over_told_at__isnull=True)}
        for choice in _living(alert, choices):
            recipient = told.get(choice.user.pk)
            if recipient is None or choice.quiet_at(now):
                continue
            _send(alert, choice, f"alert:{alert.public_id}:over", by=choice.channels, over=True)
            AlertRecipient.objects.filter(pk=recipient.pk).update(over_told_at=now)


@transaction.atomic
def remind(now: datetime) -> int:
    """Tell those who have not answered again, once a day; and those who have not been told yet. Return how many."""
    local = now.astimezone(utility_zone())
    if local.hour < REMIND_FROM_HOUR or not first_today("alerts reminded", local.toordinal()):
        return 0
    kinds = [kind.value for kind, rule in RULES.items() if rule.reminds]
    rows = Alert.objects.filter(kind__in=kinds, ended_at__isnull=True, late=False)
    alerts = list(rows.select_related("account", "service_point__premise").prefetch_related("recipients"))
    choices = choices_of({alert.account_id for alert in alerts})
    return sum(tell_who_waits(alert, choices, now) for alert in alerts)


def tell_who_waits(alert: Alert, choices: Choices, now: datetime) -> int:
    """Tell of a standing alert whom it is for, but for those who have answered or were told lately; return how many."""
    known = {row.user_id: row for row in alert.recipients.all()}
    told = 0
    for choice in _living(alert, choices):
        recipient = known.get(choice.user.pk)
        if choice.quiet_at(now) or (recipient is not None and not _wants_more(recipient, now)):
            continue
        tell(alert, choice, now, by=choice.channels)
        told += 1
    return told


def end_of_moved(now: datetime) -> int:
    """End the alerts of accounts whose time at the meter has ended; return how many."""
    here = Occupancy.objects.filter(account=OuterRef("account"), service_point=OuterRef("service_point"))
    lives = here.filter(Q(end__isnull=True) | Q(end__gt=now))
    rows = Alert.objects.filter(ended_at__isnull=True, service_point__isnull=False).filter(~Exists(lives))
    return rows.update(ended_at=now)


def first_today(name: str, day: int) -> bool:
    """Note that something is done on a day, by its number; tell whether it was not done on that day yet."""
    row, _ = Watermark.objects.select_for_update().get_or_create(name=name)
    if row.value >= day:
        return False
    row.value = day
    row.save(update_fields=["value"])
    return True


def _wants_more(recipient: AlertRecipient, now: datetime) -> bool:
    if recipient.acknowledged_at is not None or recipient.answered_at is not None:
        return False
    return recipient.last_told_at is None or now - recipient.last_told_at >= _REMIND_APART


def _living(alert: Alert, choices: Choices) -> list[Choice]:
    """Return who is to be told of a standing alert now."""
    kind = Kind(alert.kind)
    if kind == Kind.VACATION:
        return [
            one
            for one in choices.of(kind, alert.account_id, alert.service_point_id)
            if one.setting is not None and one.setting.public_id == alert.about
        ]
    return choices.of(kind, alert.account_id, alert.service_point_id)


def _send(
    alert: Alert, choice: Choice, key: str, *, by: frozenset[Channel], again: bool = False, over: bool = False
) -> None:
    with person_language(choice.user):
        words = words_for(alert, Reader.of(choice.user), again=again, over=over)
        notice = Notice(
            key=key,
            category=_CATEGORY.get(Kind(alert.kind), Category.ALERT),
            subject=words.subject,
            text=words.email,
            sms=words.sms,
            account=alert.account,
            link=reverse("resident:alert", args=[alert.public_id]),
        )
        notify(choice.user, notice, by=by)


def _known(keys: Collection[str]) -> set[str]:
    return {
        key
        for chunk in _chunks(list(keys))
        for key in Alert.objects.filter(key__in=chunk).values_list("key", flat=True)
    }


def _alert(one: Found, now: datetime) -> Alert:
    return Alert(
        key=one.key,
        kind=one.kind.value,
        account_id=one.account,
        service_point_id=one.service_point,
        about=one.about,
        since=one.since,
        happened_at=one.happened_at,
        opened_at=now,
        ended_at=one.ended_at,
        evidence=one.evidence,
        late=is_late(one.fresh or one.happened_at, now),
    )


def _chunks(keys: list[str]) -> Iterable[list[str]]:
    return (keys[place : place + _ROWS_A_QUERY] for place in range(0, len(keys), _ROWS_A_QUERY))

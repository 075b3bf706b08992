"""What is held about a person in alerts: what they want to be told, what they were told, what they answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.alerts.models import AlertRecipient, AlertSetting
from portal.core.personal_data import PersonalData

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.core.models import User


def _settings(user: User) -> Iterator[dict[str, object]]:
    rows = AlertSetting.objects.filter(user=user).select_related("account", "service_point__premise").order_by("pk")
    for row in rows:
        yield {
            "account": row.account.number,
            "meter_at": "" if row.service_point is None else str(row.service_point),
            "kind": row.kind,
            "on": row.on,
            "by_email": row.by_email,
            "by_text": row.by_sms,
            "more_than": row.amount,
            "unit": row.unit,
            "per": row.per,
            "number": row.number,
            "first_day": row.first_day,
            "last_day": row.last_day,
            "quiet_until": row.quiet_until,
            "changed_at": row.changed_at,
        }


def _erase_settings(user: User) -> int:
    return AlertSetting.objects.filter(user=user).delete()[0]


def _received(user: User) -> Iterator[dict[str, object]]:
    rows = AlertRecipient.objects.filter(user=user).select_related("alert__account", "alert__service_point__premise")
    for row in rows.order_by("pk"):
        alert = row.alert
        yield {
            "account": alert.account.number,
            "meter_at": "" if alert.service_point is None else str(alert.service_point),
            "kind": alert.kind,
            "since": alert.since,
            "ended_at": alert.ended_at,
            "told_at": row.told_at,
            "times": row.times,
            "acknowledged_at": row.acknowledged_at,
            "answer": row.answer,
            "note": row.note,
            "answered_at": row.answered_at,
        }


def _erase_received(user: User) -> int:
    return AlertRecipient.objects.filter(user=user).delete()[0]


SETTINGS = PersonalData("alert-settings", _settings, _erase_settings)
RECEIVED = PersonalData("alerts", _received, _erase_received)

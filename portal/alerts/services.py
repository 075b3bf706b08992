"""What people see of alerts and say to them. Everybody answers for themselves; staff read what was said of a leak."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.alerts.kinds import LAWFUL, RULES, Answer, Kind
from portal.alerts.models import Alert, AlertRecipient, AlertSetting
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.customers.permissions import Permission, Viewer, allowed, may, viewer

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.metering.models import LeakCase

HISTORY = timedelta(days=365)
NOTE_CHARS = 200
QUIET_DAYS = (3, 7, 14, 30)
_OWN = (Kind.THRESHOLD, Kind.PROJECTED, Kind.VACATION, Kind.NO_USE)
"""Kinds by a person's own values: nobody else sees what came of them."""


@dataclass(frozen=True, slots=True)
class CaseAnswer:
    """What somebody at the home said of a leak. label: of the answer, empty when it was only acknowledged."""

    case: str
    label: str
    note: str
    at: datetime


def visible_alerts(who: User | Viewer) -> QuerySet[Alert]:
    """Return the alerts that a person may see: of accounts whose alerts they manage now, the newest first."""
    seen = viewer(who)
    bills = [kind.value for kind, rule in RULES.items() if rule.needs == Permission.BILLS]
    rows = Alert.objects.filter(allowed(who, Permission.ALERTS, to="account__"))
    with_bills = Alert.objects.filter(allowed(who, Permission.BILLS, to="account__")).values("pk")
    rows = rows.filter(~Q(kind__in=bills) | Q(pk__in=with_bills))
    if seen.account is None:
        mine = AlertRecipient.objects.filter(user=seen.user).values("alert")
        rows = rows.filter(~Q(kind__in=_OWN) | Q(pk__in=mine))
    return rows.select_related("account", "service_point__premise").distinct().order_by("-happened_at", "-pk")


def recent_alerts(who: User | Viewer, moment: datetime) -> QuerySet[Alert]:
    """Return the alerts of the last year."""
    return visible_alerts(who).filter(opened_at__gt=moment - HISTORY)


def open_alerts(who: User | Viewer) -> list[Alert]:
    """Return the alerts that still go on and that the person has not acknowledged."""
    moment = now()
    done = AlertRecipient.objects.filter(user=viewer(who).user, acknowledged_at__isnull=False).values("alert")
    rows = recent_alerts(who, moment).filter(Q(ended_at__isnull=True) | Q(ended_at__gt=moment))
    return list(rows.exclude(pk__in=done))


def alert_for_case(case: LeakCase | str, who: User | Viewer) -> Alert | None:
    """Return the alert of a leak case (or its public id) that a person may see and answer; None when there is none."""
    about = case if isinstance(case, str) else case.public_id
    return visible_alerts(who).filter(kind=Kind.LEAK, about=about).first()


def side_of(alert: Alert, person: User) -> AlertRecipient | None:
    """Return a person's side of an alert, None when they have neither been told nor said anything."""
    return AlertRecipient.objects.filter(alert=alert, user=person).first()


@transaction.atomic
def acknowledge(alert: Alert, *, actor: User) -> AlertRecipient:
    """Note that a person has seen an alert: no reminders for them. Again changes nothing."""
    row = _side(alert, actor)
    if row.acknowledged_at is None:
        row.acknowledged_at = now()
        row.save(update_fields=["acknowledged_at"])
        audit("alert.acknowledge", actor=actor, target=alert, detail={"kind": alert.kind})
    return row


@transaction.atomic
def answer(alert: Alert, what: str, *, note: str = "", actor: User) -> AlertRecipient:
    """Keep what a person says that it was; it counts as acknowledged. Said again, the newest stands.

    raises  Refused(`answer`, `note`, `not-yours`).
    """
    if what not in Answer.values:
        raise Refused("answer", _("Choose one of the answers."))
    note = " ".join(note.split())
    if len(note) > NOTE_CHARS:
        raise Refused("note", _("Please use at most %(n)d characters.") % {"n": NOTE_CHARS})
    row, moment = _side(alert, actor), now()
    row.answer, row.note, row.answered_at = what, note, moment
    row.acknowledged_at = row.acknowledged_at or moment
    row.save(update_fields=["answer", "note", "answered_at", "acknowledged_at"])
    # What a resident wrote in their own words stays with the alert: the log says that it was said.
    audit("alert.answer", actor=actor, target=alert, detail={"kind": alert.kind, "answer": what, "note": bool(note)})
    return row


def may_quiet(alert: Alert, side: AlertRecipient | None) -> bool:
    """Tell whether a person is offered some quiet days: their answer was that the use is meant to be."""
    return alert.service_point_id is not None and side is not None and side.answer in LAWFUL


@transaction.atomic
def quiet(alert: Alert, days: int, *, actor: User) -> datetime:
    """Send a person nothing of this kind for this meter for some days, not for ever; return until when.

    raises  Refused(`days`, `not-yours`).
    """
    if days not in QUIET_DAYS:
        raise Refused("days", _("Choose for how many days."))
    _side(alert, actor)
    until = now() + timedelta(days=days)
    rows = AlertSetting.objects.filter(user=actor, account=alert.account, kind=alert.kind)
    rows = rows.filter(service_point=alert.service_point)
    if alert.kind == Kind.THRESHOLD:
        rows.update(quiet_until=until)
    else:
        AlertSetting.objects.update_or_create(
            user=actor,
            account=alert.account,
            service_point=alert.service_point,
            kind=alert.kind,
            defaults={"quiet_until": until},
            create_defaults={
                "quiet_until": until,
                "changed_at": now(),
                "on": RULES[Kind(alert.kind)].on,
            },
        )
    audit("alert.quiet", actor=actor, target=alert, detail={"kind": alert.kind, "days": days})
    return until


def answers_to(cases: Collection[str]) -> dict[str, list[CaseAnswer]]:
    """Return what residents said of leak cases, by the case's public id, the newest first: for staff."""
    rows = AlertRecipient.objects.filter(
        alert__kind=Kind.LEAK, alert__about__in=cases, acknowledged_at__isnull=False
    ).select_related("alert")
    found = defaultdict[str, list[CaseAnswer]](list)
    for row in rows.order_by("-answered_at", "-acknowledged_at"):
        at = row.answered_at or row.acknowledged_at
        assert at is not None
        label = row.get_answer_display() if row.answer else ""
        found[row.alert.about].append(CaseAnswer(row.alert.about, str(label), row.note, at))
    return dict(found)


def _side(alert: Alert, actor: User) -> AlertRecipient:
    if not may(actor, Permission.ALERTS, alert.account) or not visible_alerts(actor).filter(pk=alert.pk).exists():
        raise Refused("not-yours", _("This alert is not one of yours."))
    return AlertRecipient.objects.get_or_create(alert=alert, user=actor)[0]

"""How a person chooses what they are told: the only door to their settings; each change is audited.

Only what differs from the defaults is stored: set back to the default, the row goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from domain.units import Unit
from portal.alerts.kinds import MONEY, RULES, Kind, Per
from portal.alerts.models import AlertSetting
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.public_id import new_public_id
from portal.core.services import audit, utility_zone
from portal.customers.models import Occupancy
from portal.customers.permissions import Permission, may
from portal.notifications.models import Category
from portal.notifications.notify import Channel, Notice, notify, person_language
from portal.notifications.phones import phone_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account, ServicePoint
    from portal.notifications.models import Message

THRESHOLDS_MOST = 20
AWAY_DAYS_MOST = 366
UNITS = (Unit.GALLON, Unit.LITRE, Unit.CUBIC_FOOT, Unit.CCF, Unit.CUBIC_METRE)
_MOST = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of one kind. number: hours or days where the kind has such a number; else None."""

    on: bool
    by_email: bool = True
    by_sms: bool = False
    number: int | None = None
    amount: Decimal | None = None
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose setting, for which account, and at which of its meters; None for kinds that are about the account."""

    user: User
    account: Account
    service_point: ServicePoint | None = None


def settings_of(user: User, account: Account) -> dict[tuple[int | None, str], AlertSetting]:
    """Return a person's own settings for an account by meter and kind, thresholds left out."""
    rows = AlertSetting.objects.filter(user=user, account=account).exclude(kind=Kind.THRESHOLD)
    return {(row.service_point_id, row.kind): row for row in rows}


def thresholds_of(user: User, account: Account) -> list[AlertSetting]:
    """Return a person's thresholds for an account."""
    return list(AlertSetting.objects.filter(user=user, account=account, kind=Kind.THRESHOLD).order_by("pk"))


@transaction.atomic
def choose(scope: Scope, kind: Kind, wish: Wish) -> None:
    """Keep what a person wants of a kind.

    raises  Refused(`not-yours`, `kind`, `phone`, `channel`, `number`, `amount`, `days`).
    """
    rule = RULES[kind]
    _check_scope(scope, kind)
    if kind == Kind.THRESHOLD:
        raise Refused("kind", _("Limits are added one by one."))
    _check_channels(scope.user, wish)
    if rule.number is not None and wish.number is not None and not rule.least <= wish.number <= rule.most:
        raise Refused(
            "number", _("Choose a number from %(least)d to %(most)d.") % {"least": rule.least, "most": rule.most}
        )
    if wish.on and kind == Kind.PROJECTED:
        _check_amount(wish.amount)
    if wish.on and kind == Kind.VACATION:
        _check_days(wish)
    _store(scope, kind, wish)


@transaction.atomic
def add_threshold(scope: Scope, *, per: str, amount: str, unit: str, by_email: bool, by_sms: bool) -> AlertSetting:
    """Add one limit of a person's own: in a unit of volume for one meter, in dollars for the whole account.

    raises  Refused(`not-yours`, `phone`, `channel`, `amount`, `unit`, `per`, `many`).
    """
    whole = unit == MONEY
    scope = Scope(scope.user, scope.account, None if whole else scope.service_point)
    _check_scope(scope, Kind.THRESHOLD, money=whole)
    _check_channels(scope.user, Wish(True, by_email, by_sms))
    if per not in Per.values:
        raise Refused("per", _("Choose an hour, a day or a billing period."))
    if not whole and unit not in {one.value for one in UNITS}:
        raise Refused("unit", _("Choose one of the units."))
    value = number_from(amount)
    _check_amount(value)
    if len(thresholds_of(scope.user, scope.account)) >= THRESHOLDS_MOST:
        raise Refused("many", _("You have %(n)d limits already. Remove one first.") % {"n": THRESHOLDS_MOST})
    row = AlertSetting.objects.create(
        user=scope.user,
        account=scope.account,
        service_point=scope.service_point,
        kind=Kind.THRESHOLD,
        per=per,
        amount=value,
        unit=unit,
        by_email=by_email,
        by_sms=by_sms,
        changed_at=now(),
    )
    _audit("alert.limit.add", scope, {"amount": str(value), "unit": unit, "per": per})
    return row


@transaction.atomic
def remove_threshold(user: User, public_id: str) -> None:
    """Take a limit away; raises Refused(`not-yours`) for one that is not the person's own."""
    row = AlertSetting.objects.filter(user=user, kind=Kind.THRESHOLD, public_id=public_id).first()
    if row is None:
        raise Refused("not-yours", _("This limit is not one of yours."))
    _audit("alert.limit.remove", Scope(user, row.account), {"unit": row.unit, "per": row.per})
    row.delete()


@transaction.atomic
def send_test(user: User, channel: Channel) -> list[Message]:
    """Send a person a message that says only that messages arrive; raises Refused(`phone`, `address`)."""
    with person_language(user):
        notice = Notice(
            key=f"test:{new_public_id()}",
            category=Category.SERVICE,
            subject=_("A test message"),
            text=_("You asked for this test. Alerts will reach you here."),
            sms=_("This is the test that you asked for."),
        )
        sent = notify(user, notice, by=frozenset({channel}))
    if not sent and channel == Channel.SMS:
        raise Refused("phone", _("Confirm a phone number for text messages first."))
    if not sent:
        raise Refused("address", _("Confirm your email address first: messages go to a confirmed address only."))
    audit("alert.test", actor=user, detail={"channel": channel.value})
    return sent


def number_from(text: str) -> Decimal | None:
    """Return a number as people type it (`1,200.5`, `$50`), None for anything else."""
    try:
        value = Decimal(text.strip().removeprefix("$").replace(",", "").strip())
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def lives_at(account: Account, service_point: ServicePoint) -> bool:
    """Tell whether an account lives at a meter now."""
    moment = now()
    rows = Occupancy.objects.filter(account=account, service_point=service_point, start__lte=moment)
    return rows.filter(Q(end__isnull=True) | Q(end__gt=moment)).exists()


def _check_scope(scope: Scope, kind: Kind, *, money: bool = False) -> None:
    rule = RULES[kind]
    needs: Sequence[Permission] = (Permission.ALERTS, Permission.BILLS if money else rule.needs)
    if not all(may(scope.user, one, scope.account) for one in needs):
        raise Refused("not-yours", _("You may not change this."))
    if rule.account or money:
        if scope.service_point is not None:
            raise Refused("kind", _("This is set for the account, not for a meter."))
    elif scope.service_point is None or not lives_at(scope.account, scope.service_point):
        raise Refused("not-yours", _("This meter is not one of yours now."))


def _check_channels(user: User, wish: Wish) -> None:
    if wish.by_sms and phone_of(user) is None:
        raise Refused("phone", _("Confirm a phone number for text messages first."))
    if wish.on and not (wish.by_email or wish.by_sms):
        raise Refused("channel", _("Choose email or text message, or turn this off."))


def _check_amount(amount: Decimal | None) -> None:
    if amount is None or not 0 < amount <= _MOST:
        raise Refused("amount", _("Enter a number above 0, such as 50."))
    if round(amount, 3) != amount:
        raise Refused("amount", _("Use at most three decimals."))


def _check_days(wish: Wish) -> None:
    if wish.first_day is None or wish.last_day is None:
        raise Refused("days", _("Enter the first and the last whole day away."))
    if wish.last_day < wish.first_day:
        raise Refused("days", _("The last day away comes before the first."))
    if wish.last_day < now().astimezone(utility_zone()).date():
        raise Refused("days", _("These days are over."))
    if (wish.last_day - wish.first_day).days >= AWAY_DAYS_MOST:
        raise Refused("days", _("Choose at most a year."))


def _store(scope: Scope, kind: Kind, wish: Wish) -> None:
    rule = RULES[kind]
    key = {"user": scope.user, "account": scope.account, "service_point": scope.service_point, "kind": kind.value}
    row = AlertSetting.objects.select_for_update().filter(**key).first() or AlertSetting(**key)
    number = wish.number if wish.number != rule.number else None
    after = {
        "on": wish.on,
        "by_email": wish.by_email,
        "by_sms": wish.by_sms,
        "number": number,
        "amount": wish.amount,
        "first_day": wish.first_day,
        "last_day": wish.last_day,
    }
    changed = [name for name, value in after.items() if getattr(row, name) != value]
    if row.pk is None and after == {**dict.fromkeys(after), "on": rule.on, "by_email": True, "by_sms": False}:
        return
    if not changed and row.pk is not None:
        return
    for name, value in after.items():
        setattr(row, name, value)
    row.unit = MONEY if wish.amount is not None else ""
    row.changed_at = now()
    default = wish.on == rule.on and wish.by_email and not wish.by_sms and row.quiet_until is None
    if default and all(after[name] is None for name in ("number", "amount", "first_day")):
        if row.pk is not None:
            row.delete()
    else:
        row.save()
    _audit("alert.setting", scope, {"kind": kind.value, "on": wish.on, "changed": changed})


def _audit(action: str, scope: Scope, detail: dict[str, object]) -> None:
    place = {} if scope.service_point is None else {"service_point": scope.service_point.public_id}
    audit(action, actor=scope.user, target=scope.account, detail={**detail, **place})

"""Who is told what: defaults worked out for everybody who may manage alerts, and where a person differs from them.

Asked for many accounts at once, and asked anew whenever something is sent: access that has ended, a setting that was
turned off and a meter that was moved away from are never written to.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q

from portal.alerts.kinds import RULES, Kind
from portal.alerts.models import AlertSetting
from portal.customers.models import AccountAccess
from portal.customers.permissions import Permission, levels_with
from portal.notifications.notify import Channel

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from portal.core.models import User


@dataclass(frozen=True, slots=True)
class Listener:
    """One person who may manage the alerts of one account; may: what else they may do with it; since: for how long."""

    user: User
    account: int
    may: frozenset[Permission]
    since: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """What holds for one person, kind and meter or account. setting: what they chose, None for the defaults."""

    user: User
    account: int
    service_point: int | None
    kind: Kind
    setting: AlertSetting | None = None

    @property
    def on(self) -> bool:
        """Whether the person wants to be told of this kind."""
        return RULES[self.kind].on if self.setting is None else self.setting.on

    @property
    def number(self) -> int:
        """The hours or days of the rule."""
        chosen = None if self.setting is None else self.setting.number
        return chosen or RULES[self.kind].number or 0

    @property
    def channels(self) -> frozenset[Channel]:
        """How the person wants to be told: by email unless they chose otherwise."""
        if self.setting is None:
            return frozenset({Channel.EMAIL})
        wanted = {Channel.EMAIL: self.setting.by_email, Channel.SMS: self.setting.by_sms}
        return frozenset(channel for channel, chosen in wanted.items() if chosen)

    def quiet_at(self, moment: datetime) -> bool:
        """Whether they asked for no messages of this kind for a while."""
        return self.setting is not None and self.setting.quiet_until is not None and moment < self.setting.quiet_until


@dataclass
class Choices:
    """The listeners of some accounts and what they chose."""

    listeners: dict[int, list[Listener]] = field(default_factory=lambda: defaultdict(list))
    chosen: dict[tuple[int, int, int | None, str], AlertSetting] = field(default_factory=dict)
    thresholds: dict[tuple[int, int | None], list[AlertSetting]] = field(default_factory=lambda: defaultdict(list))

    def of(self, kind: Kind, account: int, service_point: int | None = None) -> list[Choice]:
        """Return those who want to be told of a kind at a meter or account; those who are quiet now among them."""
        place = None if RULES[kind].account else service_point
        found = [
            Choice(one.user, account, place, kind, self.chosen.get((one.user.pk, account, place, kind.value)))
            for one in self.listeners.get(account, ())
            if RULES[kind].needs in one.may
        ]
        return [choice for choice in found if choice.on]

    def listening_before(self, account: int, moment: datetime) -> frozenset[int]:
        """Return the users who listen to an account since before a moment."""
        return frozenset(one.user.pk for one in self.listeners.get(account, ()) if one.since <= moment)

    def own(self, setting: AlertSetting) -> list[Choice]:
        """Return whose threshold it is, when they may still have one: nobody else is told of it."""
        needs = {RULES[Kind(setting.kind)].needs, Permission.BILLS if setting.unit == "usd" else Permission.USAGE}
        return [
            Choice(one.user, one.account, setting.service_point_id, Kind(setting.kind), setting)
            for one in self.listeners.get(setting.account_id, ())
            if one.user.pk == setting.user_id and needs <= one.may and setting.on
        ]


def choices_of(accounts: Collection[int]) -> Choices:
    """Return the choices for accounts, with the same two queries for any number of them."""
    result = Choices()
    if not accounts:
        return result
    levels = {permission: frozenset(levels_with(permission)) for permission in Permission}
    access = AccountAccess.objects.filter(
        Q(level__in=levels[Permission.ALERTS]) & Q(level__in=levels[Permission.USAGE]),
        account__in=accounts,
        ended_at__isnull=True,
        user__is_active=True,
    ).select_related("user")
    for row in access.order_by("pk"):
        may = frozenset(permission for permission, with_it in levels.items() if row.level in with_it)
        result.listeners[row.account_id].append(Listener(row.user, row.account_id, may, row.granted_at))
    for setting in AlertSetting.objects.filter(account__in=accounts).order_by("pk"):
        if setting.kind == Kind.THRESHOLD:
            result.thresholds[setting.account_id, setting.service_point_id].append(setting)
        else:
            key = setting.user_id, setting.account_id, setting.service_point_id, setting.kind
            result.chosen[key] = setting
    return result

"""Who may do what with an account: levels, what each allows, and the one question that every page asks.

A level is what the holder chooses for a guest; a permission is what a page needs. Nothing else in the portal looks at
levels, so that a new level is one line here and no page can forget it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from django.db.models import Q

from portal.core.prepared import Prepared
from portal.customers.models import Account, AccountAccess

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User

Level = AccountAccess.Level


class Permission(Enum):
    """One thing that can be done with an account."""

    USAGE = "usage"
    BILLS = "bills"
    PAY = "pay"
    ALERTS = "alerts"
    MANAGE = "manage"
    """Guests of lower levels, how bills come, service requests: all but who owns the account."""
    OWN = "own"
    """Guests who manage everything, giving the account up."""


ALLOWED: dict[Level, frozenset[Permission]] = {
    Level.VIEW_USAGE: frozenset({Permission.USAGE}),
    Level.VIEW_BILLS: frozenset({Permission.USAGE, Permission.BILLS}),
    Level.PAY: frozenset({Permission.USAGE, Permission.BILLS, Permission.PAY}),
    Level.MANAGE_ALERTS: frozenset({Permission.USAGE, Permission.ALERTS}),
    Level.MANAGE_ALL: frozenset(Permission) - {Permission.OWN},
    Level.HOLDER: frozenset(Permission),
}
"""What each level allows; everybody who has access sees the usage."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose eyes a page is made for.

    user     who sits in front of the screen.
    account  None for a person and their own accounts; else the one account that staff look at as its holder sees it.
    """

    user: User
    account: Account | None = None

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed: staff look, they do not act as the customer."""
        return self.account is not None


def viewer(who: User | Viewer) -> Viewer:
    """Return a person as a viewer of their own accounts."""
    return who if isinstance(who, Viewer) else Viewer(who)


def levels_with(permission: Permission) -> list[str]:
    """Return the levels that allow something, as the database keeps them."""
    return [level.value for level, allowed in ALLOWED.items() if permission in allowed]


def allowed(who: User | Viewer, permission: Permission, *, to: str = "") -> Q:
    """Return the condition `this person may do this with the account`, for rows of any model.

    to  the path from the model to its account, with two underscores at the end: `account__`, `occupancies__account__`.
        A row may match more than once: say `distinct()` or take care.
    """
    seen = viewer(who)
    if seen.account is not None:
        return Q(**{f"{to}pk": seen.account.pk})
    return allowed_to(seen.user.pk, permission, to=to)


def allowed_to(user: int, permission: Permission, *, to: str = "") -> Q:
    """Return the same for a person by their row id, who looks at their own accounts."""
    return Q(
        **{
            f"{to}access__user": user,
            f"{to}access__level__in": levels_with(permission),
            f"{to}access__ended_at__isnull": True,
        }
    )


def allowed_accounts(who: User | Viewer, permission: Permission) -> QuerySet[Account]:
    """Return the accounts with which a person may do something, by their numbers."""
    return Account.objects.filter(allowed(who, permission)).distinct().order_by("number")


def may(who: User | Viewer, permission: Permission, account: Account) -> bool:
    """Tell whether a person may do something with an account now."""
    return allowed_accounts(who, permission).filter(pk=account.pk).exists()


def permissions_of(who: User | Viewer) -> frozenset[Permission]:
    """Return what a person may do with at least one account: what is worth a place in their navigation."""
    seen = viewer(who)
    if seen.account is not None:
        return frozenset(Permission)
    return frozenset().union(*(ALLOWED[Level(level)] for level in set(LEVELS_OF(seen.user.pk))))


LEVELS_OF: Prepared[str] = Prepared(
    lambda user: AccountAccess.objects.filter(user=user, ended_at__isnull=True).values_list("level", flat=True)
)

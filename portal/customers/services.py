"""Premises, accounts and occupancies: the only door to their rows, and who may see what of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q

from portal.core.errors import Refused
from portal.core.prepared import Prepared
from portal.core.remembering import remembered
from portal.core.services import audit
from portal.customers.models import Account, AccountAccess, Occupancy, Premise, ServicePoint
from portal.customers.permissions import Permission, allowed, allowed_to, viewer

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.permissions import Viewer

_FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Time from `start` (inclusive) to `end` (exclusive); an end of None, given at the start, means for ever."""

    start: datetime
    end: datetime

    def __init__(self, start: datetime, end: datetime | None) -> None:
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end or _FAR)

    def intersection(self, other: Span) -> Span | None:
        """Return the time in both, None when there is none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Span(start, end) if start < end else None

    @property
    def open_ended(self) -> bool:
        """Whether it has no end yet."""
        return self.end == _FAR


def visible_spans(who: User | Viewer, service_point: ServicePoint) -> list[Span]:
    """Return the times at a service point that somebody may see: the occupancies of their accounts, in order.

    Access that has ended shows nothing, whoever lived there.
    """
    rows = (
        Occupancy.objects.filter(allowed(who, Permission.USAGE, to="account__"), service_point=service_point)
        .order_by("start")
        .values_list("start", "end")
        .distinct()
    )
    return [Span(start, end) for start, end in rows]


def visible_places(who: User | Viewer) -> dict[int, list[Span]]:
    """Return the same for every service point at once, by its row id: one query, however many there are."""
    found: dict[int, list[Span]] = {}
    for row in _lived(who):
        span = Span(row.start, row.end)
        if span not in (spans := found.setdefault(row.service_point_id, [])):
            spans.append(span)
    return found


def visible_service_points(who: User | Viewer) -> QuerySet[ServicePoint]:
    """Return the service points at which somebody's accounts live or lived."""
    return (
        ServicePoint.objects.filter(allowed(who, Permission.USAGE, to="occupancies__account__"))
        .select_related("premise")
        .distinct()
        .order_by("premise__address", "label")
    )


def points_seen_by(who: User | Viewer) -> list[ServicePoint]:
    """Return the same as a list, asked once for a page together with `visible_places`."""
    points = {row.service_point_id: row.service_point for row in _lived(who)}
    return sorted(points.values(), key=lambda point: (point.premise.address, point.label))


def accounts_seen_at(who: User | Viewer, service_point: ServicePoint) -> set[int]:
    """Return the row ids of the accounts under which somebody sees a service point."""
    return {row.account_id for row in _lived(who) if row.service_point_id == service_point.pk}


def _lived(who: User | Viewer) -> list[Occupancy]:
    """Return the occupancies that somebody may see, with their places, in the order of their starts."""
    seen = viewer(who)
    if seen.account is not None:
        account = seen.account.pk
        return remembered(("lived", seen), lambda: _OF_ACCOUNT(account))
    return remembered(("lived", seen), lambda: LIVED_BY(seen.user.pk))


LIVED_BY: Prepared[Occupancy] = Prepared(
    lambda user: (
        Occupancy.objects.filter(allowed_to(user, Permission.USAGE, to="account__"))
        .select_related("service_point__premise")
        .order_by("start", "pk")
    )
)
_OF_ACCOUNT: Prepared[Occupancy] = Prepared(
    lambda account: (
        Occupancy.objects.filter(account=account).select_related("service_point__premise").order_by("start", "pk")
    )
)


@transaction.atomic
def move_in(
    account: Account, service_point: ServicePoint, start: datetime, *, actor: User | None = None, label: str = ""
) -> Occupancy:
    """Open an occupancy; raises Refused(`overlap`) when somebody lives there then."""
    ServicePoint.objects.select_for_update().get(pk=service_point.pk)
    overlapping = Occupancy.objects.filter(service_point=service_point).filter(Q(end__isnull=True) | Q(end__gt=start))
    if overlapping.exists():
        raise Refused(
            "overlap", f"{service_point} is occupied at {start.isoformat()}; end that occupancy first (move-out)"
        )
    occupancy = Occupancy.objects.create(account=account, service_point=service_point, start=start)
    audit(
        "occupancy.start", actor=actor, label=label, target=account, detail={"service_point": service_point.public_id}
    )
    return occupancy


@transaction.atomic
def move_out(occupancy: Occupancy, end: datetime, *, actor: User | None = None, label: str = "") -> None:
    """End an occupancy; the account's view of the service point ends at that moment."""
    changed = Occupancy.objects.filter(pk=occupancy.pk, end__isnull=True, start__lt=end).update(end=end)
    if not changed:
        raise Refused("occupancy", "the occupancy has ended already, or started after that moment")
    occupancy.refresh_from_db()
    audit("occupancy.end", actor=actor, label=label, target=occupancy.account)


@transaction.atomic
def ensure_premise(address: str, *, label: str = "water") -> ServicePoint:
    """Return the service point of an address, made when it is new."""
    premise, _ = Premise.objects.get_or_create(address=address)
    return ServicePoint.objects.get_or_create(premise=premise, label=label)[0]


@transaction.atomic
def grant_access(
    account: Account,
    user: User,
    *,
    at: datetime,
    level: AccountAccess.Level = AccountAccess.Level.HOLDER,
    actor: User | None = None,
    label: str = "",
) -> AccountAccess:
    """Give a user access to an account; granting it again changes nothing."""
    access, made = AccountAccess.objects.get_or_create(
        account=account, user=user, ended_at=None, defaults={"level": level, "granted_at": at}
    )
    if made:
        audit("access.grant", actor=actor, label=label, target=account, detail={"user": user.public_id})
    return access


@transaction.atomic
def end_access(access: AccountAccess, *, at: datetime, actor: User | None = None, label: str = "") -> None:
    """End a user's access to an account."""
    AccountAccess.objects.filter(pk=access.pk, ended_at__isnull=True).update(ended_at=at)
    audit("access.end", actor=actor, label=label, target=access.account, detail={"user": access.user.public_id})

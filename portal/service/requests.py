"""Requests of customers to the office: asked once, worked on by staff, every step told to the customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit, utility_zone
from portal.customers.models import Occupancy, ServicePoint
from portal.customers.permissions import Permission, allowed, may
from portal.service.models import RequestStep, ServiceRequest
from portal.service.telling import tell

if TYPE_CHECKING:
    from datetime import date

    from django.db.models import QuerySet

    from portal.billing.models import Bill
    from portal.core.models import User
    from portal.customers.models import Account
    from portal.customers.permissions import Viewer

Kind, State = ServiceRequest.Kind, ServiceRequest.State
DETAILS_MAX, NOTE_MAX, PHONE_MAX, KEY_MAX = 2000, 600, 40, 32
ALWAYS_ONE: frozenset[str] = frozenset({Kind.RESTORE, Kind.STOP})
"""While one of these is open at a place, asking again leads to it."""

NEXT: dict[str, frozenset[str]] = {
    State.RECEIVED: frozenset({State.IN_WORK, State.DONE, State.REFUSED, State.WITHDRAWN}),
    State.IN_WORK: frozenset({State.IN_WORK, State.DONE, State.REFUSED, State.WITHDRAWN}),
}
"""What may follow each state; the others are final."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a customer wrote into the form; for the fields see ServiceRequest."""

    kind: str
    key: str
    details: str = ""
    direction: str = ""
    wished_on: date | None = None
    phone: str = ""
    bill: Bill | None = None
    repaired_on: date | None = None
    evidence: str = ""


def requests_of(who: User | Viewer) -> QuerySet[ServiceRequest]:
    """Return the requests that a person may see, the newest first."""
    found = ServiceRequest.objects.filter(allowed(who, Permission.MANAGE, to="account__")).distinct()
    return found.select_related("account", "service_point__premise", "bill").order_by("-made_at", "-pk")


def places_of(account: Account) -> list[ServicePoint]:
    """Return where an account has water now."""
    here = Occupancy.objects.filter(account=account, end__isnull=True).values("service_point")
    return list(
        ServicePoint.objects.filter(pk__in=here).select_related("premise").order_by("premise__address", "label")
    )


@transaction.atomic
def ask(account: Account, service_point: ServicePoint | None, wish: Wish, *, by: User) -> tuple[ServiceRequest, bool]:
    """Write a request down and return it, and whether it is new; sent twice, the one that stands is returned.

    raises  Refused naming the field at fault: `kind`, `place`, `details`, `direction`, `day`, `bill`, `repaired`,
            `evidence`, `phone`; `permission` when the person may not ask for this account.
    """
    if not may(by, Permission.MANAGE, account):
        raise Refused("permission", _("Only the account holder, or a guest who manages everything, can ask for this."))
    type(account).objects.select_for_update().get(pk=account.pk)  # the second click waits here for the first one
    standing = ServiceRequest.objects.filter(account=account).filter(_same(wish, service_point)).first()
    if standing is not None:
        return standing, False
    _check(account, service_point, wish)
    moment = now()
    row = ServiceRequest.objects.create(
        key=wish.key[:KEY_MAX],
        account=account,
        service_point=service_point,
        asked_by=by,
        kind=wish.kind,
        direction=wish.direction if wish.kind == Kind.MOVE else "",
        details=wish.details.strip(),
        wished_on=wish.wished_on,
        phone=wish.phone.strip(),
        bill=wish.bill if wish.kind == Kind.LEAK else None,
        repaired_on=wish.repaired_on if wish.kind == Kind.LEAK else None,
        evidence=wish.evidence.strip() if wish.kind == Kind.LEAK else "",
        made_at=moment,
        state_at=moment,
    )
    step = RequestStep.objects.create(request=row, at=moment, state=State.RECEIVED, by=by)
    audit("request.received", actor=by, target=row, detail={"kind": row.kind, "account": account.public_id})
    tell(row, step)
    return row, True


def _same(wish: Wish, service_point: ServicePoint | None) -> Q:
    same = Q(key=wish.key[:KEY_MAX])
    if wish.kind in ALWAYS_ONE:
        same |= Q(kind=wish.kind, service_point=service_point, state__in=ServiceRequest.OPEN)
    if wish.kind == Kind.LEAK and wish.bill is not None:
        same |= Q(kind=wish.kind, bill=wish.bill, state__in=ServiceRequest.OPEN)
    return same


def _check(account: Account, service_point: ServicePoint | None, wish: Wish) -> None:
    today = now().astimezone(utility_zone()).date()
    if wish.kind not in Kind.values:
        raise Refused("kind", _("Choose what you ask for."))
    if not wish.key:
        raise Refused("kind", _("Open the form again and send it from there."))
    if service_point is not None and service_point not in places_of(account):
        raise Refused("place", _("Choose one of your places."))
    if wish.kind == Kind.MOVE and wish.direction not in ServiceRequest.Direction.values:
        raise Refused("direction", _("Say whether you move in, out or to another address."))
    if wish.kind in (Kind.MOVE, Kind.STOP) and wish.wished_on is None:
        raise Refused("day", _("Give the day on which it should happen."))
    if wish.wished_on is not None and wish.wished_on < today:
        raise Refused("day", _("Give today or a later day."))
    if wish.kind == Kind.LEAK:
        _check_leak(account, wish, today)
    if wish.kind == Kind.OTHER and len(wish.details.strip()) < 5:
        raise Refused("details", _("Write in a sentence what you need."))
    if max(len(wish.details), len(wish.evidence)) > DETAILS_MAX:
        raise Refused("details", _("Write at most %d characters.") % DETAILS_MAX)
    if len(wish.phone.strip()) > PHONE_MAX:
        raise Refused("phone", _("Write one telephone number."))


def _check_leak(account: Account, wish: Wish, today: date) -> None:
    if wish.bill is None or wish.bill.account_id != account.pk:
        raise Refused("bill", _("Choose the bill that the leak went on."))
    if wish.repaired_on is None or wish.repaired_on > today:
        raise Refused("repaired", _("Give the day on which the leak was repaired: today or an earlier day."))
    if len(wish.evidence.strip()) < 10:
        raise Refused("evidence", _("Describe what was repaired and what shows it, such as a plumber's bill."))


@transaction.atomic
def withdraw(request: ServiceRequest, *, by: User) -> ServiceRequest:
    """Take a request back; raises Refused(`closed`) when it is closed, `permission` for somebody else."""
    if not may(by, Permission.MANAGE, request.account):
        raise Refused("permission", _("Only the account holder, or a guest who manages everything, can ask for this."))
    return _step(request, State.WITHDRAWN, "", by)


@transaction.atomic
def take(request: ServiceRequest, *, by: User) -> ServiceRequest:
    """Begin to work on a request, or take it over from a colleague."""
    ServiceRequest.objects.filter(pk=request.pk).update(taken_by=by)
    return _step(request, State.IN_WORK, "", by)


@transaction.atomic
def note(request: ServiceRequest, text: str, *, by: User) -> ServiceRequest:
    """Write a note that the customer reads; the request is then in work. raises Refused(`note`, `closed`)."""
    return _step(request, State.IN_WORK, _words(text), by)


@transaction.atomic
def finish(request: ServiceRequest, text: str, *, by: User) -> ServiceRequest:
    """Close a request as done, with a note if there is something to say."""
    return _step(request, State.DONE, _words(text, needed=False), by)


@transaction.atomic
def refuse(request: ServiceRequest, text: str, *, by: User) -> ServiceRequest:
    """Close a request as refused; the customer reads why. raises Refused(`note`) without a reason."""
    return _step(request, State.REFUSED, _words(text), by)


def _words(text: str, *, needed: bool = True) -> str:
    words = " ".join(text.split())
    if needed and len(words) < 3:
        raise Refused("note", _("Write a sentence that the customer reads."))
    if len(words) > NOTE_MAX:
        raise Refused("note", _("Write at most %d characters.") % NOTE_MAX)
    return words


def _step(request: ServiceRequest, state: str, text: str, by: User) -> ServiceRequest:
    """Bring a request into a state, under its lock; the customer is told of it once."""
    row = ServiceRequest.objects.select_for_update().get(pk=request.pk)
    if state not in NEXT.get(row.state, frozenset()):
        raise Refused("closed", _("This request is closed: %s.") % row.get_state_display())
    if state == row.state and not text:
        return row
    moment = now()
    if state != row.state:
        row.state, row.state_at = state, moment
        row.save(update_fields=["state", "state_at"])
    step = RequestStep.objects.create(request=row, at=moment, state=state, note=text, by=by)
    audit(f"request.{state}", actor=by, target=row, reason=text[:200], detail={"kind": row.kind})
    if state != State.WITHDRAWN:
        tell(row, step)
    return row

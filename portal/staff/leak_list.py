"""Leak cases as the office works on them: how large, how old, whose, what the resident said, who was called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from domain.units import Unit, as_decimal
from portal.alerts.models import AlertRecipient
from portal.core.clock import now
from portal.customers.models import Account, Occupancy
from portal.metering.leak_contacts import contacts_of
from portal.metering.leak_evidence import began_at, whole_number
from portal.metering.models import LeakCase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django.db.models import QuerySet
    from django_stubs_ext import StrPromise

    from portal.metering.leak_contacts import Contact

CASES_MAX = 5_000
"""So many are sorted by size, which stands in no column; with more, the newest of them."""
_AT_ONCE = 500

STATES: dict[str, StrPromise] = {
    "open": gettext_lazy("not over yet"),
    "unheard": gettext_lazy("nobody has answered"),
    "acknowledged": gettext_lazy("acknowledged"),
    "answered": gettext_lazy("answered by the resident"),
    "cleared": gettext_lazy("over"),
    "all": gettext_lazy("all"),
}
SORTS: dict[str, StrPromise] = {
    "size": gettext_lazy("the largest flow first"),
    "total": gettext_lazy("the most water first"),
    "age": gettext_lazy("the oldest first"),
    "new": gettext_lazy("the newest first"),
}


@dataclass(frozen=True, slots=True)
class Leak:
    """One leak case.

    litres     since the flow began that never stopped, up to now or to its end; 0 when the collector gave no rate.
    account    who lives there now; None for a vacant place or a meter that hangs nowhere.
    answers    what residents said: the answer's words, and their note.
    state      one of STATES: unheard, acknowledged, answered, cleared.
    """

    case: LeakCase
    address: str
    account: Account | None
    began: datetime
    lasted: timedelta
    litres_per_h: int
    litres: int
    state: str
    answers: tuple[str, ...]
    contacts: tuple[Contact, ...]

    @property
    def state_text(self) -> str:
        """The state in words."""
        return str(STATES[self.state])


def leaks(*, state: str = "open", sort: str = "size", search: str = "") -> list[Leak]:
    """Return the leak cases in a state (one of STATES), sorted by one of SORTS; search: place, meter or account."""
    found = LeakCase.objects.select_related("meter", "installation__service_point__premise")
    if state == "cleared":
        found = found.filter(cleared_at__isnull=False)
    elif state != "all":
        found = found.filter(cleared_at__isnull=True)
    if search:
        found = found.filter(_like(search))
    rows = facts_of(list(found.order_by("-opened_at", "-pk")[:CASES_MAX]))
    if state in ("unheard", "acknowledged", "answered"):
        rows = [row for row in rows if row.state == state]
    return sorted(rows, key=_ORDER[sort])


_ORDER: dict[str, Callable[[Leak], tuple[float, int]]] = {
    "size": lambda row: (-row.litres_per_h, -row.litres),
    "total": lambda row: (-row.litres, -row.litres_per_h),
    "age": lambda row: (row.began.timestamp(), row.case.pk),
    "new": lambda row: (-row.began.timestamp(), -row.case.pk),
}


def _like(search: str) -> Q:
    account = Account.objects.filter(Q(number__icontains=search) | Q(name__icontains=search))
    living = Occupancy.objects.filter(account__in=account, end__isnull=True).values("service_point")
    return (
        Q(meter__meter_id__icontains=search)
        | Q(installation__service_point__premise__address__icontains=search)
        | Q(installation__service_point__in=living)
    )


def facts_of(cases: Sequence[LeakCase]) -> list[Leak]:
    """Return what the office knows of leak cases, in their order; a fixed number of queries for each few hundred."""
    found = []
    for start in range(0, len(cases), _AT_ONCE):
        part = cases[start : start + _AT_ONCE]
        living, said, called = _living(part), _said(part), contacts_of(part)
        found += [_leak(case, living, said.get(case.public_id, []), called) for case in part]
    return found


def _leak(
    case: LeakCase, living: dict[int, Account], said: list[AlertRecipient], called: dict[str, list[Contact]]
) -> Leak:
    began, rate = began_at(case), whole_number(case.evidence, "litres_per_h")
    lasted = max((case.cleared_at or now()) - began, timedelta(0))
    place = case.installation.service_point if case.installation else None
    return Leak(
        case=case,
        address=place.premise.address if place else _("not installed"),
        account=living.get(place.pk) if place else None,
        began=began,
        lasted=lasted,
        litres_per_h=rate,
        litres=_litres(case, rate, lasted),
        state=_state(case, said),
        answers=tuple(_answer(row) for row in said if row.answer),
        contacts=tuple(called.get(case.public_id, ())),
    )


def _litres(case: LeakCase, rate: int, lasted: timedelta) -> int:
    """Return what ran out: as the collector said at the end, else the rate over the time."""
    closed = case.evidence.get("cleared")
    said = closed.get("litres") if isinstance(closed, dict) else None
    return said if isinstance(said, int) else int(rate * Fraction(int(lasted.total_seconds()), 3600))


def _state(case: LeakCase, said: list[AlertRecipient]) -> str:
    if case.cleared_at is not None:
        return "cleared"
    if any(row.answer for row in said):
        return "answered"
    return "acknowledged" if any(row.acknowledged_at for row in said) else "unheard"


def _answer(row: AlertRecipient) -> str:
    return str(row.get_answer_display()) + (f": {row.note}" if row.note else "")


def _living(cases: Sequence[LeakCase]) -> dict[int, Account]:
    """Return who lives now where these leaks are."""
    moment = now()
    places = {case.installation.service_point_id for case in cases if case.installation}
    rows: QuerySet[Occupancy] = Occupancy.objects.filter(
        Q(end__isnull=True) | Q(end__gt=moment), service_point__in=places, start__lte=moment
    )
    return {row.service_point_id: row.account for row in rows.select_related("account")}


def _said(cases: Sequence[LeakCase]) -> dict[str, list[AlertRecipient]]:
    """Return what the people said who were told of these leaks, by case, the newest answer first."""
    found: dict[str, list[AlertRecipient]] = {}
    rows = AlertRecipient.objects.filter(alert__kind="leak", alert__about__in=[case.public_id for case in cases])
    for row in rows.select_related("alert").order_by("-answered_at", "-pk"):
        found.setdefault(row.alert.about, []).append(row)
    return found


def flow_text(litres_per_h: int) -> str:
    """Return a flow as the office reads it; a dash when the collector gave none."""
    if not litres_per_h:
        return "\N{EN DASH}"
    return f"{gallons(litres_per_h)} gal/h ({litres_per_h:,} L/h)"


def volume_text(litres: int) -> str:
    """Return a volume as the office reads it; a dash when nothing is known."""
    return f"{gallons(litres)} gal ({litres:,} L)" if litres else "\N{EN DASH}"


def gallons(litres: int) -> str:
    """Return litres in whole gallons, one place for less than ten."""
    value = Fraction(litres) / Unit.GALLON.litres
    return f"{as_decimal(value, 0 if value >= 10 else 1):,f}"


def lasted_text(lasted: timedelta) -> str:
    """Return how long it has been going on, in days and hours."""
    hours = int(lasted.total_seconds() // 3600)
    days, hours = divmod(hours, 24)
    return _("%(days)s d %(hours)s h") % {"days": days, "hours": hours} if days else _("%(hours)s h") % {"hours": hours}

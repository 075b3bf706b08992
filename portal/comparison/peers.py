"""What similar homes used: read by the usage page. Only whole days, only groups of at least 15 other homes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils.translation import gettext as _

from portal.comparison.models import OptOut, PeerDay, PeerHome
from portal.core.prepared import Prepared, ask_ahead

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from portal.customers.models import ServicePoint

HOMES_LEAST = 15
"""Besides the home that looks."""


@dataclass(frozen=True, slots=True)
class PeerUse:
    """The mean of similar homes on each day of which it is known, in millilitres divided by 1000: rounded litres.

    homes  how many there were on the day with the fewest; why: a sentence when nothing may or can be shown.
    """

    litres: Mapping[date, int] = field(default_factory=dict)
    homes: int = 0
    why: str = ""

    @property
    def homes_text(self) -> str:
        """Return the number of homes, rounded down: it is nobody's business who joined."""
        step = 5 if self.homes < 100 else 50
        return str(self.homes // step * step)


def similar_use(service_point: ServicePoint, accounts: set[int], first: date, last_excluded: date) -> PeerUse:
    """Return what homes like this one used on the days of [first, last_excluded).

    accounts  row ids of the accounts for whose eyes it is; one that has opted out is shown nothing.
    """
    asked = tuple(sorted(accounts))
    ask_ahead((_OPTED_OUT, asked), (_HOMES, service_point.pk))
    if _OPTED_OUT(asked):
        return PeerUse(why=_("Your home is left out of comparisons, so none with similar homes is shown."))
    months = {row.month: row for row in _HOMES(service_point.pk)}
    if not months:
        return PeerUse(why=_("Similar homes are known from the second month that a home is with us."))
    newest = months[max(months)]
    days: dict[str, dict[date, Any]] = {newest.by_class: {}, newest.by_size: {}}
    for row in _DAYS(newest.by_class, newest.by_size, first, last_excluded):
        days[row.group][row.day] = row
    for group in (newest.by_size, newest.by_class):
        shown = {day: row for day, row in days[group].items() if _others(row, months) >= HOMES_LEAST}
        if shown:
            litres = {day: round(row.mean_ml / 1000) for day, row in shown.items()}
            return PeerUse(litres, min(_others(row, months) for row in shown.values()))
    return PeerUse(why=_("There are not enough similar homes, or nothing is known of them yet, for this time."))


_OPTED_OUT: Prepared[int] = Prepared(
    lambda accounts: OptOut.objects.filter(account__in=accounts).values_list("account", flat=True)[:1]
)
_HOMES: Prepared[PeerHome] = Prepared(lambda point: PeerHome.objects.filter(service_point=point))
_DAYS: Prepared[Any] = Prepared(
    lambda one, other, first, end: PeerDay.objects.filter(
        Q(group=one) | Q(group=other), day__gte=first, day__lt=end
    ).values_list("group", "day", "homes", "mean_ml", named=True)
)


def _others(row: Any, months: Mapping[date, PeerHome]) -> int:
    """Return how many homes a day's mean rests on besides the one that looks."""
    own = months.get(row.day.replace(day=1))
    return int(row.homes) - (own is not None and row.group in (own.by_class, own.by_size))

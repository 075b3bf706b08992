"""What the running billing period costs so far and what it will come to, in words, at the account's own rate."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.db.models import Q

from portal.billing.documents import figures
from portal.billing.projection import so_far_and_projected
from portal.billing.shelf import standing_shelf
from portal.core.prepared import Prepared
from portal.core.services import utility_zone
from portal.customers.models import Account
from portal.customers.permissions import Permission, allowed, allowed_to, viewer
from portal.resident.wording import moment_text
from rates.errors import RatesError

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

    from portal.core.models import User
    from portal.customers.models import ServicePoint
    from portal.customers.permissions import Viewer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CostCard:
    """The running period of one account. expected: empty while too little is known of its use."""

    account: Account
    amount: str
    cents: int
    used: str
    as_of: str
    period: str
    expected: str


def account_living_at(who: User | Viewer, service_point: ServicePoint, moment: datetime) -> Account | None:
    """Return the account that lives at a service point now, when the person may see its bills and it gets some."""
    seen = viewer(who)
    if seen.account is not None:
        found = _living(moment, service_point.pk).filter(allowed(seen, Permission.BILLS))[:1]
        return next(iter(found), None)
    return next(iter(LIVING(moment, service_point.pk, seen.user.pk)), None)


def _living(moment: datetime, service_point: int) -> QuerySet[Account]:
    rows = Account.objects.filter(
        Q(occupancies__end__isnull=True) | Q(occupancies__end__gt=moment),
        occupancies__service_point=service_point,
        occupancies__start__lte=moment,
        billing__isnull=False,
    )
    return rows.select_related("billing__cycle").order_by("pk")


LIVING: Prepared[Account] = Prepared(
    lambda moment, point, person: _living(moment, point).filter(allowed_to(person, Permission.BILLS))[:1]
)


def cost_card(account: Account, moment: datetime) -> CostCard | None:
    """Return the running period's cost; None when nothing can be said of it yet."""
    try:
        so_far, ahead = so_far_and_projected(account, moment)
        if so_far is None:
            return None
        quantity = standing_shelf().on(so_far.period.start).book.quantity
    except RatesError as error:  # terms that no rate fits: for the office to mend, no reason to show no page
        _log.warning("no cost so far for account %s: %s", account.public_id, error)
        return None
    used = figures.amount(so_far.units * Fraction(10) ** quantity.scale)
    last_day = so_far.period.end - timedelta(days=1)
    return CostCard(
        account=account,
        amount=figures.money(so_far.cents),
        cents=so_far.cents,
        used=f"{used} {figures.symbol(quantity.unit.value)}",
        as_of=moment_text(so_far.as_of, utility_zone()),
        period=f"{figures.short_day(so_far.period.start)} – {figures.short_day(last_day)}",
        expected="" if ahead is None else figures.money(ahead.cents),
    )

"""Bills: ready, and due soon. Nobody is reminded of what is paid, and nobody gets two emails of one bill."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q

from portal.alerts.choices import Choice, choices_of
from portal.alerts.kinds import RULES, Kind
from portal.alerts.models import Alert, Watermark
from portal.alerts.telling import REMIND_FROM_HOUR, Found, first_today, keep
from portal.billing.models import Bill, BillDelivery
from portal.core.services import utility_zone
from portal.customers.models import AccountAccess
from portal.customers.permissions import Permission, levels_with
from portal.ledger.services import balances
from portal.metering.calendar import midnight
from portal.notifications.notify import Channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from django.db.models import QuerySet

_MARK = "bills sent"
_OVERLAP = 2_000
"""Deliveries of two runs may commit out of order: so many are looked at twice."""
_FRESH = timedelta(days=3)


def look_for_new(now: datetime) -> list[Alert]:
    """Open alerts for bills that went out since the last look."""
    seen, _ = Watermark.objects.get_or_create(name=_MARK)
    rows = BillDelivery.objects.filter(
        Exists(_listening("bill__account")),
        ~Exists(Alert.objects.filter(about=OuterRef("bill__public_id"), kind=Kind.BILL_READY)),
        pk__gt=seen.value - _OVERLAP,
        queued_at__gt=now - _FRESH,
        bill__state=Bill.State.ISSUED,
    )
    sent = list(rows.select_related("bill__account").order_by("pk"))
    choices = choices_of({row.bill.account_id for row in sent})
    alerts = keep([_ready(row, choices.of(Kind.BILL_READY, row.bill.account_id)) for row in sent], now)
    newest = BillDelivery.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    Watermark.objects.filter(pk=seen.pk).update(value=max(seen.value, newest))
    return alerts


def look_for_due(now: datetime) -> list[Alert]:
    """Remind of bills that are due soon and still open, once a day in the morning."""
    local = now.astimezone(utility_zone())
    if local.hour < REMIND_FROM_HOUR or not first_today("bills due", local.toordinal()):
        return []
    today = local.date()
    rows = Bill.objects.filter(
        Exists(_listening("account")),
        state=Bill.State.ISSUED,
        due_date__gte=today,
        due_date__lte=today + timedelta(days=RULES[Kind.BILL_DUE].most),
    )
    bills = list(rows.select_related("account").order_by("due_date", "pk"))
    owed = balances({bill.account_id for bill in bills})
    choices = choices_of({bill.account_id for bill in bills})
    found: list[Found] = []
    for bill in bills:
        cents = min(owed.get(bill.account_id, 0), bill.due_cents)
        if cents > 0:
            found += _due(bill, cents, (bill.due_date - today).days, choices.of(Kind.BILL_DUE, bill.account_id))
    return keep(found, now)


def _ready(row: BillDelivery, who: Iterable[Choice]) -> Found:
    bill, who = row.bill, list(who)
    assert bill.issued_at is not None
    # The bill itself went to this address by email a moment ago: a second email would say the same.
    has_it = {choice.user.pk for choice in who if row.channel == "email" and choice.user.email == row.to.lower()}
    return Found(
        key=f"bill-ready:{bill.public_id}",
        kind=Kind.BILL_READY,
        account=bill.account_id,
        service_point=None,
        since=bill.issued_at,
        happened_at=bill.issued_at,
        evidence=_evidence(bill, bill.due_cents),
        who=who,
        about=bill.public_id,
        ended_at=_end_of(bill),
        without=dict.fromkeys(has_it, frozenset({Channel.EMAIL})),
    )


def _due(bill: Bill, cents: int, days: int, who: Iterable[Choice]) -> Iterator[Found]:
    by_days: dict[int, list[Choice]] = {}
    for choice in who:
        if days <= choice.number:
            by_days.setdefault(choice.number, []).append(choice)
    for number, some in by_days.items():
        due = midnight(bill.due_date, utility_zone())
        yield Found(
            key=f"bill-due:{bill.public_id}:{number}",
            kind=Kind.BILL_DUE,
            account=bill.account_id,
            service_point=None,
            since=due,
            happened_at=due,
            evidence={**_evidence(bill, cents), "days": number},
            who=some,
            about=bill.public_id,
            ended_at=_end_of(bill),
        )


def _end_of(bill: Bill) -> datetime:
    return midnight(bill.due_date + timedelta(days=1), utility_zone())


def _evidence(bill: Bill, cents: int) -> dict[str, object]:
    return {"bill_date": bill.bill_date.isoformat(), "due_date": bill.due_date.isoformat(), "cents": cents}


def _listening(account: str) -> QuerySet[AccountAccess]:
    return AccountAccess.objects.filter(
        Q(level__in=levels_with(Permission.ALERTS)) & Q(level__in=levels_with(Permission.BILLS)),
        account=OuterRef(account),
        ended_at__isnull=True,
    )

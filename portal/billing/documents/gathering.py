"""Gathers the facts of bills from the database: many bills with the same few queries as one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.db.models import Max, Q, Sum

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.billing.documents.facts import (
    BillFacts,
    BudgetFacts,
    DialFacts,
    LineFacts,
    Movement,
    PeriodFacts,
    SegmentFacts,
    UtilityFacts,
)
from portal.billing.documents.prices import late_fee_on, version_facts
from portal.billing.models import Bill, BilledDial, BillingAccount, BillLine, BillSegment, BudgetPlan
from portal.core.services import utility_settings, utility_zone
from portal.ledger.chart import BUDGET_DEFERRED, RECEIVABLES
from portal.ledger.models import Posting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from zoneinfo import ZoneInfo

CHART_PERIODS = 13


def gather(bills: Sequence[Bill]) -> list[BillFacts]:
    """Return the facts of bills as the database has them now, in their order."""
    if not bills:
        return []
    around = _Surroundings.of(bills)
    return [_facts(bill, around) for bill in bills]


def utility_facts() -> UtilityFacts:
    """Return the utility as its settings stand."""
    row = utility_settings()
    return UtilityFacts(
        name=row.name,
        contact_phone=row.contact_phone,
        contact_email=row.contact_email,
        portal_url=row.portal_url.rstrip("/"),
        postal_address=lines_of(row.postal_address),
        ways_to_pay=tuple(row.ways_to_pay),
        dispute=dict(row.dispute),
    )


@dataclass(frozen=True, slots=True)
class _Earlier:
    """One issued bill of an account and what it used; entry: its place in the journal, None when it has none."""

    bill: int
    entry: int | None
    start: date
    end: date
    litres: Fraction
    quality: int


@dataclass(frozen=True, slots=True)
class _Moved:
    """One entry on an account's receivables."""

    entry: int
    movement: Movement


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What was read for all of them at once, by id of the bill, the segment or the account."""

    zone: ZoneInfo
    utility: UtilityFacts
    billing: Mapping[int, BillingAccount]
    accounts: Mapping[int, tuple[str, str]]
    replaced: Mapping[int, str]
    segments: Mapping[int, list[BillSegment]]
    dials: Mapping[int, list[BilledDial]]
    lines: Mapping[int, list[BillLine]]
    earlier: Mapping[int, list[_Earlier]]
    moved: Mapping[int, list[_Moved]]
    plans: Mapping[int, BudgetPlan]
    deferred: Mapping[int, int]

    @classmethod
    def of(cls, bills: Sequence[Bill]) -> _Surroundings:
        ids = [bill.pk for bill in bills]
        accounts = sorted({bill.account_id for bill in bills})
        segments = BillSegment.objects.filter(bill__in=ids).order_by("start", "pk")
        dials = BilledDial.objects.filter(segment__bill__in=ids).order_by("start", "pk")
        earlier = _earlier(accounts)
        replaces = [bill.replaces_id for bill in bills if bill.replaces_id is not None]
        return cls(
            zone=utility_zone(),
            utility=utility_facts(),
            billing=BillingAccount.objects.in_bulk(accounts),
            accounts={
                pk: (number, name)
                for pk, number, name in Bill.objects.filter(pk__in=ids).values_list(
                    "account_id", "account__number", "account__name"
                )
            },
            replaced={
                pk: number or ""
                for pk, number in Bill.objects.filter(pk__in=replaces).values_list("pk", "number")
                if replaces
            },
            segments=_by(segments.select_related("agreement__service_point__premise", "rate_book"), "bill_id"),
            dials=_by(dials.select_related("register__meter"), "segment_id"),
            lines=_by(BillLine.objects.filter(bill__in=ids).order_by("position"), "bill_id"),
            earlier=earlier,
            moved=_moved(accounts, earlier),
            plans={plan.account_id: plan for plan in BudgetPlan.objects.filter(account__in=accounts, end=None)},
            deferred=dict(
                Posting.objects.filter(account__in=accounts, ledger_account__code=BUDGET_DEFERRED)
                .values_list("account_id")
                .annotate(Sum("amount_cents"))
            ),
        )


def _earlier(accounts: Sequence[int]) -> dict[int, list[_Earlier]]:
    """Return the issued bills of accounts with what they used, in order, each with its parts added up."""
    rows = (
        BillSegment.objects.filter(bill__account__in=accounts, bill__state="issued")
        .values_list(
            "bill_id",
            "bill__entry_id",
            "bill__account_id",
            "bill__period_start",
            "bill__period_end",
            "unit",
            "unit_scale",
        )
        .annotate(Sum("units"), Max("quality"))
        .order_by("bill__period_end", "bill_id")
    )
    found: dict[int, dict[int, _Earlier]] = defaultdict(dict)
    for bill, entry, account, start, end, unit, scale, units, quality in rows:
        litres = units * count_value(Unit(unit), scale)
        before = found[account].get(bill)
        if before is not None:
            litres, quality = litres + before.litres, max(quality, before.quality)
        found[account][bill] = _Earlier(bill, entry, start, end, litres, quality)
    return {account: list(bills.values()) for account, bills in found.items()}


def _moved(accounts: Sequence[int], earlier: Mapping[int, list[_Earlier]]) -> dict[int, list[_Moved]]:
    """Return what moved accounts' receivables since the last bill but one of each, in the order of the journal.

    Entries are told apart by their place in the journal: days and clocks may repeat, it does not.
    """
    old = [account for account in accounts if account in earlier]
    wanted = Q(account__in=[account for account in accounts if account not in earlier])
    if old:
        # The last bill may be one of those asked for: then the one before it is where its movements start.
        since = min(_newest_entry(earlier[account][:-1]) for account in old)
        wanted |= Q(account__in=old, entry__gt=since)
    rows = (
        Posting.objects.filter(wanted, ledger_account__code=RECEIVABLES)
        .values_list("account_id", "entry_id", "entry__date", "entry__kind")
        .annotate(Sum("amount_cents"))
        .order_by("entry_id")
    )
    found: dict[int, list[_Moved]] = defaultdict(list)
    for account, entry, day, kind, cents in rows:
        if cents:
            found[account].append(_Moved(entry, Movement(day, kind, cents)))
    return found


def _newest_entry(bills: Sequence[_Earlier]) -> int:
    """Return the place in the journal of the newest bill that has one, 0 when none has."""
    return next((bill.entry for bill in reversed(bills) if bill.entry is not None), 0)


def _facts(bill: Bill, around: _Surroundings) -> BillFacts:
    account = bill.account_id
    billing = around.billing.get(account)
    segments = around.segments.get(bill.pk, [])
    index = {segment.pk: n for n, segment in enumerate(segments)}
    before = [
        item for item in around.earlier.get(account, []) if item.bill != bill.pk and item.end <= bill.period_start
    ]
    moved = _since(before, bill, around.moved.get(account, []))
    versions = {(segment.rate_book_id, segment.version): segment for segment in segments}
    number, name = around.accounts[account]
    return BillFacts(
        public_id=bill.public_id,
        number=bill.number or "",
        kind=bill.kind,
        state=bill.state,
        language=billing.language if billing else "en",
        account_number=number,
        name=name,
        mail_to=lines_of(billing.mail_to) if billing else (),
        period_start=bill.period_start,
        period_end=bill.period_end,
        bill_date=bill.bill_date,
        due_date=bill.due_date,
        charges_cents=bill.charges_cents,
        balance_before_cents=bill.balance_before_cents,
        due_cents=bill.due_cents,
        utility=around.utility,
        previous_cents=bill.balance_before_cents - sum(item.amount_cents for item in moved),
        estimated=bill.estimated,
        replaces=around.replaced.get(bill.replaces_id, "") if bill.replaces_id is not None else "",
        movements=tuple(moved),
        segments=tuple(_segment(segment) for segment in segments),
        lines=tuple(_line(line, index) for line in around.lines.get(bill.pk, [])),
        dials=tuple(
            _dial(dial, index[pk], around.zone) for pk in index for dial in around.dials.get(pk, [])
        ),
        versions=tuple(version_facts(segment.rate_book, segment.version) for segment in versions.values()),
        periods=_periods(bill, segments, before),
        budget=_budget(around.plans.get(account), around.deferred.get(account, 0)),
        late_fee=late_fee_on(segments[-1].rate_book, bill.bill_date) if segments else None,
    )  # fmt: skip


def _since(before: Sequence[_Earlier], bill: Bill, moved: Sequence[_Moved]) -> list[Movement]:
    """Return what moved the balance after the last bill was posted and before this one was."""
    last = _newest_entry(before)
    return [
        item.movement for item in moved if item.entry > last and (bill.entry_id is None or item.entry < bill.entry_id)
    ]


def _segment(segment: BillSegment) -> SegmentFacts:
    point = segment.agreement.service_point
    return SegmentFacts(
        start=segment.start,
        end=segment.end,
        days=segment.days,
        full_days=segment.full_days,
        units=segment.units,
        unit=segment.unit,
        unit_scale=segment.unit_scale,
        remainder=segment.remainder,
        quality=segment.quality,
        version=segment.version,
        rate_class=segment.agreement.rate_class,
        address=", ".join(part for part in (point.premise.address, point.premise.city) if part),
        place=point.label,
        inputs=segment.inputs,
    )


def _line(line: BillLine, index: Mapping[int, int]) -> LineFacts:
    return LineFacts(
        service=line.service,
        code=line.code,
        kind=line.kind,
        label=line.label,
        amount_cents=line.amount_cents,
        segment=index.get(line.segment_id) if line.segment_id is not None else None,
        tier=line.tier,
        lower=line.lower,
        upper=line.upper,
        quantity=line.quantity,
        price=line.price,
        per=line.per,
        days=line.days,
        full_days=line.full_days,
        version=line.version,
    )


def _dial(dial: BilledDial, segment: int, zone: ZoneInfo) -> DialFacts:
    register = dial.register
    return DialFacts(
        segment=segment,
        meter_id=register.meter.meter_id,
        register_id=register.register_id,
        unit=register.unit,
        scale=register.scale,
        start=dial.start.astimezone(zone).date(),
        end=dial.end.astimezone(zone).date(),
        first_count=dial.first_count,
        last_count=dial.last_count,
        first_shown=dial.first_shown,
        last_shown=dial.last_shown,
        modulus=register.modulus,
        first_quality=dial.first_quality,
        last_quality=dial.last_quality,
        first_interpolated=dial.first_interpolated,
        last_interpolated=dial.last_interpolated,
    )


def _periods(bill: Bill, segments: Sequence[BillSegment], before: Sequence[_Earlier]) -> tuple[PeriodFacts, ...]:
    """Return what the last periods used, in whole units of this bill, this one last."""
    if not segments:
        return ()
    one = count_value(Unit(segments[0].unit), segments[0].unit_scale)
    litres = sum((s.units * count_value(Unit(s.unit), s.unit_scale) for s in segments), Fraction(0))
    used = [(item.start, item.end, item.litres, item.quality) for item in before[-(CHART_PERIODS - 1) :]]
    used.append((bill.period_start, bill.period_end, litres, max(segment.quality for segment in segments)))
    return tuple(
        PeriodFacts(start, end, units=amount // one, estimated=quality != ReadQuality.MEASURED)
        for start, end, amount, quality in used
    )


def _budget(plan: BudgetPlan | None, deferred_cents: int) -> BudgetFacts | None:
    if plan is None:
        return None
    return BudgetFacts(plan.amount_cents, plan.start, plan.settle_on, deferred_cents)


def lines_of(text: str) -> tuple[str, ...]:
    """Return the lines of an address that hold something."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _by(rows: Iterable[Any], attribute: str) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        found[getattr(row, attribute)].append(row)
    return found

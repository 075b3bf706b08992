"""Gathers the facts that bills follow from, for many accounts at once: a number of queries that does not grow.

Nothing is written here. A bill whose facts have a gap gets a finding that says which, and what to do about it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.db.models import Q, Sum

from domain.reading import ReadQuality
from portal.billing.boundaries import Estimator, Known, KnownDial, complete
from portal.billing.calculation import AccountFacts, EarlierBill, Finding, NewWinter, PointFacts, Terms, Waiting
from portal.billing.models import Bill, BilledDial, BillLine, BillSegment, Charge, ServiceAgreement
from portal.billing.periods import Period, nominal_days
from portal.billing.proration import Carried, parts_of
from portal.billing.reading import likely_count, no_count, validated, write_estimates
from portal.billing.winter import Winters, made, made_asks, missing, standing
from portal.core.prepared import Prepared
from portal.core.services import utility_zone
from portal.metering.calendar import midnight
from portal.metering.spans import metered_at
from rates.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from django.db.models import QuerySet

    from portal.billing.models import Cycle
    from portal.billing.shelf import Shelf
    from portal.billing.winter import Key
    from portal.core.prepared import Ask
    from portal.metering.spans import MeteredPart
    from rates.winter import WinterRule

_LOOK_BACK = timedelta(days=800)
_EARLIER_AT_MOST = 24


@dataclass(frozen=True, slots=True)
class Want:
    """A bill that is wanted: for which account and days, and up to which day waiting charges go on it."""

    account: int
    period: Period
    cycle: Cycle
    charges_through: date


@dataclass(frozen=True, slots=True)
class _Before:
    """A bill before the one that is wanted."""

    pk: int
    public_id: str
    number: str
    period: Period
    state: str
    estimated: bool
    made_up: frozenset[str]


def gather(
    wants: Sequence[Want], shelf: Shelf, *, without: Collection[int] = (), record: bool = False
) -> dict[int, AccountFacts]:
    """Return the facts by account (one bill wanted of each).

    without  bills (row ids) that are to be replaced: nothing is carried on from them, and their charges wait again.
    record   estimates and what validation finds are written down; a preview writes nothing.
    """
    zone = utility_zone()
    terms = terms_of(wants)
    before = _bills_before(wants, without)
    chains = {want.account: _estimated_before(want, before[want.account]) for want in wants}
    plans = [Plan(want, chains[want.account], terms[want.account], shelf, zone) for want in wants]
    edges = _edges(plans)
    parts = metered_at(edges)
    if record and (guessed := write_estimates(_ends(plans), parts, _most_estimates(plans, shelf))):
        parts |= metered_at({point: edges[point] for point in guessed})
    seen = validated(_places(plans), parts, record=record)
    chains_now = {plan.want.account: plan.chain if plan.can_make_up(parts) else [] for plan in plans}
    plans = [Plan(want, chains_now[want.account], terms[want.account], shelf, zone) for want in wants]
    known = known_before(plans, without)
    winters, new_winters = winters_for(wants, terms, shelf)
    waiting = _waiting(wants, without)
    made_of = _made_of([bill for bills in chains_now.values() for bill in bills])
    result = {}
    for plan in plans:
        account = plan.want.account
        points, findings = _points(plan, parts, known, winters, no_count if record else likely_count)
        result[account] = AccountFacts(
            account=account,
            period=plan.want.period,
            nominal_days=nominal_days(plan.want.cycle, plan.want.period.end),
            zone=zone,
            terms=tuple(terms[account]),
            points=points,
            waiting=tuple(waiting[account]),
            earlier=tuple(made_of(bill, nominal_days(plan.want.cycle, bill.period.end)) for bill in plan.chain),
            findings=(*_still_open(before[account], plan.want.period), *seen[account], *findings),
            new_winters=tuple(new_winters[account]),
        )
    return result


class Plan:
    """What has to be known for one wanted bill: from which day on, and at which moments of its service points."""

    def __init__(
        self, want: Want, chain: Sequence[_Before], terms: Sequence[Terms], shelf: Shelf, zone: ZoneInfo
    ) -> None:
        self.want, self.chain, self.zone = want, chain, zone
        periods = [*(bill.period for bill in chain), want.period]
        days: dict[int, set[date]] = defaultdict(set)
        for row in terms:
            for period in periods:
                start, end = max(row.start, period.start), min(row.end or period.end, period.end)
                if row.metered and start < end:
                    days[row.service_point].update(
                        day for part in parts_of(start, end, shelf.changes(start, end)) for day in part
                    )
        self.days = {point: sorted(found) for point, found in days.items()}
        self.moments = {point: [midnight(day, zone) for day in found] for point, found in self.days.items()}

    def can_make_up(self, parts: dict[int, list[MeteredPart]]) -> bool:
        """Tell whether the boundary at which the estimated bills end is known by now."""
        start = midnight(self.want.period.start, self.zone)
        counts = [
            part.at(start)
            for point, days in self.days.items()
            for part in parts[point]
            if self.want.period.start in days and part.start < start < part.end
        ]
        return all(count is not None and count.quality != ReadQuality.ESTIMATED for count in counts)


def _edges(plans: Sequence[Plan]) -> dict[int, list[datetime]]:
    edges: dict[int, set[datetime]] = defaultdict(set)
    for plan in plans:
        for point, moments in plan.moments.items():
            edges[point].update(moments)
    return {point: sorted(moments) for point, moments in edges.items()}


def _ends(plans: Sequence[Plan]) -> dict[int, datetime]:
    """Return by service point the moment at which its bill ends."""
    return {point: moments[-1] for plan in plans for point, moments in plan.moments.items()}


def _most_estimates(plans: Sequence[Plan], shelf: Shelf) -> dict[int, int]:
    """Return by service point how many estimates in a row the policies allow."""
    by_day: dict[date, int] = {}
    for plan in plans:
        day = plan.want.period.start
        if day not in by_day:
            try:
                by_day[day] = shelf.on(day).book.policies(day).estimation.max_consecutive
            except InputError:
                by_day[day] = 0  # without a book there is no bill, and the calculation says so
    return {point: by_day[plan.want.period.start] for plan in plans for point in plan.moments}


def _places(plans: Sequence[Plan]) -> dict[tuple[int, int], tuple[datetime, datetime]]:
    """Return where and from when to when validation looks for each account: the wanted period alone."""
    return {
        (plan.want.account, point): (max(moments[0], midnight(plan.want.period.start, plan.zone)), moments[-1])
        for plan in plans
        for point, moments in plan.moments.items()
        if plan.days[point][-1] > plan.want.period.start
    }


def _points(
    plan: Plan,
    parts: dict[int, list[MeteredPart]],
    known: dict[tuple[int, date], Known],
    winters: Winters,
    estimate: Estimator,
) -> tuple[dict[int, PointFacts], list[Finding]]:
    points, findings = dict[int, PointFacts](), list[Finding]()
    for point, moments in plan.moments.items():
        before = known.get((point, plan.days[point][0]))
        whole, seen = complete(parts[point], moments, before, estimate)
        findings += seen
        carried = None if before is None else Carried(before.litres)
        points[point] = PointFacts(tuple(whole), carried, winters.get((plan.want.account, point), ()))
    return points, findings


def winters_for(
    wants: Sequence[Want], terms: Mapping[int, Sequence[Terms]], shelf: Shelf
) -> tuple[Winters, dict[int, list[NewWinter]]]:
    """Return the winter averages that stand, with those that have to be made now, and the latter by account."""
    winters = standing([want.account for want in wants])
    fresh = made(_missing(wants, terms, shelf, winters))
    by_account: dict[int, list[NewWinter]] = defaultdict(list)
    for (account, point), winter in fresh.items():
        winters[account, point] = (*winters.get((account, point), ()), (winter.start, winter.units))
        by_account[account].append(winter)
    return winters, by_account


def _missing(
    wants: Sequence[Want], terms: Mapping[int, Sequence[Terms]], shelf: Shelf, known: Winters
) -> dict[Key, tuple[date, WinterRule]]:
    return missing({want.account: (want.period, terms[want.account]) for want in wants}, shelf, known)


def winter_asks(want: Want, terms: Sequence[Terms], shelf: Shelf) -> list[Ask]:
    """Return what `winters_for` of one wanted bill is going to ask, to be asked ahead with more."""
    return made_asks(_missing([want], {want.account: terms}, shelf, standing([want.account])))


def terms_of(wants: Sequence[Want]) -> dict[int, list[Terms]]:
    """Return the agreements that bear on wanted bills and the months before them, by account."""
    result: dict[int, list[Terms]] = {want.account: [] for want in wants}
    if not wants:
        return result
    end, since = max(want.period.end for want in wants), min(want.period.start for want in wants) - _LOOK_BACK
    for row in AGREEMENTS(*result) if len(result) == 1 else _agreements((*result,), end, since):
        if row.start >= end or (row.end is not None and row.end <= since):
            continue
        result[row.account_id].append(
            Terms(
                row.pk,
                row.service_point_id,
                row.rate_class,
                row.start,
                row.end,
                tuple(row.services),
                row.inputs,
            )
        )
    return result


def _agreements(accounts: Sequence[int], end: date, since: date) -> QuerySet[ServiceAgreement]:
    rows = ServiceAgreement.objects.filter(account__in=accounts, start__lt=end)
    return rows.filter(Q(end__isnull=True) | Q(end__gt=since)).order_by("service_point", "start")


AGREEMENTS: Prepared[ServiceAgreement] = Prepared(
    lambda account: ServiceAgreement.objects.filter(account=account).order_by("service_point", "start")
)
"""All agreements of one account."""


def _bills_before(wants: Sequence[Want], without: Collection[int]) -> dict[int, list[_Before]]:
    result: dict[int, list[_Before]] = {want.account: [] for want in wants}
    starts = {want.account: want.period.start for want in wants}
    if not wants:
        return result
    rows = (
        Bill.objects.filter(account__in=result, period_end__in=set(starts.values()))
        | Bill.objects.filter(account__in=result, estimated=True, period_end__gt=min(starts.values()) - _LOOK_BACK)
    ).exclude(state=Bill.State.CANCELLED)
    columns = ("pk", "public_id", "number", "account", "period_start", "period_end", "state", "estimated", "findings")
    for pk, public_id, number, account, start, end, state, estimated, findings in rows.order_by(
        "period_end"
    ).values_list(*columns):
        if end <= starts[account] and pk not in without:
            made_up = frozenset(found["detail"]["bill"] for found in findings if found["code"] == "true-up")
            period = Period(start, end)
            result[account].append(_Before(pk, public_id, number or "", period, state, estimated, made_up))
    return result


def _estimated_before(want: Want, bills: Sequence[_Before]) -> list[_Before]:
    """Return the estimated bills that lead up to the wanted one without a gap, oldest first."""
    chain, end, made_up = list[_Before](), want.period.start, set[str]()
    for bill in reversed(bills):
        if bill.period.end != end or not bill.estimated or len(chain) == _EARLIER_AT_MOST:
            break
        if bill.public_id in made_up:
            break
        made_up |= bill.made_up
        chain.append(bill)
        end = bill.period.start
    return chain[::-1]


def asks_before(plan: Plan) -> list[Ask]:
    """Return what `known_before` of one plan is going to ask, to be asked ahead with more."""
    return [(_SEGMENTS, *_points_and_days(wanted))] if (wanted := _starts([plan])) else []


def _starts(plans: Sequence[Plan]) -> set[tuple[int, date]]:
    return {(point, days[0]) for plan in plans for point, days in plan.days.items()}


def _points_and_days(wanted: Collection[tuple[int, date]]) -> tuple[tuple[int, ...], tuple[date, ...]]:
    return tuple(sorted({point for point, _ in wanted})), tuple(sorted({day for _, day in wanted}))


def known_before(plans: Sequence[Plan], without: Collection[int]) -> dict[tuple[int, date], Known]:
    """Return where the bills before ended, by service point and day: whoever had the account then."""
    wanted = _starts(plans)
    if not wanted:
        return {}
    points, days = _points_and_days(wanted)
    rows: Iterable[tuple[int, int, date, str]] = (
        _segments(points, days).exclude(bill__in=without) if without or len(plans) > 1 else _SEGMENTS(points, days)
    )
    found = {pk: (point, end, remainder) for pk, point, end, remainder in rows if (point, end) in wanted}
    if not found:
        return {}
    dials: dict[int, dict[int, KnownDial]] = defaultdict(dict)
    columns = ("segment", "register", "last_shown", "last_quality", "last_interpolated", "last_us")
    for segment, register, shown, quality, interpolated, us in BilledDial.objects.filter(segment__in=found).values_list(
        *columns
    ):
        dials[segment][register] = KnownDial(shown, ReadQuality(quality), interpolated, tuple(us))
    return {(point, end): Known(Fraction(rest), dials[pk]) for pk, (point, end, rest) in found.items()}


def _segments(points: Sequence[int], days: Sequence[date]) -> QuerySet[BillSegment, tuple[int, int, date, str]]:
    rows = BillSegment.objects.filter(agreement__service_point__in=points, end__in=days)
    rows = rows.exclude(bill__state=Bill.State.CANCELLED)
    return rows.values_list("pk", "agreement__service_point", "end", "remainder")


_SEGMENTS: Prepared[tuple[int, int, date, str]] = Prepared(_segments)


def _waiting(wants: Sequence[Want], without: Collection[int]) -> dict[int, list[Waiting]]:
    through = {want.account: want.charges_through for want in wants}
    result: dict[int, list[Waiting]] = {account: [] for account in through}
    rows = Charge.objects.filter(account__in=through, waived_at__isnull=True)
    rows = rows.filter(Q(line__isnull=True) | Q(line__bill__in=without)) if without else rows.filter(line__isnull=True)
    for row in rows.order_by("on", "pk"):
        if row.on <= through[row.account_id]:
            result[row.account_id].append(
                Waiting(row.pk, row.kind, row.service, row.code, row.label, row.amount_cents, row.detail)
            )
    return result


def _made_of(bills: Sequence[_Before]) -> Callable[[_Before, int], EarlierBill]:
    """Return what turns an estimated bill into what it has to be compared with."""
    cents: dict[int, dict[str, int]] = defaultdict(dict)
    units: dict[int, dict[int, int]] = defaultdict(dict)
    ids = [bill.pk for bill in bills]
    if ids:
        lines = BillLine.objects.filter(bill__in=ids, segment__isnull=False)
        for bill, service, total in lines.values_list("bill", "service").annotate(total=Sum("amount_cents")).order_by():
            cents[bill][service] = total
        segments = BillSegment.objects.filter(bill__in=ids)
        for bill, point, total in (
            segments.values_list("bill", "agreement__service_point").annotate(total=Sum("units")).order_by()
        ):
            units[bill][point] = total

    def compared(bill: _Before, nominal: int) -> EarlierBill:
        return EarlierBill(bill.public_id, bill.number, bill.period, nominal, cents[bill.pk], units[bill.pk])

    return compared


def _still_open(bills: Sequence[_Before], period: Period) -> list[Finding]:
    return [
        Finding(
            "earlier-bill-open",
            "hold",
            {"bill": bill.public_id, "text": "the bill before this one is not issued; issue it, then calculate again"},
        )
        for bill in bills
        if bill.period.end == period.start and bill.state in (Bill.State.DRAFT, Bill.State.HELD)
    ]

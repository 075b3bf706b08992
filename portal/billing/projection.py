"""What the running period costs so far, and what it will probably come to: the account's own rates, its own recent use.

Both are the bill of the whole period with another count at its end: the last one known, or where the use of the last
four weeks leads to. They are priced by `calculate`, as the bill will be; nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from portal.billing.bills import period_start
from portal.billing.boundaries import complete
from portal.billing.calculation import AccountFacts, BilledLine, PointFacts, Terms, calculate
from portal.billing.gathering import Plan, Want, asks_before, known_before, terms_of, winter_asks, winters_for
from portal.billing.models import BillingAccount
from portal.billing.periods import Period, nominal_days, period_with
from portal.billing.proration import Carried
from portal.billing.shelf import Shelf, standing_shelf
from portal.core.remembering import remembered
from portal.core.services import utility_zone
from portal.metering.spans import BoundaryCount, MeteredPart, metered_at
from rates.errors import RatesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from portal.billing.boundaries import Known
    from portal.billing.winter import Winters
    from portal.core.prepared import Ask
    from portal.customers.models import Account

RECENT = timedelta(days=28)
_RECENT_LEAST = timedelta(days=3)
_UNPRICED = frozenset({"cannot-price", "nothing-to-bill"})


@dataclass(frozen=True, slots=True)
class CostSoFar:
    """The running period of an account.

    cents   what its services come to with the use so far, or with the use that is to be expected.
    units   billed units of all its meters; as_of: the newest read behind them.
    """

    cents: int
    units: int
    as_of: datetime
    period: Period
    lines: tuple[BilledLine, ...]


def cost_so_far(account: Account, now: datetime) -> CostSoFar | None:
    """Return what the running period would cost if no more water were used; None when nothing can be said."""
    running = _gathered(account, now)
    return None if running is None else _priced(running, expect=False)


def projected(account: Account, now: datetime) -> CostSoFar | None:
    """Return what the running period will come to if the use of the last four weeks goes on; None without reads."""
    running = _gathered(account, now)
    return None if running is None else _priced(running, expect=True)


def so_far_and_projected(account: Account, now: datetime) -> tuple[CostSoFar | None, CostSoFar | None]:
    """Return both, from one look."""
    running = _gathered(account, now)
    return (None, None) if running is None else (_priced(running, expect=False), _priced(running, expect=True))


def asks_of(account: Account, now: datetime) -> list[Ask]:
    """Return what both prices are going to ask besides the account's agreements and counts, to be asked with more.

    Nothing where no rate fits: whoever asks for the prices is told.
    """
    try:
        if (planned := _planned(account, now)) is not None:
            return [*asks_before(planned.plan), *winter_asks(planned.plan.want, planned.terms, planned.shelf)]
    except RatesError:
        pass
    return []


def looked_at(account: Account, now: datetime) -> dict[int, list[datetime]]:
    """Return at which moments both prices look at the account's service points; at none where no rate fits."""
    try:
        planned = _planned(account, now)
    except RatesError:
        return {}
    return {} if planned is None else planned.edges(now)


@dataclass(frozen=True, slots=True)
class _Planned:
    """What is asked about one running period."""

    plan: Plan
    terms: Sequence[Terms]
    shelf: Shelf

    def edges(self, now: datetime) -> dict[int, list[datetime]]:
        return {point: _edges(moments, now) for point, moments in self.plan.moments.items()}


def _planned(account: Account, now: datetime) -> _Planned | None:
    return remembered(("planned", account.pk, now), lambda: _plan(account, now))


def _plan(account: Account, now: datetime) -> _Planned | None:
    row: BillingAccount | None = getattr(account, "billing", None)
    if row is None:
        return None
    zone, shelf = utility_zone(), standing_shelf()
    day = now.astimezone(zone).date()
    period = _running(row, day)
    if period is None or not shelf.books:
        return None
    want = Want(account.pk, period, row.cycle, day)
    terms = terms_of([want])[account.pk]
    return _Planned(Plan(want, (), terms, shelf, zone), terms, shelf)


@dataclass(frozen=True, slots=True)
class _Running:
    """What both prices of one running period rest on."""

    plan: Plan
    terms: Sequence[Terms]
    shelf: Shelf
    now: datetime
    parts: Mapping[int, Sequence[MeteredPart]]
    before: Mapping[tuple[int, date], Known]
    winters: Winters
    newest: datetime


def _gathered(account: Account, now: datetime) -> _Running | None:
    planned = _planned(account, now)
    if planned is None:
        return None
    plan, terms, shelf = planned.plan, planned.terms, planned.shelf
    parts = metered_at(planned.edges(now))
    before = known_before([plan], ())
    winters, _ = winters_for([plan.want], {account.pk: terms}, shelf)
    newest = [part.counts[-1].at for point in plan.moments for part in parts[point] if part.counts]
    return _Running(plan, terms, shelf, now, parts, before, winters, max(newest)) if newest else None


def _priced(running: _Running, *, expect: bool) -> CostSoFar | None:
    plan, points = running.plan, dict[int, PointFacts]()
    want = plan.want
    for point, moments in plan.moments.items():
        known = running.before.get((point, plan.days[point][0]))
        counted = (part for part in running.parts[point] if part.counts)
        hung = [_to_the_end(part, moments[-1], running.now, expect=expect) for part in counted]
        whole, _ = complete(hung, moments, known, lambda part, at: None)
        carried = None if known is None else Carried(known.litres)
        points[point] = PointFacts(tuple(whole), carried, running.winters.get((want.account, point), ()))
    facts = AccountFacts(
        account=want.account,
        period=want.period,
        nominal_days=nominal_days(want.cycle, want.period.end),
        zone=plan.zone,
        terms=tuple(running.terms),
        points=points,
    )
    return _told(facts, running.shelf, running.newest)


def _running(row: BillingAccount, day: date) -> Period | None:
    whole = period_with(row.cycle, day)
    start = max(period_start(row, whole.start), whole.start)
    return Period(start, whole.end) if start < whole.end and row.closed_on is None else None


def _edges(moments: Sequence[datetime], now: datetime) -> list[datetime]:
    recent = max(now - RECENT, datetime(1970, 1, 1, tzinfo=UTC))
    return sorted({recent, *(moment for moment in moments if moment < now), now})


def _to_the_end(part: MeteredPart, end: datetime, now: datetime, *, expect: bool) -> MeteredPart:
    """Return the part with a count at the period's end: its last one, or more by its recent use."""
    if part.end < now:
        return part  # the meter was taken off
    last, past, ahead = part.counts[-1], part.counts[0], 0
    if expect and last.at - past.at >= _RECENT_LEAST:
        use = Fraction((last.count - past.count) * ((end - last.at) // _US), (last.at - past.at) // _US)
        ahead = max(0, round(use))
    count = last.count + ahead
    shown = count if part.modulus is None else count % part.modulus
    made = BoundaryCount(end, count, shown, ReadQuality.ESTIMATED, True, last.read_us)
    kept = tuple(one for one in part.counts if one.at < end)
    return replace(part, end=end, counts=(*kept, made))


_US = timedelta(microseconds=1)


def _told(facts: AccountFacts, shelf: Shelf, as_of: datetime) -> CostSoFar | None:
    bill = calculate(facts, shelf)
    if any(finding.severity == "hold" and finding.code in _UNPRICED for finding in bill.findings):
        return None  # a sum without the part that no rate fits would be too low
    units = sum(bill.units_by_point().values())
    return CostSoFar(bill.charges_cents, units, as_of, facts.period, bill.lines)

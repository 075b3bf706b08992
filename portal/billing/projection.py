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
from portal.billing.calculation import AccountFacts, BilledLine, PointFacts, calculate
from portal.billing.gathering import Plan, Want, known_before, terms_of, winters_for
from portal.billing.models import BillingAccount
from portal.billing.periods import Period, nominal_days, period_with
from portal.billing.proration import Carried
from portal.billing.shelf import Shelf, standing_shelf
from portal.core.services import utility_zone
from portal.metering.spans import BoundaryCount, MeteredPart, metered_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

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
    return _priced(account, now, expect=False)


def projected(account: Account, now: datetime) -> CostSoFar | None:
    """Return what the running period will come to if the use of the last four weeks goes on; None without reads."""
    return _priced(account, now, expect=True)


def _priced(account: Account, now: datetime, *, expect: bool) -> CostSoFar | None:
    row = BillingAccount.objects.select_related("cycle").filter(account=account).first()
    if row is None:
        return None
    zone, shelf = utility_zone(), standing_shelf()
    day = now.astimezone(zone).date()
    period = _running(row, day)
    if period is None or not shelf.books:
        return None
    want = Want(account.pk, period, row.cycle, day)
    terms = terms_of([want])
    plan = Plan(want, (), terms[account.pk], shelf, zone)
    parts = metered_at({point: _edges(moments, now) for point, moments in plan.moments.items()})
    before = known_before([plan], ())
    winters, _ = winters_for([want], terms, shelf)
    points, newest = dict[int, PointFacts](), list[datetime]()
    for point, moments in plan.moments.items():
        known = before.get((point, plan.days[point][0]))
        hung = [_to_the_end(part, moments[-1], now, expect=expect) for part in parts[point] if part.counts]
        newest += [part.counts[-1].at for part in parts[point] if part.counts]
        whole, _ = complete(hung, moments, known, lambda part, at: None)
        carried = None if known is None else Carried(known.litres)
        points[point] = PointFacts(tuple(whole), carried, winters.get((account.pk, point), ()))
    if not newest:
        return None
    facts = AccountFacts(
        account=account.pk,
        period=period,
        nominal_days=nominal_days(row.cycle, period.end),
        zone=zone,
        terms=tuple(terms[account.pk]),
        points=points,
    )
    return _told(facts, shelf, max(newest))


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

"""`headwater portal reconcile-bills`: a second opinion on every issued bill.

It reads the rows of bills, registers, reads, batches and ledger and uses nothing of the calculation. What it compares:
  days      every day of an agreement is billed once; bills of an account neither overlap nor leave a day out
  dials     both ends of each billed dial are what the stored reads say, brought by a stored batch or the office
  units     billed units and what is carried on are the register difference over the whole time, meter by meter
  chart     between the same moments the chart counts what the bill counts; its months sum to the same
  money     lines sum to the bill, a usage line is its quantity times its price, the bill is its ledger entry
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from domain.units import Unit, counts_to
from portal.billing.auditing import audit_all
from portal.billing.models import Bill, BillLine, BillSegment
from portal.billing.reconciling.days import check_days, place_of
from portal.billing.reconciling.difference import Difference
from portal.billing.reconciling.facts import segments_of
from portal.billing.reconciling.points import chains, check_chart, check_dials, check_follows, residual
from portal.billing.reconciling.reads import look_up
from portal.core.services import utility_zone
from portal.customers.models import ServicePoint
from portal.metering.calendar import midnight
from portal.metering.reads import snapshot
from portal.metering.spans import metered_at
from portal.metering.usage import PLACES, usage
from rates.book import cents_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from portal.billing.reconciling.facts import Segment
    from portal.billing.reconciling.points import Chain
    from portal.metering.spans import MeteredPart

POINTS_AT_ONCE = 500
CHARTS = 500
"""Service points whose whole chart is drawn again, month by month; the others are compared at the bills' moments."""


@dataclass(slots=True)
class Reconciliation:
    """What was compared, and what differs."""

    accounts: int = 0
    service_points: int = 0
    bills: int = 0
    segments: int = 0
    boundaries: int = 0
    charts: int = 0
    cents: int = 0
    differences: list[Difference] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for machines."""
        names = ("accounts", "service_points", "bills", "segments", "boundaries", "charts", "cents")
        return {
            **{name: getattr(self, name) for name in names},
            "differences": [difference.as_json() for difference in self.differences],
        }


@dataclass(slots=True)
class _Sums:
    """Units that cannot be judged by one service point alone: a bill made up for an estimate at several of them.

    off    litres billed beyond what was used, by service point; of: whom it concerns.
    made   (service points of the estimated bill, litres that were made up for).
    """

    off: dict[int, Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    of: dict[int, str] = field(default_factory=dict)
    made: list[tuple[frozenset[int], Fraction]] = field(default_factory=list)


def reconcile(*, charts: int | None = CHARTS) -> Reconciliation:
    """Compare every issued bill with registers, charts and ledger, as of one moment; nothing is written.

    charts  how many service points' charts are drawn again; None: all of them.
    """
    with snapshot():
        result, sums = Reconciliation(), _Sums()
        issued = BillSegment.objects.filter(bill__state=Bill.State.ISSUED)
        points = sorted(set(issued.values_list("agreement__service_point", flat=True)))
        step = 1 if charts is None else max(1, -(-len(points) // max(charts, 1)))
        drawn = set() if charts == 0 else set(points[::step])
        result.service_points = len(points)
        for start in range(0, len(points), POINTS_AT_ONCE):
            _points(points[start : start + POINTS_AT_ONCE], drawn, result, sums)
        _true_ups(sums)
        result.differences += _off(sums)
        _money(result)
    return result


def _points(points: Sequence[int], drawn: set[int], result: Reconciliation, sums: _Sums) -> None:
    zone = utility_zone()
    moments: dict[date, datetime] = {}

    def begin(day: date) -> datetime:
        return moments.setdefault(day, midnight(day, zone))

    found = segments_of(points)
    dials = [dial for segments in found.values() for segment in segments for dial in segment.dials]
    known = look_up(dials)
    result.segments += sum(map(len, found.values()))
    result.boundaries += 2 * len(dials)
    parts = metered_at({point: _edges(segments, begin) for point, segments in found.items()})
    for point, segments in found.items():
        for segment in segments:
            result.differences += check_dials(segment, known, begin)
        for chain in chains(segments):
            result.differences += check_follows(chain)
            result.differences += check_chart(chain, parts[point], begin)
            billed, used, rest = residual(chain, known)
            if not 0 <= rest < chain.segments[-1].unit_litres:
                text = f"{float(rest):.3f} l are carried on, which is not less than one billed unit"
                result.differences.append(Difference("remainder", chain.segments[-1].place, text))
            sums.off[point] += billed - used
            sums.of[point] = place_of(chain.segments)
            if point in drawn:
                result.charts += 1
                result.differences += _drawn(chain, parts[point], begin)


def _edges(segments: Sequence[Segment], begin: Any) -> list[datetime]:
    """Return the moments at which the chart is compared with the bills: their days' and their dials'."""
    edges = {begin(day) for segment in segments for day in (segment.start, segment.end)}
    edges |= {end.at for segment in segments for dial in segment.dials for end in (dial.first, dial.last)}
    return sorted(edges)


def _drawn(chain: Chain, parts: Sequence[MeteredPart], begin: Any) -> Iterator[Difference]:
    """Draw the chart of the whole time by months, and compare its sum with the dials at both ends."""
    first, last = begin(chain.segments[0].start), begin(chain.segments[-1].end)
    point = ServicePoint.objects.get(pk=chain.segments[0].point)
    series = usage(point, start=first, end=last, resolution="month", unit=Unit.LITRE)
    total = Fraction(0)
    for part in parts:
        inside = [count for count in part.counts if first <= count.at <= last]
        if len(inside) > 1:
            counts = inside[-1].count - inside[0].count
            total += counts_to(counts, unit=Unit(part.register.unit), scale=part.register.scale, to=Unit.LITRE)
    # Each register's two boundary readings are rounded to the litre's places; whole turns of a dial too.
    slack = Fraction(4 * max(1, len(parts)), 10 ** PLACES[Unit.LITRE])
    if abs(Fraction(series.total or 0) - total) > slack:
        text = f"the chart's months sum to {series.total} l, the dials at both ends are {float(total):.3f} l apart"
        yield Difference("chart-months", place_of(chain.segments), text)


def _true_ups(sums: _Sums) -> None:
    """Find the bills that made up for estimates, and what that was in litres."""
    rows = Bill.objects.filter(state=Bill.State.ISSUED, findings__icontains="true-up")
    made = [
        (found["detail"]["bill"], found["detail"]["actual_units"] - found["detail"]["estimated_units"])
        for findings in rows.values_list("findings", flat=True)
        for found in findings
        if found["code"] == "true-up"
    ]
    for start in range(0, len(made), POINTS_AT_ONCE):
        some = made[start : start + POINTS_AT_ONCE]
        places: dict[str, set[int]] = defaultdict(set)
        litres: dict[str, Fraction] = {}
        segments = BillSegment.objects.filter(bill__public_id__in=[bill for bill, _units in some])
        columns = ("bill__public_id", "agreement__service_point", "unit", "unit_scale")
        for bill, point, unit, scale in segments.values_list(*columns):
            places[bill].add(point)
            litres[bill] = counts_to(1, unit=Unit(unit), scale=scale, to=Unit.LITRE)
        sums.made += [(frozenset(places[bill]), units * litres[bill]) for bill, units in some if places[bill]]


def _off(sums: _Sums) -> Iterator[Difference]:
    """Compare billed with used litres: by service point, or by those together that an estimated bill ties."""
    group = {point: {point} for point in sums.off}
    for points, _litres in sums.made:
        together = set().union(*(group.get(point, {point}) for point in points))
        group.update(dict.fromkeys(together, together))
    seen = set[int]()
    for point, together in group.items():
        if point in seen:
            continue
        seen |= together
        off = sum((sums.off.get(one, Fraction(0)) for one in together), Fraction(0))
        off += sum((litres for points, litres in sums.made if points <= together), Fraction(0))
        if off:
            where = "; ".join(sums.of[one] for one in sorted(together) if one in sums.of)
            side = "more" if off > 0 else "less"
            text = f"{abs(float(off)):,.3f} l {side} than the registers counted were billed and carried on"
            yield Difference("units", where, text)


def _money(result: Reconciliation) -> None:
    bills = Bill.objects.filter(state=Bill.State.ISSUED)
    accounts = sorted(set(bills.values_list("account", flat=True)))
    result.accounts, result.bills = len(accounts), bills.count()
    result.cents = sum(bills.values_list("charges_cents", flat=True))
    for start in range(0, len(accounts), POINTS_AT_ONCE):
        result.differences += check_days(accounts[start : start + POINTS_AT_ONCE])
    result.differences += _lines()
    result.differences += [Difference("ledger", each.about, f"{each.check}: {each.detail}") for each in audit_all()]


def _lines() -> Iterator[Difference]:
    """Multiply every usage line out again: quantity times price, rounded once."""
    rows = BillLine.objects.filter(bill__state=Bill.State.ISSUED, kind="usage", days__isnull=True).exclude(price="")
    columns = ("bill__number", "bill__account__number", "service", "code", "quantity", "price", "per", "amount_cents")
    for number, account, service, code, quantity, price, per, cents in rows.values_list(*columns).iterator(5000):
        if quantity and (exact := cents_of(Fraction(quantity) * Fraction(price) / Fraction(per))) != cents:
            text = f"{service} {code}: {quantity} x {price} / {per} is {exact} cents, the line has {cents}"
            yield Difference("line", f"bill {number}, account {account}", text)

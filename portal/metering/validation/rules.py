"""The rules of validation: each looks at one place in one period and says what it saw, in numbers.

docs/algorithms/vee.md states every rule with a worked row; a test repeats that table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from domain.reading import ReadQuality
from portal.metering.packed import DAY_US
from portal.metering.reads import from_us, to_us
from portal.metering.validation.findings import Finding
from portal.metering.validation.gathering import YEAR_DAYS
from portal.metering.validation.thresholds import FLOW_MAX_L_PER_MIN

if TYPE_CHECKING:
    from datetime import datetime

    from portal.metering.spans import BoundaryCount
    from portal.metering.validation.gathering import Counter, Place, Volume
    from portal.metering.validation.thresholds import Thresholds

Rule = Callable[["Place", "Thresholds"], Iterator[Finding]]
_DAY_MIN = 24 * 60
_DAY_S = 86_400


def boundary(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """no-boundary: a boundary without a read near it. suspect-boundary, estimated: one that rests on such a read."""
    if not place.counters:
        yield _finding(place, limits, "no-boundary", None, {"meter": "none"})
    for counter in place.counters:
        edges = [(counter.start, "start"), (counter.end, "end")]
        for moment, which in edges:
            found = _count_at(counter, moment)
            gap = _gap_days(found, moment)
            days_max = limits.boundary_gap_days if counter.by_collector else limits.boundary_gap_days_by_hand
            if found is None or gap is None or gap > days_max:
                detail = {"boundary": which, "days": -1 if gap is None else gap}
                yield _finding(place, limits, "no-boundary", counter, detail)
            elif found.quality == ReadQuality.SUSPECT:
                yield _finding(place, limits, "suspect-boundary", counter, {"boundary": which, "count": found.shown})
            elif found.quality == ReadQuality.ESTIMATED:
                yield _finding(place, limits, "estimated", counter, {"boundary": which, "count": found.shown})


def gaps(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """gap: days without a read. A meter that no collector ever read has no days to miss."""
    for counter in place.counters:
        days = (to_us(counter.end) - 1) // DAY_US - to_us(counter.start) // DAY_US + 1
        if counter.by_collector and days - counter.read_days > limits.gap_days:
            yield _finding(place, limits, "gap", counter, {"days": days, "read_days": counter.read_days})


def roll_over(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """roll-over: the dial shows less at the end than at the start and counted forwards all the same."""
    for counter in place.counters:
        ends = _ends(counter)
        if ends is not None and ends[1].count > ends[0].count and ends[1].shown < ends[0].shown:
            detail = {"first": ends[0].shown, "last": ends[1].shown, "counts": ends[1].count - ends[0].count}
            yield _finding(place, limits, "roll-over", counter, detail)


def negative(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """negative: the period, or a day by more than a little, went backwards. backflow: a day did by a little."""
    for counter in place.counters:
        ends = _ends(counter)
        total = counter.period.counts if ends is None else ends[1].count - ends[0].count
        back_l = -counter.period.least * counter.worth_l
        if total < 0 or back_l > limits.negative_l:
            detail = {"counts": total, "least_day": counter.period.least}
            yield _finding(place, limits, "negative", counter, detail)
        elif counter.period.least < 0:
            yield _finding(place, limits, "backflow", counter, {"least_day": counter.period.least})


def impossible(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """impossible: a day above what the meter's size can pass in a day."""
    flow = FLOW_MAX_L_PER_MIN.get(_size(place.size), limits.flow_max_l_per_min)
    for counter in place.counters:
        most_l = counter.period.most * counter.worth_l
        if most_l > flow * _DAY_MIN and not _usual(counter, most_l):
            detail = {"most_day_l": _whole(most_l), "possible_l": flow * _DAY_MIN, "size": place.size}
            yield _finding(place, limits, "impossible", counter, detail)


def spike(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """spike: a day far above the mean day of the 91 days before."""
    for counter in place.counters:
        recent = counter.recent
        most_l = counter.period.most * counter.worth_l
        if recent.days < limits.history_days:
            continue
        if most_l >= limits.spike_l and counter.period.most * recent.days > limits.spike_factor * recent.counts:
            detail = {"most_day_l": _whole(most_l), "mean_day_l": _whole(recent.counts * counter.worth_l / recent.days)}
            yield _finding(place, limits, "spike", counter, detail)


def high_low(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """high, low: the mean day of the period against the same weeks last year and the 91 days before, of one account."""
    used = _mean_day(place, [counter.period for counter in place.counters], limits.history_days // 4)
    known = []
    if place.lived_since is not None:
        known.append(("recent", _mean_day(place, [c.recent for c in place.counters], limits.history_days)))
    if _same_people(place, place.start - _YEAR):
        known.append(("last_year", _mean_day(place, [c.last_year for c in place.counters], limits.history_days - 7)))
    means = {name: mean for name, mean in known if mean is not None}
    if used is None or not means:
        return
    most, least = max(means.values()), min(means.values())
    detail = {"mean_day_l": _whole(used), **{f"{name}_day_l": _whole(mean) for name, mean in means.items()}}
    if used > limits.high_factor * most and used - most >= limits.high_l_per_day:
        yield _finding(place, limits, "high", None, detail)
    elif used > 0 and used * limits.low_factor < least and least - used >= limits.low_l_per_day:
        yield _finding(place, limits, "low", None, detail)


def stuck(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """stuck: zero for many days at the end of the period where zero hardly ever was. idle: and nobody lives there."""
    for counter in place.counters:
        recent, period = counter.recent, counter.period
        if recent.days < limits.history_days or recent.zeros * limits.stuck_zero_share > recent.days or not period.days:
            continue
        last_day = place.first_day + timedelta(days=place.days - 1)
        zero_days = place.days if period.last_used is None else (last_day - period.last_used).days
        if zero_days >= limits.stuck_days and period.days >= limits.stuck_days:
            rule = "stuck" if place.occupied else "idle"
            yield _finding(place, limits, rule, counter, {"zero_days": zero_days, "recent_zero_days": recent.zeros})


def vacant_use(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """vacant-use: water runs where no account has lived in the whole period."""
    used = _mean_day(place, [counter.period for counter in place.counters], 1)
    if not place.occupied and used is not None and used > limits.vacant_l_per_day:
        yield _finding(place, limits, "vacant-use", None, {"mean_day_l": _whole(used)})


def wrong_meter(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """wrong-meter: the collector reported another identity at the meter's address."""
    for counter in place.counters:
        if counter.identity_events:
            detail = {"kind": "identity", "times": counter.identity_events}
            yield _finding(place, limits, "wrong-meter", counter, detail)


def suspect(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """suspect: days that rest on reads which the collector, or a rule, doubted."""
    for counter in place.counters:
        if counter.period.suspect:
            yield _finding(place, limits, "suspect", counter, {"days": counter.period.suspect})


def sums(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """sum: the daily volumes do not add up to what the register counted between the boundaries."""
    for counter in place.counters:
        ends = _ends(counter)
        if ends is None or not counter.all_days:
            continue
        if counter.unfolded_us is not None and counter.unfolded_us <= max(ends[1].read_us):
            continue  # a read that bears on the period is not rolled up yet
        counted = ends[1].count - ends[0].count
        if counter.period.counts != counted or counter.period.days != place.days:
            detail = {"register": counted, "days_sum": counter.period.counts, "days": counter.period.days}
            yield _finding(place, limits, "sum", counter, detail)


def estimates(place: Place, limits: Thresholds) -> Iterator[Finding]:
    """estimates: more estimates in a row than the policy allows, with no actual read since."""
    for counter in place.counters:
        if counter.estimates > limits.estimates_max:
            detail = {"in_a_row": counter.estimates, "max": limits.estimates_max}
            yield _finding(place, limits, "estimates", counter, detail)


RULES: tuple[Rule, ...] = (
    boundary,
    gaps,
    roll_over,
    negative,
    impossible,
    spike,
    high_low,
    stuck,
    vacant_use,
    wrong_meter,
    suspect,
    sums,
    estimates,
)

_YEAR = timedelta(days=YEAR_DAYS)


def _finding(place: Place, limits: Thresholds, rule: str, counter: Counter | None, detail: dict[str, Any]) -> Finding:
    return Finding(
        rule, limits.severity(rule), detail, place.start, place.end, None if counter is None else counter.register
    )


def _count_at(counter: Counter, moment: datetime) -> BoundaryCount | None:
    """Return the count at a boundary; beyond the last read that is known, the count of that read."""
    for part in counter.parts:
        if (found := part.at(moment)) is not None:
            return found
        if part.counts:
            return part.counts[0] if moment <= part.start else part.counts[-1]
    return None


def _gap_days(found: BoundaryCount | None, moment: datetime) -> int | None:
    """Return how many days without a read there are around a boundary; None when there is no read at all."""
    if found is None:
        return None
    first, last = from_us(min(found.read_us)), from_us(max(found.read_us))
    return int((max(last, moment) - min(first, moment)).total_seconds()) // _DAY_S


def _ends(counter: Counter) -> tuple[BoundaryCount, BoundaryCount] | None:
    for part in counter.parts:
        first, last = part.at(counter.start), part.at(counter.end)
        if first is not None and last is not None:
            return first, last
    return None


def _mean_day(place: Place, volumes: list[Volume], days_min: int) -> Fraction | None:
    """Return the litres of a mean day over all counters; None when too few days are known.

    Counters side by side count the same days; of a meter and the one that took its place, one goes on after the other.
    """
    known = [volume.days for volume in volumes]
    side_by_side = all(counter.all_days for counter in place.counters)
    days = max(known, default=0) if side_by_side else min(sum(known), max(place.days, *known))
    if days < max(1, days_min):
        return None
    litres = (v.counts * c.worth_l for v, c in zip(volumes, place.counters, strict=True))
    return sum(litres, Fraction(0)) / days


def _same_people(place: Place, since: datetime) -> bool:
    return place.lived_since is not None and place.lived_since <= since


def _usual(counter: Counter, most_l: Fraction) -> bool:
    """Tell whether a large meter that nobody wrote the size down of has used as much before."""
    return counter.recent.days > 0 and counter.recent.most * counter.worth_l * 2 >= most_l


def _size(text: str) -> str:
    return text.replace('"', "").replace("in", "").strip()


def _whole(litres: Fraction) -> int:
    return int(litres)

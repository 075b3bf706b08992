"""What an account owes for a period: a pure function of facts that were gathered before.

Runs, previews, corrected bills, projections and tests all come through `calculate`. A period is divided where prices
change (`proration`); each part is a segment with its own boundary counts, units and lines. A line is rounded once, and
a bill is the sum of its lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from domain.reading import ReadQuality
from domain.units import Unit
from domain.usage import worse
from portal.billing.proration import Carried, first_carried, litres_of, parts_of
from portal.metering.calendar import midnight
from rates.book import PriceRequest
from rates.errors import InputError
from rates.winter import average_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from portal.billing.periods import Period
    from portal.billing.shelf import Shelf, ShelfBook
    from portal.metering.spans import BoundaryCount, MeteredPart
    from rates.book import Line, Quantity

Severity = Literal["hold", "note"]
_FLAT_SERVICES = frozenset({"sanitation", "stormwater", "refuse", "recycling"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a bill is held, or what was noticed. code: stable; `read` findings of validation bring their rule."""

    code: str
    severity: Severity
    detail: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as Bill.findings has it."""
        return {"code": self.code, "severity": self.severity, "detail": dict(self.detail)}


@dataclass(frozen=True, slots=True)
class Terms:
    """A service agreement, as far as it bears on prices. service_point, agreement: row ids."""

    agreement: int
    service_point: int
    rate_class: str
    start: date
    end: date | None = None
    services: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metered(self) -> bool:
        """Whether anything in it depends on a meter."""
        flat = bool(self.services) and _FLAT_SERVICES.issuperset(self.services)
        return not flat and self.inputs.get("metered") is not False


@dataclass(frozen=True, slots=True)
class PointFacts:
    """What is known of a service point.

    parts    of its meters, each with a count at both ends of its time there and at every day on which prices change.
    carried  from the segment that ends where the first one starts; None: there is none, the dial's fraction counts.
    winters  (day from which it holds, units for a full period) of its winter averages, in order.
    """

    parts: tuple[MeteredPart, ...] = ()
    carried: Carried | None = None
    winters: tuple[tuple[date, Fraction], ...] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A charge that waits for the account's next bill. charge: row id."""

    charge: int
    kind: str
    service: str
    code: str
    label: Mapping[str, str]
    amount_cents: int
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewWinter:
    """A winter average that was made for this bill and is kept with it. basis: its months, as JSON."""

    service_point: int
    start: date
    units: Fraction
    basis: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class EarlierBill:
    """A bill that rested on an estimate, now that its boundaries are known: it is worked out again and made up for.

    cents: what its segments' lines came to, by service; units: what they billed, by service point.
    """

    public_id: str
    number: str
    period: Period
    nominal_days: int
    cents: Mapping[str, int]
    units: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """All that a bill of one account follows from."""

    account: int
    period: Period
    nominal_days: int
    zone: ZoneInfo
    terms: tuple[Terms, ...] = ()
    points: Mapping[int, PointFacts] = field(default_factory=dict)
    waiting: tuple[Waiting, ...] = ()
    earlier: tuple[EarlierBill, ...] = ()
    findings: tuple[Finding, ...] = ()
    new_winters: tuple[NewWinter, ...] = ()


@dataclass(frozen=True, slots=True)
class Dial:
    """What one register showed at both ends of a segment's time at it."""

    register: int
    installation: int
    first: BoundaryCount
    last: BoundaryCount


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a bill in which no price condition changes; see BillSegment."""

    agreement: int
    service_point: int
    rate_book: int
    version: str
    start: date
    end: date
    full_days: int
    units: int
    quantity: Quantity
    carried: Carried
    quality: ReadQuality
    inputs: Mapping[str, Any]
    dials: tuple[Dial, ...]

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start).days


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A line of a bill; see BillLine. segment: its place in the bill's segments, None for what belongs to none."""

    service: str
    code: str
    kind: str
    label: Mapping[str, str]
    amount_cents: int
    segment: int | None = None
    line: Line | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    charge: int | None = None


@dataclass(frozen=True, slots=True)
class CalculatedBill:
    """A bill that nobody has written down yet."""

    account: int
    period: Period
    segments: tuple[Segment, ...]
    lines: tuple[BilledLine, ...]
    findings: tuple[Finding, ...]
    new_winters: tuple[NewWinter, ...] = ()

    @property
    def charges_cents(self) -> int:
        """The sum of the lines."""
        return sum(line.amount_cents for line in self.lines)

    @property
    def held(self) -> bool:
        """Whether something must be looked at before it may go out."""
        return any(finding.severity == "hold" for finding in self.findings)

    @property
    def estimated(self) -> bool:
        """Whether a boundary was not measured."""
        counts = (count for segment in self.segments for dial in segment.dials for count in (dial.first, dial.last))
        return any(count.quality == ReadQuality.ESTIMATED for count in counts)

    def cents_by_service(self) -> dict[str, int]:
        """Return what the segments' lines come to, by service."""
        result: dict[str, int] = {}
        for line in self.lines:
            if line.segment is not None:
                result[line.service] = result.get(line.service, 0) + line.amount_cents
        return result

    def units_by_point(self) -> dict[int, int]:
        """Return the billed units, by service point."""
        result: dict[int, int] = {}
        for segment in self.segments:
            result[segment.service_point] = result.get(segment.service_point, 0) + segment.units
        return result


def calculate(facts: AccountFacts, shelf: Shelf) -> CalculatedBill:
    """Return the bill that follows from the facts. It raises nothing: what cannot be priced holds the bill."""
    carried = {point: known.carried for point, known in facts.points.items()}
    findings, lines = list(facts.findings), list[BilledLine]()
    for bill in facts.earlier:
        again = _period_bill(facts, bill.period, bill.nominal_days, shelf, carried)
        findings += [finding for finding in again.findings if finding.severity == "hold"]
        made_up, noted = _true_up(bill, again)
        lines += made_up
        findings.append(noted)
    now = _period_bill(facts, facts.period, facts.nominal_days, shelf, carried)
    charged = [
        BilledLine(
            charge.service,
            charge.code,
            charge.kind,
            charge.label,
            charge.amount_cents,
            detail=charge.detail,
            charge=charge.charge,
        )
        for charge in facts.waiting
    ]
    return CalculatedBill(
        facts.account,
        facts.period,
        now.segments,
        (*now.lines, *lines, *charged),
        (*findings, *now.findings),
        facts.new_winters,
    )


def _period_bill(
    facts: AccountFacts, period: Period, nominal_days: int, shelf: Shelf, carried: dict[int, Carried | None]
) -> CalculatedBill:
    """Return one period's segments and lines; what is carried on replaces what was carried in."""
    segments, lines, findings = list[Segment](), list[BilledLine](), list[Finding]()
    for terms in sorted(facts.terms, key=lambda terms: (terms.service_point, terms.start)):
        start, end = max(period.start, terms.start), min(period.end, terms.end or period.end)
        if start >= end:
            continue
        for first, last in parts_of(start, end, shelf.changes(start, end)):
            try:
                segment, priced = _segment(facts, terms, (first, last), period, nominal_days, shelf, carried)
            except InputError as error:
                findings.append(Finding("cannot-price", "hold", {"agreement": terms.agreement, "text": str(error)}))
                continue
            lines += [_billed(line, len(segments)) for line in priced]
            segments.append(segment)
    if not segments and not findings:
        findings.append(Finding("nothing-to-bill", "hold", {"text": "no agreement of the account holds in the period"}))
    return CalculatedBill(facts.account, period, tuple(segments), tuple(lines), tuple(findings))


def _segment(
    facts: AccountFacts,
    terms: Terms,
    part: tuple[date, date],
    period: Period,
    nominal_days: int,
    shelf: Shelf,
    carried: dict[int, Carried | None],
) -> tuple[Segment, Sequence[Line]]:
    first, last = part
    chosen = shelf.on(first)
    book, point = chosen.book, facts.points.get(terms.service_point, PointFacts())
    quantity = book.quantity
    dials = tuple(_dials(point.parts, midnight(first, facts.zone), midnight(last, facts.zone)))
    before = carried.get(terms.service_point)
    if before is None:
        at_start = min((dial.first.at for _, dial in dials), default=None)
        shown = (_shown_litres(part, dial) for part, dial in dials if dial.first.at == at_start)
        before = first_carried(sum(shown, Fraction(0)), quantity)
    volume = sum((_litres(part, dial.last.count - dial.first.count) for part, dial in dials), Fraction(0))
    units, rest = before.add(volume, quantity)
    carried[terms.service_point] = rest
    inputs = _inputs(terms, point, chosen, first, period.last_day)
    full_days = book.policies(period.start).proration.full_days(period.days, nominal_days)
    request = PriceRequest(
        rate_class=terms.rate_class,
        units=Fraction(units),
        on=first,
        month=(last - timedelta(days=1)).month,
        days=(last - first).days,
        full_days=full_days,
        inputs=inputs,
        services=frozenset(terms.services) if terms.services else None,
    )
    priced = book.price(request)
    quality = ReadQuality.MEASURED
    for _, dial in dials:
        quality = worse(quality, worse(dial.first.quality, dial.last.quality))
    segment = Segment(
        agreement=terms.agreement,
        service_point=terms.service_point,
        rate_book=chosen.rate_book,
        version=book.version_on(first).id,
        start=first,
        end=last,
        full_days=full_days,
        units=units,
        quantity=quantity,
        carried=rest,
        quality=quality,
        inputs=inputs,
        dials=tuple(dial for _, dial in dials),
    )
    return segment, priced.lines


def _inputs(terms: Terms, point: PointFacts, chosen: ShelfBook, part: date, last_day: date) -> dict[str, Any]:
    """Return the agreement's inputs, and where the class asks for one the winter average of a bill with a last day."""
    inputs = dict(terms.inputs)
    inputs.pop("metered", None)
    rule = chosen.book.winter_rule(terms.rate_class, part)
    if rule is not None and "winter_average" not in inputs:
        earliest = average_start(rule, last_day)
        known = [units for start, units in point.winters if earliest <= start <= last_day]
        if known:
            inputs["winter_average"] = known[-1]
    return inputs


def _dials(parts: Iterable[MeteredPart], start: datetime, end: datetime) -> Iterable[tuple[MeteredPart, Dial]]:
    """Yield what each counter showed at the first and the last moment in [start, end] that is known of it."""
    for part in parts:
        if not part.counts:
            continue
        low, high = max(start, part.counts[0].at), min(end, part.counts[-1].at)
        if low >= high:
            continue
        first, last = part.at(low), part.at(high)
        if first is None or last is None:
            raise InputError(f"the count of register {part.register} at {low if first is None else high} is not known")
        yield part, Dial(part.register.pk, part.installation_id, first, last)


def _litres(part: MeteredPart, counts: int) -> Fraction:
    return litres_of(counts, unit=Unit(part.register.unit), scale=part.register.scale)


def _shown_litres(part: MeteredPart, dial: Dial) -> Fraction:
    return _litres(part, dial.first.shown)


def _billed(line: Line, segment: int) -> BilledLine:
    return BilledLine(line.service, line.code, line.kind.value, line.label, line.cents, segment=segment, line=line)


def _true_up(bill: EarlierBill, again: CalculatedBill) -> tuple[list[BilledLine], Finding]:
    """Return what makes up for an estimate, a line for each service, and a note that it was done."""
    actual, units = again.cents_by_service(), again.units_by_point()
    detail = {
        "bill": bill.public_id,
        "number": bill.number,
        "start": bill.period.start.isoformat(),
        "end": bill.period.end.isoformat(),
        "estimated_units": sum(bill.units.values()),
        "actual_units": sum(units.values()),
    }
    lines = []
    for service in sorted({*bill.cents, *actual}):
        billed, now = bill.cents.get(service, 0), actual.get(service, 0)
        if billed != now:
            both = {**detail, "estimated_cents": billed, "actual_cents": now}
            lines.append(BilledLine(service, "true-up", "true-up", _true_up_label(both), now - billed, detail=both))
    return lines, Finding("true-up", "note", detail)


def _true_up_label(detail: Mapping[str, Any]) -> dict[str, str]:
    units = f"{detail['estimated_units']:,} → {detail['actual_units']:,}"
    days = f"{detail['start']} – {detail['end']}"
    return {
        "en": f"Estimate of {days} replaced by actual use ({units})",
        "es": f"Estimación de {days} sustituida por el consumo real ({units})",
    }

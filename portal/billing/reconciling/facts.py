"""What issued bills say of service points, read from their rows in bulk and with nothing of the calculation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.reading import ReadQuality
from domain.units import Unit, count_value
from portal.billing.models import Bill, BilledDial, BillSegment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class End:
    """One end of a billed dial: what the bill says that it showed. us: read_at of the reads behind it."""

    at: datetime
    shown: int
    count: int
    quality: ReadQuality
    us: tuple[int, ...]

    @property
    def estimated(self) -> bool:
        """Whether it was estimated: then no read stands behind it."""
        return self.quality == ReadQuality.ESTIMATED


@dataclass(frozen=True, slots=True)
class Dial:
    """What one register did in one segment. meter: its id as printed. litres: what one count is worth."""

    register: int
    installation: int
    meter: str
    litres: Fraction
    modulus: int | None
    first: End
    last: End


@dataclass(slots=True)
class Segment:
    """One issued segment. unit_litres: what one billed unit is worth; rest: the litres carried on."""

    bill: int
    number: str
    account: int
    account_number: str
    point: int
    address: str
    start: date
    end: date
    units: int
    unit_litres: Fraction
    rest: Fraction
    dials: list[Dial] = field(default_factory=list)

    @property
    def place(self) -> str:
        """Bill, account and address, as people know them."""
        return f"bill {self.number}, account {self.account_number}, {self.address}"


def segments_of(points: Sequence[int]) -> dict[int, list[Segment]]:
    """Return the issued segments of service points, in time order, with their dials: two queries."""
    rows = BillSegment.objects.filter(agreement__service_point__in=points, bill__state=Bill.State.ISSUED)
    columns = (
        "pk", "bill", "bill__number", "bill__account", "bill__account__number", "agreement__service_point",
        "agreement__service_point__premise__address", "start", "end", "units",
        "unit", "unit_scale", "remainder",
    )  # fmt: skip
    found: dict[int, Segment] = {}
    for row in rows.values_list(*columns):
        pk, bill, number, account, account_number, point, address, start, end, units, unit, scale, rest = row
        litres = count_value(Unit(unit), scale)
        found[pk] = Segment(
            bill, number, account, account_number, point, address, start, end, units, litres, Fraction(rest)
        )
    for dial in BilledDial.objects.filter(segment__in=rows).select_related("register__meter").order_by("start", "pk"):
        register = dial.register
        found[dial.segment_id].dials.append(
            Dial(
                register.pk,
                dial.installation_id,
                register.meter.meter_id,
                count_value(Unit(register.unit), register.scale),
                register.modulus,
                End(
                    dial.start,
                    dial.first_shown,
                    dial.first_count,
                    ReadQuality(dial.first_quality),
                    tuple(dial.first_us),
                ),
                End(dial.end, dial.last_shown, dial.last_count, ReadQuality(dial.last_quality), tuple(dial.last_us)),
            )
        )
    result: dict[int, list[Segment]] = defaultdict(list)
    for segment in sorted(found.values(), key=lambda s: (s.point, s.start, s.end, s.bill)):
        result[segment.point].append(segment)
    return result

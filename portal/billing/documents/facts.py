"""Everything that a bill shows, in no language: gathered once, frozen as JSON at issue, the same for ever.

The web page, the PDF and the printed bill are made of these facts alone, so that all three say the same, and a bill
opened in ten years shows the addresses, prices and policies of its day.
"""

from __future__ import annotations

import types
import typing
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from portal.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.billing.models import Bill

SCHEMA = 1
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class UtilityFacts:
    """Who sends the bill and how it is reached and paid, as its settings stood at issue (see UtilitySettings)."""

    name: str
    contact_phone: str = ""
    contact_email: str = ""
    portal_url: str = ""
    postal_address: tuple[str, ...] = ()
    ways_to_pay: tuple[dict[str, dict[str, str]], ...] = ()
    dispute: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version of the prices that the bill rests on."""

    id: str
    book: str = ""
    name: str = ""
    authority: str = ""
    start: date | None = None


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """One part of the period, as portal.billing.models.BillSegment, with the place it was used at."""

    start: date
    end: date
    days: int
    full_days: int
    units: int
    unit: str
    unit_scale: int = 0
    remainder: str = "0"
    quality: int = 0
    version: str = ""
    rate_class: str = ""
    address: str = ""
    place: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DialFacts:
    """What one register showed at both ends of its time in the period (see portal.billing.models.BilledDial).

    start, end  days of the utility's zone at whose beginning, or in which, the counts were taken.
    segment     index of its segment.
    """

    segment: int
    meter_id: str
    register_id: str
    unit: str
    scale: int
    start: date
    end: date
    first_count: int
    last_count: int
    first_shown: int
    last_shown: int
    modulus: int | None = None
    first_quality: int = 0
    last_quality: int = 0
    first_interpolated: bool = False
    last_interpolated: bool = False


@dataclass(frozen=True, slots=True)
class LineFacts:
    """One line, as portal.billing.models.BillLine; segment: index of its segment, None for a charge of the account."""

    service: str
    code: str
    kind: str
    label: dict[str, str]
    amount_cents: int
    segment: int | None = None
    tier: int | None = None
    lower: str = ""
    upper: str = ""
    quantity: str = ""
    price: str = ""
    per: str = "1"
    days: int | None = None
    full_days: int | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class PeriodFacts:
    """What one billed period used: a bar of the chart and a row of its table; units are those of this bill."""

    start: date
    end: date
    units: int
    estimated: bool = False

    @property
    def days(self) -> int:
        """Its length."""
        return (self.end - self.start).days


@dataclass(frozen=True, slots=True)
class Movement:
    """Something that changed the balance since the last bill; kind: of the journal entry."""

    date: date
    kind: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class BudgetFacts:
    """The account's budget billing; deferred_cents: used and not yet asked for (negative: asked for in advance)."""

    amount_cents: int
    start: date
    settle_on: date
    deferred_cents: int = 0


@dataclass(frozen=True, slots=True)
class LateFeeFacts:
    """When a late fee comes and how high it is; percent: exact, as text."""

    percent: str
    minimum_cents: int = 0
    threshold_cents: int = 0
    after_days: int = 0


@dataclass(frozen=True, slots=True)
class BillFacts:
    """One bill, whole.

    period_start, period_end  the first day, and the first day no longer in it.
    previous_cents            what was owed on the last bill; with the movements it makes balance_before_cents.
    replaces                  number of the bill that this one takes the place of.
    periods                   the last thirteen, this one last.
    """

    public_id: str
    number: str
    kind: str
    state: str
    language: str
    account_number: str
    name: str
    mail_to: tuple[str, ...]
    period_start: date
    period_end: date
    bill_date: date
    due_date: date
    charges_cents: int
    balance_before_cents: int
    due_cents: int
    utility: UtilityFacts
    currency: str = "USD"
    previous_cents: int = 0
    estimated: bool = False
    replaces: str = ""
    movements: tuple[Movement, ...] = ()
    segments: tuple[SegmentFacts, ...] = ()
    lines: tuple[LineFacts, ...] = ()
    dials: tuple[DialFacts, ...] = ()
    versions: tuple[VersionFacts, ...] = ()
    periods: tuple[PeriodFacts, ...] = ()
    budget: BudgetFacts | None = None
    late_fee: LateFeeFacts | None = None
    schema: int = SCHEMA

    @property
    def days(self) -> int:
        """The length of the period."""
        return (self.period_end - self.period_start).days

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the water was used, each place once."""
        return tuple(dict.fromkeys(segment.address for segment in self.segments if segment.address))

    def as_json(self) -> dict[str, Any]:
        """Return the facts for `Bill.facts`; what stands at its default is left out."""
        coded: dict[str, Any] = encoded(self)
        return {**coded, "schema": self.schema}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BillFacts:
        """Return the facts that `as_json` gave; raises Refused when they are of a schema that is not known here."""
        if data.get("schema") != SCHEMA:
            raise Refused("bill-facts", f"facts of schema {data.get('schema')!r}; this version reads {SCHEMA}")
        found: BillFacts = decoded(cls, data)
        return found


def facts_of(bill: Bill) -> BillFacts:
    """Return the facts of a bill: the frozen ones of an issued bill, fresh ones of a draft (a preview)."""
    return facts_for([bill])[0]


def facts_for(bills: Sequence[Bill]) -> list[BillFacts]:
    """Return the facts of many bills, in their order, with the same few queries for any number of them.

    A bill that has frozen facts keeps them; its state is told as it is now, so that a cancelled bill says so.
    """
    from dataclasses import replace

    from portal.billing.documents.gathering import gather

    fresh = iter(gather([bill for bill in bills if not bill.facts]))
    return [replace(BillFacts.from_json(bill.facts), state=bill.state) if bill.facts else next(fresh) for bill in bills]


def freeze(bills: Sequence[Bill]) -> None:
    """Put the facts of bills that are being issued into `Bill.facts`; saving the rows is the caller's.

    The bills have their numbers already, and their ledger entries, segments, dials and lines are in the database.
    """
    from dataclasses import replace

    from portal.billing.documents.gathering import gather

    for bill, facts in zip(bills, gather(bills), strict=True):
        bill.facts = replace(facts, state="issued").as_json()


def encoded(value: Any) -> Any:
    """Return a value of frozen facts as JSON; what stands at its default is left out."""
    if is_dataclass(value):
        found = {}
        for item in fields(value):
            content = getattr(value, item.name)
            default = item.default_factory() if item.default_factory is not MISSING else item.default
            if content != default:
                found[item.name] = encoded(content)
        return found
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (tuple, list)):
        return [encoded(item) for item in value]
    return value


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def decoded(kind: Any, data: Any) -> Any:
    """Return a value of a type of this file (dataclass, tuple of one type, date, optional, plain) from its JSON."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        return tuple(decoded(typing.get_args(kind)[0], item) for item in data)
    if origin in (types.UnionType, typing.Union):
        inner = next(item for item in typing.get_args(kind) if item is not type(None))
        return None if data is None else decoded(inner, data)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: decoded(hints[name], item) for name, item in data.items() if name in hints})
    if kind is date:
        return date.fromisoformat(data)
    return data

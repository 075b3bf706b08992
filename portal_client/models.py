"""What the portal answers, as frozen dataclasses: counts are integers, volumes Decimals, moments aware datetimes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a newly enrolled collector needs from now on; certificates and the portal's key are PEM text."""

    collector: str
    certificate: str
    ca: str
    portal_key: str
    broker: str
    partition: int

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return it from the API's object. raises KeyError, TypeError, ValueError when it is another object."""
        texts = {name: _text(value[name]) for name in ("collector", "certificate", "ca", "portal_key", "broker")}
        return cls(**texts, partition=int(value["partition"]))


@dataclass(frozen=True, slots=True)
class Span:
    """A time at a service point; `end` is None while it lasts."""

    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class ServicePoint:
    """A place where water is metered that the token's user lives or lived at."""

    id: str
    address: str
    label: str
    occupied: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Me:
    """Whose token this is, and what it may see. `zone` is the utility's."""

    id: str
    email: str
    name: str
    utility: str
    zone: str
    service_points: tuple[ServicePoint, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return it from the API's object. raises KeyError, TypeError, ValueError when it is another object."""
        return cls(
            id=_text(value["id"]),
            email=_text(value["email"]),
            name=_text(value["name"]),
            utility=_text(value["utility"]["name"]),
            zone=_text(value["utility"]["zone"]),
            service_points=tuple(
                ServicePoint(
                    id=_text(point["id"]),
                    address=_text(point["address"]),
                    label=_text(point["label"]),
                    occupied=tuple(
                        Span(_moment(span["start"]), _maybe(_moment, span["end"])) for span in point["occupied"]
                    ),
                )
                for point in value["service_points"]
            ),
        )


@dataclass(frozen=True, slots=True)
class Dial:
    """What a dial showed: the raw count in the register's own unit (one count is 10**scale of it)."""

    at: datetime
    meter_id: str
    register_id: str
    count: int
    unit: Unit
    scale: int
    value: Decimal
    quality: str
    interpolated: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return it from the API's object."""
        return cls(
            at=_moment(value["at"]),
            meter_id=_text(value["meter_id"]),
            register_id=_text(value["register_id"]),
            count=_count(value["count"]),
            unit=Unit(value["unit"]),
            scale=_count(value["scale"]),
            value=_decimal(value["value"]),
            quality=_text(value["quality"]),
            interpolated=bool(value["interpolated"]),
        )


@dataclass(frozen=True, slots=True)
class UsageInterval:
    """Usage from start to end. `volume` and `counts` are None where nothing is known, never zero for a gap."""

    start: datetime
    end: datetime
    volume: Decimal | None
    counts: int | None
    quality: str
    interpolated: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """A usage series; its intervals sum to its totals whatever the resolution.

    counts_unit, counts_scale  what one count is worth; None where no register was ever read.
    as_of                      the newest read it knows.
    """

    service_point: str
    start: datetime
    end: datetime
    resolution: str
    zone: str
    unit: Unit
    as_of: datetime | None
    counts_unit: Unit | None
    counts_scale: int | None
    total: Decimal | None
    total_counts: int | None
    first: Dial | None
    last: Dial | None
    intervals: tuple[UsageInterval, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return it from the API's object. raises KeyError, TypeError, ValueError when it is another object."""
        return cls(
            service_point=_text(value["service_point"]),
            start=_moment(value["start"]),
            end=_moment(value["end"]),
            resolution=_text(value["resolution"]),
            zone=_text(value["zone"]),
            unit=Unit(value["unit"]),
            as_of=_maybe(_moment, value["as_of"]),
            counts_unit=_maybe(Unit, value["counts_unit"]),
            counts_scale=_maybe(_count, value["counts_scale"]),
            total=_maybe(_decimal, value["total"]),
            total_counts=_maybe(_count, value["total_counts"]),
            first=_maybe(Dial.from_json, value["first"]),
            last=_maybe(Dial.from_json, value["last"]),
            intervals=tuple(
                UsageInterval(
                    start=_moment(row["start"]),
                    end=_moment(row["end"]),
                    volume=_maybe(_decimal, row["volume"]),
                    counts=_maybe(_count, row["counts"]),
                    quality=_text(row["quality"]),
                    interpolated=bool(row["interpolated"]),
                )
                for row in value["intervals"]
            ),
        )


def _maybe(read: Any, value: Any) -> Any:
    return None if value is None else read(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, not {value!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, not {value!r}")
    return value


def _decimal(value: Any) -> Decimal:
    """Return an exact volume: the API sends text, so that no float ever stands in between."""
    try:
        return Decimal(_text(value))
    except ArithmeticError as error:
        raise ValueError(f"expected a decimal number in a text, not {value!r}") from error


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError(f"expected a moment with its offset, not {value!r}")
    return moment


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill that was sent: amounts in cents; the period goes from period_start up to, not including, period_end."""

    id: str
    number: str
    account: str
    state: str
    kind: str
    period_start: date
    period_end: date
    bill_date: date
    due_date: date
    charges_cents: int
    balance_before_cents: int
    due_cents: int
    estimated: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return it from the API's object. raises KeyError, TypeError, ValueError when it is another object."""
        day = {name: date.fromisoformat(_text(value[name])) for name in _BILL_DAYS}
        return cls(
            id=_text(value["id"]),
            number=_text(value["number"]),
            account=_text(value["account"]["number"]),
            state=_text(value["state"]),
            kind=_text(value["kind"]),
            period_start=day["period_start"],
            period_end=day["period_end"],
            bill_date=day["bill_date"],
            due_date=day["due_date"],
            charges_cents=_count(value["charges_cents"]),
            balance_before_cents=_count(value["balance_before_cents"]),
            due_cents=_count(value["due_cents"]),
            estimated=bool(value["estimated"]),
        )


_BILL_DAYS = ("period_start", "period_end", "bill_date", "due_date")

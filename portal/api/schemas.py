"""What the API takes and gives. Counts are exact integers, volumes decimal strings, moments ISO 8601 with an offset."""

from __future__ import annotations

from datetime import date, datetime  # noqa: TC003  # pydantic reads them

from ninja import Schema
from pydantic import Field


class Problem(Schema):
    """An error: a stable code, and what to do next."""

    error: str
    message: str


class SigningKeyIn(Schema):
    """A collector's public batch-signing key. `alg`: EDDSA or ES256; `public`: base64 of 32 or 33 bytes."""

    alg: str = Field(max_length=16)
    public: str = Field(max_length=200)


class EnrolIn(Schema):
    """An enrolment: code, TLS key in a request (PEM), signing key, and its signature over both (base64, 64 bytes)."""

    code: str = Field(max_length=100)
    csr: str = Field(max_length=20_000)
    signing_key: SigningKeyIn
    proof: str = Field(max_length=200)


class EnrolOut(Schema):
    """What the collector needs from now on; certificates and the portal's key are PEM."""

    collector: str
    certificate: str
    ca: str
    portal_key: str
    broker: str
    partition: int


class UtilityOut(Schema):
    """The utility."""

    name: str
    zone: str


class AccountOut(Schema):
    """An account of the token's user."""

    id: str
    number: str


class BillOut(Schema):
    """A bill that was sent: amounts in cents; the period from period_start up to, not including, period_end.

    state: issued or cancelled. kind: regular, final, corrected. estimated: a reading it rests on was not measured.
    """

    id: str
    number: str
    account: AccountOut
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


class BillsOut(Schema):
    """Bills, newest first; `next` is the `before` of the following page, null on the last one."""

    bills: list[BillOut]
    next: str | None


class SpanOut(Schema):
    """A time at a service point; `end` is null while it lasts."""

    start: datetime
    end: datetime | None


class ServicePointOut(Schema):
    """A service point that the token's user lives or lived at."""

    id: str
    address: str
    label: str
    occupied: list[SpanOut]


class MeOut(Schema):
    """The token's user."""

    id: str
    email: str
    name: str
    utility: UtilityOut
    service_points: list[ServicePointOut]


class DialOut(Schema):
    """What a dial showed: raw count in the register's own unit (one count is 10**scale of it), and as it is read."""

    at: datetime
    meter_id: str
    register_id: str
    count: int
    unit: str
    scale: int
    value: str
    quality: str
    interpolated: bool


class IntervalOut(Schema):
    """Usage from start to end, labelled by its start. volume and counts are null in a gap, never zero."""

    start: datetime
    end: datetime
    volume: str | None
    counts: int | None
    quality: str
    interpolated: bool


class UsageOut(Schema):
    """A usage series; its intervals sum to its totals whatever the resolution."""

    service_point: str
    start: datetime
    end: datetime
    resolution: str
    zone: str
    unit: str
    as_of: datetime | None
    counts_unit: str | None
    counts_scale: int | None
    total: str | None
    total_counts: int | None
    first: DialOut | None
    last: DialOut | None
    intervals: list[IntervalOut]

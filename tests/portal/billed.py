"""Builds what billing's tests need: rate books, accounts with meters and agreements, and reads without a collector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from domain.reading import ReadQuality
from domain.units import Unit
from portal.billing.models import Bill, BillingAccount, Cycle, RateBook, ServiceAgreement
from portal.billing.runs import calculate_run, issue_run, start_run
from portal.customers import services as customers
from portal.customers.models import Account, Occupancy, ServicePoint
from portal.fleet.models import Meter
from portal.metering.calendar import midnight
from portal.metering.folding import fold_closed_days
from portal.metering.models import Installation, MeterRegister, RecentRead, RegisterState
from portal.metering.reads import from_us, to_us

CHICAGO = ZoneInfo("America/Chicago")
NORMAN = files("rates").joinpath("files/norman.yaml").read_text(encoding="utf-8")


def rate_book(text: str = NORMAN, *, start: date = date(2015, 1, 1), end: date | None = None) -> RateBook:
    """An approved book."""
    moment = datetime(2015, 1, 1, tzinfo=UTC)
    return RateBook.objects.get_or_create(
        digest=hashlib.sha256(text.encode()).hexdigest(),
        defaults={
            "name": "rates",
            "format": "headwater-rates/1",
            "text": text,
            "effective_from": start,
            "effective_to": end,
            "loaded_at": moment,
            "approved_at": moment,
        },
    )[0]


def cycle(code: str = "A", **fields: Any) -> Cycle:
    return Cycle.objects.get_or_create(code=code, defaults=fields)[0]


@dataclass
class Home:
    """A service point with a meter that counts gallons, and who pays there."""

    account: Account
    service_point: ServicePoint
    installation: Installation
    register: MeterRegister
    agreement: ServiceAgreement


def meter(name: str, *, unit: Unit = Unit.GALLON, scale: int = 0, modulus: int | None = 10**7) -> MeterRegister:
    row, _ = Meter.objects.get_or_create(meter_id=name, defaults={"first_seen_at": datetime(2015, 1, 1, tzinfo=UTC)})
    return MeterRegister.objects.get_or_create(
        meter=row, register_id="total", unit=unit.value, scale=scale, modulus=modulus, defaults={"claimed": True}
    )[0]


def home(
    number: int,
    start: date,
    *,
    rate_class: str = "residential",
    label: str = "water",
    cycle_: Cycle | None = None,
    register: MeterRegister | None = None,
    first_count: int | None = 0,
    **inputs: Any,
) -> Home:
    """A home whose meter, occupancy and agreement start on a day."""
    moment = midnight(start, CHICAGO)
    account = account_row(number, cycle_)
    service_point = customers.ensure_premise(f"{number} Elm Street", label=label)
    register = register or meter(f"MTR-{number:08}" if label == "water" else f"IRR-{number:08}")
    installation = Installation.objects.create(
        meter=register.meter,
        service_point=service_point,
        start=moment,
        register=None if first_count is None else register,
        first_count=first_count,
    )
    Occupancy.objects.create(account=account, service_point=service_point, start=moment)
    agreement = ServiceAgreement.objects.create(
        account=account, service_point=service_point, rate_class=rate_class, start=start, inputs=inputs
    )
    return Home(account, service_point, installation, register, agreement)


def account_row(number: int, cycle_: Cycle | None = None) -> Account:
    account, made = Account.objects.get_or_create(number=f"{number:07}")
    if made:
        BillingAccount.objects.create(account=account, cycle=cycle_ or cycle(), email=f"a{number}@example.org")
    return account


def reads(register: MeterRegister, points: Iterable[tuple[datetime, int]], *, fold: bool = False) -> None:
    """Store reads as if a collector had brought them; counts are unrolled, the dial shows them rolled over."""
    rows = [
        RecentRead(
            register=register.pk,
            read_us=to_us(at),
            raw_count=count % (register.modulus or count + 1),
            epoch=1,
            append_seq=number,
            quality=int(ReadQuality.MEASURED),
            reason=0,
            flags=0,
        )
        for number, (at, count) in enumerate(points, 1)
    ]
    RecentRead.objects.bulk_create(rows, batch_size=500)
    last = max(rows, key=lambda row: row.read_us)
    RegisterState.objects.update_or_create(
        register=register,
        defaults={
            "last_read_at": from_us(last.read_us),
            "last_count": last.raw_count,
            "last_quality": 0,
            "change_number": 1,
        },
    )
    if fold:
        fold_closed_days(datetime(2040, 1, 1, tzinfo=UTC))


def steady(
    first: date, last: date, counts_a_day: int, *, start: int = 0, every: timedelta = timedelta(hours=6)
) -> Iterable[tuple[datetime, int]]:
    """Reads at the local midnights from first to last and between them, of a dial that turns evenly each local day."""
    return varying(first, last, lambda day: counts_a_day, start=start, every=every)


def varying(
    first: date,
    last: date,
    counts_on: Callable[[date], int],
    *,
    start: int = 0,
    every: timedelta = timedelta(hours=6),
) -> Iterable[tuple[datetime, int]]:
    """The same with a count of its own for each local day."""
    count, day = start, first
    while day < last:
        begin, end = midnight(day, CHICAGO), midnight(day + timedelta(days=1), CHICAGO)
        at = begin
        while at < end:
            yield at, count + counts_on(day) * (at - begin) // (end - begin)
            at += every
        count, day = count + counts_on(day), day + timedelta(days=1)
    yield midnight(last, CHICAGO), count


def run(period_end: date, *, cycle_: Cycle | None = None, issue: bool = True) -> list[Bill]:
    """Run a cycle for the period that ends on a day, as the command does, dated that day."""
    row = start_run(cycle_ or cycle(), period_end, bill_date=period_end)
    calculate_run(row)
    if issue:
        issue_run(row)
    return list(Bill.objects.filter(run=row).order_by("account__number"))


def lines_of(bill: Bill) -> list[tuple[str, str, int]]:
    return [(line.service, line.code, line.amount_cents) for line in bill.lines.all()]

"""Makes bills for tests without the calculation: accounts with meters, priced segments, lines, dials, ledger entries.

`make_bill()` alone gives an issued bill of 12,345 gal for May 2026 at the pilot's residential prices (water 61.25,
sewer 26.20, sanitation 14.00). Called again with the same account it goes on where dial and periods ended.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

from domain.reading import ReadQuality
from portal.billing.models import (
    Bill,
    BilledDial,
    BillingAccount,
    BillLine,
    BillRun,
    BillSegment,
    Cycle,
    RateBook,
    ServiceAgreement,
)
from portal.billing.rate_books import digest_of
from portal.core.clock import now
from portal.core.models import User
from portal.core.services import utility_zone
from portal.customers import services as customers
from portal.customers.models import Account, Occupancy
from portal.fleet.models import Meter
from portal.ledger.models import JournalEntry
from portal.ledger.services import Leg, balance_cents, post
from portal.metering.calendar import midnight
from portal.metering.models import Installation, MeterRegister
from rates.book import cents_of

VERSION = "2023-09-01"
_BOOK = "name: bills of tests\n"
_TIERS = ((0, 5_000, "3.46"), (5_000, 15_000, "4.50"), (15_000, 20_000, "6.75"), (20_000, None, "9.51"))
_REVENUE = {"water": "4100", "sewer": "4200", "sanitation": "4300"}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class DraftLine:
    """A line before it has a bill: as `BillLine`, amounts in cents."""

    service: str
    code: str
    kind: str
    label: dict[str, str]
    amount_cents: int
    tier: int | None = None
    lower: str = ""
    upper: str = ""
    quantity: str = ""
    price: str = ""
    per: str = "1"


def water_lines(units: int) -> list[DraftLine]:
    """The pilot's water lines for a number of gallons: base fee and tiers."""
    base = DraftLine(
        "water", "base", "fixed", {"en": "Base fee", "es": "Cargo base"}, 1090, quantity="1", price="10.90"
    )
    lines = [base]
    for number, (lower, upper, price) in enumerate(_TIERS, start=1):
        used = max(0, min(units, upper if upper is not None else units) - lower)
        if not used:
            continue
        lines.append(
            DraftLine(
                "water",
                f"tier-{number}",
                "usage",
                {"en": "Water used", "es": "Agua usada"},
                cents_of(used * Fraction(price) / 1000),
                tier=number,
                lower=str(lower),
                upper="" if upper is None else str(upper),
                quantity=str(used),
                price=price,
                per="1000",
            )
        )
    return lines


def all_lines(units: int) -> list[DraftLine]:
    """Water, sewer on a winter average of 6,000 gal, sanitation."""
    return [
        *water_lines(units),
        DraftLine(
            "sewer",
            "base",
            "fixed",
            {"en": "Sewer base fee", "es": "Cargo base de alcantarillado"},
            500,
            quantity="1",
            price="5.00",
        ),
        DraftLine(
            "sewer",
            "usage",
            "usage",
            {"en": "Sewer on your winter average", "es": "Alcantarillado según su promedio de invierno"},
            1620,
            quantity="6000",
            price="2.70",
            per="1000",
        ),
        DraftLine(
            "sewer",
            "maintenance",
            "fixed",
            {"en": "Sewer maintenance", "es": "Mantenimiento de alcantarillado"},
            500,
            quantity="1",
            price="5.00",
        ),
        DraftLine(
            "sanitation",
            "base",
            "fixed",
            {"en": "Sanitation", "es": "Recolección de basura"},
            1400,
            quantity="1",
            price="14.00",
        ),
    ]


def put_book_away() -> None:
    """Withdraw the book that these bills name: it prices nothing, so other tests of one portal must not meet it."""
    RateBook.objects.filter(pk=rate_book().pk).update(withdrawn_at=now())


def rate_book() -> RateBook:
    """The one approved book of these bills."""
    moment = datetime(2023, 8, 1, tzinfo=UTC)
    book, _ = RateBook.objects.get_or_create(
        digest=digest_of(_BOOK),
        defaults={
            "name": "Norman",
            "format": "headwater-rates/1",
            "text": _BOOK,
            "effective_from": date(2023, 9, 1),
            "loaded_at": moment,
            "approved_at": moment,
        },
    )
    return book


def make_account(
    number: str | None = None,
    *,
    name: str = "Ana Morales",
    address: str = "",
    user: User | None = None,
    email: str = "",
    language: str = "en",
    paper: bool = False,
    route: str = "R1",
    stop: int | None = None,
    mail_to: str = "",
    start: date = date(2025, 1, 1),
) -> Account:
    """An account that lives somewhere, has a meter and an agreement, and is billed monthly."""
    # Another process may have added accounts to the same database.
    serial = next(n for n in _numbers if not Meter.objects.filter(meter_id=f"EFE-{n:08d}").exists())
    number = number or f"{1_000_000 + serial}"
    address = address or f"{10 + 2 * serial} Elm Street"
    account, _ = Account.objects.get_or_create(number=number, defaults={"name": name})
    point = customers.ensure_premise(address)
    moved_in = midnight(start, utility_zone())
    if not Occupancy.objects.filter(account=account, service_point=point).exists():
        customers.move_in(account, point, moved_in)
    if user is not None:
        customers.grant_access(account, user, at=moved_in)
    cycle, _ = Cycle.objects.get_or_create(code="M1", defaults={"read_day": 1})
    BillingAccount.objects.get_or_create(
        account=account,
        defaults={
            "cycle": cycle,
            "route": route,
            "stop": serial if stop is None else stop,
            "email": email,
            "language": language,
            "paper": paper,
            "mail_to": mail_to or f"{name}\n{address}\nNorman, OK 73069",
            "opened_on": start,
        },
    )
    meter, _ = Meter.objects.get_or_create(meter_id=f"EFE-{serial:08d}")
    register, _ = MeterRegister.objects.get_or_create(
        meter=meter, register_id="total", unit="gal", scale=0, modulus=10**8, defaults={"claimed": True}
    )
    Installation.objects.create(
        meter=meter, service_point=point, start=moved_in, register=register, first_count=100_000
    )
    ServiceAgreement.objects.create(
        account=account, service_point=point, rate_class="residential", start=start, inputs={"dwelling_units": 1}
    )
    return account


def make_bill(
    account: Account | None = None,
    *,
    issued: bool = True,
    units: int = 12_345,
    period_start: date | None = None,
    period_end: date | None = None,
    kind: str = "regular",
    estimated: bool = False,
    balance_before_cents: int | None = None,
    lines: list[DraftLine] | None = None,
    run: BillRun | None = None,
    replaces: Bill | None = None,
) -> Bill:
    """Make one bill with a segment, its dial and its lines; an issued one has its number and its ledger entry.

    period_start  by default the end of the account's newest bill, else 1 May 2026; period_end: a month later.
    balance_before_cents  by default what the ledger says the account owes.
    """
    account = account or make_account()
    last = Bill.objects.filter(account=account).exclude(state="cancelled").order_by("period_end").last()
    start = period_start or (last.period_end if last and replaces is None else date(2026, 5, 1))
    end = period_end or (start.replace(day=1) + timedelta(days=32)).replace(day=start.day)
    charged = lines if lines is not None else all_lines(units)
    charges = sum(line.amount_cents for line in charged)
    before = balance_cents(account) if balance_before_cents is None else balance_before_cents
    bill_date = end + timedelta(days=2)
    calculated_at = datetime.combine(bill_date, datetime.min.time(), UTC) + timedelta(hours=14)
    bill = Bill.objects.create(
        account=account,
        run=run,
        kind=kind,
        state="draft",
        period_start=start,
        period_end=end,
        bill_date=bill_date,
        due_date=bill_date + timedelta(days=21),
        charges_cents=charges,
        balance_before_cents=before,
        due_cents=charges + before,
        estimated=estimated,
        calculated_at=calculated_at,
        replaces=replaces,
    )
    segment = _segment(bill, units, estimated=estimated)
    BillLine.objects.bulk_create(
        BillLine(bill=bill, segment=segment, position=n, version=VERSION, **vars(line))
        for n, line in enumerate(charged)
    )
    return issue(bill) if issued else bill


def issue(bill: Bill) -> Bill:
    """Give a draft its number and its ledger entry, as issuing does."""
    by_service: dict[str, int] = {}
    for line in bill.lines.all():
        by_service[line.service] = by_service.get(line.service, 0) - line.amount_cents
    legs = [("1200", bill.charges_cents, bill.account, "", bill.due_date)]
    legs += [(_REVENUE.get(service, "4500"), amount, None, service, None) for service, amount in by_service.items()]
    bill.entry = posted(f"bill:{bill.public_id}", "bill", bill.bill_date, legs)
    bill.number = f"{bill.period_end:%Y%m}-{bill.pk:07d}"
    bill.state, bill.issued_at = "issued", bill.calculated_at
    bill.save()
    return bill


def pay(account: Account, amount_cents: int, on: date) -> JournalEntry:
    """A payment of an account that the ledger knows of."""
    legs = [("1000", amount_cents, None, "", None), ("1200", -amount_cents, account, "", None)]
    return posted(f"payment:test-{next(_numbers)}", "payment", on, legs)


def posted(
    key: str, kind: str, on: date, legs: list[tuple[str, int, Account | None, str, date | None]]
) -> JournalEntry:
    """A journal entry with its postings: (ledger account, cents, customer account, service, due on)."""
    rows = [
        Leg(code, cents, account.pk if account else None, service, due) for code, cents, account, service, due in legs
    ]
    return post(kind, on, rows, key=key, label="tests")


def _segment(bill: Bill, units: int, *, estimated: bool) -> BillSegment:
    agreement = ServiceAgreement.objects.filter(account=bill.account).select_related("service_point").latest("start")
    installation = Installation.objects.filter(service_point=agreement.service_point).latest("start")
    assert installation.register is not None
    before = BilledDial.objects.filter(installation=installation, segment__bill__state="issued").order_by("end").last()
    first = before.last_count if before else installation.first_count or 0
    quality = ReadQuality.ESTIMATED if estimated else ReadQuality.MEASURED
    days = (bill.period_end - bill.period_start).days
    zone: ZoneInfo = utility_zone()
    segment = BillSegment.objects.create(
        bill=bill,
        agreement=agreement,
        rate_book=rate_book(),
        version=VERSION,
        start=bill.period_start,
        end=bill.period_end,
        days=days,
        full_days=days,
        units=units,
        unit="gal",
        unit_scale=0,
        quality=quality,
        inputs=agreement.inputs,
    )
    start, end = midnight(bill.period_start, zone), midnight(bill.period_end, zone)
    BilledDial.objects.create(
        segment=segment,
        register=installation.register,
        installation=installation,
        start=start,
        end=end,
        first_count=first,
        last_count=first + units,
        first_shown=first % 10**8,
        last_shown=(first + units) % 10**8,
        first_quality=ReadQuality.MEASURED,
        last_quality=quality,
        last_interpolated=True,
        first_us=[int(start.timestamp()) * 1_000_000],
        last_us=[(int(end.timestamp()) - 600) * 1_000_000, (int(end.timestamp()) + 300) * 1_000_000],
    )
    return segment

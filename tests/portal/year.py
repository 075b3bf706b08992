"""A year of a small town from a seed: reads in signed batches, swaps, moves, gaps, roll-overs, and thirteen bill runs.

Months go by in their order: the reads of a month come in, then its bills are made, as it happens. So a meter that is
silent over a month's end is billed by an estimate, and the next bill makes up for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from domain.ids import MeterId, RegisterId
from domain.reading import Register, RegisterRead
from domain.units import Unit
from portal.billing.agreements import Terms, end_agreement, start_agreement
from portal.billing.bills import final_bill, issue, release
from portal.billing.models import Bill, BillRun
from portal.billing.runs import calculate_run, issue_run, start_run
from portal.core.models import User
from portal.customers import services as customers
from portal.customers.models import Account, Occupancy, ServicePoint
from portal.ingest.apply import apply_batch
from portal.metering import services as metering
from portal.metering.calendar import midnight
from portal.metering.folding import fold_closed_days
from portal.metering.models import Installation
from tests.portal.billed import CHICAGO, NORMAN, account_row, cycle, rate_book
from tests.portal.building import Box, clock_at, enrolled, person

SEED = 20251001
FIRST, LAST = date(2025, 10, 1), date(2026, 11, 1)
RATE_CHANGE = date(2026, 3, 11)
EVERY = timedelta(hours=12)
READS_A_BATCH = 1500


@dataclass
class Dial:
    """A simulated register: what it has counted, and how much a step of it is."""

    register: Register
    count: int
    a_step: float
    start: datetime
    end: datetime | None = None
    silent: tuple[datetime, datetime] | None = None
    late_s: int = 0
    rest: float = 0.0

    def turn(self, random_: random.Random) -> None:
        """Let half a day go by."""
        self.rest += self.a_step * random_.choice((0.2, 0.6, 1.0, 1.4, 1.8))
        whole = int(self.rest)
        self.rest -= whole
        self.count += whole

    def read(self, at: datetime) -> RegisterRead | None:
        """What the collector reads then; None while it hears nothing or the meter is not there."""
        at += timedelta(seconds=self.late_s)
        if at < self.start or (self.end is not None and at > self.end):
            return None
        if self.silent is not None and self.silent[0] <= at < self.silent[1]:
            return None
        modulus = self.register.modulus
        return RegisterRead(self.register, self.count if modulus is None else self.count % modulus, at, clock_at(at))


@dataclass
class Year:
    """The town while its year goes by."""

    random: random.Random
    box: Box
    staff: User
    dials: list[Dial] = field(default_factory=list)
    homes: dict[int, ServicePoint] = field(default_factory=dict)
    at: datetime = datetime.min.replace(tzinfo=UTC)

    def move_on(self, until: datetime) -> None:
        """Let time go by: meters turn, the collector reads them and sends signed batches."""
        waiting: list[RegisterRead] = []
        while self.at < until:
            for dial in self.dials:
                dial.turn(self.random)
                if (read := dial.read(self.at)) is not None:
                    waiting.append(read)
            self.at += EVERY
        for start in range(0, len(waiting), READS_A_BATCH):
            signed = self.box.sealed(sorted(waiting[start : start + READS_A_BATCH], key=lambda read: read.read_at))
            answer = apply_batch(signed, self.box.name, self.at)
            assert answer is not None
            assert answer.committed

    def hang(
        self,
        point: ServicePoint,
        name: str,
        start: datetime,
        *,
        unit: Unit = Unit.GALLON,
        scale: int = 0,
        modulus: int | None = 10**7,
        count: int = 0,
        gallons_a_day: float = 180,
        registers: tuple[str, ...] = ("total",),
        late_s: int = 0,
    ) -> Installation:
        """Hang a meter up, with what its dial shows written down."""
        rows = []
        for share, register_id in enumerate(registers, 1):
            register = Register(MeterId(name), RegisterId(register_id), unit, scale, modulus)
            rows.append(metering.claim_register(register, at=start))
            litres = Unit.GALLON.litres * 10**6 / 10**6 * int(gallons_a_day * 1000) / 1000
            a_step = float(litres / (unit.litres * (10**scale if scale >= 0 else 1) / (10**-scale if scale < 0 else 1)))
            dial = Dial(register, count, a_step * (EVERY / timedelta(days=1)) / share, start, late_s=late_s)
            self.dials.append(dial)
        shown = count if modulus is None else count % modulus
        single = len(rows) == 1
        return metering.install_meter(
            rows[0].meter, point, start, register=rows[0], first_count=shown if single else None, label="year"
        )

    def take_off(self, installation: Installation, at: datetime) -> None:
        """Take a meter off, with what its dial shows written down."""
        [dial] = [dial for dial in self.dials if dial.register.meter_id == installation.meter.meter_id]
        dial.end = at
        shown = dial.count if dial.register.modulus is None else dial.count % dial.register.modulus
        metering.remove_meter(installation, at, last_count=shown, label="year")

    def live(self, number: int, point: ServicePoint, start: date, **inputs: object) -> Account:
        """Let an account move in, with an agreement."""
        account = account_row(number)
        customers.move_in(account, point, midnight(start, CHICAGO), label="year")
        start_agreement(account, point, Terms("residential", inputs), start, label="year")
        return account

    def bill(self, period_end: date) -> BillRun:
        """Make and issue the bills of a month; what is held is looked at and released."""
        run = start_run(cycle(), period_end, bill_date=period_end, label="year")
        run = calculate_run(run)
        for bill in Bill.objects.filter(run=run, state=Bill.State.HELD):
            release(bill, reason="looked at, it is so", actor=self.staff)
        return issue_run(run, label="year")


def town() -> Year:
    """Build the town, and let the year go by."""
    print(f"year: seed {SEED}")
    rate_book(end=RATE_CHANGE)
    changed = NORMAN.replace("3.46", "3.71").replace("10.90", "11.40")
    assert changed != NORMAN
    rate_book(changed, start=RATE_CHANGE)
    year = Year(random.Random(SEED), enrolled("year-1"), person("clerk@example.org", is_staff=True))
    year.at = midnight(FIRST, CHICAGO).replace(hour=6) - 2 * EVERY
    begin = midnight(FIRST, CHICAGO)
    _settle(year, begin)
    swapped = Installation.objects.get(meter__meter_id="SWAP-OLD")
    for month in range(1, 14):
        end = _first_of(month)
        if month == 4:
            noon = midnight(date(2026, 1, 14), CHICAGO) + timedelta(hours=12)
            year.move_on(noon)
            year.take_off(swapped, noon)
            year.hang(year.homes[11], "SWAP-NEW", noon, unit=Unit.CUBIC_FOOT, modulus=10**6, count=17)
        if month == 6:
            _move(year, date(2026, 3, 19), vacant_days=0, leaves=12, comes=112)
        if month == 9:
            _move(year, date(2026, 6, 11), vacant_days=9, leaves=13, comes=113)
        year.move_on(midnight(end, CHICAGO) + timedelta(days=1))
        fold_closed_days(year.at)
        year.bill(end)
    return year


def _settle(year: Year, begin: datetime) -> None:
    """Twenty homes on one cycle."""
    kinds = (
        {"unit": Unit.GALLON, "modulus": 10**6, "count": 10**6 - 9_000},
        {"unit": Unit.CUBIC_FOOT, "modulus": 10**5, "count": 10**5 - 700},
        {"unit": Unit.CUBIC_METRE, "scale": -3, "modulus": 10**8, "count": 123_456_789 % 10**8},
        {"unit": Unit.LITRE, "modulus": 10**9, "count": 4_321},
        {"unit": Unit.GALLON, "scale": 1, "modulus": 10**5, "count": 99_000},
    )
    for number in range(1, 19):
        point = customers.ensure_premise(f"{number} Elm Street")
        year.homes[number] = point
        year.live(number, point, FIRST)
        name = "SWAP-OLD" if number == 11 else f"YEAR-{number:04}"
        kind = kinds[number % len(kinds)]
        gallons = 90 + 17 * number
        year.hang(point, name, begin, gallons_a_day=gallons, late_s=(number % 4) * 37, **kind)  # type: ignore[arg-type]
    silent = next(dial for dial in year.dials if dial.register.meter_id == "YEAR-0014")
    silent.silent = (midnight(date(2026, 1, 25), CHICAGO), midnight(date(2026, 2, 9), CHICAGO))
    twice = next(dial for dial in year.dials if dial.register.meter_id == "YEAR-0015")
    twice.silent = (midnight(date(2026, 7, 20), CHICAGO), midnight(date(2026, 9, 6), CHICAGO))
    compound = customers.ensure_premise("19 Elm Street")
    year.live(19, compound, FIRST)
    year.hang(compound, "COMPOUND-19", begin, registers=("total_high", "total_low"), gallons_a_day=400)
    garden = customers.ensure_premise("10 Elm Street", label="garden")
    start_agreement(Account.objects.get(number=f"{10:07}"), garden, Terms("residential", {}), FIRST, label="year")
    year.hang(garden, "GARDEN-10", begin, modulus=10**6, gallons_a_day=70)


def _move(year: Year, on: date, *, vacant_days: int, leaves: int, comes: int) -> None:
    """One household leaves, another one comes, at once or some days later."""
    year.move_on(midnight(on, CHICAGO) + timedelta(days=1))
    account = Account.objects.get(number=f"{leaves:07}")
    bill = final_bill(account, on, actor=year.staff)
    if bill.state == Bill.State.HELD:
        bill = release(bill, reason="looked at, it is so", actor=year.staff)
    issue(bill, year.staff)
    for occupancy in Occupancy.objects.filter(account=account, end__isnull=True):
        customers.move_out(occupancy, midnight(on, CHICAGO), actor=year.staff)
    for agreement in account.agreements.filter(end__isnull=True):
        end_agreement(agreement, on, actor=year.staff)
    start = on + timedelta(days=vacant_days)
    year.live(comes, year.homes[leaves], start)


def _first_of(month: int) -> date:
    """Return the first day after the year's month so and so, counted from 1."""
    years, number = divmod(FIRST.month - 1 + month, 12)
    return date(FIRST.year + years, number + 1, 1)

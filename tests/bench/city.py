"""A city in a database: accounts that are billed, their meters, and what the meters counted, straight into the tables.

Meters share the series of some tens of households (`households.py`): each is made and packed once, by the code with
which ingest and its nightly fold pack, and every register gets rows of its own of it. `same_as_ingested` sends one
register's reads through ingest and compares. Rows are copied into tables without indexes (`loading.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tests.bench.measure import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.households import Kept

AT_ONCE = 2000
_GARDEN = "irrigation"


@dataclass(frozen=True)
class City:
    """So many accounts with reads of `days` storage days from `first_day` on.

    until     reads of the last day are kept as recent ones, up to this moment; None: all days are folded.
    people    every account has somebody who signs in (nobody knows their passwords).
    by_day    rows lie in the table as time wrote them, all registers of a day together; else all days of a register.
    gardens   so many of the accounts, the first ones, have a second meter at the same premise.
    profiles  so many different households; of these `hourly` are read every hour, the others every 15 minutes.
    """

    accounts: int
    first_day: date
    days: int
    until: datetime | None = None
    people: bool = False
    by_day: bool = False
    gardens: int = 0
    profiles: int = 64
    hourly: int = 0

    @property
    def meters(self) -> int:
        """How many meters there are."""
        return self.accounts + self.gardens

    def build(self) -> None:
        """Write rates, a cycle, accounts with their meters, and their reads."""
        from portal.billing import rate_books
        from portal.billing.models import Cycle
        from portal.core.models import User
        from tests.bench.households import Span, kept_by
        from tests.bench.loading import careless
        from tests.portal.billed import CHICAGO

        began = time.monotonic()
        kept = kept_by(self.profiles, Span(self.first_day, self.days, CHICAGO, self.until), hourly=self.hourly)
        say(f"{self.profiles} households made in {time.monotonic() - began:.1f} s")
        text = files("rates").joinpath("files/norman.yaml").read_text(encoding="utf-8")
        loader = User.objects.create_user("rates@example.org", "correct-horse-7", is_staff=True)
        other = User.objects.create_user("second@example.org", "correct-horse-7", is_staff=True)
        rate_books.approve(rate_books.load(text, name="norman.yaml", actor=loader), actor=other)
        cycle = Cycle.objects.create(code="A", name="all")
        self._collector()
        registers: dict[int, int] = {}
        with careless():
            began = time.monotonic()
            for start in range(0, self.accounts, AT_ONCE):
                registers |= self._homes(range(start, min(start + AT_ONCE, self.accounts)), cycle, kept)
            say(f"{self.accounts} accounts, {self.meters} meters written in {time.monotonic() - began:.1f} s")
            self._reads(registers, kept)

    def _collector(self) -> None:
        from portal.fleet.models import Collector
        from portal.metering.models import Epoch
        from tests.bench.households import EPOCH

        row = Epoch.objects.create(collector=Collector.objects.create(collector_id="hw-city-0"), epoch=bytes(16))
        assert row.pk == EPOCH

    def _homes(self, numbers: range, cycle: Any, kept: Sequence[Kept]) -> dict[int, int]:
        """Write some accounts and all that hangs on them; return their registers, each with its profile."""
        from portal.billing.models import BillingAccount, ServiceAgreement
        from portal.customers.models import Account, Occupancy, Premise, ServicePoint
        from portal.fleet.models import Meter
        from portal.metering.calendar import midnight
        from portal.metering.models import Installation, MeterRegister, RegisterState
        from portal.metering.reads import from_us
        from tests.portal.billed import CHICAGO

        first = self.first_day + timedelta(days=1)
        since = midnight(first, CHICAGO)
        premises = Premise.objects.bulk_create([Premise(address=f"{n} Elm Street") for n in numbers])
        made = Account.objects.bulk_create([Account(number=f"{n:07}", name=f"Customer {n}") for n in numbers])
        BillingAccount.objects.bulk_create(
            [BillingAccount(account=account, cycle=cycle, email=f"a{account.number}@example.org") for account in made]
        )
        homes = list(zip(numbers, made, premises, strict=True))
        hung = [(n, account, ServicePoint(premise=premise)) for n, account, premise in homes]
        hung += [
            (self.accounts + n, account, ServicePoint(premise=premise, label=_GARDEN))
            for n, account, premise in homes
            if n < self.gardens
        ]
        ServicePoint.objects.bulk_create([point for _, _, point in hung])
        meters = Meter.objects.bulk_create([Meter(meter_id=f"MTR-{n:08}", first_seen_at=since) for n, _, _ in hung])
        registers = MeterRegister.objects.bulk_create(
            [
                MeterRegister(meter=meter, register_id="total", unit="m3", scale=-3, modulus=10**8, claimed=True)
                for meter in meters
            ]
        )
        profiles = {row.pk: n % self.profiles for row, (n, _, _) in zip(registers, hung, strict=True)}
        RegisterState.objects.bulk_create(
            [
                RegisterState(
                    register=row,
                    last_read_at=from_us(kept[profiles[row.pk]].last.read_us),
                    last_count=kept[profiles[row.pk]].last.raw_count,
                    last_quality=0,
                    change_number=1,
                )
                for row in registers
            ]
        )
        Installation.objects.bulk_create(
            [Installation(meter=m, service_point=p, start=since) for m, (_, _, p) in zip(meters, hung, strict=True)]
        )
        Occupancy.objects.bulk_create([Occupancy(account=a, service_point=p, start=since) for _, a, p in hung])
        ServiceAgreement.objects.bulk_create(
            [ServiceAgreement(account=a, service_point=p, rate_class="residential", start=first) for _, a, p in hung]
        )
        if self.people:
            self._people(made, since)
        return profiles

    def _people(self, accounts: list[Any], since: datetime) -> None:
        from allauth.account.models import EmailAddress
        from django.contrib.auth.hashers import make_password

        from portal.core.models import User
        from portal.customers.models import AccountAccess

        nobody_knows = make_password(None)
        people = User.objects.bulk_create(
            [User(email=f"a{account.number}@example.org", password=nobody_knows) for account in accounts]
        )
        EmailAddress.objects.bulk_create(
            [EmailAddress(user=user, email=user.email, verified=True, primary=True) for user in people]
        )
        AccountAccess.objects.bulk_create(
            [AccountAccess(account=a, user=u, granted_at=since) for a, u in zip(accounts, people, strict=True)]
        )

    def _reads(self, registers: dict[int, int], kept: Sequence[Kept]) -> None:
        """Give every register its household's days."""
        from django.db import connection

        from tests.bench.loading import crossed, fill, first_column

        kinds = list(registers.values())

        def rows(fields: int, ends: list[list[bytes]], *, by_end: bool) -> Iterator[bytes]:
            starts = [first_column(fields, register) for register in registers]
            found: Iterator[bytes] = crossed(starts, kinds, ends, by_end=by_end)
            return found

        days = [_day_rows(one) for one in kept]
        fill("metering_registerday", ("register", "day", "reads", "packed"), rows(4, days, by_end=self.by_day))
        volumes = [_volume_rows(one) for one in kept]
        columns = ("register", "day", "counts", "quality", "interpolated")
        fill("metering_dailyvolume", columns, rows(5, volumes, by_end=self.by_day))
        if self.until is not None:
            recent = [_recent_rows(one) for one in kept]
            of_reads = ("register", "read_us", "raw_count", "epoch", "append_seq", "quality", "reason", "flags")
            fill("metering_recentread", of_reads, rows(8, recent, by_end=True))
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (ANALYZE)")


def _day_rows(kept: Kept) -> list[bytes]:
    from tests.bench.loading import bytes_field, field

    return [field("i", day) + field("i", reads) + bytes_field(packed) for day, reads, packed in kept.folded]


def _volume_rows(kept: Kept) -> list[bytes]:
    from tests.bench.loading import field

    since = date(2000, 1, 1)  # where PostgreSQL's days begin
    return [
        field("i", (day - since).days) + field("q", counts) + field("h", quality) + field("b", interpolated)
        for day, counts, quality, interpolated in kept.volumes
    ]


def _recent_rows(kept: Kept) -> list[bytes]:
    from tests.bench.loading import field

    return [
        field("q", read.read_us)
        + field("q", read.raw_count)
        + field("q", read.epoch)
        + field("q", read.append_seq)
        + field("h", read.quality)
        + field("h", read.reason)
        + field("h", read.flags)
        for read in kept.recent
    ]

"""A city in a database: accounts that are billed, a meter each, and what the meters counted, straight into the tables.

Meters share 64 households' series, so that making them costs little; every register has rows of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILES, READS_A_DAY = 64, 96
AT_ONCE = 2000


@dataclass(frozen=True)
class City:
    """So many accounts with reads every 15 minutes of `days` storage days from `first_day` on.

    until    reads of the last day are kept as recent ones, up to this moment; None: all days are folded.
    people   every account has somebody who signs in (nobody knows their passwords).
    by_day   rows lie in the table as time wrote them, all registers of a day together; else all days of a register.
    """

    accounts: int
    first_day: date
    days: int
    until: datetime | None = None
    people: bool = False
    by_day: bool = False

    def build(self) -> None:
        """Write rates, a cycle, accounts with their meters, and their reads."""
        from portal.billing import rate_books
        from portal.billing.models import Cycle
        from portal.core.models import User

        text = files("rates").joinpath("files/norman.yaml").read_text(encoding="utf-8")
        loader = User.objects.create_user("rates@example.org", "correct-horse-7", is_staff=True)
        other = User.objects.create_user("second@example.org", "correct-horse-7", is_staff=True)
        rate_books.approve(rate_books.load(text, name="norman.yaml", actor=loader), actor=other)
        cycle = Cycle.objects.create(code="A", name="all")
        for start in range(0, self.accounts, AT_ONCE):
            self._homes(range(start, min(start + AT_ONCE, self.accounts)), cycle)
        self._reads()

    def _homes(self, numbers: range, cycle: Any) -> None:
        from portal.billing.models import BillingAccount, ServiceAgreement
        from portal.customers.models import Account, Occupancy, Premise, ServicePoint
        from portal.fleet.models import Meter
        from portal.metering.calendar import midnight
        from portal.metering.models import Installation, MeterRegister, RegisterState
        from tests.portal.billed import CHICAGO

        first = self.first_day + timedelta(days=1)
        since = midnight(first, CHICAGO)
        premises = Premise.objects.bulk_create([Premise(address=f"{n} Elm Street") for n in numbers])
        points = ServicePoint.objects.bulk_create([ServicePoint(premise=premise) for premise in premises])
        made = Account.objects.bulk_create([Account(number=f"{n:07}", name=f"Customer {n}") for n in numbers])
        BillingAccount.objects.bulk_create(
            [BillingAccount(account=account, cycle=cycle, email=f"a{account.number}@example.org") for account in made]
        )
        meters = Meter.objects.bulk_create([Meter(meter_id=f"MTR-{n:08}", first_seen_at=since) for n in numbers])
        registers = MeterRegister.objects.bulk_create(
            [
                MeterRegister(meter=meter, register_id="total", unit="m3", scale=-3, modulus=10**8, claimed=True)
                for meter in meters
            ]
        )
        last = self.until or datetime.combine(self.first_day + timedelta(days=self.days), datetime.min.time(), UTC)
        RegisterState.objects.bulk_create(
            [
                RegisterState(register=row, last_read_at=last, last_count=0, last_quality=0, change_number=1)
                for row in registers
            ]
        )
        places = list(zip(made, points, meters, strict=True))
        Installation.objects.bulk_create([Installation(meter=m, service_point=p, start=since) for _, p, m in places])
        Occupancy.objects.bulk_create([Occupancy(account=a, service_point=p, start=since) for a, p, _ in places])
        ServiceAgreement.objects.bulk_create(
            [ServiceAgreement(account=a, service_point=p, rate_class="residential", start=first) for a, p, _ in places]
        )
        if self.people:
            self._people(made, since)

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

    def _reads(self) -> None:
        """Give every register its household's days, inside the database: the series travel there once."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE home (profile int, day int, date date, reads int, packed bytea, counts bigint)"
            )
            with cursor.copy("COPY home FROM STDIN") as copy:
                for profile in range(PROFILES):
                    for row in self._days(profile):
                        copy.write_row((profile, *row))
            order = "h.day, r.id" if self.by_day else "r.id, h.day"
            cursor.execute("ANALYZE home")
            of = f"metering_meterregister r JOIN home h ON h.profile = r.id % {PROFILES}"
            open_day = (self.until.date() - date(1970, 1, 1)).days if self.until else None
            folded = "" if open_day is None else f"WHERE h.day < {open_day}"
            cursor.execute(
                "INSERT INTO metering_registerday (register, day, reads, packed) "
                f"SELECT r.id, h.day, h.reads, h.packed FROM {of} {folded} ORDER BY {order}"
            )
            cursor.execute(
                "INSERT INTO metering_dailyvolume (register, day, counts, quality, interpolated) "
                f"SELECT r.id, h.date, h.counts, 0, false FROM {of} WHERE h.counts IS NOT NULL ORDER BY {order}"
            )
            if open_day is not None:
                self._open(cursor, open_day)
            cursor.execute("ANALYZE")

    def _open(self, cursor: Any, day: int) -> None:
        """Write the reads of the last day as ingest leaves them until the day is folded."""
        from portal.metering.packed import unpack_day
        from portal.metering.reads import to_us

        assert self.until is not None
        until_us = to_us(self.until)
        cursor.execute(
            "CREATE TEMPORARY TABLE today (profile int, read_us bigint, raw_count bigint, append_seq bigint)"
        )
        cursor.execute("SELECT profile, packed FROM home WHERE day = %s", [day])
        rows = [(profile, read) for profile, packed in cursor.fetchall() for read in unpack_day(day, bytes(packed))]
        with cursor.copy("COPY today FROM STDIN") as copy:
            for profile, read in rows:
                if read.read_us <= until_us:
                    copy.write_row((profile, read.read_us, read.raw_count, read.append_seq))
        cursor.execute(
            "INSERT INTO metering_recentread (register, read_us, raw_count, epoch, append_seq, quality, reason, flags) "
            "SELECT r.id, t.read_us, t.raw_count, 1, t.append_seq, 0, 0, 0 FROM metering_meterregister r "
            f"JOIN today t ON t.profile = r.id % {PROFILES} ORDER BY t.read_us, r.id"
        )
        cursor.execute(
            "UPDATE metering_registerstate s SET last_count = t.raw_count FROM today t WHERE t.profile = "
            f"s.register_id % {PROFILES} AND t.read_us = (SELECT max(read_us) FROM today WHERE profile = t.profile)"
        )

    def _days(self, profile: int) -> Iterator[tuple[int, date, int, bytes, int | None]]:
        """Yield one household's packed storage days with their volumes, as rows of `home` without the profile."""
        from domain.reading import ReadQuality
        from domain.usage import CountPoint, split
        from portal.metering.calendar import midnight
        from portal.metering.packed import DAY_US, KeptRead, pack_day
        from portal.metering.reads import from_us
        from tests.portal.billed import CHICAGO

        rng = random.Random(profile)
        day0 = (self.first_day - date(1970, 1, 1)).days
        litres_a_day, points = rng.randrange(200, 2500), list[CountPoint]()
        count, append, packed = rng.randrange(10**7), 1, []
        for day in range(day0, day0 + self.days):
            reads = []
            for slot in range(READS_A_DAY):
                at = day * DAY_US + slot * 900_000_000 + rng.randrange(60_000) * 1000
                reads.append(KeptRead(at, 1, append, count, int(ReadQuality.MEASURED), 0, 0))
                points.append(CountPoint(from_us(at), count))
                count, append = count + rng.choice((0, 0, 1, 2)) * litres_a_day // 72, append + 250
            packed.append(pack_day(day, reads))
        edges = [midnight(self.first_day + timedelta(days=n), CHICAGO) for n in range(self.days + 1)]
        volumes = {part.start.astimezone(CHICAGO).date(): part.counts for part in split(points, edges)}
        for number, data in enumerate(packed):
            on = self.first_day + timedelta(days=number)
            yield day0 + number, on, READS_A_DAY, data, volumes.get(on)

"""Homes with a history of reads, quickly: rows as folding left them, without batches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from domain.units import Unit
from portal.metering.folding import fold_closed_days
from portal.metering.models import Installation, MeterRegister, RecentRead, RegisterState
from portal.metering.reads import to_us
from tests.portal.building import home, total

if TYPE_CHECKING:
    from collections.abc import Callable

    from portal.core.models import User
    from portal.customers.models import ServicePoint

MAY = datetime(2026, 5, 1, 5, 0, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, 5, 0, tzinfo=UTC)
JULY = datetime(2026, 7, 1, 5, 0, tzinfo=UTC)
"""Midnights in Chicago."""


@dataclass
class Home:
    """One home, its meter, and the reads so far: one count is one litre."""

    service_point: ServicePoint
    installation: Installation
    register: MeterRegister
    count: int
    at: datetime

    def read_daily(
        self, days: int, litres: int | Callable[[datetime], int] = 600, *, reads_a_day: int = 2, fold: bool = True
    ) -> Home:
        """Let the meter be read some times on each of the next days; litres are counted each day."""
        rows = []
        for _ in range(days):
            used = litres if isinstance(litres, int) else litres(self.at)
            for part in range(reads_a_day):
                shown = self.count + used * part // reads_a_day
                rows.append(self.row(self.at + timedelta(days=1) * part / reads_a_day, shown))
            self.count, self.at = self.count + used, self.at + timedelta(days=1)
        RecentRead.objects.bulk_create([*rows, self.row(self.at, self.count)])
        self.newest(self.at, self.count)
        if fold:
            fold_closed_days(self.at + timedelta(days=3))
        return self

    def row(self, at: datetime, count: int) -> RecentRead:
        """One stored read that has not been folded."""
        modulus = self.register.modulus or 10**18
        place = RecentRead.objects.count() + 1
        return RecentRead(
            register=self.register.pk, read_us=to_us(at), raw_count=count % modulus, epoch=1, append_seq=place,
            quality=0, reason=0, flags=0,
        )  # fmt: skip

    def read(self, at: datetime, count: int, *, fold: bool = True) -> Home:
        """One read, as the dial shows it."""
        self.row(at, count).save()
        self.newest(at, count)
        if fold:
            fold_closed_days(at + timedelta(days=3))
        return self

    def newest(self, at: datetime, count: int) -> None:
        """Note the newest read as ingest does."""
        shown = count % (self.register.modulus or 10**18)
        RegisterState.objects.update_or_create(
            register=self.register,
            defaults={"last_read_at": at, "last_count": shown, "last_quality": 0, "change_number": 1},
        )


def metered_home(
    start: datetime = MAY,
    *,
    number: int = 1,
    first: int = 10_000,
    modulus: int | None = 10**8,
    user: User | None = None,
) -> Home:
    """A home whose meter hangs there from a moment on."""
    register = total(f"EFE-{number:08d}", unit=Unit.LITRE, scale=0, modulus=modulus)
    point, installation = home(
        register, start, user=user, address=f"{number} Elm Street", account=f"{1000000 + number}"
    )
    row = MeterRegister.objects.get(meter=installation.meter)
    return Home(point, installation, row, first, start)

"""Finds the reads of one register, whether they still stand in `RecentRead` or are folded into `RegisterDay`."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction

from portal.metering.models import RecentRead, RegisterDay
from portal.metering.packed import DAY_US, KeptRead, unpack_day

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COLUMNS = ("read_us", "epoch", "append_seq", "raw_count", "quality", "reason", "flags")


def to_us(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the UTC moment `us` microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=us)


def reads_of(register: int, start_us: int, end_us: int) -> list[KeptRead]:
    """Return the reads of a register (MeterRegister id) in [start_us, end_us], in time order.

    Recent reads are asked for first and folded days second: a fold that commits in between can only show a read
    twice, never hide it, and equal ones are taken once.
    """
    found = set(_recent(register, read_us__gte=start_us, read_us__lte=end_us))
    days = RegisterDay.objects.filter(register=register, day__gte=start_us // DAY_US, day__lte=end_us // DAY_US)
    for day, packed in days.values_list("day", "packed"):
        found.update(read for read in unpack_day(day, bytes(packed)) if start_us <= read.read_us <= end_us)
    return sorted(found)


def last_before(register: int, moment_us: int) -> KeptRead | None:
    """Return the newest read before a moment."""
    recent = RecentRead.objects.filter(register=register, read_us__lt=moment_us).order_by("-read_us", "-append_seq")
    found = [KeptRead(*row) for row in recent.values_list(*_COLUMNS)[:1]]
    days = RegisterDay.objects.filter(register=register, day__lte=(moment_us - 1) // DAY_US).order_by("-day")
    # The newest folded day may hold only later reads when the moment is inside it: then the day before has it.
    for day, packed in days.values_list("day", "packed")[:2]:
        if earlier := [read for read in unpack_day(day, bytes(packed)) if read.read_us < moment_us]:
            found.append(earlier[-1])
            break
    return max(found, default=None)


def first_after(register: int, moment_us: int) -> KeptRead | None:
    """Return the oldest read after a moment."""
    recent = RecentRead.objects.filter(register=register, read_us__gt=moment_us).order_by("read_us", "append_seq")
    found = [KeptRead(*row) for row in recent.values_list(*_COLUMNS)[:1]]
    days = RegisterDay.objects.filter(register=register, day__gte=(moment_us + 1) // DAY_US).order_by("day")
    for day, packed in days.values_list("day", "packed")[:2]:
        if later := [read for read in unpack_day(day, bytes(packed)) if read.read_us > moment_us]:
            found.append(later[0])
            break
    return min(found, default=None)


def every_read() -> Iterator[tuple[int, KeptRead]]:
    """Yield (MeterRegister id, read) for every row of both tables: a read applied twice comes twice."""
    with snapshot():
        for row in RecentRead.objects.order_by("id").values_list("register", *_COLUMNS).iterator(chunk_size=5000):
            yield row[0], KeptRead(*row[1:])
        for register, day, packed in RegisterDay.objects.values_list("register", "day", "packed").iterator():
            for read in unpack_day(day, bytes(packed)):
                yield register, read


@contextmanager
def snapshot() -> Iterator[None]:
    """Make all queries inside see the database as of one moment, without holding up writers."""
    connection.ensure_connection()
    if connection.in_atomic_block or getattr(connection.connection, "in_transaction", False):
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    else:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("COMMIT")


def _recent(register: int, **where: int) -> Iterator[KeptRead]:
    for row in RecentRead.objects.filter(register=register, **where).values_list(*_COLUMNS):
        yield KeptRead(*row)

"""Whether what a bench wrote straight into the tables is what ingest would have kept of the same reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction

from domain.ids import CollectorId
from portal.core.clock import now
from portal.fleet.models import Collector
from portal.metering import services as metering
from portal.metering.calendar import midnight
from portal.metering.folding import fold_closed_days
from portal.metering.models import DailyVolume, Installation, MeterRegister, RegisterDay
from portal.metering.packed import pack_day, unpack_day
from portal.metering.reads import from_us, reads_of
from portal.metering.usage import usage
from sync.signing import SigningKey
from tests.portal.building import Box, home, read, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.metering.packed import KeptRead
    from portal.metering.usage import UsageSeries

_A_BATCH = 1000
_EVER_US = 2**62


def same_as_ingested(register: int) -> dict[str, Any]:
    """Send a register's reads through ingest and the fold as those of a new meter, and compare; nothing stays.

    Compared are reads, packed days byte for byte (with the new epoch and numbers in the place of the old ones), daily
    volumes, and the usage by hours, days and months. raises  RuntimeError that says what differs.
    """
    with transaction.atomic():
        built = reads_of(register, 0, _EVER_US)
        new = _ingest(register, built)
        kept = reads_of(new, 0, _EVER_US)
        pairs = {
            "reads": ([_said(one) for one in built], [_said(one) for one in kept]),
            "packed days": (_days(register, kept), _days(new)),
            "daily volumes": (_volumes(register), _volumes(new)),
            **{f"usage by {by}": (_rows(register, by), _rows(new, by)) for by in ("hour", "day", "month")},
        }
        packed = [sum(map(len, _days(one).values())) for one in (register, new)]
        transaction.set_rollback(True)
    if differing := [name for name, (one, other) in pairs.items() if one != other or not one]:
        raise RuntimeError(f"register {register} of the city is not what ingest makes of its reads: {differing}")
    return {"reads": len(built), "packed_bytes": packed[0], "packed_bytes_by_ingest": packed[1], "same": sorted(pairs)}


def _ingest(register: int, reads: Sequence[KeptRead]) -> int:
    """Return the register of a new meter that said the same; its days are folded."""
    installed = Installation.objects.get(meter__registers=register)
    meter = total("MTR-INGESTED")
    home(meter, installed.start, address="1 Ingest Street")
    box = Box(CollectorId("hw-city-2"), SigningKey.generate(), epoch=bytes(range(16)))
    collector = Collector.objects.create(collector_id=box.name)
    for start in range(0, len(reads), _A_BATCH):
        some = reads[start : start + _A_BATCH]
        batch = box.batch([read(meter, one.raw_count, from_us(one.read_us)) for one in some])
        received_at = from_us(some[-1].read_us)
        epoch = metering.epoch_row(collector, batch, received_at=received_at)
        assert epoch is not None
        metering.apply_contents(batch, epoch=epoch, received_at=received_at)
    fold_closed_days(now())
    return MeterRegister.objects.get(meter__meter_id=meter.meter_id).pk


def _said(one: KeptRead) -> tuple[int, ...]:
    return one.read_us, one.raw_count, one.quality, one.reason, one.flags


def _days(register: int, numbered: Sequence[KeptRead] = ()) -> dict[int, bytes]:
    """Return the packed days; with reads of `numbered`'s epochs and append numbers where these are given."""
    own = {one.read_us: one for one in numbered}
    rows = RegisterDay.objects.filter(register=register).values_list("day", "packed")
    days = {day: bytes(packed) for day, packed in rows}
    if not own:
        return days
    return {
        day: pack_day(
            day,
            [
                one._replace(epoch=own[one.read_us].epoch, append_seq=own[one.read_us].append_seq)
                for one in unpack_day(day, packed)
                if one.read_us in own
            ],
        )
        for day, packed in days.items()
    }


def _volumes(register: int) -> list[tuple[Any, ...]]:
    rows = DailyVolume.objects.filter(register=register).order_by("day")
    return list(rows.values_list("day", "counts", "quality", "interpolated"))


def _rows(register: int, by: Any) -> UsageSeries | list[Any]:
    from portal.core.services import utility_zone

    installed = Installation.objects.get(meter__registers=register)
    end = midnight(now().astimezone(utility_zone()).date(), utility_zone())
    return list(usage(installed.service_point, start=installed.start, end=end, resolution=by).rows)

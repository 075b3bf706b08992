"""Every read that the portal holds, from its read tables: what reconciliation compares with the collectors' logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from portal.metering.models import Epoch, MeterRegister
from portal.metering.reads import every_read, from_us, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator


class HeldRead(TypedDict):
    """One row of the read tables; a read that was applied twice comes twice."""

    meter: str
    epoch: str
    append_seq: int
    register: str
    count: int
    read_at: str


def held_reads() -> Iterator[HeldRead]:
    """Yield every read in the portal's read tables, recent and folded, as of one moment."""
    with snapshot():
        registers = {
            pk: (meter, register)
            for pk, meter, register in MeterRegister.objects.values_list("pk", "meter__meter_id", "register_id")
        }
        epochs = {pk: bytes(epoch).hex() for pk, epoch in Epoch.objects.values_list("pk", "epoch")}
        for row, read in every_read():
            meter, register = registers[row]
            yield HeldRead(
                meter=meter,
                epoch=epochs[read.epoch],
                append_seq=read.append_seq,
                register=register,
                count=read.raw_count,
                read_at=from_us(read.read_us).isoformat(),
            )

"""The months before the demo: what the meters logged goes into the collectors' stores, and reaches the portal as a
backlog does, in signed batches; then the months are billed."""

from __future__ import annotations

import csv
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.clock import ClockState
from domain.ids import MeterId, RegisterId
from domain.reading import ReadFlag, Register, RegisterRead
from domain.units import Unit
from gateway.service import STORE_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from domain.clock import Clock

_TOGETHER = 1000
_BOOT = bytes(16)


def first_of_month(today: date, *, months_ago: int) -> date:
    """Return the first day of the month so many months before today's."""
    index = today.year * 12 + today.month - 1 - months_ago
    return today.replace(year=index // 12, month=index % 12 + 1, day=1)


def fetch_log(data_dir: Path, log: Path, meters: Sequence[Mapping[str, Any]], *, clock: Clock) -> int:
    """Append what these meters of street.json logged to a collector's store, as history fetched from a meter.

    Returns the number of reads. The collector must not run yet.
    """
    registers = {str(meter["meter_id"]): _register(meter) for meter in meters}
    data_dir.mkdir(parents=True, exist_ok=True)
    appended = 0
    with Store.open(data_dir / STORE_NAME, clock=clock) as store:
        reads = _reads(log, registers)
        while together := list(itertools.islice(reads, _TOGETHER)):
            store.append(together)
            appended += len(together)
    return appended


def _register(meter: Mapping[str, Any]) -> Register:
    return Register(
        MeterId(meter["meter_id"]),
        RegisterId(meter["register_id"]),
        Unit(meter["unit"]),
        meter["scale"],
        meter["modulus"],
    )


def _reads(log: Path, registers: Mapping[str, Register]) -> Iterator[RegisterRead]:
    with log.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if (register := registers.get(row["meter"])) is None:
                continue
            read_at = datetime.fromisoformat(row["read_at"]).astimezone(UTC)
            stamped = ClockState(_BOOT, number, synchronised=True, synced_since=read_at - timedelta(hours=1))
            yield RegisterRead(register, int(row["count"]), read_at, stamped, flags=ReadFlag.FROM_HISTORY)

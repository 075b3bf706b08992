"""Stores, reads and a sealing function for the tests of the buffer."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buffer.store import Store
from domain.clock import ClockState, ManualClock
from domain.ids import CollectorId, MeterId, RegisterId
from domain.reading import Event, EventKind, ReadFlag, Register, RegisterRead
from domain.units import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from buffer.model import SealRequest

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
COLLECTOR = CollectorId("elm-street-3")
BOOT = bytes(range(16))


def register(number: int = 0) -> Register:
    return Register(MeterId(f"EFE-{number:08d}"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)


REGISTERS = [register(number) for number in range(50)]


def read(n: int, *, meter: int = 0, flags: ReadFlag = ReadFlag.NONE, count: int | None = None) -> RegisterRead:
    """Return the n-th read of a meter: its time, monotonic time and count all follow from n."""
    clock = ClockState(BOOT, n * 10**9 + 7, True, START)
    at = START + timedelta(seconds=n)
    return RegisterRead(REGISTERS[meter], n if count is None else count, at, clock, flags=flags)


def reads(first: int, count: int, **options: Any) -> list[RegisterRead]:
    return [read(n, **options) for n in range(first, first + count)]


def event(name: str, kind: EventKind = EventKind.METER_RETURNED) -> Event:
    clock = ClockState(BOOT, 5, True, START)
    return Event(name, kind, START, clock, MeterId("EFE-00000001"), {"why": "ünïcode", "n": 3, "list": [1, 2]})


def fat(first: int, count: int) -> list[Event]:
    """Return events of 60,000 characters each: they fill a store quickly."""
    text = "x" * 60_000
    return [replace(event(f"fat-{n}"), detail={"text": text}) for n in range(first, first + count)]


def encode(request: SealRequest) -> bytes:
    """Seal as JSON with a random part: sealing the same batch twice could not give the same bytes."""
    return json.dumps(
        {
            "id": [request.batch_id.epoch.hex(), int(request.batch_id.stream), request.batch_id.sequence],
            "previous": request.previous_hash.hex(),
            "epoch_before": request.previous_epoch and request.previous_epoch.epoch.hex(),
            "lasts": request.previous_epoch and request.previous_epoch.last_sequences,
            "beside": request.beside,
            "reads": [stored.append_seq for stored in request.reads],
            "events": [stored.append_seq for stored in request.events],
            "salt": os.urandom(8).hex(),
        }
    ).encode()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + timedelta(hours=1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "store.db"


@pytest.fixture
def store(path: Path, clock: ManualClock) -> Iterator[Store]:
    with Store.open(path, clock=clock) as opened:
        yield opened

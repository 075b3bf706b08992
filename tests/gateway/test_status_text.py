"""What `headwater gateway status` shows of a backlog, a filling disk, refusals, thinning and leaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.clock import ClockState, ManualClock
from domain.ids import CollectorId, MeterId, RegisterId, Stream
from domain.reading import Register, RegisterRead
from domain.units import Unit
from gateway import health
from gateway.cli.status import _lines

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.model import SealRequest

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
REGISTER = Register(MeterId("EFE-00000001"), RegisterId("total"), Unit.CUBIC_METRE, -3, 10**8)


def polled(count: int, *, every_s: int) -> list[RegisterRead]:
    return [
        RegisterRead(
            REGISTER, n, START + timedelta(seconds=n * every_s), ClockState(bytes(16), n * every_s * 10**9, True, START)
        )
        for n in range(count)
    ]


def facts(store: Store, **uplink: Any) -> dict[str, Any]:
    status = store.status()
    told: dict[str, Any] = {
        "collector": "elm-street-3",
        "running": True,
        "pid": 7,
        "clock": {"now": START.isoformat(), "synchronised": True},
        "buses": [],
        "leaks": [
            {
                "meter": "EFE-00000001",
                "rule": "night",
                "since": START.isoformat(),
                "litres": 123,
                "litres_per_h": 4,
            }
        ],
        "backlog": health.describe_backlog(status),
        "store": {**health.describe_store(status), "pressed": False},
        "commit": {"last_error": ""},
        "uplink": {"state": "connected", **uplink},
        "certificate": {"expires_at": None},
    }
    told["faults"] = health.faults(told)
    return told


def test_figures_for_a_technician(tmp_path: Path) -> None:
    def encode(request: SealRequest) -> bytes:
        return bytes(8 * len(request.reads))  # eight bytes a read

    with Store.open(tmp_path / "store.db", clock=ManualClock(START), max_bytes=4 * 2**20) as store:
        assert any("nothing waits" in line for line in _lines(facts(store), meters=False))
        store.append(polled(3000, every_s=10))
        batches = [store.seal(Stream.BULK, CollectorId("elm-street-3"), encode, max_items=500) for _ in range(3)]
        for batch, reason in zip(batches[:2], ("chain", "bounds"), strict=True):
            assert batch is not None
            assert store.rejected(batch.id, batch.hash, reason)
        shown = facts(store, link_minutes=2.4)
        text = "\n".join(_lines(shown, meters=False))
        waiting = 3000 - 1000 + 2  # what was refused waits no more; two events say that it was
        assert shown["backlog"]["bytes_to_send"] == 8 * 500 + round(8 * (waiting - 500))
        assert (
            f"backlog  {waiting} reads and events wait, 15.6 KiB to send: 2 min of link; the oldest is of 2026" in text
        )
        assert "1 batch waits for its ack" in text
        assert "! the portal refused 2 batches (1 for " in text
        assert "leak     meter EFE-00000001 since 2026-11-22T12:00:00Z: 123 l so far, 4 l/h (night)" in text
        # 8,640 reads a day of some 90 bytes each, and three and a half mebibytes of room.
        assert 3 < shown["store"]["days_to_full"] < 5
        assert "full in 4 days without the portal" in text
        with store._sealing:
            store._thinning.make_room(pages=10**9)
        assert "old interval reads gave way" in "\n".join(_lines(facts(store), meters=False))

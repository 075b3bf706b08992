"""A backlog on a slow link: what an alarm has to wait for, by the bytes that pass before it, not by the clock."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from buffer.store import Store
from domain.clock import ClockState, SystemClock
from domain.ids import MeterId, RegisterId, Stream
from domain.reading import Register, RegisterRead
from domain.units import Unit
from sync.connection import UNSENT_MAX_BYTES, BrokerAddress
from sync.outbound import UplinkPlan
from sync.signing import SigningKey, batch_encoder
from sync.uplink import Uplink
from tests.sync.conftest import FakePortal, wait_for
from tests.sync.slow_link import SlowLink
from tests.sync.test_uplink import alarm

if TYPE_CHECKING:
    from pathlib import Path

    from domain.ids import CollectorId
    from tests.broker import Broker

BATCHES, BATCH_READS = 40, 250
HIDDEN_BYTES = 5_000
"""What the smallest receive buffer of a proxy holds."""


def test_an_alarm_waits_for_one_batch_of_a_long_backlog_at_most(
    tmp_path: Path, broker: Broker, collector: CollectorId
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    key = SigningKey.generate()
    portal = FakePortal(broker, key).start()
    store = Store.open(tmp_path / "store.db", clock=SystemClock())
    store.append(random_reads(random.Random(seed), BATCHES * BATCH_READS))
    plan = UplinkPlan(max_items=BATCH_READS, ack_timeout_s=60.0)
    with SlowLink(broker.port, bytes_per_s=6_000) as link:
        uplink = Uplink(
            store,
            collector=collector,
            address=BrokerAddress.parse(f"mqtt://127.0.0.1:{link.port}", allow_cleartext=True),
            tls=None,
            encode=batch_encoder(key),
            keys=lambda kid: portal.key.verify_key if kid == portal.key.key_id else None,
            clock=SystemClock(),
            plan=replace(plan, window=8),
        )
        try:
            assert portal.ready.wait(60)
            uplink.start()
            wait_for(lambda: len(portal.arrivals) >= 2, what="the backlog on its way")
            before, bytes_before = len(portal.arrivals), link.bytes_up
            store.append((), [alarm("a1")])
            uplink.wake(Stream.URGENT)
            wait_for(lambda: any(i.stream is Stream.URGENT for i, _ in portal.arrivals), what="the alarm")
            passed = link.bytes_up - bytes_before
            ahead = [payload for batch_id, payload in portal.arrivals[before:] if batch_id.stream is Stream.BULK]
            largest = max(len(payload) for _, payload in portal.arrivals)
            wait_for(lambda: not store.unacked(Stream.URGENT), what="its ack")
            print(f"{len(ahead)} batches before the alarm, {passed} bytes; the largest batch {largest}")
            assert store.status().backlog_items > BATCHES * BATCH_READS // 2  # it overtook most of the backlog
            assert passed <= 2 * largest + UNSENT_MAX_BYTES + HIDDEN_BYTES
            assert uplink.status().resent == 0
        finally:
            uplink.stop()
            portal.stop()
            store.close()


def random_reads(rng: random.Random, count: int) -> list[RegisterRead]:
    at, unknown = datetime(2026, 11, 22, 12, tzinfo=UTC), bytes(16)
    registers = [Register(MeterId(f"EFE-{n:08d}"), RegisterId("total"), Unit.LITRE, 0, 10**8) for n in range(50)]
    return [
        RegisterRead(
            registers[n % 50],
            rng.randrange(10**8),
            at + timedelta(microseconds=rng.randrange(10**12)),
            ClockState(unknown, n * 10**9, False),
        )
        for n in range(count)
    ]

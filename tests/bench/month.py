"""What a collector's link costs a month: the real uplink over mutual TLS to a real broker, through a counting proxy."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from buffer.store import Store
from domain.clock import ManualClock
from domain.ids import Stream
from sync.connection import BrokerAddress, TlsFiles
from sync.signing import SigningKey, batch_encoder
from sync.uplink import Uplink, UplinkPlan
from tests.bench.counting_proxy import CountingProxy, Passed
from tests.bench.homes import COLLECTOR, START, Homes
from tests.bench.measure import median, rounded, say
from tests.broker import Broker, Pki
from tests.sync.conftest import FakePortal, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAYS = 30
METERS = 250
QUIET_S = 0.4
KEEPALIVE_S = UplinkPlan().keepalive_s


@dataclass(frozen=True, slots=True)
class Case:
    """Reads each `every_s`, sealed in one batch each `seal_s`."""

    name: str
    every_s: int
    seal_s: int


CASES = (
    Case("hourly_reads_hourly_batches", 3600, 3600),
    Case("15_min_reads_15_min_batches", 900, 900),
    Case("15_min_reads_hourly_batches", 900, 3600),
)


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure every case's batches on a connection of its own, and the idle connection once."""
    pki = Pki.make(folder / "pki", COLLECTOR, "portal")
    batches, idle_s = (4, 0.0) if quick else (48, 2.2 * KEEPALIVE_S)
    with Broker.nats(folder / "broker", pki=pki) as broker:
        measured = {case.name: _case(folder, broker, pki, case, batches=batches) for case in CASES}
        ping = measure_ping(folder, broker, pki, idle_s=idle_s)
    return {
        "what": f"{METERS} meters, {batches} batches a case measured with store, uplink, mutual TLS 1.3, NATS and "
        "signed acks, both directions; TCP and IP headers are an estimate of 40 bytes for each segment that the kernel "
        f"counted. Extrapolated to {DAYS} days: batches by their mean, a keepalive each {KEEPALIVE_S} s all the time, "
        "one new connection a day",
        "keepalive": ping,
        "cases": {name: {**case, **_month(case, ping)} for name, case in measured.items()},
    }


@contextlib.contextmanager
def _linked(folder: Path, broker: Broker, pki: Pki, *, keepalive_s: int) -> Iterator[_Link]:
    """Yield a connected uplink with an empty store, and a portal that acknowledges."""
    key, clock = SigningKey.generate(), ManualClock(START)
    portal = FakePortal(broker, key).start(pki)
    files = TlsFiles(pki.ca, pki.certificate(COLLECTOR), pki.key(COLLECTOR))
    with contextlib.ExitStack() as stack:
        stack.callback(portal.stop)
        proxy = stack.enter_context(CountingProxy(broker.port))
        store = stack.enter_context(Store.open(folder / f"{random.randrange(10**9)}.db", clock=clock))
        uplink = Uplink(
            store,
            collector=COLLECTOR,
            address=BrokerAddress.parse(f"mqtts://127.0.0.1:{proxy.port}"),
            tls=files,
            encode=batch_encoder(key),
            keys=lambda kid: portal.key.verify_key if kid == portal.key.key_id else None,
            clock=clock,
            plan=UplinkPlan(seal_every_s=10.0 * DAYS * 86_400, keepalive_s=keepalive_s),
        )
        stack.callback(uplink.stop)
        assert portal.ready.wait(20), "the portal's subscription was not granted"
        uplink.start()
        link = _Link(store, uplink, proxy, clock, portal)
        wait_for(lambda: uplink.status().connected, what="connected")
        wait_for(lambda: portal.states, what="state seen by the portal")
        link.settle()
        yield link


@dataclass(frozen=True, slots=True)
class _Link:
    store: Store
    uplink: Uplink
    proxy: CountingProxy
    clock: ManualClock
    portal: FakePortal

    def settle(self) -> Passed:
        """Wait until nothing has passed for a moment; return what passed so far."""
        seen, since = self.proxy.passed(), time.monotonic()
        while time.monotonic() - since < QUIET_S:
            time.sleep(0.05)
            if (now := self.proxy.passed()) != seen:
                seen, since = now, time.monotonic()
        return seen


def _case(folder: Path, broker: Broker, pki: Pki, case: Case, *, batches: int) -> dict[str, Any]:
    say(f"month: {case.name.replace('_', ' ')}")
    homes, rounds = Homes(METERS), case.seal_s // case.every_s
    reads = homes.rounds(rounds * batches, every_s=case.every_s)
    with _linked(folder, broker, pki, keepalive_s=KEEPALIVE_S) as link:
        connecting, sizes = link.settle(), []
        began = time.monotonic()
        for number in range(1, batches + 1):
            for _ in range(rounds):
                link.store.append(next(reads))
            link.clock.advance((START + timedelta(seconds=number * case.seal_s) - link.clock.now()).total_seconds())
            link.uplink.wake(Stream.BULK)
            wait_for(lambda: not link.store.status().backlog_items, what="acknowledged")
            sizes.append(len(link.portal.arrivals[-1][1]))
        took_s = time.monotonic() - began
        passed = link.settle() - connecting
        assert len(link.portal.arrivals) == batches, "a batch was split or sent twice"
    return {
        "seal_every_s": case.seal_s,
        "reads_per_batch": rounds * METERS,
        "signed_bytes_per_batch": median(sizes, 4),
        "measured_s": rounded(took_s),
        "payload_bytes_per_batch": rounded(passed.payload_bytes / batches, 4),
        "wire_bytes_per_batch": rounded(passed.wire_bytes / batches, 4),
        "segments_per_batch": rounded(passed.segments / batches),
        "connection_payload_bytes": connecting.payload_bytes,
        "connection_wire_bytes": connecting.wire_bytes,
    }


def measure_ping(folder: Path, broker: Broker, pki: Pki, *, idle_s: float) -> dict[str, Any]:
    """Return the bytes of keepalives on an idle connection; with `idle_s` of 0 they come every two seconds."""
    interval_s = KEEPALIVE_S if idle_s else 2
    say(f"month: an idle connection for {idle_s or 5:.0f} s")
    with _linked(folder, broker, pki, keepalive_s=interval_s) as link:
        before = link.settle()
        twice = before.chunks_up + 2
        wait_for(lambda: link.proxy.passed().chunks_up >= twice, seconds=3 * interval_s, what="two keepalives")
        passed = link.settle() - before
    pings = passed.chunks_up
    per_minute = pings * KEEPALIVE_S / 60
    return {
        "every_s": KEEPALIVE_S,
        "measured_every_s": interval_s,
        "pings": pings,
        "payload_bytes_per_minute": rounded(passed.payload_bytes / per_minute),
        "wire_bytes_per_minute": rounded(passed.wire_bytes / per_minute),
    }


def _month(case: dict[str, Any], ping: dict[str, Any]) -> dict[str, Any]:
    """Return a month's megabytes (10^6 bytes) of a case, and what they consist of."""
    batches = DAYS * 86_400 / case["seal_every_s"]
    minutes = DAYS * 1440
    parts = {
        kind: (
            batches * case[f"{kind}_bytes_per_batch"] / 1e6,
            minutes * ping[f"{kind}_bytes_per_minute"] / 1e6,
            DAYS * case[f"connection_{kind}_bytes"] / 1e6,
        )
        for kind in ("payload", "wire")
    }
    names = ("mb_per_month_batches_and_acks", "mb_per_month_keepalive", "mb_per_month_connections")
    return {
        "mb_per_month_tls_and_mqtt": rounded(sum(parts["payload"])),
        "mb_per_month_with_tcp_ip_headers": rounded(sum(parts["wire"])),
        **{name: rounded(part) for name, part in zip(names, parts["wire"], strict=True)},
    }

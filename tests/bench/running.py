"""A running gateway, complete with its uplink: resident memory, and processor time per read."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domain.clock import clock_from_spec
from domain.ids import RegisterId
from domain.reading import StoredRead
from gateway.config import PortalConfig
from sync.signing import SigningKey
from tests.bench import polling
from tests.bench.measure import cpu_s, median, proc_bytes, rounded, say
from tests.broker import Broker, Pki
from tests.gateway.street import Gateway, Street, until
from tests.sync.conftest import FakePortal

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

METERS, EVERY_S = 50, 1.0
BUDGET_MIB = 64
COLLECTOR = "hw-test-1"
MIB = 1024 * 1024


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Measure a gateway that reads a street of Modbus TCP meters once a second and delivers over mutual TLS."""
    warm_s, windows, window_s = (1.0, 1, 2.0) if quick else (8.0, 3, 7.0)
    folder = folder.resolve()
    pki = Pki.make(folder / "pki", COLLECTOR, "portal")
    key = SigningKey.generate()
    street = Street(folder, speed=1.0, mbus=0, rtu=0, tcp=METERS)
    try:
        with Broker.nats(folder / "broker", pki=pki) as broker:
            portal = FakePortal(broker, key).start(pki)
            try:
                gateway = _gateway(street, folder, broker, pki, key, portal)
                say(f"gateway: {METERS} Modbus TCP meters each {EVERY_S:g} s")
                figures = _watch(gateway, street, portal, warm_s=warm_s, windows=windows, window_s=window_s)
            finally:
                portal.stop()
    finally:
        street.close()
    return {
        "what": f"`headwater gateway run` on {METERS} Modbus TCP meters of `headwater sim street`, each read every "
        f"{EVERY_S:g} s, with leak detection, store, and uplink over mutual TLS to NATS (a batch each 5 s); VmRSS of "
        f"/proc after {warm_s + windows * window_s:.0f} s, processor time of all its threads over register reads (some "
        f"of the meters have two registers), median of {windows} windows of {window_s:g} s",
        "budget_mib": BUDGET_MIB,
        **figures,
        "rates": polling.run(folder / "rates", quick=quick),
    }


def _gateway(street: Street, folder: Path, broker: Broker, pki: Pki, key: SigningKey, portal: FakePortal) -> Gateway:
    """Return a gateway that is configured as an enrolled one."""
    home = folder / "collector"
    home.mkdir()
    key.save(home / "signing.pem")
    pki.key(COLLECTOR).chmod(0o600)
    (home / "portal.pem").write_bytes(portal.key.verify_key.pem())
    config = street.config(home, every_s=EVERY_S)
    return Gateway(
        replace(
            config,
            collector=replace(config.collector, append_log=None),
            portal=PortalConfig(
                broker=broker.url,
                signing_key=home / "signing.pem",
                portal_key=home / "portal.pem",
                ca=pki.ca,
                certificate=pki.certificate(COLLECTOR),
                key=pki.key(COLLECTOR),
                seal_every_s=5.0,
            ),
        )
    )


def _watch(
    gateway: Gateway, street: Street, portal: FakePortal, *, warm_s: float, windows: int, window_s: float
) -> dict[str, Any]:
    clock = clock_from_spec(street.plan["clock"])
    marks: list[tuple[datetime, float]] = []
    with gateway.running():
        assert gateway.child is not None
        pid = gateway.child.pid
        until(lambda: portal.committed or gateway.child.poll() is not None, what="the first batch")
        assert portal.committed, gateway.log()
        time.sleep(warm_s)
        marks.append((clock.now(), cpu_s(pid)))
        for _ in range(windows):
            time.sleep(window_s)
            marks.append((clock.now(), cpu_s(pid)))
        resident, peak = proc_bytes(pid, "VmRSS"), proc_bytes(pid, "VmHWM")
    stored = [item.read for item in gateway.stored() if isinstance(item, StoredRead)]
    rates, polls, cpu_us, shares = [], [], [], []
    for (began, cpu_before), (ended, cpu_after) in zip(marks, marks[1:], strict=False):
        registers = [read.register.register_id for read in stored if began <= read.read_at < ended]
        assert registers, f"nothing was read:\n{gateway.log()}"
        took_s = (ended - began).total_seconds()
        rates.append(len(registers) / took_s)
        polls.append(registers.count(RegisterId("total")) / took_s)
        cpu_us.append((cpu_after - cpu_before) * 1e6 / len(registers))
        shares.append((cpu_after - cpu_before) / took_s)
    return {
        "resident_mib": rounded(resident / MIB),
        "peak_resident_mib": rounded(peak / MIB),
        "resident_over_budget": rounded(resident / MIB / BUDGET_MIB),
        "register_reads_per_s": median(rates),
        "meters_read_per_s": median(polls),
        "cpu_us_per_register_read": median(cpu_us),
        "cpu_share_of_a_core": median(shares),
    }

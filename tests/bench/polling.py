"""Processor time and memory of a gateway at 100 and 1,000 reads a second, and of the peer where it is installed.

100 Modbus TCP meters behind one endpoint, each read once or ten times a second; their totals count their own replies
(tests/proofs/outage/bank.py, a process of its own), so what was served and what was stored are compared one by one.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from domain.ids import CollectorId, MeterId
from domain.reading import StoredRead
from gateway.config import BusConfig, CollectorConfig, GatewayConfig, MeterConfig, PollConfig, PortalConfig
from headwater.demo.processes import Child
from sync.signing import SigningKey
from tests.bench.measure import cpu_s, proc_bytes, rounded, say
from tests.broker import Broker, Pki, mosquitto
from tests.gateway.street import Gateway, until
from tests.proofs.outage import bank, peer_environment
from tests.proofs.outage.peer import ThingsBoard
from tests.proofs.outage.plan import Cell
from tests.proofs.outage.rig import ROOT
from tests.sync.conftest import FakePortal

if TYPE_CHECKING:
    from pathlib import Path

METERS = 100
RATES = {"100": 1.0, "1000": 0.1}
BUDGET_MIB, SHARE_OF_PEER = 64, 0.25
COLLECTOR = "hw-bench-1"
SEAL_EVERY_S = 5.0
MIB = 1024 * 1024
_PEER_DRAIN_S = 60.0


def run(folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """Return the figures of both sides at each rate; quick: only ours at the highest, for a moment."""
    warm_s, window_s = (0.5, 1.0) if quick else (8.0, 20.0)
    found: dict[str, Any] = {
        "what": f"{METERS} Modbus TCP meters with one uint32 total behind one endpoint; processor time of all threads "
        f"over replies served, and VmRSS, in {window_s:g} s after {warm_s:g} s; store at synchronous=FULL, leak "
        f"detection on, a signed batch each {SEAL_EVERY_S:g} s or 1,000 reads over mutual TLS to NATS and a portal "
        "that acknowledges. The peer: ThingsBoard Gateway with its SQLite storage, Mosquitto, QoS 1",
        "meters": METERS,
        "budget_mib": BUDGET_MIB,
        "goal_cpu_over_peer": SHARE_OF_PEER,
    }
    for rate, every_s in RATES.items():
        if quick and rate != "1000":
            continue
        say(f"gateway: {rate} reads a second")
        with_uplink = _ours(folder / f"ours-{rate}", every_s, warm_s=warm_s, window_s=window_s, uplink=True)
        alone = _ours(folder / f"alone-{rate}", every_s, warm_s=warm_s, window_s=window_s, uplink=False)
        row: dict[str, Any] = {
            **with_uplink,
            "cpu_ms_per_read_without_uplink": alone["cpu_ms_per_read"],
            "resident_mib_without_uplink": alone["resident_mib"],
            "peer": "not run" if quick else _peer(folder / f"peer-{rate}", every_s, warm_s=20.0, window_s=window_s),
        }
        if isinstance(row["peer"], dict):
            row["cpu_over_peer"] = rounded(row["cpu_ms_per_read"] / row["peer"]["cpu_ms_per_read"])
        found[rate] = row
    return found


def _ours(folder: Path, every_s: float, *, warm_s: float, window_s: float, uplink: bool) -> dict[str, Any]:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.proofs.outage.bank", "--meters", str(METERS), "--dir", str(folder)]
        meters = Child("bank", command, folder / "bank.log", {"PYTHONPATH": str(ROOT)})
        stack.callback(meters.kill)
        meters.start()
        meters.wait_until((folder / "bank.json").exists, what="the meters were not ready")
        gateway = Gateway(_config(folder, every_s, _portal(folder, stack) if uplink else None))
        with gateway.running():
            assert gateway.child is not None
            figures = _window(gateway.child.pid, folder / "served.bin", every_s, warm_s=warm_s, window_s=window_s)
            meters.stop()
        stored = [item.read for item in gateway.stored() if isinstance(item, StoredRead)]
    served = bank.served(folder / "served.bin")
    kept = [(bank.meter_number(read.register.meter_id), read.raw_count) for read in stored]
    return {
        **figures,
        "served": len(served),
        "lost": len(served.keys() - set(kept)),
        "twice": len(kept) - len(set(kept)),
    }


def _window(pid: int, journal: Path, every_s: float, *, warm_s: float, window_s: float) -> dict[str, Any]:
    """Measure a gateway that has read every meter, over a window of time."""
    until(lambda: journal.exists() and bank.replies_so_far(journal) >= METERS, what="a reply of every meter")
    time.sleep(warm_s)
    began_s, cpu_before_s = time.time(), cpu_s(pid)
    time.sleep(window_s)
    ended_s, cpu_after_s = time.time(), cpu_s(pid)
    resident, peak = proc_bytes(pid, "VmRSS"), proc_bytes(pid, "VmHWM")
    replies = sum(began_s <= at_s < ended_s for at_s in bank.served(journal).values())
    used_s, took_s = cpu_after_s - cpu_before_s, ended_s - began_s
    return {
        "reads_per_s": rounded(replies / took_s, 4),
        "slots_served": rounded(replies * every_s / (METERS * took_s), 4),
        "cpu_ms_per_read": rounded(1000 * used_s / max(1, replies)),
        "cpu_percent": rounded(100 * used_s / took_s),
        "resident_mib": rounded(resident / MIB),
        "peak_resident_mib": rounded(peak / MIB),
    }


def _portal(folder: Path, stack: ExitStack) -> PortalConfig:
    """Start a broker and a portal behind mutual TLS; return what a collector's [portal] says of them."""
    pki, key = Pki.make(folder / "pki", COLLECTOR, "portal"), SigningKey.generate()
    broker = stack.enter_context(Broker.nats(folder / "broker", pki=pki))
    portal = FakePortal(broker, key).start(pki)
    stack.callback(portal.stop)
    key.save(folder / "signing.pem")
    pki.key(COLLECTOR).chmod(0o600)
    (folder / "portal.pem").write_bytes(portal.key.verify_key.pem())
    return PortalConfig(
        broker=broker.url,
        signing_key=folder / "signing.pem",
        portal_key=folder / "portal.pem",
        ca=pki.ca,
        certificate=pki.certificate(COLLECTOR),
        key=pki.key(COLLECTOR),
        seal_every_s=SEAL_EVERY_S,
    )


def _config(folder: Path, every_s: float, portal: PortalConfig | None) -> GatewayConfig:
    register_map = folder / "counting.toml"
    register_map.write_text(bank.MAP, encoding="utf-8")
    (endpoint,) = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
    return GatewayConfig(
        folder=folder,
        collector=CollectorConfig(CollectorId(COLLECTOR), folder / "data"),
        poll=PollConfig(every_s=every_s),
        portal=portal,
        buses=(BusConfig("bank", "tcp", host="127.0.0.1", tcp_port=endpoint["port"]),),
        meters=tuple(
            MeterConfig(MeterId(bank.meter_name(unit)), "bank", "modbus-tcp", str(unit), str(register_map))
            for unit in range(1, METERS + 1)
        ),
    )


def _peer(folder: Path, every_s: float, *, warm_s: float, window_s: float) -> dict[str, Any] | str:
    """Return the same figures of the peer; a sentence where it is not installed."""
    python = peer_environment.FOLDER / "bin" / "python"
    if not python.exists() or mosquitto() is None:
        return "not installed: `python -m tests.proofs.outage` makes its environment; it needs Mosquitto"
    rig = ThingsBoard(Cell("bench", "a link that holds", METERS, every_s), folder, python=python, storage="sqlite")
    try:
        rig.start()
        assert rig.gateway.pid is not None
        figures = _window(rig.gateway.pid, rig.served_file, every_s, warm_s=warm_s, window_s=window_s)
        rig.hush()
        rig.drain(_PEER_DRAIN_S)
        result = rig.account()
    finally:
        rig.close()
    return {**figures, "served": result.served, "lost": result.lost_by_count, "twice": result.double}

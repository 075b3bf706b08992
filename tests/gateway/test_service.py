"""The whole collector against simulated meters on ptys and TCP: child processes, real drivers, real store."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from domain.reading import EventKind, ReadQuality, StoredRead
from gateway.config import BusConfig, MeterConfig
from tests.gateway.street import Gateway, Street, headwater, until

pytestmark = pytest.mark.xdist_group("gateway-street")  # they share its meters
SPEED = 10.0


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    """Three M-Bus meters on one line, one Modbus RTU and one Modbus TCP meter, ten times as fast as life."""
    made = Street(tmp_path_factory.mktemp("street"), speed=SPEED, mbus=3, rtu=1, tcp=1)
    yield made
    made.close()


def reads_of(gateway: Gateway, meter: str) -> list[StoredRead]:
    return [
        item for item in gateway.stored() if isinstance(item, StoredRead) and str(item.read.register.meter_id) == meter
    ]


def counted(gateway: Gateway) -> Counter[str]:
    return Counter(line["meter"] for line in gateway.appended())


def test_every_meter_is_read_and_what_is_stored_is_what_the_dials_said(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path))
    meters = {meter["meter_id"] for meter in street.plan["meters"]}
    with gateway.running():
        until(lambda: all(counted(gateway)[meter] >= 3 for meter in meters), what="three reads of each meter")
        status = json.loads(gateway.run("status", "--json").stdout)
        assert status["running"]
        assert {bus["state"] for bus in status["buses"]} == {"up"}
        shown = gateway.run("status", "--meters")
        assert "no faults" in shown.stdout
        assert all(meter in shown.stdout for meter in meters)
    said = {(r["meter"], r["register"], r["count"]) for r in street.replies() if not r["damaged"]}
    stored = [item for item in gateway.stored() if isinstance(item, StoredRead)]
    assert {(str(s.read.register.meter_id), str(s.read.register.register_id), s.read.raw_count) for s in stored} <= said
    logged = [(line["meter"], line["append_seq"], line["count"]) for line in gateway.appended()]
    assert logged == [(str(s.read.register.meter_id), s.append_seq, s.read.raw_count) for s in stored]
    kinds = [event.event.kind for event in gateway.events()]
    assert kinds[:2] == [EventKind.STARTED, EventKind.CONFIG_APPLIED]
    assert kinds[-1] is EventKind.STOPPED
    stopped = json.loads(gateway.run("status", "--json").stdout)
    assert not stopped["running"]
    assert stopped["backlog"]["unsent_items"] == len(stored) + len(kinds)


def test_a_killed_gateway_loses_nothing_it_logged_and_repeats_nothing(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path, every_s=2))
    seed = 20261122
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(4):
        gateway.start()
        before = len(gateway.appended())
        until(lambda: len(gateway.appended()) > before, what="a read")  # noqa: B023
        time.sleep(rng.uniform(0, 0.5))
        gateway.kill()
    with gateway.running():
        before = len(gateway.appended())
        until(lambda: len(gateway.appended()) > before, what="a read")
    stored = [
        (str(item.read.register.meter_id), str(item.read.register.register_id), item.append_seq, item.read.raw_count)
        for item in gateway.stored()
        if isinstance(item, StoredRead)
    ]
    logged = [(line["meter"], line["register"], line["append_seq"], line["count"]) for line in gateway.appended()]
    assert sorted(logged) == sorted(stored)
    assert len(set(logged)) == len(logged)
    times = Counter(
        (item.read.register, item.read.read_at) for item in gateway.stored() if isinstance(item, StoredRead)
    )
    assert max(times.values()) == 1


def test_damaged_replies_are_events_and_a_swapped_meter_is_kept_as_suspect(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path, every_s=10, lines={"mbus-1"}))
    noisy, cut, swapped = (meter["meter_id"] for meter in street.meters("mbus"))
    faults = {noisy: "flip", cut: "truncate", swapped: "swap"}
    for meter, kind in faults.items():
        street.tell(do="fault", meter=meter, kind=kind, on=True)
    other = street.tell(do="fault", meter=swapped, kind="swap", on=True)["meter"]
    try:
        with gateway.running():
            until(lambda: counted(gateway)[other] >= 2, what="reads of the other meter")
            # Refused replies become silence in the plan after three slots; by then each damage was told.
            until(
                lambda: (
                    {noisy, cut}
                    <= {
                        meter["id"]
                        for bus in json.loads((tmp_path / "data" / "status.json").read_text())["buses"]
                        for meter in bus["meters"]
                        if meter["silent_since"]
                    }
                ),
                what="the damaged meters to count as silent",
            )
            for meter, kind in faults.items():
                street.tell(do="fault", meter=meter, kind=kind, on=False)
            until(lambda: all(counted(gateway)[meter] >= 1 for meter in faults), what="the meters to come back")
    finally:
        for meter, kind in faults.items():
            street.tell(do="fault", meter=meter, kind=kind, on=False)
    events = [item.event for item in gateway.events()]
    bad = [event for event in events if event.kind is EventKind.BAD_REPLY]
    assert {event.meter_id for event in bad} == {noisy, cut}
    assert {event.detail["reason"] for event in bad} <= {"bad-checksum", "bad-frame", "noise", "application-error"}
    silent = [event.meter_id for event in events if event.kind is EventKind.METER_SILENT]
    returned = [event.meter_id for event in events if event.kind is EventKind.METER_RETURNED]
    assert sorted(map(str, silent)) == sorted(map(str, returned)) == sorted([noisy, cut])
    changed = [event for event in events if event.kind is EventKind.IDENTITY_CHANGED]
    assert [(event.meter_id, event.detail["answered_meter"]) for event in changed] == [(swapped, other)]
    assert {item.read.quality for item in reads_of(gateway, other)} == {ReadQuality.SUSPECT}
    assert {item.read.quality for item in reads_of(gateway, swapped)} == {ReadQuality.MEASURED}
    said = {(r["meter"], r["count"]) for r in street.replies() if not r["damaged"]}
    for meter in (noisy, cut):
        assert {(meter, item.read.raw_count) for item in reads_of(gateway, meter)} <= said


def test_a_late_a_babbling_and_a_noisy_meter_harm_nobody_else(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path, every_s=10, lines={"mbus-1"}))
    late, babbler, healthy = (meter["meter_id"] for meter in street.meters("mbus"))
    try:
        with gateway.running():
            for meter, kind in ((late, "slow"), (babbler, "noise")):
                street.tell(do="fault", meter=meter, kind=kind, on=True)
            seen = counted(gateway)[healthy]
            until(lambda: counted(gateway)[healthy] >= seen + 5, what="reads of the healthy meter")
            street.tell(do="fault", meter=babbler, kind="babble", on=True)
            time.sleep(2)
            for meter, kind in ((late, "slow"), (babbler, "noise"), (babbler, "babble")):
                street.tell(do="fault", meter=meter, kind=kind, on=False)
            seen = counted(gateway)[healthy]
            until(lambda: counted(gateway)[healthy] >= seen + 2, what="the line to be good again")
    finally:
        for meter, kind in ((late, "slow"), (babbler, "noise"), (babbler, "babble")):
            street.tell(do="fault", meter=meter, kind=kind, on=False)
    said = {(r["meter"], r["register"], r["count"]) for r in street.replies()}
    for item in gateway.stored():
        if isinstance(item, StoredRead):
            register = item.read.register
            assert (str(register.meter_id), str(register.register_id), item.read.raw_count) in said


def test_a_technician_reads_scans_and_watches_while_it_polls(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path, every_s=10))
    meter = street.meters("mbus")[0]
    address = meter["address"]
    with gateway.running():
        until(lambda: counted(gateway)[meter["meter_id"]], what="a first read")
        shown = gateway.run("read", "--bus", meter["line"], "--address", address)
        assert shown.returncode == 0, shown.stderr
        assert meter["meter_id"] in shown.stdout
        assert " m3 " in shown.stdout
        answer = json.loads(
            gateway.run("read", "--bus", meter["line"], "--address", meter["meter_id"], "--json").stdout
        )
        assert answer["meter"] == meter["meter_id"]
        absent = gateway.run(
            "read", "--bus", meter["line"], "--address", "251" if address == "250" else "249", "--json"
        )
        assert absent.returncode in (3, 4)
        assert json.loads(absent.stderr)["error"] in ("NoReply", "ConfigError")
        nowhere = gateway.run("read", "--bus", meter["line"], "--address", "999")
        assert nowhere.returncode == 3
        assert "expected an M-Bus address: 0 to 250" in nowhere.stderr
        lines = gateway.run("watch", "--count", "2", "--json").stdout.splitlines()
        assert len([json.loads(line) for line in lines]) == 2
        first = max(1, int(address) - 2)
        found = gateway.run(
            "scan", "--bus", meter["line"], "--first", str(first), "--last", str(int(address)), "--json"
        )
        steps = [json.loads(line) for line in found.stdout.splitlines()]
        assert steps[-1] == {"done": True, "found": sum(step.get("found", False) for step in steps[:-1])}
        assert meter["meter_id"] in {step["meter"] for step in steps[:-1]}
        again = gateway.run("run")
        assert again.returncode == 10
        assert f"process {gateway.child.pid}" in again.stderr  # type: ignore[union-attr]
        polled = counted(gateway)[meter["meter_id"]]
        until(lambda: counted(gateway)[meter["meter_id"]] > polled, what="polls to go on")
    asked = [item for item in reads_of(gateway, meter["meter_id"]) if item.read.flags & 16]
    assert len(asked) == 2


def test_a_technician_reads_and_scans_while_no_gateway_runs(street: Street, tmp_path: Path) -> None:
    gateway = Gateway(street.config(tmp_path))
    meter = street.meters("mbus")[1]
    shown = gateway.run("read", "--bus", meter["line"], "--address", meter["address"], "--json")
    assert json.loads(shown.stdout)["meter"] == meter["meter_id"]
    absent = gateway.run("read", "--bus", meter["line"], "--address", "249", "--attempts", "2")
    assert absent.returncode == 4
    assert "no reply in" in absent.stderr
    assert "2 attempts; 0 bytes seen at 9600 8E1.  Try: headwater gateway scan --bus mbus-1" in absent.stderr
    scan = ("--first", meter["address"], "--last", meter["address"])
    found = gateway.run("scan", "--bus", meter["line"], *scan)
    assert found.returncode == 0
    assert meter["meter_id"] in found.stdout
    assert gateway.run("status").returncode == 10
    assert gateway.run("watch").returncode == 10


def test_a_missing_device_stops_nothing_and_is_told_clearly(street: Street, tmp_path: Path) -> None:
    config = street.config(tmp_path, every_s=10, lines={"tcp-1"})
    absent = BusConfig("riser", "serial", port=str(tmp_path / "ttyUSB9"))
    stranger = MeterConfig(street.config(tmp_path).meters[0].id, "riser", "mbus", "1")
    gateway = Gateway(replace(config, buses=(*config.buses, absent), meters=(*config.meters, stranger)))
    checked = gateway.run("check")
    assert checked.returncode == 0
    assert "ttyUSB9 is not there now" in checked.stdout
    shown = gateway.run("read", "--bus", "riser", "--address", "1")
    assert shown.returncode == 10
    assert "no such device" in shown.stderr
    with gateway.running():
        until(lambda: len(gateway.appended()) >= 4, what="reads of the other bus")
        asked = gateway.run("read", "--bus", "riser", "--address", "1")
        assert asked.returncode == 10
        assert "no such device" in asked.stderr
        assert "bus riser is down" in gateway.run("status").stdout
    assert [item.event.kind for item in gateway.events()].count(EventKind.LINE_DOWN) == 1


def test_a_port_in_use_is_told_with_the_fix(street: Street, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = Gateway(street.config(tmp_path / "one", lines={"mbus-1"}))
    two = Gateway(street.config(tmp_path / "two", lines={"mbus-1"}))
    with one.running():
        until(lambda: one.appended(), what="a read")
        refused = two.run("read", "--bus", "mbus-1", "--address", "1")
        assert refused.returncode == 10
        assert "in use by another program" in refused.stderr


def test_a_broken_configuration_is_refused_with_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "collector.toml"
    path.write_text('[collector]\nid = "X"\n[[bus]]\nname = "a"\nkind = "serial"\nport = "p"\nbaudrate = 2401\n')
    for command in ("check", "run", "status", "plan"):
        shown = headwater("gateway", command, "--config", str(path))
        assert shown.returncode == 3
        assert "collector.id" in shown.stderr
        assert "bus[0].baudrate = 2401" in shown.stderr
    told = json.loads(headwater("gateway", "check", "--config", str(path), "--json").stderr)
    assert len(told["faults"]) == 2

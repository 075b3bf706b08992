"""The benchmark's pieces run at tiny sizes and give figures that can be true; how fast anything is, is not tested."""

from __future__ import annotations

import json
import socket
import threading
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sync.signing import SigningKey, open_batch, sign_batch
from tests.bench import __main__ as command
from tests.bench import buffering, ingesting, month, page, portals, running, storing, wire
from tests.bench.counting_proxy import CountingProxy
from tests.bench.homes import COLLECTOR, Homes, batch_of
from tests.bench.measure import machine, rounded
from tests.broker import Broker, Pki

FIGURES = json.loads(page.FIGURES.read_text(encoding="utf-8")) if page.FIGURES.exists() else {}


def zero_or_less(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what in there is a number and 0 or below."""
    found = {name: zero_or_less(value) if isinstance(value, dict) else value for name, value in figures.items()}
    return {n: v for n, v in found.items() if (v if isinstance(v, dict) else isinstance(v, int | float) and v <= 0)}


def test_homes_are_the_same_for_a_seed_and_their_dials_only_rise() -> None:
    first, second = ([*Homes(3, seed=5).rounds(8, every_s=3600)] for _ in range(2))
    assert first == second
    for before, after in pairwise(first):
        assert [read.raw_count for read in before] <= [read.raw_count for read in after]
    assert [r.raw_count for r in first[0]] != [r.raw_count for r in first[-1]]
    times = [read.read_at for turn in first for read in turn]
    assert times == sorted(set(times))
    reads = [read for turn in first for read in turn]
    assert all(read.read_at.microsecond % 1000 == 0 for read in reads)
    key = SigningKey.generate()
    batch = batch_of(reads)
    assert open_batch(sign_batch(batch, key), collector=COLLECTOR, keys=lambda _kid: key.verify_key) == batch


def test_wire_figures() -> None:
    figures = wire.shape(6, 2, seeds=range(1, 3), times=1)
    assert not zero_or_less(figures)
    assert figures["bytes_per_read"] < figures["json_bytes_per_read"]


def test_the_proxy_counts_every_byte() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data + b"!")

        server = threading.Thread(target=echo)
        server.start()
        with CountingProxy(listener.getsockname()[1]) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(b"12345")
                assert client.recv(100) == b"12345!"
                passed = proxy.passed()
            assert (passed.bytes_up, passed.bytes_down, passed.payload_bytes) == (5, 6, 11)
            assert passed.segments >= 5  # three to connect, one each way
            assert passed.wire_bytes == 11 + 40 * passed.segments
            server.join(10)
        assert proxy.passed().payload_bytes == 11


def test_a_batch_over_tls_costs_more_than_its_bytes(tmp_path: Path) -> None:
    pki = Pki.make(tmp_path / "pki", COLLECTOR, "portal")
    with Broker.nats(tmp_path / "broker", pki=pki) as broker:
        case = month._case(tmp_path, broker, pki, month.CASES[0], batches=1)
    assert case["reads_per_batch"] == month.METERS
    assert case["signed_bytes_per_batch"] < case["payload_bytes_per_batch"] < case["wire_bytes_per_batch"]
    assert case["connection_payload_bytes"] > 1000  # certificates went both ways


def test_a_month_is_the_sum_of_batches_keepalives_and_connections() -> None:
    case = {
        "seal_every_s": 3600, "payload_bytes_per_batch": 900, "wire_bytes_per_batch": 1000,
        "connection_payload_bytes": 4000, "connection_wire_bytes": 5000,
    }  # fmt: skip
    found = month._month(case, {"payload_bytes_per_minute": 90, "wire_bytes_per_minute": 100})
    assert found["mb_per_month_with_tcp_ip_headers"] == rounded((720 * 1000 + 43_200 * 100 + 30 * 5000) / 1e6)
    assert found["mb_per_month_tls_and_mqtt"] == rounded((720 * 900 + 43_200 * 90 + 30 * 4000) / 1e6)
    assert found["mb_per_month_keepalive"] == 4.32


def test_buffer_figures(tmp_path: Path) -> None:
    waiting = buffering._reads(20)
    assert not zero_or_less(buffering._group(tmp_path, waiting, 10, 2))
    assert buffering._append_s(tmp_path, waiting, 10, 2, delay_s=0.001) > 0
    worn = buffering.flash_wear(tmp_path, 125, hours=1)
    assert worn["bytes_kept_per_read"] > 0


@pytest.mark.parametrize("section", [ingesting, storing])
def test_portal_figures_on_sqlite(section: ModuleType, tmp_path: Path) -> None:
    figures = portals.run_program(section.__name__, tmp_path, f"sqlite:///{tmp_path}/p.sqlite3", quick=True)
    if section is ingesting:
        assert list(figures) == ["batches_of_1000", "batches_of_24000"]
        # What the first batch takes longer than those after it: with so few registers that may be less than nothing.
        longer = [shape.pop("first_sight_ms_per_register") for shape in figures.values()]
        assert all(isinstance(ms, int | float) for ms in longer)
    assert not zero_or_less(figures)
    if section is storing:
        assert figures["register_day_bytes_per_read"] < figures["recent_read_bytes_per_read"]


def test_without_postgresql_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise portals.PostgresMissing("required-postgres: none here")

    monkeypatch.setattr(portals, "throwaway_postgres", missing)
    monkeypatch.setattr(portals, "run_program", lambda *_, **__: {"reads": 1})
    found = portals.on_both_databases("any", tmp_path, quick=True)
    assert found == {"sqlite": {"reads": 1}, "postgresql": "required-postgres: none here"}


def test_gateway_figures(tmp_path: Path) -> None:
    figures = running.run(tmp_path, quick=True)
    rates = figures.pop("rates")
    assert not zero_or_less(figures)
    row = rates["1000"]
    assert (row["lost"], row["twice"]) == (0, 0)
    assert not zero_or_less({name: value for name, value in row.items() if name not in ("lost", "twice")})
    assert f"| 1,000 a second | {row['cpu_ms_per_read']:,} |" in page.rates_table(rates)
    assert figures["resident_mib"] <= figures["peak_resident_mib"]
    assert figures["meters_read_per_s"] <= figures["register_reads_per_s"]


def test_one_object_on_stdout_also_when_a_section_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(folder: Path, *, quick: bool) -> dict[str, Any]:
        raise RuntimeError(f"broken, quick={quick}, folder made: {folder.is_dir()}")

    monkeypatch.setattr(wire, "run", fails)
    monkeypatch.setattr(buffering, "run", lambda _folder, quick: {"quick": quick})
    assert command.main(["--only", "buffer", "--only", "wire", "--quick"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["wire"]["error"] == "RuntimeError: broken, quick=True, folder made: True"
    assert printed["buffer"]["quick"] is True
    assert {"machine", "command", "at", "took_s"} <= printed.keys()
    assert not {"month", "gateway"} & printed.keys()


def test_the_machine_is_described(tmp_path: Path) -> None:
    found = machine(tmp_path)
    assert found["cores"] >= 1
    assert found["memory_mib"] > 0
    assert found["kernel"].startswith("Linux")


def test_the_page_of_figures_is_what_the_figures_say() -> None:
    """After a complete run: python -m tests.bench.page < its output."""
    assert page.PAGE.read_text(encoding="utf-8") == page.render(FIGURES)

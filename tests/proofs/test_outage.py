"""The outage table: one short cell end to end, a planted loss that it must show, and what its accounts say."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker import mosquitto
from tests.proofs.outage import page, table
from tests.proofs.outage.account import account
from tests.proofs.outage.bank import RECORD, CountingUnits, ReplyJournal, served
from tests.proofs.outage.plan import BY_NAME, CELLS
from tests.proofs.outage.rig import ROOT

if TYPE_CHECKING:
    from pathlib import Path

needs_mosquitto = pytest.mark.skipif(mosquitto() is None, reason="required-mosquitto: apt-get install mosquitto")


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, dict[str, Any]]]:
    """Exit code and JSON of two short runs, side by side: one as it is, one with a fault planted."""
    runs = {"as it is": ["--cells", "cut-kill"], "drop-read": ["--cells", "stop", "--sabotage", "drop-read"]}
    command = [sys.executable, "-m", "tests.proofs.outage", "--no-peer", "--json", "--seconds-scale", "0.05"]
    started = {}
    for name, arguments in runs.items():
        kept = ["--dir", str(tmp_path_factory.mktemp("outage"))]
        started[name] = subprocess.Popen(
            [*command, *arguments, *kept], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    found = {}
    try:
        for name, program in started.items():
            printed, said = program.communicate(timeout=240)
            assert printed, said
            found[name] = program.returncode, json.loads(printed)
    finally:
        for program in started.values():
            program.terminate()
            program.communicate()
    return found


@needs_mosquitto
@pytest.mark.xdist_group("outage")
def test_a_dead_link_a_fresh_broker_and_a_kill_lose_nothing(proofs: dict[str, tuple[int, dict[str, Any]]]) -> None:
    code, figures = proofs["as it is"]
    (row,) = figures["rows"]
    assert "error" not in row, row
    assert (row["lost"], row["lost_by_count"], row["double"], row["altered"]) == (0, 0, 0, 0), row
    assert row["served"] == row["received"] + row["cut_off"], row
    assert row["waiting_at_end_of_outage"], "the outage kept nothing from the portal"
    assert code == 0


@needs_mosquitto
@pytest.mark.xdist_group("outage")
def test_a_store_that_drops_one_read_is_found(proofs: dict[str, tuple[int, dict[str, Any]]]) -> None:
    code, figures = proofs["drop-read"]
    (row,) = figures["rows"]
    assert "error" not in row, row
    assert row["lost_by_count"] == 1, row
    assert code == 1


def test_the_accounts_name_lost_cut_off_double_and_altered() -> None:
    left = {(1, n): 100.0 + n for n in range(1, 11)}
    appended = {(1, "e", n): (1, n) for n in range(1, 9)}
    found = account(left, appended, list(appended.items()), kills_s=[110.7])
    assert (found.lost, found.lost_by_count, found.cut_off, found.double, found.altered) == (0, 1, 1, 0, 0)
    assert found.cut_off_age_s == 0.7
    assert not found.flawless, "the reply that left 1.7 s before the kill had the time to be committed"


def test_replies_older_than_a_commit_window_are_lost_whatever_was_killed() -> None:
    left = {(1, n): 100.0 + n for n in range(1, 11)}
    held = [((1, "e", n), (1, n)) for n in range(1, 7)]
    found = account(left, dict(held), held, kills_s=[110.1])
    assert (found.cut_off, found.lost_by_count) == (2, 2)  # those of 0.1 and 1.1 s before it; of 2.1 and 3.1 s


def test_an_appended_read_is_lost_even_at_the_moment_of_a_kill() -> None:
    found = account({(1, 1): 100.0}, {(1, "e", 1): (1, 1)}, [], kills_s=[100.0])
    assert (found.lost, found.lost_by_count, found.cut_off) == (1, 1, 0)


def test_repeats_and_inventions_are_counted() -> None:
    left, appended = {(1, 1): 100.0}, {(1, "e", 1): (1, 1)}
    again = [((1, "e", 1), (1, 1)), ((1, "e", 2), (1, 1)), ((1, "e", 3), (1, 9))]
    found = account(left, appended, again, kills_s=[])
    assert (found.double, found.altered, found.flawless) == (1, 1, False)


def test_the_bank_counts_each_read_of_a_total_and_nothing_else(tmp_path: Path) -> None:
    bank, journal = CountingUnits(101, 2), ReplyJournal(tmp_path / "served.bin")
    from domain.clock import SystemClock

    now = SystemClock().now()

    def ask(unit: int, pdu: str) -> bytes:
        request = bytes.fromhex("00070000") + bytes((0, 6, unit)) + bytes.fromhex(pdu)
        answer = bank.answer(request, now)
        assert answer is not None
        journal.sent([answer], now)
        return answer.data

    assert ask(2, "0300000002").hex() == "000700000007020304" + "00000001"
    assert ask(2, "0300000002").hex() == "000700000007020304" + "00000002"
    assert ask(2, "0300010002").hex() == "000700000003028302"
    assert ask(3, "0300000002").hex() == "00070000000303830b"
    assert ask(1, "0600000001").hex() == "000700000003018601"
    journal.close()
    assert served(tmp_path / "served.bin") == {(102, 1): now.timestamp(), (102, 2): now.timestamp()}
    assert (tmp_path / "served.bin").stat().st_size == 2 * RECORD.size


def test_tables_and_page_show_every_cell_and_why_one_did_not_run() -> None:
    row = {
        "served": 1000,
        "appended": 1000,
        "received": 990,
        "lost": 10,
        "lost_by_count": 10,
        "cut_off": 0,
        "double": 3,
    }
    figures = {
        "cpu_ms_per_read": 0.5,
        "cpu_percent": 5.0,
        "resident_mib": 40.0,
        "bytes_per_read": 2.0,
        "reads_per_s": 99.0,
    }
    rows = [
        {"side": "headwater", "storage": None, "cell": cell.name, **row, **figures, "flawless": False} for cell in CELLS
    ]
    rows += [{"side": "peer", "storage": "sqlite", "cell": "rate-100", **row, **figures, "cpu_ms_per_read": 2.0}]
    rows += [{"side": "peer", "storage": "sqlite", "cell": "stop", "error": "no such program"}]
    ours, peers = table.text(rows, "headwater"), table.text(rows, "peer")
    assert all(cell.what in ours for cell in CELLS)
    assert "10 (1.0 %)" in ours
    assert "did not run: no such program" in peers
    assert table.beside(rows) == {"rate-100": {"cpu_ms_per_read": 0.25, "resident_mib": 1.0, "bytes_per_read": 1.0}}
    machine: dict[str, Any] = dict.fromkeys(("cores", "cpu", "kernel", "python", "sqlite", "filesystem"), "?")
    machine |= {"sync_ms": 1.0, "load_average_1_min": 0.5}
    shown = page.render(
        {
            "rows": rows, "machine": machine, "at": "2026-11-22T00:00:00", "took_s": 60, "seconds_scale": 1,
            "database": "SQLite", "window_s": 1.0, "slack_s": 0.5, "peer": "ThingsBoard Gateway 3.8.5",
        }
    )  # fmt: skip
    assert "Not as it must be" in shown
    assert BY_NAME["rate-100"].what in shown


def test_the_page_in_the_documents_is_the_one_of_its_figures() -> None:
    figures = json.loads((page.FOLDER / "outage.json").read_text(encoding="utf-8"))
    assert (page.FOLDER / "outage.md").read_text(encoding="utf-8") == page.render(figures)
    assert figures["flawless"], "the documents show a run that failed"

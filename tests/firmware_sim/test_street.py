"""A whole street: the document others read, the commands it obeys, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from domain.errors import ConfigError
from firmware_sim.cli import sim
from firmware_sim.control import ask, falling_behind
from firmware_sim.errors import NoStreet, SimError, SpeedTooHigh
from firmware_sim.plan import StreetPlan, planned_meters, shares
from firmware_sim.speed import Ability, LineLoad, highest_speed

DEADLINE_S = 60.0
AUTUMN = f"scaled:1.0:{time.time()!r}:{datetime(2026, 10, 2, 15, 7, tzinfo=UTC).timestamp()!r}"
SIM = [sys.executable, "-m", "headwater", "sim", "street"]


def until(what: Callable[[], bool], *, message: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, message
        time.sleep(0.02)


@contextmanager
def running(folder: Path, *options: str, hash_seed: str = "0") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*SIM, "--dir", str(folder), "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    try:
        until(
            lambda: (folder / "street.json").exists() or process.poll() is not None,
            message="the street did not become ready",
        )
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "street.json").read_text())
    return loaded


def counts(answer: dict[str, Any]) -> dict[str, int]:
    return {meter_id: dial["count"] for meter_id, dial in answer["dials"].items()}


def modbus_total(host: str, port: int, unit: int) -> int:
    with closing(socket.create_connection((host, port), timeout=10)) as peer:
        peer.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, 4, 54, 2))
        with peer.makefile("rb") as answers:
            return int(struct.unpack(">I", answers.read(13)[9:])[0])


def test_a_street_from_start_to_stop(tmp_path: Path) -> None:
    with running(tmp_path, "--meters", "7", "--mbus", "3", "--tcp", "2", "--leak", "1:600", "--faults", "0") as process:
        listed = document(tmp_path)
        assert [line["protocol"] for line in listed["lines"]] == ["mbus", "modbus-rtu", "modbus-tcp"]
        assert listed["lines"][0] | {"port": ""} == {
            "name": "mbus-1", "kind": "serial", "protocol": "mbus", "port": "", "baudrate": 2400,
            "parity": "even", "stop_bits": 1, "host": None, "tcp_port": None,
        }  # fmt: skip
        assert Path(listed["lines"][0]["port"]).exists()
        meters = listed["meters"]
        assert len({meter["meter_id"] for meter in meters}) == 7
        assert set(meters[0]) == {
            "meter_id", "line", "driver", "model", "address", "identity", "register_id", "unit", "scale", "modulus",
            "start_count", "start_at", "premise", "household",
        }  # fmt: skip
        for meter, count in zip(meters, counts(ask(tmp_path, {"do": "dials"})).values(), strict=True):
            assert 0 <= count - meter["start_count"] < 10**6

        octave = next(meter for meter in meters if meter["model"] == "arad-octave" and meter["line"] == "tcp-1")
        pulsed = ask(tmp_path, {"do": "pulse", "meter": octave["meter_id"], "counts": 25})["count"]
        frozen = ask(tmp_path, {"do": "freeze"})
        endpoint = listed["lines"][2]
        shown = modbus_total(endpoint["host"], endpoint["tcp_port"], int(octave["address"]))
        assert pulsed <= shown == counts(frozen)[octave["meter_id"]]
        assert counts(ask(tmp_path, {"do": "dials"})) == counts(frozen)
        until(lambda: bool((tmp_path / "replies.jsonl").read_text()), message="no reply was recorded")
        row = json.loads((tmp_path / "replies.jsonl").read_text().splitlines()[0])
        assert row | {"at": ""} == {
            "meter": octave["meter_id"], "reply": 1, "register": "total", "count": shown, "at": "", "damaged": False,
        }  # fmt: skip
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == 0
        assert json.loads(process.stdout.read().splitlines()[0])["ready"] is True if process.stdout else False
    assert not (tmp_path / "control.sock").exists()
    with pytest.raises(NoStreet):
        ask(tmp_path, {"do": "dials"})


def test_the_same_seed_shows_the_same_dials_in_every_process(tmp_path: Path) -> None:
    """At one virtual moment: a clock that hardly moves, two processes, two hash seeds."""
    # A millionth of a second a second: the clock stands at its start for as long as a test can take.
    spec = f"scaled:0.000001:{time.time()!r}:1789000000.0"
    found = []
    for name, hash_seed in (("a", "1"), ("b", "99")):
        folder = tmp_path / name
        with running(folder, "--meters", "12", "--seed", "5", "--clock", spec, hash_seed=hash_seed):
            listed = document(folder)
            told = [(meter["meter_id"], meter["premise"], meter["household"]) for meter in listed["meters"]]
            found.append((told, counts(ask(folder, {"do": "freeze"}))))
    assert found[0] == found[1]
    assert [meter.meter_id for meter in planned_meters(StreetPlan(6, 6, 3, 3))] != list(found[0][1])


def test_swapped_meters_and_refused_commands(tmp_path: Path) -> None:
    with running(tmp_path, "--meters", "2", "--mbus", "2"):
        first, second = (meter["meter_id"] for meter in document(tmp_path)["meters"])
        other = ask(tmp_path, {"do": "fault", "meter": first, "kind": "swap", "on": True})["meter"]
        assert other != first
        shown = counts(ask(tmp_path, {"do": "dials"}))
        assert list(shown) == [first, other, second]
        assert shown[str(other)] < 1000
        assert ask(tmp_path, {"do": "pulse", "meter": other, "counts": 3})["ok"]
        assert ask(tmp_path, {"do": "fault", "meter": first, "kind": "swap", "on": False})["meter"] == first
        for command, message in (
            ({"do": "fault", "meter": first, "kind": "gremlins"}, "choose one of"),
            ({"do": "pulse", "meter": "nobody", "counts": 1}, "no meter 'nobody'"),
            ({"do": "pulse", "meter": first, "counts": "many"}, "counts is an integer"),
            ({"do": "pulse", "meter": first}, "'counts' is missing"),
            ({"do": "dance"}, "unknown command"),
        ):
            with pytest.raises(SimError, match=message):
                ask(tmp_path, command)
        again = CliRunner().invoke(sim, ["street", "--dir", str(tmp_path), "--meters", "2"])
        assert "already running" in str(again.exception)
        with closing(socket.socket(socket.AF_UNIX)) as peer:
            peer.connect(str(tmp_path / "control.sock"))
            peer.sendall(b'{"do"\n{"do": "status"}\n')
            with peer.makefile("rb") as answers:
                assert json.loads(answers.readline())["ok"] is False
                assert json.loads(answers.readline())["meters"] == 2


def test_a_street_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    starter = (
        "import subprocess, sys, time, pathlib\n"
        f"subprocess.Popen({[*SIM, '--dir', str(tmp_path), '--meters', '2']!r}, stdout=subprocess.DEVNULL)\n"
        f"while not pathlib.Path({str(tmp_path / 'street.json')!r}).exists(): time.sleep(0.02)\n"
    )
    subprocess.run([sys.executable, "-c", starter], check=True, timeout=DEADLINE_S)
    until(lambda: not (tmp_path / "control.sock").exists(), message="the street outlived its parent")


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--meters", "4", "--mbus", "9"], 3, "add up to 9"),
        (["--baudrate", "2401"], 3, "expected one of 300"),
        (["--fault", "0:gremlins"], 3, "expected one of silence"),
        (["--leak", "99:5"], 3, "numbered 0 to 49"),
        (["--leak", "five"], 2, "INDEX:LITRES_PER_H"),
        (["--clock", "sundial"], 3, "is not a clock"),
        (["--clock", "system", "--speed", "2"], 3, "give one of them"),
        (["--speed", "0.5"], 3, "1 or faster"),
        (["--usage", "nowhere"], 3, "holds no recorded homes"),
        (["--speed", "1e9"], 10, "cannot hold --speed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, options: list[str], exit_code: int, message: str
) -> None:
    result = CliRunner().invoke(sim, ["street", "--dir", str(tmp_path), *options])
    code = getattr(result.exception, "exit_code", result.exit_code)
    assert code == exit_code, result.output
    assert message in (str(result.exception) + result.output)
    assert not (tmp_path / "control.sock").exists()
    assert not (tmp_path / "street.json").exists()


def test_the_speed_rule_is_the_documented_one() -> None:
    ability = Ability(exchange_s=0.002, core_s=0.001)
    lines = [LineLoad("a", meters=12, round_s=6.0), LineLoad("b", meters=8, round_s=0.9)]
    # Line a: (0.8 x 300 - 6) / (12 x 0.002) = 9750; the core: 0.5 x 300 / (50 x 0.001) = 3000.
    assert highest_speed(ability, lines, meters=50, poll_every_s=300) == (3000, "the work of all meters")
    assert highest_speed(ability, lines, meters=4, poll_every_s=300) == (9750, "line a with 12 meters")
    assert highest_speed(ability, lines, meters=50, poll_every_s=5)[0] == 1
    error = SpeedTooHigh("too fast", highest=7)
    assert error.as_json()["highest_speed"] == 7
    assert error.exit_code == 10


def test_a_line_that_loses_a_fifth_of_its_time_is_reported() -> None:
    before = {"mbus-1": (10, 5.0), "rtu-1": (10, 5.0)}
    latest = {"mbus-1": (20, 155.0), "rtu-1": (20, 35.0)}
    assert falling_behind(before, latest, passed_s=600.0) == {"mbus-1": 0.25}


@pytest.mark.parametrize(
    ("meters", "given", "expected"),
    [
        (50, (None, None, None), (25, 8, 17)),
        (1, (None, None, None), (1, 0, 0)),
        (6, (5, None, 1), (5, 0, 1)),
        (9, (None, 2, None), (4, 2, 3)),
        (10, (None, 0, 0), (10, 0, 0)),
        (10, (0, 0, None), (0, 0, 10)),
    ],
)
def test_meters_are_shared_out(
    meters: int, given: tuple[int | None, int | None, int | None], expected: tuple[int, int, int]
) -> None:
    assert shares(meters, mbus=given[0], rtu=given[1], tcp=given[2]) == expected
    with pytest.raises(ConfigError):
        shares(0, mbus=None, rtu=None, tcp=None)


def test_a_planned_street_has_no_two_alike() -> None:
    planned = planned_meters(StreetPlan(1, 150, 20, 130))
    assert len({meter.meter_id for meter in planned}) == 300
    assert len({meter.premise for meter in planned}) == 300
    assert len({(meter.line, meter.address) for meter in planned}) == 300
    sizes = [sum(meter.line == name for meter in planned) for name in {meter.line for meter in planned}]
    assert max(sizes) <= 12
    assert all(meter.base_count < (meter.shape.modulus or 2**31) for meter in planned)


def test_household_prints_a_series_and_uses() -> None:
    runner = CliRunner()
    series = json.loads(runner.invoke(sim, ["household", "--seed", "3", "--days", "2", "--json"]).output)
    assert len(series["rows"]) in (48, 49, 50)
    volumes = [row["volume_ml"] for row in series["rows"]]
    assert volumes == sorted(volumes)
    uses = json.loads(
        runner.invoke(
            sim, ["household", "--seed", "3", "--days", "2", "--from", "2026-02-02", "--uses", "--json"]
        ).output
    )
    assert {"start", "duration_s", "volume_ml", "fixture"} == set(uses["rows"][0])


def test_meters_have_logged_every_hour_before_the_street_was_started(tmp_path: Path) -> None:
    """The log begins at local midnight, never falls, and ends where the register of the running meter goes on."""
    with running(tmp_path, "--meters", "3", "--seed", "5", "--logged-since", "2026-09-30", "--clock", AUTUMN):
        street = document(tmp_path)
        rows = [line.split(",") for line in (tmp_path / "logger.csv").read_text().splitlines()[1:]]
    for meter in street["meters"]:
        log = [(moment, int(count)) for meter_id, moment, count in rows if meter_id == meter["meter_id"]]
        assert log[0] == ("2026-09-30T05:00:00+00:00", meter["logged_count"])
        assert meter["logged_from"] == "2026-09-30T05:00:00+00:00"
        counts = [count for _, count in log]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1] <= meter["start_count"]
        start = datetime.fromisoformat(meter["start_at"])
        assert len(log) == -(-(start - datetime.fromisoformat(log[0][0])) // timedelta(hours=1))


def test_recorded_homes_have_no_past_to_log(tmp_path: Path) -> None:
    """It is said before anything starts."""
    done = CliRunner().invoke(
        sim, ["street", "--dir", str(tmp_path / "s"), "--usage", str(tmp_path), "--logged-since", "2026-09-30"]
    )
    assert isinstance(done.exception, ConfigError)

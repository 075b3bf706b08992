"""What surrounds the service: the socket, the lock, the service manager, the parent process, faults in words."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ConfigError
from drivers.errors import BadChecksum, LinkDown, NoReply
from gateway import control, health, systemd
from gateway.config import BusConfig
from gateway.errors import AlreadyRunning, GatewayNotRunning
from gateway.explain import explained
from gateway.instance import InstanceLock
from tests.gateway.street import lives, until


def answers(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if asked["do"] == "fail":
        raise NoReply("no reply", meter_id="M1", seen=b"\x01")
    if asked["do"] == "break":
        raise ZeroDivisionError
    for n in range(asked.get("lines", 1)):
        yield {"n": n}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a long path and a control server in it."""
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    server = control.ControlServer(deep, answers)
    server.start()
    yield deep
    server.stop()
    assert not (deep / control.SOCKET_NAME).exists()


def test_one_request_has_one_or_many_answers(folder: Path) -> None:
    assert control.running(folder)
    assert [line["n"] for line in control.ask(folder, {"do": "x", "lines": 500})] == list(range(500))


def test_an_error_keeps_its_class_and_evidence(folder: Path) -> None:
    with pytest.raises(NoReply) as caught:
        list(control.ask(folder, {"do": "fail"}))
    assert (caught.value.meter_id, caught.value.seen) == ("M1", b"\x01")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        list(control.ask(folder, {"do": "break"}))


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{\n", b"7\n"])
def test_nonsense_is_answered_and_harms_nothing(folder: Path, line: bytes) -> None:
    connection = control._connect(folder, 5)
    with connection, connection.makefile("rwb") as stream:
        stream.write(line)
        stream.flush()
        assert b"failed" in stream.readline()
    assert control.running(folder)


def test_a_client_that_hangs_up_harms_nothing(folder: Path) -> None:
    for _ in range(3):
        stream = control.ask(folder, {"do": "x", "lines": 100_000})
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
    assert control.running(folder)


def test_nobody_there_is_said_with_the_command_to_start(tmp_path: Path) -> None:
    with pytest.raises(GatewayNotRunning, match="gateway run"):
        list(control.ask(tmp_path, {"do": "status"}))


def test_an_error_of_each_kind_keeps_its_exit_code() -> None:
    for code in (1, 3, 4, 5, 10):
        assert control.as_error({"message": "x", "exit_code": code}).exit_code == code


def test_one_service_for_a_folder(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path / "data")
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        InstanceLock(tmp_path / "data")
    lock.release()
    InstanceLock(tmp_path / "data").release()


def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    systemd.notify("WATCHDOG=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify("WATCHDOG=1")


def test_a_child_that_asked_for_it_dies_with_its_parent(tmp_path: Path) -> None:
    child = (
        "import signal, sys, time; sys.path[:0] = sys.argv[1:]; from gateway.timekeeping import die_with_parent;"
        "die_with_parent(signal.SIGKILL); print('ready', flush=True); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]],"
        "stdout=subprocess.PIPE); c.stdout.readline(); print(c.pid, flush=True); sys.stdin.read()"
    )
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", parent, child, root], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        until(lambda: not lives(pid), what="the child to end")


def test_a_failure_is_told_as_a_technician_needs_it() -> None:
    bus = BusConfig("main", "serial", port="/dev/ttyX")
    told = explained(NoReply("x"), "17", bus=bus, driver="mbus", attempts=3, took_s=2.0)
    assert str(told) == (
        "meter 17 (mbus)  no reply in 2 s, 3 attempts; 0 bytes seen at 2400 8E1.  "
        "Try: headwater gateway scan --bus main"
    )
    damaged = explained(
        BadChecksum("sum is 1, expected 2", reply=bytes(40)), "17", bus=bus, driver="mbus", attempts=1, took_s=1
    )
    assert isinstance(damaged, BadChecksum)
    assert "sum is 1, expected 2; 40 bytes seen at 2400 8E1: 00 00" in str(damaged)
    down = LinkDown("gone")
    assert str(explained(down, "17", bus=bus, driver="mbus", attempts=1, took_s=1)) == "gone"


def test_a_status_is_replaced_whole_and_read_back(tmp_path: Path) -> None:
    assert health.read_status(tmp_path) is None
    health.write_status(tmp_path, {"a": 1, "written_s": 0})
    assert health.read_status(tmp_path) == {"a": 1, "written_s": 0}
    assert list(tmp_path.iterdir()) == [tmp_path / health.STATUS_NAME]


def test_a_request_that_makes_no_sense_is_a_configuration_error() -> None:
    from gateway.requests import Requests

    with pytest.raises(ConfigError, match="expected one of read, scan, watch, status"):
        list(Requests(None).answer({"do": "dance"}))  # type: ignore[arg-type]

"""A line on a pseudo-terminal: its pace in the clock's time, and what happens when nobody reads."""

from __future__ import annotations

import json
import os
import select
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import serial

from domain.clock import Clock, ManualClock, SystemClock
from firmware_sim.dial import Dial, Mains
from firmware_sim.faults import Faults
from firmware_sim.journal import Journal
from firmware_sim.meters.mbus import Identity, MBusLine, MBusMeter
from firmware_sim.serial_line import SerialLine
from tests.firmware_sim.conftest import MOMENT

READ = bytes.fromhex("107b058016")
NKE = bytes.fromhex("1040054516")
Serve = Callable[..., AbstractContextManager[SerialLine]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextmanager
    def serving(meters: list[MBusMeter], clock: Clock, mains: Mains, baudrate: int = 2400) -> Iterator[SerialLine]:
        stop_read, stop_write = os.pipe()
        journal = Journal(tmp_path / "replies.jsonl")
        bus = MBusLine(meters, baudrate)
        line = SerialLine("t", bus, clock=clock, mains=mains, journal=journal, stop_fd=stop_read)
        line.start()
        try:
            yield line
        finally:
            os.write(stop_write, b"x")
            line.close()
            journal.close()
            os.close(stop_read)
            os.close(stop_write)

    return serving


@contextmanager
def master(line: SerialLine) -> Iterator[int]:
    fd = os.open(line.port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    try:
        yield fd
    finally:
        os.close(fd)


def received(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size and select.select([fd], [], [], 10.0)[0]:
        data += os.read(fd, size - len(data))
    return data


def telegram(fd: int) -> bytes:
    head = received(fd, 4)
    return head + received(fd, head[1] + 2)


def answered(line: SerialLine, exchanges: int) -> None:
    deadline = time.monotonic() + 30.0
    while line.exchanges < exchanges:
        assert time.monotonic() < deadline, f"{line.exchanges} of {exchanges} requests were answered"
        time.sleep(0.001)


@pytest.mark.parametrize("baudrate", [300, 2400, 9600])
def test_an_exchange_takes_its_characters_and_the_answer_delay(
    serve: Serve, clock: ManualClock, mains: Mains, dial: Dial, tmp_path: Path, baudrate: int
) -> None:
    """On a hand-turned clock the line itself is all that lets time pass: 11 bits a character both ways."""
    meter = MBusMeter(Identity("12345678", "KAM"), 5, dial, "bcd-litres", Faults("t"))
    with serve([meter], clock, mains, baudrate) as line, master(line) as fd:
        os.write(fd, READ)
        answer = telegram(fd)
    (row,) = [json.loads(text) for text in (tmp_path / "replies.jsonl").read_text().splitlines()]
    expected_s = (len(READ) + len(answer)) * 11 / baudrate + meter.delay_s(baudrate)
    assert datetime.fromisoformat(row.pop("at")) - MOMENT == pytest.approx(
        timedelta(seconds=expected_s), abs=timedelta(microseconds=200)
    )
    assert row == {"meter": "KAM-12345678", "reply": 1, "register": "total", "count": 12_345, "damaged": False}


def test_pyserial_reads_a_meter(serve: Serve, dial: Dial) -> None:
    """An outside opinion on the port: another program's serial library opens and reads it."""
    clock = SystemClock()
    meter = MBusMeter(Identity("12345678", "KAM"), 5, dial, "bcd-litres", Faults("t"))
    with serve([meter], clock, Mains(clock), 9600) as line, serial.Serial(line.port, 9600, timeout=10) as port:
        port.write(NKE)
        assert port.read(1) == b"\xe5"
        port.write(READ)
        head = port.read(4)
        body = port.read(head[1])
        assert port.read(2) == bytes((sum(body) % 256, 0x16))
        assert body[:9] == bytes.fromhex("080572785634122d2c")


def test_every_byte_value_passes_the_terminal(serve: Serve, clock: ManualClock, mains: Mains, dial: Dial) -> None:
    """03h, 0Dh, 11h, 13h and 1Ah mean something to a terminal that is not raw."""
    dial.pulse(0x0D111A13 % 10**8)
    meter = MBusMeter(Identity("03111326", "KAM"), 5, dial, "bcd-litres", Faults("t"))
    with serve([meter], clock, mains) as line, master(line) as fd:
        os.write(fd, READ)
        answer = telegram(fd)
        assert sum(answer[4:-2]) % 256 == answer[-2]
        assert answer[7:11] == bytes.fromhex("26131103")


def test_a_reader_that_is_away_does_not_stop_the_line(
    serve: Serve, clock: ManualClock, mains: Mains, dial: Dial
) -> None:
    meter = MBusMeter(Identity("12345678", "KAM"), 5, dial, "bcd-litres", Faults("t"))
    with serve([meter], clock, mains) as line:
        for n in range(150):  # 150 answers of 59 bytes are more than a terminal keeps
            with master(line) as fd:
                os.write(fd, bytes.fromhex("105b056016") if n % 2 else READ)
            answered(line, n + 1)
        with serial.Serial(line.port, 2400, timeout=10) as port:
            port.reset_input_buffer()
            port.write(NKE)
            assert port.read(1) == b"\xe5"


def test_half_a_request_is_forgotten_after_a_pause(serve: Serve, clock: ManualClock, mains: Mains, dial: Dial) -> None:
    meter = MBusMeter(Identity("12345678", "KAM"), 5, dial, "bcd-litres", Faults("t"))
    with serve([meter], clock, mains) as line, master(line) as fd:
        os.write(fd, READ[:3])
        assert not select.select([fd], [], [], 0.3)[0]
        os.write(fd, READ)
        assert telegram(fd)[0] == 0x68


def test_two_meters_at_one_address_collide(
    serve: Serve, clock: ManualClock, mains: Mains, dial: Dial, tmp_path: Path
) -> None:
    meters = [
        MBusMeter(Identity(digits, "KAM"), 5, dial, "bcd-litres", Faults("t")) for digits in ("12345678", "12345699")
    ]
    with serve(meters, clock, mains) as line, master(line) as fd:
        os.write(fd, READ)
        answered(line, 1)
    rows = [json.loads(text) for text in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert sorted((row["meter"], row["damaged"]) for row in rows) == [("KAM-12345678", True), ("KAM-12345699", True)]

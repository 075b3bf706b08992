"""A bank of Modbus TCP meters whose totalisers count their own reads: what was served is known read by read.

The program (`python -m tests.proofs.outage.bank`) answers function 3 at address 0 with the total as two registers,
most significant first, one higher at every read (Modbus Application Protocol v1.1b3, 6.3). Every reply that left is one
record in a journal, written before the next request is looked at. SIGTERM: no more answers; the connections close a
second later, so that what was sent is read.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from domain.clock import SystemClock
from firmware_sim.meters.modbus import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, NO_TARGET, READ_HOLDING, TcpUnits
from firmware_sim.tcp_server import TcpServer
from firmware_sim.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

RECORD = struct.Struct("<IId")
"""Meter, count, seconds since 1970."""

UNITS_OF_AN_ENDPOINT = 100
HUSH_S = 1.0
MAP = """maker = "none"
meter = "a meter that counts its own reads"
source = "tests/proofs/outage/bank.py"
confidence = "written together"
function = 3
answer_s = 5.0

[[register]]
name = "total"
address = 0
type = "u32"
role = "total"
unit = "l"
"""
"""The register map that a gateway reads these meters by."""


class CountingUnits(TcpUnits):
    """The meters behind one endpoint: unit n is meter `first + n - 1`."""

    def __init__(self, first: int, size: int) -> None:
        super().__init__(())
        self._first, self._counts = first, [0] * (size + 1)
        self.hushed = False

    def answer(self, adu: bytes, moment: datetime) -> Answer | None:
        """Answer one request; a read of the total moves it on."""
        if self.hushed:
            return None
        unit, pdu = adu[6], adu[7:]
        if not 1 <= unit < len(self._counts):
            return Answer("", _framed(adu, bytes((pdu[0] | 0x80, NO_TARGET))), 0.0)
        if pdu[0] != READ_HOLDING or len(pdu) != 5:
            return Answer("", _framed(adu, bytes((pdu[0] | 0x80, ILLEGAL_FUNCTION))), 0.0)
        if pdu[1:] != b"\0\0\0\2":
            return Answer("", _framed(adu, bytes((pdu[0] | 0x80, ILLEGAL_ADDRESS))), 0.0)
        self._counts[unit] += 1
        count = self._counts[unit]
        meter = self._first + unit - 1
        reply = bytes((READ_HOLDING, 4)) + count.to_bytes(4, "big")
        return Answer(str(meter), _framed(adu, reply), 0.0, (("total", count),))


def _framed(request: bytes, pdu: bytes) -> bytes:
    return request[:4] + (len(pdu) + 1).to_bytes(2, "big") + request[6:7] + pdu


class ReplyJournal:
    """One record of RECORD for each total that left, in one write a record."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def sent(self, answers: Iterable[Answer], at: datetime) -> None:
        """Record answers whose last byte has been written."""
        for answer in answers:
            if answer.counts:
                os.write(self._fd, RECORD.pack(int(answer.meter_id), answer.counts[0][1], at.timestamp()))

    def close(self) -> None:
        """Put it on the disk."""
        os.fsync(self._fd)
        os.close(self._fd)


def meter_name(meter: int) -> str:
    """Return the identity of the n-th meter, counting from 1."""
    return f"CNT-{meter:07d}"


def meter_number(name: str) -> int:
    """Return which meter it is."""
    return int(name.removeprefix("CNT-"))


def served(path: Path) -> dict[tuple[int, int], float]:
    """Return every (meter, count) that left the bank and when, by the journal."""
    data = path.read_bytes()
    whole = len(data) - len(data) % RECORD.size
    return {(meter, count): at for meter, count, at in RECORD.iter_unpack(data[:whole])}


def replies_so_far(path: Path) -> int:
    """Return how many replies left until now."""
    return path.stat().st_size // RECORD.size


class _Now:
    """The moment of a request, for a server that also serves meters with dials."""

    def __init__(self) -> None:
        self._clock = SystemClock()

    def now(self) -> datetime:
        return self._clock.now()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM; `bank.json` in the folder names the ports once they are open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args(arguments)
    hush, (wake_read, wake_write) = threading.Event(), os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: hush.set())
    signal.signal(signal.SIGINT, lambda *_: hush.set())
    journal = ReplyJournal(options.dir / "served.bin")
    server = TcpServer(clock=SystemClock(), mains=_Now(), journal=journal, stop_fd=wake_read)  # type: ignore[arg-type]
    endpoints = []
    banks = []
    for first in range(1, options.meters + 1, UNITS_OF_AN_ENDPOINT):
        size = min(UNITS_OF_AN_ENDPOINT, options.meters + 1 - first)
        banks.append(CountingUnits(first, size))
        endpoints.append({"port": server.listen(banks[-1]), "first": first, "meters": size})
    server.start()
    ready = options.dir / "bank.json.new"
    ready.write_text(json.dumps(endpoints), encoding="utf-8")
    ready.replace(options.dir / "bank.json")
    hush.wait()
    for bank in banks:
        bank.hushed = True
    time.sleep(HUSH_S)
    os.write(wake_write, b"x")
    server.close()
    journal.close()


if __name__ == "__main__":
    main()

"""A bank of Modbus TCP meters on one endpoint, as cheap as can be: a process that costs a gateway nothing but its wait.

python -m tests.bench.meterbank UNITS COUNTS.json

Unit ids 1 to UNITS; a uint32 at holding registers 0 and 1 that is one more at every reply, so that what was served and
what was stored can be compared one by one. Written from the standard with raw sockets. Prints its port, and writes what
it served of each unit to COUNTS.json when it is told to end.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

MAP = """maker = "nobody"
meter = "a counter of its own replies"
source = "tests/bench/meterbank.py"
confidence = "of a benchmark"
function = 3
answer_s = 1.0

[[register]]
name = "replies"
address = 0
type = "u32"
role = "total"
unit = "l"
"""
_REQUEST = struct.Struct(">HHHBBHH")
_REPLY = struct.Struct(">HHHBBBI")


class MeterBank:
    """A running bank: `port`, and after `close` what it `served` of each unit."""

    def __init__(self, folder: Path, units: int) -> None:
        self.map, self._counts = folder / "counter.toml", folder / "served.json"
        self.map.write_text(MAP)
        command = [sys.executable, "-m", "tests.bench.meterbank", str(units), str(self._counts)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())
        self.served: dict[int, int] = {}

    def close(self) -> None:
        """End it and take over its counts; a second call does nothing."""
        if self._child.poll() is not None:
            return
        self._child.terminate()
        self._child.wait(10)
        assert self._child.stdout is not None
        self._child.stdout.close()
        self.served = {int(unit): count for unit, count in json.loads(self._counts.read_text()).items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(listener: socket.socket, counts: list[int]) -> None:
    """Answer one connection after the other, for ever."""
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            seen = b""
            while received := connection.recv(4096):
                seen += received
                while len(seen) >= _REQUEST.size:
                    transaction, _, _, unit, function, address, count = _REQUEST.unpack_from(seen)
                    seen = seen[_REQUEST.size :]
                    if (function, address, count) != (3, 0, 2) or not 0 < unit < len(counts):
                        reply = struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 2)
                    else:
                        counts[unit] = (counts[unit] + 1) & 0xFFFFFFFF
                        reply = _REPLY.pack(transaction, 0, 7, unit, 3, 4, counts[unit])
                    connection.sendall(reply)


def main(units: int, counts_file: Path) -> None:
    """Serve until SIGTERM."""
    counts = [0] * (units + 1)

    def end(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        try:
            serve(listener, counts)
        finally:
            counts_file.write_text(json.dumps(dict(enumerate(counts[1:], 1))))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

"""A serial line on a pseudo-terminal: requests arrive and answers leave at the line's baud rate, in the clock's time.

A pseudo-terminal hands all bytes over at once. The line therefore lets a request count as arrived only when its last
character could have been, and writes an answer's characters as they would leave, so that the master stamps its last
byte when a real line would have delivered it. While nothing is said the line's thread sleeps in poll().
"""

from __future__ import annotations

import errno
import math
import os
import select
import termios
import threading
import tty
from typing import TYPE_CHECKING, Protocol

from domain.errors import ResourceUnavailable
from firmware_sim.wire import Answer, Transmission, char_time_s, join

if TYPE_CHECKING:
    from datetime import datetime

    from domain.clock import Clock
    from firmware_sim.dial import Mains
    from firmware_sim.journal import Journal

# Characters are written in groups no closer than this in real time; the last one always leaves at its own moment.
WRITE_EVERY_REAL_S = 0.01
# Real time that a process may need to deliver the rest of a request, whatever the clock's speed.
REQUEST_SLACK_REAL_S = 0.02


class Bus(Protocol):
    """The meters of one line: cuts requests from what arrives and answers them."""

    baudrate: int
    gap_chars: float

    @property
    def size(self) -> int:
        """How many meters hang on the line."""
        ...

    def take(self, buffer: bytearray, *, silence: bool) -> bytes | None:
        """Cut one request from the front of the buffer, None when there is none (yet)."""
        ...

    def answers(self, frame: bytes, moment: datetime) -> list[Answer]:
        """Return all answers to one request."""
        ...

    def round_s(self) -> float:
        """Return the wire time of reading every meter once."""
        ...


class SerialLine:
    """One line: a pseudo-terminal and the thread that serves it.

    stop_fd  becomes readable when the street closes.
    """

    def __init__(
        self, name: str, bus: Bus, *, clock: Clock, mains: Mains, journal: Journal | None, stop_fd: int
    ) -> None:
        self.name, self.bus = name, bus
        self.exchanges, self.late_s, self.latest_s = 0, 0.0, 0.0
        self._clock, self._mains, self._journal, self._stop_fd = clock, mains, journal, stop_fd
        self._char_s = char_time_s(bus.baudrate)
        try:
            self._master, self._slave = os.openpty()
        except OSError as error:
            raise ResourceUnavailable(
                f"no pseudo-terminal for line {name}: {error.strerror}; is /dev/pts mounted?"
            ) from error
        # The slave end stays open here as well: without it the master end reports EIO whenever no reader has it open.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, name=f"line-{name}", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the thread, which ends when `stop_fd` is readable, and free the pseudo-terminal."""
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        buffer = bytearray()
        while self._readable(None):
            first_at_s = self._clock.monotonic()
            self._read(buffer)
            while True:
                request = self._request(buffer)
                if request is None:
                    break
                first_at_s += len(request) * self._char_s
                if not self._wait_until(first_at_s) or not self._exchange(request, first_at_s):
                    return
                first_at_s = self._clock.monotonic()

    def _request(self, buffer: bytearray) -> bytes | None:
        """Return one whole request, waiting as long as a pause inside a frame may last for the rest of it."""
        gap_s = self._clock.real_seconds(self.bus.gap_chars * self._char_s) + REQUEST_SLACK_REAL_S
        while (request := self.bus.take(buffer, silence=False)) is None and buffer:
            if not self._readable(gap_s):
                return self.bus.take(buffer, silence=True)
            self._read(buffer)
        return request

    def _exchange(self, request: bytes, arrived_s: float) -> bool:
        """Answer one request; False when the street closes meanwhile."""
        transmission = join(self.bus.answers(request, self._mains.now()), self.bus.baudrate)
        if transmission is None:
            return True
        if not self._transmit(transmission, arrived_s + transmission.delay_s):
            return False
        if self._journal is not None:
            self._journal.sent(transmission.answers, self._clock.now())
        return True

    def _transmit(self, transmission: Transmission, starts_s: float) -> bool:
        data, sent = transmission.data, 0
        step_s = transmission.lasts_s / max(1, len(data))
        ends_s = starts_s + transmission.lasts_s
        real_per_s = self._clock.real_seconds(1.0)
        group_s = WRITE_EVERY_REAL_S / real_per_s if real_per_s else 0.0
        while sent < len(data):
            now_s = self._clock.monotonic()
            due = len(data) if now_s >= ends_s else max(0, math.floor((now_s - starts_s) / step_s + 1e-6))
            if due > sent:
                self._discard_input(sent)
                self._write(data[sent:due])
                sent = due
                continue
            if not self._wait_until(min(ends_s, max(starts_s + (sent + 1) * step_s, now_s + group_s))):
                return False
        late_s = self._clock.monotonic() - ends_s
        self.exchanges, self.late_s, self.latest_s = self.exchanges + 1, self.late_s + late_s, late_s
        return True

    def _discard_input(self, sent: int) -> None:
        """Drop what the master says while a slave is talking: on two wires neither would be understood."""
        if sent and self._readable(0):
            self._read(bytearray())

    def _read(self, buffer: bytearray) -> None:
        try:
            buffer += os.read(self._master, 4096)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EIO):
                raise

    def _write(self, data: bytes) -> None:
        """Write to the master's reader; when nobody has read for so long that the terminal is full, it loses all."""
        try:
            os.write(self._master, data)
        except BlockingIOError:
            termios.tcflush(self._slave, termios.TCIFLUSH)

    def _wait_until(self, moment_s: float) -> bool:
        """Wait for a moment of the clock; False when the street closes first."""
        while (left_s := moment_s - self._clock.monotonic()) > 0:
            real_s = self._clock.real_seconds(left_s)
            if not real_s:
                self._clock.sleep(left_s)
            elif select.select([self._stop_fd], [], [], real_s)[0]:
                return False
        return True

    def _readable(self, real_s: float | None) -> bool:
        """Return whether bytes came within some real seconds (None: however long); False also when closing."""
        ready = select.select([self._master, self._stop_fd], [], [], real_s)[0]
        return self._master in ready and self._stop_fd not in ready

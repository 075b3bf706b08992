"""A link without a wire: what a meter answers is a function of the request; time is turned by hand."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType

from domain.clock import ManualClock
from drivers.base import Deadline
from drivers.errors import LinkDown

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class ScriptedLink:
    """Answers each request with the bytes that `meter` returns for it; waiting moves the clock to the deadline."""

    def __init__(
        self,
        meter: Callable[[bytes], bytes],
        *,
        kind: str = "serial",
        char_time_s: float = 11 / 2400,
        echo: bool = False,
    ) -> None:
        self.kind, self.char_time_s, self.echo, self.meter = kind, char_time_s, echo, meter
        self.clock = ManualClock(START)
        self.last_byte_at = (self.clock.now(), self.clock.monotonic())
        self.sent: list[bytes] = []
        self.waiting = bytearray()
        self.is_down = False

    def send(self, data: bytes) -> None:
        if self.is_down:
            raise LinkDown("gone")
        self.sent.append(data)
        self.clock.advance(len(data) * self.char_time_s)
        self.waiting += (data if self.echo else b"") + self.meter(data)

    def receive(self, size: int, deadline: Deadline) -> bytes:
        data = bytes(self.waiting[:size])
        del self.waiting[:size]
        needed_s = len(data) * self.char_time_s
        if data and needed_s <= deadline.remaining_s():
            self.clock.advance(needed_s)
            self.last_byte_at = (self.clock.now(), self.clock.monotonic())
        if len(data) < size:
            self.clock.advance(deadline.remaining_s())
        return data

    def discard_input(self) -> None:
        self.waiting.clear()

    def close(self) -> None:
        self.is_down = True


class PtyMeter:
    """A meter on a real pseudo-terminal: `answer` returns the chunks of a reply to the bytes of a request."""

    def __init__(self, answer: Callable[[bytes], Iterable[bytes]]) -> None:
        self.answer = answer
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> PtyMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def unplug(self) -> None:
        """Take both ends away, as a pulled adapter does."""
        self._stop.set()
        self._thread.join()
        if self._slave >= 0:
            os.close(self._slave)
            os.close(self._master)
            self._slave = -1

    def _serve(self) -> None:
        while not self._stop.is_set():
            if select.select([self._master], [], [], 0.01)[0]:
                for chunk in self.answer(os.read(self._master, 512)):
                    os.write(self._master, chunk)

"""The collector's clock: the machine's, kept from going back before the last write, watched for being set.

Collectors have no battery clock. After a power cut the machine may believe it is 1970 until a time source is reached;
until then time goes on from the last moment that was written down, reads are marked as not synchronised, and the step
that follows is an event, so that whoever holds the reads can correct them.
"""

from __future__ import annotations

import ctypes
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from domain.clock import ClockState, ScaledClock, machine_boot_id
from domain.reading import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.clock import Clock

STEP_S = 1.0
SETTLE_S = 0.001
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_ASK_EVERY_S = 1.0


class _Timex(ctypes.Structure):
    """The head of Linux's struct timex (sys/timex.h); the rest is room the kernel may write to."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def machine_synchronised() -> bool:
    """Tell whether the kernel's clock is disciplined by a time source (adjtimex, as timedatectl asks)."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return False
    timex = _Timex()
    state = adjtimex(ctypes.byref(timex))
    return 0 <= state < _TIME_ERROR and not timex.status & _STA_UNSYNC


def _always() -> bool:
    return True


class CollectorClock:
    """A Clock that never shows less than `floor` until the machine's clock is set, and knows whether it is.

    monotonic, sleep and real_seconds are the base clock's own.

    base          the machine's clock, or a virtual one (which counts as synchronised: it is the demo's time source).
    synchronised  asked at most once a second.
    """

    def __init__(
        self,
        base: Clock,
        *,
        synchronised: Callable[[], bool] = machine_synchronised,
    ) -> None:
        self._base = base
        # Passed on as they are: every exchange with a meter looks at the time, and each layer in between is felt.
        self.monotonic: Callable[[], float] = base.monotonic
        self.sleep: Callable[[float], None] = base.sleep
        self.real_seconds: Callable[[float], float] = base.real_seconds
        self._ask: Callable[[], bool] = _always if isinstance(base, ScaledClock) else synchronised
        self._asked_at = -_ASK_EVERY_S
        self._synchronised = False
        self._synced_since: datetime | None = None
        self._offset = timedelta(0)
        self._difference = self._wall_minus_monotonic()
        self._settled_us = 0
        self._settle_within_us = round(SETTLE_S * 1e6 / min(1.0, base.real_seconds(1.0) or 1.0))

    def keep_above(self, floor: datetime | None) -> None:
        """Let time go on from `floor`, the newest moment on record, when the machine's clock is not set and behind."""
        now = self._base.now()
        if floor is not None and now < floor and not self._is_synchronised():
            self._offset = floor - now
            self._difference = self._wall_minus_monotonic()

    def now(self) -> datetime:
        """Return the wall time, or the floor plus the time since while the machine's clock is behind it."""
        now = self._base.now()
        return now + self._offset if self._offset else now

    def state(self, monotonic_ns: int | None = None) -> ClockState:
        """Return what is known of the clock now, or at the given monotonic time a moment ago."""
        synchronised = self._is_synchronised()
        if monotonic_ns is None:
            monotonic_ns = round(self._base.monotonic() * 1e9)
        return ClockState(machine_boot_id(), monotonic_ns, synchronised, self._synced_since if synchronised else None)

    def stamp(self, read_at: datetime, monotonic_ns: int) -> tuple[datetime, ClockState]:
        """Return a last byte's moment in whole milliseconds, settled, and what was known of the clock then.

        No line tells more than milliseconds, and the rest would be half of a read's bytes.
        """
        below_us = read_at.microsecond % 1000
        if below_us:
            read_at = read_at.replace(microsecond=read_at.microsecond - below_us)
        return read_at, self.state(self.settled_ns(read_at, monotonic_ns - 1000 * below_us))

    def settled_ns(self, wall: datetime, monotonic_ns: int) -> int:
        """Return the monotonic time of a stamp, moved by less than SETTLE_S so that it keeps its distance to the wall.

        Wall and monotonic time are read one after the other; the microseconds between the two calls are noise, and
        would cost two bytes in every read on the wire.
        """
        wall_us = (wall - _EPOCH) // _MICROSECOND
        apart_us = wall_us - monotonic_ns // 1000
        if abs(apart_us - self._settled_us) > self._settle_within_us:
            self._settled_us = apart_us
        return max(0, wall_us - self._settled_us) * 1000

    def check(self) -> Event | None:
        """Return an event when the wall clock stepped by more than STEP_S since the last call; call it often."""
        if self._offset and self._is_synchronised():
            self._offset = timedelta(0)
        difference = self._wall_minus_monotonic()
        step = difference - self._difference
        self._difference = difference
        if abs(step) <= timedelta(seconds=STEP_S):
            return None
        step_ms = step // timedelta(milliseconds=1)
        at = self.now()
        return Event(
            event_id=f"clock-step-{uuid.uuid4().hex}",
            kind=EventKind.CLOCK_STEP,
            at=at,
            clock=self.state(),
            detail={"step_ms": step_ms, "before": (at - step).isoformat(), "after": at.isoformat()},
        )

    def _wall_minus_monotonic(self) -> timedelta:
        return self.now() - _EPOCH - timedelta(seconds=self._base.monotonic())

    def _is_synchronised(self) -> bool:
        if time.monotonic() - self._asked_at >= _ASK_EVERY_S:
            self._asked_at = time.monotonic()
            before, self._synchronised = self._synchronised, self._ask()
            if self._synchronised and not before:
                self._synced_since = self._base.now()
        return self._synchronised


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send us a signal when the process that started us ends (Linux), also when it ends just now."""
    pr_set_pdeathsig = 1
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)

"""When waiting reads become a batch: the urgent stream at once, bulk when enough waits or the oldest waited enough."""

from __future__ import annotations

import logging
import threading
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from domain.errors import HeadwaterError
from domain.ids import Stream
from domain.reading import ReadFlag

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.clock import Clock
    from gateway.commit import Committed

RETRY_S = 5.0

log = logging.getLogger(__name__)


class Sealed(Enum):
    """What became of one try to seal: a batch, nothing to put in one, or enough sealed ahead of the portal already."""

    BATCH = "batch"
    NOTHING = "nothing"
    AHEAD = "ahead"


class Seals(Protocol):
    """Seals up to `max_items` of a stream into one batch."""

    def __call__(self, stream: Stream, max_items: int) -> Sealed:
        """Seal once. raises StoreError."""
        ...


class Sealer:
    """Seals by policy in a thread of its own; `tick` does it once and can be driven by a test instead.

    waiting    items in no batch yet, as the store says at the start.
    on_sealed  called after a batch was sealed: there is something to send.
    """

    def __init__(
        self,
        seal: Seals,
        *,
        clock: Clock,
        batch_max_reads: int,
        seal_every_s: float,
        on_sealed: Callable[[], None],
        waiting: int = 0,
    ) -> None:
        self._seal, self._clock, self._on_sealed = seal, clock, on_sealed
        self._max, self._every_s = batch_max_reads, seal_every_s
        self._waiting, self._urgent = waiting, True
        self._oldest_s: float | None = clock.monotonic() - seal_every_s if waiting else None
        self._retry_s: float | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="seal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Seal everything that waits and end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._seal_all(Stream.URGENT)
        self._seal_all(Stream.BULK)

    def committed(self, what: Committed) -> None:
        """Take note of what became durable."""
        urgent = any(stored.event.kind.urgent for stored in what.events) or any(
            stored.read.flags & ReadFlag.ON_DEMAND for stored in what.reads
        )
        with self._wake:
            self._waiting += len(what.reads) + len(what.events)
            if self._oldest_s is None and self._waiting:
                self._oldest_s = self._clock.monotonic()
            self._urgent |= urgent
            if urgent or self._waiting >= self._max or self._oldest_s is not None:
                self._wake.notify_all()

    def nudge(self) -> None:
        """Look again: the portal acknowledged, so there may be room to seal ahead."""
        with self._wake:
            self._retry_s = None
            self._wake.notify_all()

    def tick(self) -> float | None:
        """Seal what is due; return the seconds until something may be due again, None when nothing waits."""
        now_s = self._clock.monotonic()
        with self._wake:
            urgent, self._urgent = self._urgent, False
            if self._retry_s is not None and now_s < self._retry_s:
                self._urgent = urgent
                return self._retry_s - now_s
            self._retry_s = None
            due = self._waiting >= self._max or (self._oldest_s is not None and now_s >= self._oldest_s + self._every_s)
            if due:
                self._waiting, self._oldest_s = 0, None
        try:
            all_sealed = (not urgent or self._seal_all(Stream.URGENT)) and (not due or self._seal_all(Stream.BULK))
        except HeadwaterError as error:
            # The store cannot just now: nothing is lost, what waits is sealed later.
            log.warning("sealing waits: %s", error)
            all_sealed = False
        with self._wake:
            if not all_sealed:
                self._urgent |= urgent
                self._retry_s = now_s + RETRY_S
                if due:
                    self._waiting, self._oldest_s = max(1, self._waiting), now_s - self._every_s
                return RETRY_S
            return None if self._oldest_s is None else max(0.0, self._oldest_s + self._every_s - now_s)

    def _seal_all(self, stream: Stream) -> bool:
        """Seal batch after batch; False when the rest must wait for the portal."""
        first = outcome = self._seal(stream, self._max)
        while outcome is Sealed.BATCH:
            outcome = self._seal(stream, self._max)
        if first is Sealed.BATCH:
            self._on_sealed()
        return outcome is Sealed.NOTHING

    def _run(self) -> None:
        while not self._stopping:
            wait_s = self.tick()
            with self._wake:
                due = self._urgent or self._waiting >= self._max
                if not self._stopping and not (due and self._retry_s is None):
                    self._wake.wait(None if wait_s is None else min(60.0, self._clock.real_seconds(wait_s)))

"""The commit window: what was read and is not yet durable, and for how long at most.

Reads of all buses gather here and go to the store in one transaction when a bus round ends, WINDOW_S after the first of
them, or at READS_MAX of them, whichever comes first. That window is all a power cut can take. A bus that adds a read
while the disk stalls waits for it: nothing piles up in memory, and the stall is counted.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import HeadwaterError
from domain.reading import StoredEvent, StoredRead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.clock import Clock
    from domain.reading import Event, RegisterRead

WINDOW_S = 1.0
READS_MAX = 1000
RETRY_REAL_S = 1.0
STALL_REAL_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction made durable, in the order of the store."""

    reads: tuple[StoredRead, ...]
    events: tuple[StoredEvent, ...]

    @property
    def last_seq(self) -> int:
        """The last place in the store, 0 when everything was there before."""
        reads = max((stored.append_seq for stored in self.reads), default=0)
        return max((stored.append_seq for stored in self.events), default=reads)


@dataclass(slots=True)
class CommitCounters:
    """For health: transactions, reads, refused duplicates, and what the disk cost."""

    commits: int = 0
    reads: int = 0
    duplicates: int = 0
    failures: int = 0
    left_out: int = 0
    stalls: int = 0
    slowest_s: float = 0.0
    last_error: str = ""


class CommitWindow:
    """Gathers reads and events and appends them to the store; `on_committed` follows each transaction, in order.

    append  one durable transaction: Store.append.
    """

    def __init__(
        self,
        append: Callable[[Sequence[RegisterRead], Sequence[Event]], list[int | None]],
        *,
        clock: Clock,
        on_committed: Callable[[Committed], None],
    ) -> None:
        self._append, self._clock, self._on_committed = append, clock, on_committed
        self.counters = CommitCounters()
        self._reads: list[RegisterRead] = []
        self._events: list[Event] = []
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._first_real_s: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)

    def start(self) -> None:
        """Start the thread that ends a window when its time is up."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what there is and end the thread. A store that fails now is given one more try, not waited for."""
        self._stopping = True  # not under the lock: whoever waits for a broken store holds it and must see this
        with self._lock:
            self._filled.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self.flush()

    def add(self, reads: Sequence[RegisterRead], events: Sequence[Event] = ()) -> None:
        """Take reads and events; returns late when the disk stalls."""
        if not reads and not events:
            return
        with self._lock:
            self._reads.extend(reads)
            self._events.extend(events)
            if len(self._reads) + len(self._events) >= READS_MAX:
                self.flush()
            elif self._first_real_s is None:
                self._first_real_s = time.monotonic()
                self._filled.notify_all()

    def flush(self) -> None:
        """Append everything gathered; returns when it is durable."""
        with self._lock:
            self._first_real_s = None
            if not self._reads and not self._events:
                return
            reads, events = self._reads, self._events
            sequences = self._append_until_durable(reads, events)
            if sequences is None:
                return
            self._reads, self._events = [], []
            self._count(reads, sequences)
            self._on_committed(committed(reads, events, sequences))

    def _append_until_durable(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None] | None:
        """Append, again and again while the store cannot; the caller waits. None when stopping and it still fails."""
        started_s = time.monotonic()
        last_try = False
        while True:
            try:
                sequences = self._append(reads, events)
            except (HeadwaterError, OSError, sqlite3.Error) as error:
                self.counters.failures += 1
                if self.counters.last_error != str(error):
                    log.warning("the store takes nothing, so reading waits: %s", error)
                self.counters.last_error = str(error)
            except ValueError:
                return self._append_one_by_one(reads, events)
            else:
                if self.counters.last_error:
                    log.warning("the store takes reads again after %.1f s", time.monotonic() - started_s)
                self.counters.last_error = ""
                took_s = time.monotonic() - started_s
                self.counters.slowest_s = max(self.counters.slowest_s, took_s)
                self.counters.stalls += took_s > STALL_REAL_S
                return sequences
            if last_try:
                log.error("%d reads could not be stored before the end", len(reads))
                return None
            last_try = self._stopping
            time.sleep(RETRY_REAL_S if not last_try else 0.1)

    def _append_one_by_one(self, reads: Sequence[RegisterRead], events: Sequence[Event]) -> list[int | None]:
        """Append what no batch could carry apart from the rest: it is logged and left out, the rest goes on."""
        sequences: list[int | None] = []
        for read, event in [*((read, None) for read in reads), *((None, event) for event in events)]:
            try:
                sequences += self._append([read] if read else [], [event] if event else [])
            except ValueError as error:
                log.error("left out, because no batch could carry it: %s: %r", error, read or event)  # noqa: TRY400
                self.counters.left_out += 1
                sequences.append(None)
        return sequences

    def _count(self, reads: Sequence[RegisterRead], sequences: Sequence[int | None]) -> None:
        self.counters.commits += 1
        refused = sum(sequence is None for sequence in sequences[: len(reads)])
        self.counters.duplicates += refused
        self.counters.reads += len(reads) - refused

    def _run(self) -> None:
        window_real_s = min(WINDOW_S, self._clock.real_seconds(WINDOW_S))
        with self._lock:
            while not self._stopping:
                if self._first_real_s is None:
                    self._filled.wait()
                    continue
                left_s = self._first_real_s + window_real_s - time.monotonic()
                if left_s > 0:
                    self._filled.wait(left_s)
                else:
                    self.flush()


def committed(reads: Sequence[RegisterRead], events: Sequence[Event], sequences: Sequence[int | None]) -> Committed:
    """Pair reads and events (in this order) with their places in the store; refused duplicates are left out."""
    return Committed(
        tuple(StoredRead(s, read) for s, read in zip(sequences, reads, strict=False) if s is not None),
        tuple(StoredEvent(s, event) for s, event in zip(sequences[len(reads) :], events, strict=True) if s is not None),
    )

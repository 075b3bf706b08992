"""What the portal asked to have again: ranges of batches, read from the store a few at a time and sent as they were.

The portal knows its holes and asks again while they stay, so a range is held in memory only and each of its batches is
tried a few times. What no longer is in the store is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.ids import Stream
from sync.lane import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from domain.ids import BatchId
    from sync.outbound import OutgoingBatch, UplinkPlan, UplinkStore

RANGES_MAX = 64
"""Ranges that may wait at once; a portal that asks for more is told so and asks again later."""
PAGE_BATCHES = 4
TRIES_MAX = 3
SEQUENCE_MAX = 2**63 - 1


@dataclass(slots=True, eq=False)
class Span:
    """Sequences of one epoch's stream that the portal wants again; both ends are in it.

    on_gone  told each run (first, last) that the store no longer has.
    on_done  told how many batches were acknowledged and how many were not, once nothing of the span is left to do.
    """

    epoch: bytes
    stream: Stream
    first: int
    last: int
    on_gone: Callable[[int, int], None]
    on_done: Callable[[int, int], None]
    flying: set[BatchId] = field(default_factory=set)
    answered: int = 0
    unanswered: int = 0

    @property
    def finished(self) -> bool:
        """Whether everything was looked up, published and answered or given up."""
        return self.first > self.last and not self.flying


class Resends:
    """The spans that are asked for, and their batches on the way, in a window of their own."""

    def __init__(self, store: UplinkStore) -> None:
        self._store = store
        self._spans: list[Span] = []
        self._lane = Lane()
        self._tries: dict[BatchId, int] = {}

    @property
    def in_flight(self) -> int:
        """Batches published and neither answered nor given up."""
        return len(self._lane.flying)

    def add(self, span: Span) -> bool:
        """Take a span, less what is asked for already; returns False when too many wait."""
        runs = [(span.first, span.last)]
        for other in self._spans:
            if (other.epoch, other.stream) == (span.epoch, span.stream):
                runs = [part for run in runs for part in _without(run, other.first, other.last)]
        if len(self._spans) + len(runs) > RANGES_MAX:
            return False
        if not runs:
            span.on_done(0, 0)
            return True
        shared = _Shared(span, len(runs))
        for first, last in runs:
            part = Span(span.epoch, span.stream, first, last, span.on_gone, shared.part_done)
            self._spans.append(part)
        return True

    def next(
        self, now_s: float, plan: UplinkPlan, held: Callable[[BatchId], bool]
    ) -> tuple[OutgoingBatch, bool] | None:
        """Return the next batch to publish and whether it was published for this before; None when there is none.

        held    says which batches travel anyway.
        raises  StoreError when the store cannot be read: ask again later.
        """
        while (flight := self._lane.overdue(now_s, plan)) is not None:
            if self._tries[flight.batch.id] < TRIES_MAX:
                self._tries[flight.batch.id] += 1
                self._lane.take_off_again(flight, plan)
                return flight.batch, True
            self._close(flight.batch.id, answered=False)
        # Half the window, so that new batches have the other half of the portal's attention.
        while len(self._lane.flying) < max(1, plan.window // 2):
            if not self._lane.waiting and not self._turn_page(held):
                return None
            if self._lane.waiting:
                batch = self._lane.waiting.popleft()
                self._tries[batch.id] = self._tries.get(batch.id, 0) + 1
                self._lane.take_off(batch, plan.ack_timeout_s)
                return batch, False
        return None

    def sent(self, batch_id: BatchId, now_s: float) -> bool:
        """Note that a batch's bytes have left; returns whether it is one of these."""
        flight = self._lane.flying.get(batch_id)
        if flight is not None:
            flight.sent_at = now_s
        return flight is not None

    def settle(self, batch_id: BatchId, batch_hash: bytes) -> None:
        """Take note of the portal's answer, whatever it is."""
        flight = self._lane.flying.get(batch_id)
        if flight is not None and flight.batch.hash == batch_hash:
            self._close(batch_id, answered=True)

    def restart(self) -> None:
        """A fresh session: what was on its way goes first."""
        flown: Iterable[OutgoingBatch] = [flight.batch for flight in self._lane.flying.values()]
        self._lane.load([*flown, *self._lane.waiting])

    def _turn_page(self, held: Callable[[BatchId], bool]) -> bool:
        """Read the next batches of the oldest span that has any left; returns whether there was such a span."""
        span = next((span for span in self._spans if span.first <= span.last), None)
        if span is None:
            return False
        page = self._store.batches(span.epoch, span.stream, span.first, span.last, limit=PAGE_BATCHES)
        for batch in page:
            if batch.id.sequence > span.first:
                span.on_gone(span.first, batch.id.sequence - 1)
            span.first = batch.id.sequence + 1
            if not held(batch.id) and not self._lane.holds(batch.id):
                span.flying.add(batch.id)
                self._lane.waiting.append(batch)
        if len(page) < PAGE_BATCHES and span.first <= span.last:
            span.on_gone(span.first, span.last)
            span.first = span.last + 1
        self._finish(span)
        return True

    def _close(self, batch_id: BatchId, *, answered: bool) -> None:
        self._lane.flying.pop(batch_id, None)
        self._tries.pop(batch_id, None)
        for span in [span for span in self._spans if batch_id in span.flying]:
            span.flying.discard(batch_id)
            span.answered += answered
            span.unanswered += not answered
            self._finish(span)

    def _finish(self, span: Span) -> None:
        if span.finished and span in self._spans:
            self._spans.remove(span)
            span.on_done(span.answered, span.unanswered)


@dataclass(slots=True)
class _Shared:
    """Gathers the parts of a span into one word that it is done."""

    span: Span
    parts: int
    answered: int = 0
    unanswered: int = 0

    def part_done(self, answered: int, unanswered: int) -> None:
        """Count one part; the last one tells."""
        self.parts -= 1
        self.answered += answered
        self.unanswered += unanswered
        if not self.parts:
            self.span.on_done(self.answered, self.unanswered)


def _without(run: tuple[int, int], first: int, last: int) -> list[tuple[int, int]]:
    """Return what is left of a run of numbers without those from first to last."""
    if last < run[0] or first > run[1] or first > last:
        return [run]
    return [part for part in ((run[0], first - 1), (last + 1, run[1])) if part[0] <= part[1]]

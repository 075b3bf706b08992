"""One stream on its way: what waits to be published, and what was published and is not yet acknowledged."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.ids import BatchId
    from sync.outbound import OutgoingBatch, UplinkPlan


@dataclass(slots=True)
class Flight:
    """A batch on its way: when its bytes left last, and how long its ack may take.

    sent_at    infinity while its bytes have not left this machine.
    place      rises with every publication of the lane.
    overtaken  a batch published after it was acknowledged first, and this one was published again for it.
    hurried    it is to be published again now, whatever the time.
    """

    batch: OutgoingBatch
    timeout_s: float
    place: int
    sent_at: float = math.inf
    overtaken: bool = False
    hurried: bool = False


@dataclass(slots=True)
class Lane:
    """One stream: batches to publish, oldest first, and those published and not yet acknowledged."""

    waiting: deque[OutgoingBatch] = field(default_factory=deque)
    flying: dict[BatchId, Flight] = field(default_factory=dict)
    seal_at: float = -math.inf
    probe_s: float = 0.0
    _place: int = 0

    def load(self, batches: Iterable[OutgoingBatch]) -> None:
        """Begin anew with these, whatever was published before."""
        self.flying.clear()
        self.waiting = deque(batches)
        self.probe_s = 0.0

    def has_room(self, window: int) -> bool:
        """Return whether another batch may be published.

        One that later batches have overtaken holds no place of the window: a single batch that the portal cannot
        answer does not narrow the way of all that follow. The store bounds how many may wait in all.
        """
        return sum(not flight.overtaken for flight in self.flying.values()) < window

    def take_off(self, batch: OutgoingBatch, timeout_s: float) -> None:
        """Note a first publication."""
        self._place += 1
        self.flying[batch.id] = Flight(batch, timeout_s, self._place)

    def overdue(self, now_s: float, plan: UplinkPlan) -> Flight | None:
        """Return the oldest batch to publish again now, if any."""
        if not self.flying:
            return None
        newest = next(reversed(self.flying.values()))
        for flight in self.flying.values():
            bound = min(flight.timeout_s, plan.probe_max_s) if flight is newest else flight.timeout_s
            if flight.hurried or now_s >= flight.sent_at + bound:
                return flight
        # Nothing new can go out whose ack would tell that the others were lost, so one of them asks.
        probe_s = self.probe_s or plan.probe_first_s
        if now_s >= newest.sent_at + probe_s and not self.has_room(plan.window):
            self.probe_s = min(2 * probe_s, plan.probe_max_s)
            return newest
        return None

    def take_off_again(self, flight: Flight, plan: UplinkPlan) -> None:
        """Note another publication; the wait for its ack doubles."""
        self._place += 1
        flight.place, flight.sent_at, flight.hurried = self._place, math.inf, False
        flight.timeout_s = min(2 * flight.timeout_s, plan.ack_timeout_max_s)

    def settle(self, batch_id: BatchId) -> bool:
        """Take out a batch that was answered; returns whether it was here.

        What was published before it and has no answer is published again, once and without waiting for the time-out.
        One collector's messages reach one ingest worker in order, so such a batch was lost on the way: published
        before the portal's first subscription, for one, when the broker keeps it for nobody.
        """
        self.probe_s = 0.0
        flight = self.flying.pop(batch_id, None)
        if flight is not None:
            for other in self.flying.values():
                if other.place < flight.place and not other.overtaken:
                    other.overtaken = other.hurried = True
            return True
        before = len(self.waiting)
        self.waiting = deque(batch for batch in self.waiting if batch.id != batch_id)
        return len(self.waiting) < before

    def holds(self, batch_id: BatchId) -> bool:
        """Return whether a batch waits or is on its way."""
        return batch_id in self.flying or any(batch.id == batch_id for batch in self.waiting)

"""Who is polled when: a pure function of plan, clock and history. Nothing here waits, reads or remembers.

Time is the monotonic clock, so a step of the wall clock moves no poll. Every meter has slots `every_s` apart on a grid
that starts at its phase; in each slot it is asked once. A slot that passed unused is gone: after a stall each meter is
read once, not once for every slot missed. A meter that fails again and again is asked less and less often, up to
BACKOFF_SLOTS slots or an hour apart, and as before from its first good reply on.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BACKOFF_SLOTS = 12
BACKOFF_S_MAX = 3600.0
JITTER = 0.2
# A grid point that is this near counts as reached: a wait that ends a hair early must not wait a whole slot more.
GRID_SLACK_S = 1e-6


@dataclass(frozen=True, slots=True)
class PlannedMeter:
    """A meter in the plan of its bus.

    phase_s     where its slots lie: phase_s + n * every_s.
    exchange_s  seconds of the line that one read usually takes.
    """

    meter_id: str
    every_s: float
    phase_s: float
    exchange_s: float

    def slot(self, now_s: float) -> int:
        """Return the number of the slot that a moment falls into."""
        return math.floor((now_s - self.phase_s + GRID_SLACK_S) / self.every_s)

    def slot_start_s(self, slot: int) -> float:
        """Return when a slot begins."""
        return self.phase_s + slot * self.every_s


@dataclass(frozen=True, slots=True)
class History:
    """What happened to one meter so far.

    last_slot  the slot in which it was asked last, None before the first time.
    failures   slots in a row without a good read.
    retry_s    not to be asked before this moment; None unless the breaker is open.
    """

    last_slot: int | None = None
    failures: int = 0
    retry_s: float | None = None


NEVER = History()


@dataclass(frozen=True, slots=True)
class Plan:
    """The meters of one bus, in the order in which a round reads them.

    silent_after  failures in a row that open the breaker.
    seed          for the jitter of the back-off: the collector and the bus, so that not all collectors agree.
    """

    meters: tuple[PlannedMeter, ...]
    silent_after: int
    seed: str


def fraction(*words: object) -> float:
    """Return a number from 0 to 1 that the words decide: phases and jitter without a random generator."""
    digest = hashlib.sha256("/".join(str(word) for word in words).encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def phase_s(seed: str, every_s: float) -> float:
    """Return the phase of all meters of one bus that share an interval: they make one round, back to back.

    Rounds of different buses and collectors start at different moments, so neither the disk of a collector nor the
    portal sees all of them at once.
    """
    return fraction("phase", seed, every_s) * every_s


def due_s(plan: Plan, meter: PlannedMeter, history: History) -> float:
    """Return the moment from which a meter may be asked; in the past when it is due."""
    if history.last_slot is None:
        return -math.inf
    next_slot_s = meter.slot_start_s(history.last_slot + 1)
    return next_slot_s if history.retry_s is None else max(next_slot_s, history.retry_s)


def next_poll(plan: Plan, histories: Mapping[str, History], now_s: float) -> tuple[PlannedMeter | None, float]:
    """Return the meter to ask now, or None, and the moment of the next poll.

    Meters of one round fall due at one moment and are read in the plan's order; whoever is longest overdue goes first,
    so on a line that is too slow every meter gets its turn.
    """
    best: PlannedMeter | None = None
    best_s = math.inf
    for meter in plan.meters:
        at_s = due_s(plan, meter, histories.get(meter.meter_id, NEVER))
        if at_s < best_s:
            best, best_s = meter, at_s
    if best is None or best_s > now_s + GRID_SLACK_S:
        return None, best_s
    return best, max(best_s, now_s)


class Agenda:
    """`next_poll` and the histories it looks at, kept in order: who is next costs no look at every meter.

    histories  what is known from before; meters without one were never asked.
    missed     slots since the start that passed without their meter being asked: the line was down, the disk stalled,
               the round is too long. Those that a silent meter is left alone for are not among them.
    """

    def __init__(self, plan: Plan, histories: Mapping[str, History] | None = None) -> None:
        self._meters, self._place = plan.meters, {meter.meter_id: i for i, meter in enumerate(plan.meters)}
        known = histories or {}
        self._histories = [known.get(meter.meter_id, NEVER) for meter in plan.meters]
        # (due_s, place), one a meter: a meter's history changes only by note(), which puts its place in anew.
        self._due_s = [due_s(plan, *row) for row in zip(plan.meters, self._histories, strict=True)]
        self._heap = [(at_s, place) for place, at_s in enumerate(self._due_s)]
        self._plan = plan
        self.missed = 0
        self._slots: list[int | None] = [None] * len(plan.meters)
        heapq.heapify(self._heap)

    def history(self, meter: PlannedMeter) -> History:
        """Return what happened to a meter so far."""
        return self._histories[self._place[meter.meter_id]]

    def note(self, meter: PlannedMeter, history: History) -> None:
        """Take what happened to a meter."""
        place = self._place[meter.meter_id]
        slot, before = history.last_slot, self._slots[place]
        if slot is not None and before is not None and slot - before > 1 and self._histories[place].retry_s is None:
            self.missed += slot - before - 1
        self._histories[place], self._slots[place] = history, slot
        at_s, before_s = due_s(self._plan, meter, history), self._due_s[place]
        if at_s == before_s:
            return
        self._due_s[place] = at_s
        if self._heap[0] == (before_s, place):
            heapq.heapreplace(self._heap, (at_s, place))
        else:
            heapq.heappush(self._heap, (at_s, place))

    def next_poll(self, now_s: float) -> tuple[PlannedMeter | None, float]:
        """Return what `next_poll` returns."""
        heap = self._heap
        if not heap:
            return None, math.inf
        at_s, place = heap[0]
        while at_s != self._due_s[place]:
            heapq.heappop(heap)
            at_s, place = heap[0]
        if at_s > now_s + GRID_SLACK_S:
            return None, at_s
        return self._meters[place], at_s if at_s > now_s else now_s


def succeeded(meter: PlannedMeter, now_s: float) -> History:
    """Return the history after a good read in the slot of `now_s`."""
    return History(last_slot=meter.slot(now_s))


def failed(plan: Plan, meter: PlannedMeter, history: History, now_s: float) -> History:
    """Return the history after a slot without a good read: from `silent_after` on with a growing pause."""
    failures = history.failures + 1
    after = History(last_slot=meter.slot(now_s), failures=failures)
    doublings = failures - plan.silent_after
    if doublings < 0:
        return after
    longest_s = max(meter.every_s, min(BACKOFF_S_MAX, BACKOFF_SLOTS * meter.every_s))
    pause_s = min(longest_s, meter.every_s * 2.0 ** min(doublings, 30))
    spread = 1 + JITTER * (2 * fraction("retry", plan.seed, meter.meter_id, failures) - 1)
    return replace(after, retry_s=now_s + pause_s * spread)


def resumed(meter: PlannedMeter, *, last_read_age_s: float | None, now_s: float) -> History:
    """Return the history of a meter after a restart: read in this slot already, or due at once.

    last_read_age_s  seconds since its last stored read; None when there is none, or its age cannot be known.
    """
    if last_read_age_s is None or last_read_age_s < 0:
        return NEVER
    slot = meter.slot(now_s - last_read_age_s)
    return History(last_slot=slot)


@dataclass(frozen=True, slots=True)
class Budget:
    """What a plan costs its line.

    round_s  one read of every meter. asked_s: the shortest interval asked for. load: share of the line, 1.0 is all.
    """

    meters: int
    round_s: float
    asked_s: float
    load: float

    @property
    def fits(self) -> bool:
        """Whether the line can keep the plan."""
        return self.load <= 1


def budget(meters: Sequence[PlannedMeter]) -> Budget:
    """Return what the meters of one bus cost it."""
    return Budget(
        meters=len(meters),
        round_s=sum(meter.exchange_s for meter in meters),
        asked_s=min((meter.every_s for meter in meters), default=0.0),
        load=sum(meter.exchange_s / meter.every_s for meter in meters),
    )


def budget_sentence(cost: Budget, *, line: str) -> str:
    """Return the sentence for a technician: `250 meters at 2400 Bd need 4 min 20 s a round; you asked for 5 min`.

    line  what carries them: `2400 Bd`, or an address.
    """
    if not cost.meters:
        return f"no meters at {line}"
    what = f"{cost.meters} meter{'s' if cost.meters > 1 else ''} at {line}"
    need = "needs" if cost.meters == 1 else "need"
    text = f"{what} {need} {spoken(cost.round_s)} a round; you asked for {spoken(cost.asked_s)}"
    if cost.fits:
        return text
    share = math.ceil(cost.load * 100)
    return f"{text}. That is {share} % of the line: it cannot be kept. Read less often, or split the bus."


def spoken(seconds: float) -> str:
    """Return a duration as a person says it: 0.4 s, 45 s, 4 min 20 s, 2 h."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"

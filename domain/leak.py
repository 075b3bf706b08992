"""Leak detection over the reads of one register: pure, in constant memory, and able to say why.

A detector is fed every read of a register as it is stored and answers with alarms that open and close. All arithmetic
is in integers, so the same reads give the same alarms with the same ids on every machine and in every replay. Reads
may be 10 seconds or a day apart; a gap proves neither flow nor stillness. The rules stand in `domain.leak_rules`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from domain.leak_rules import FloorRule, LeakRules
from domain.units import count_value, rollover_difference

if TYPE_CHECKING:
    from domain.reading import Register

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_HOUR_MS = 3_600_000
_WEEK_MS = 7 * 24 * _HOUR_MS
_STATE_VERSION = 1


class Point(NamedTuple):
    """A read as the detector keeps it: milliseconds since 1970, unrolled count, append_seq."""

    at_ms: int
    total: int
    seq: int

    @property
    def at(self) -> datetime:
        """The moment as an aware datetime."""
        return _EPOCH + self.at_ms * _MILLISECOND


@dataclass(frozen=True, slots=True)
class LeakChange:
    """An alarm that opened or closed, with its evidence.

    opened        True when the alarm opened, False when the flow was seen to stop.
    since         the first read of the window in which the flow never stopped; the leak may be older.
    last          the read that opened or closed it; first_seq and last_seq are append_seq of those two reads.
    counts        counts of the register from `since` to `last`, exact (all water, not the leak alone).
    litres        the same in whole litres, rounded down.
    litres_per_h  the mean flow of the slots without other use when the alarm opened: the leak's estimated rate.
    """

    alarm_id: str
    opened: bool
    rule: str
    since: datetime
    last: datetime
    first_seq: int
    last_seq: int
    counts: int
    litres: int
    litres_per_h: int


@dataclass(slots=True)
class _Open:
    """The open alarm of a register."""

    alarm_id: str
    rule: str
    since: Point
    counts: int
    floor_ml_per_h: int
    flow_ml_per_h: int


class _Ladder:
    """The ends of the latest slots of one length, oldest first; neighbours are the two reads that bound a slot."""

    __slots__ = ("flows", "gap_ms", "points", "slot_ms")

    def __init__(self, slot_ms: int, slots: int, gap_slots: int) -> None:
        self.slot_ms, self.gap_ms = slot_ms, slot_ms * gap_slots
        self.points: deque[Point] = deque(maxlen=slots + 1)
        self.flows: deque[int] = deque(maxlen=slots)

    def restart(self, point: Point) -> None:
        """Forget the slots; the next one begins at this read."""
        self.points.clear()
        self.flows.clear()
        self.points.append(point)

    def push(self, point: Point, step_ms: int) -> bool:
        """Take the next read, step_ms after the one before; return whether it completed a slot."""
        if not self.points:
            self.restart(point)
            return False
        since_ms = point.at_ms - self.points[-1].at_ms
        # A slot ends at the read nearest to its length: reads every 15 minutes come a second early as often as late.
        if since_ms * 2 + step_ms < self.slot_ms * 2 and since_ms <= self.gap_ms:
            return False
        if since_ms > self.gap_ms:
            self.restart(point)
            return False
        self.points.append(point)
        return True


class _Habit:
    """The largest floor of a rule in each hour of the UTC day: this week's, and those of the weeks before."""

    __slots__ = ("past", "week")

    def __init__(self) -> None:
        self.week = [0] * 24
        self.past: list[list[int]] = []

    def largest(self, hour: int, either_side: int) -> int:
        """Return the largest floor of past weeks, in ml/h, at this hour and so many before and after it."""
        hours = [(hour + step) % 24 for step in range(-either_side, either_side + 1)]
        return max((week[near] for week in self.past for near in hours), default=0)


class LeakDetector:
    """Watches one register; holds a few dozen reads whatever its age.

    feed() takes reads in the order in which they were stored. state() is JSON for a snapshot; restore() carries on from
    it as if never stopped.
    """

    def __init__(self, register: Register, rules: LeakRules | None = None) -> None:
        self.register = register
        self.rules = rules or LeakRules()
        ml = count_value(register.unit, register.scale) * 1000
        self._ml_num, self._ml_den = ml.numerator, ml.denominator
        count_ms = ml * 3600 / self.rules.slot_litres_per_h_max
        self._ladders: dict[int, _Ladder] = {}
        for rule in self.rules.rules:
            slots = max(other.slots for other in self.rules.rules if other.slot_s == rule.slot_s)
            self._ladders[rule.slot_s] = _Ladder(
                max(rule.slot_s * 1000, int(count_ms)), slots, self.rules.gap_slots_max
            )
        self._habits = {rule.name: _Habit() for rule in self.rules.rules}
        self._last: Point | None = None
        self._raw = 0
        self._late = 0
        self._week_from_ms = 0
        self._open: _Open | None = None

    @property
    def open_alarm(self) -> LeakChange | None:
        """The alarm that is open now, with its evidence so far; None while there is none."""
        return None if self._open is None else self._change(self._open, opened=True)

    def feed(self, read_at: datetime, raw_count: int, *, seq: int = 0, live: bool = True) -> list[LeakChange]:
        """Take the next read and return what changed.

        raw_count  as transmitted; a roll-over is followed exactly.
        seq        the read's append_seq, kept as evidence.
        live       False for a read out of a meter's own history: one that is older than the newest says nothing of the
                   collector's clock.
        """
        at_ms = (read_at - _EPOCH) // _MILLISECOND
        if self._last is None:
            return self._restart(Point(at_ms, raw_count, seq), raw_count)
        if at_ms <= self._last.at_ms:
            self._late += live and at_ms < self._last.at_ms
            if self._late < self.rules.late_reads_max:
                return []
            return self._restart(Point(at_ms, raw_count, seq), raw_count)
        self._late = 0
        step = rollover_difference(self._raw, raw_count, self.register.modulus)
        point = Point(at_ms, self._last.total + step, seq)
        step_ms = at_ms - self._last.at_ms
        if self._implausible(step, step_ms):
            return self._restart(point, raw_count)
        self._last, self._raw = point, raw_count
        if self._open is not None:
            self._open.counts += step
        changes: list[LeakChange] = []
        for slot_s, ladder in self._ladders.items():
            if not ladder.push(point, step_ms):
                continue
            changes += self._slot_closed(slot_s, ladder)
            if changes and not changes[-1].opened:
                break  # An alarm that closed began every window anew with this read.
        return changes

    def _restart(self, point: Point, raw_count: int) -> list[LeakChange]:
        """Begin the windows anew from a read that cannot be joined to the one before; habits and alarm stay."""
        if self._last is None or point.at_ms < self._week_from_ms:
            self._week_from_ms = point.at_ms
        self._last, self._raw, self._late = point, raw_count, 0
        for ladder in self._ladders.values():
            ladder.restart(point)
        return []

    def _implausible(self, step: int, elapsed_ms: int) -> bool:
        """Whether a step of the count is a swap, a misread or backflow rather than use."""
        if step <= 1:  # One count either way is never too much.
            return step < -1 and self._litres(-step) > self.rules.step_back_litres
        return self._ml_per_h(step, elapsed_ms) > self.rules.litres_per_h_max * 1000

    def _litres(self, counts: int) -> int:
        return counts * self._ml_num // (self._ml_den * 1000)

    def _ml_per_h(self, counts: int, elapsed_ms: int) -> int:
        return counts * self._ml_num * _HOUR_MS // (self._ml_den * elapsed_ms)

    def _slot_closed(self, slot_s: int, ladder: _Ladder) -> list[LeakChange]:
        """Judge the rules that look at slots of this length, now that one more is complete."""
        points, flows = ladder.points, ladder.flows
        flows.append(self._ml_per_h(points[-1].total - points[-2].total, points[-1].at_ms - points[-2].at_ms))
        if self._open is not None:
            return self._watch_open(self._open, slot_s, ladder)
        self._turn_week(points[-1].at_ms)
        hour = points[-1].at_ms // _HOUR_MS % 24
        for rule in self.rules.rules:
            if rule.slot_s != slot_s or len(flows) < rule.slots:
                continue
            window = sorted(islice(flows, len(flows) - rule.slots, None))
            floor = window[rule.spare_slots]
            # Most floors are those of a still home: the costly comparison is for the others.
            if floor >= rule.least_litres_per_h * 1000 and floor >= self.threshold_ml_per_h(rule, hour):
                steady = self._steady_flows(rule, window, ladder)
                if len(steady) >= rule.steady_slots:
                    return [self._raise(rule, points[-rule.slots - 1], floor, sum(steady) // len(steady))]
            habit = self._habits[rule.name]
            habit.week[hour] = max(habit.week[hour], floor)
        return []

    def _steady_flows(self, rule: FloorRule, window: list[int], ladder: _Ladder) -> list[int]:
        """Return the flows of a sorted window that lie on its floor: use comes on top of a leak, not always."""
        floor = window[rule.spare_slots]
        top = floor * (100 + rule.steady_percent) // 100 + self._ml_per_h(1, ladder.slot_ms)
        return window[rule.spare_slots : bisect_right(window, top)]

    def threshold_ml_per_h(self, rule: FloorRule, hour: int) -> int:
        """Return the floor in ml/h from which a rule opens an alarm in this hour of the UTC day."""
        habit = self._habits[rule.name]
        one_count = self._ml_per_h(1, self._ladders[rule.slot_s].slot_ms)
        least = max(rule.least_litres_per_h * 1000, rule.least_counts * one_count * 9 // 10)
        unknown_weeks = self.rules.known_weeks - len(habit.past)
        if unknown_weeks > 0:
            least = max(least, rule.unlearned_litres_per_h * 1000 * unknown_weeks // self.rules.known_weeks)
        if rule.factor_percent == 0:
            return least
        largest = habit.largest(hour, self.rules.habit_hours)
        return max(least, largest * rule.factor_percent // 100 + (one_count if largest else 0))

    def _turn_week(self, now_ms: int) -> None:
        """After seven days without an alarm, let this week's floors become habit."""
        if now_ms - self._week_from_ms < _WEEK_MS:
            return
        self._week_from_ms = now_ms
        for habit in self._habits.values():
            habit.past = [*habit.past, habit.week][-self.rules.learn_weeks :]
            habit.week = [0] * 24

    def _raise(self, rule: FloorRule, since: Point, floor: int, flow: int) -> LeakChange:
        """Open the alarm; what was learnt within its window is forgotten, a leak is no habit."""
        assert self._last is not None
        raw = since.total % self.register.modulus if self.register.modulus else since.total
        text = f"{self.register.meter_id}|{self.register.register_id}|{rule.name}|{since.at_ms}|{raw}"
        alarm_id = hashlib.sha256(text.encode()).hexdigest()[:24]
        self._open = _Open(alarm_id, rule.name, since, self._last.total - since.total, floor, flow)
        hours = (self._last.at_ms - since.at_ms) // _HOUR_MS + 1
        for habit in self._habits.values():
            for back in range(min(24, hours + 1)):
                habit.week[(self._last.at_ms // _HOUR_MS - back) % 24] = 0
        return self._change(self._open, opened=True)

    def _watch_open(self, alarm: _Open, slot_s: int, ladder: _Ladder) -> list[LeakChange]:
        """Close the alarm once enough slots of its rule's length fell below half its floor.

        Shorter slots in which the floor would be several counts prove it sooner, when the flow all but stopped in them.
        """
        rule = next(rule for rule in self.rules.rules if rule.name == alarm.rule)
        own = slot_s == rule.slot_s
        share, needed = (2, rule.spare_slots + self.rules.clear_slots) if own else (8, self.rules.still_slots)
        finer = slot_s < rule.slot_s and alarm.floor_ml_per_h >= 3 * self._ml_per_h(1, ladder.slot_ms)
        if not (own or finer) or ladder.flows[-1] * share >= alarm.floor_ml_per_h:
            return []
        window = islice(ladder.flows, max(0, len(ladder.flows) - rule.slots), None)
        if sum(flow * share < alarm.floor_ml_per_h for flow in window) < needed:
            return []
        assert self._last is not None
        self._open = None
        self._restart(self._last, self._raw)
        self._week_from_ms = self._last.at_ms
        return [self._change(alarm, opened=False)]

    def _change(self, alarm: _Open, *, opened: bool) -> LeakChange:
        assert self._last is not None
        return LeakChange(
            alarm_id=alarm.alarm_id,
            opened=opened,
            rule=alarm.rule,
            since=alarm.since.at,
            last=self._last.at,
            first_seq=alarm.since.seq,
            last_seq=self._last.seq,
            counts=alarm.counts,
            litres=self._litres(alarm.counts),
            litres_per_h=alarm.flow_ml_per_h // 1000,
        )

    def state(self) -> dict[str, Any]:
        """Return everything the detector knows as JSON: for a snapshot."""
        return {
            "version": _STATE_VERSION,
            "last": self._last,
            "raw": self._raw,
            "late": self._late,
            "week_from_ms": self._week_from_ms,
            "open": asdict(self._open) if self._open else None,
            "ladders": {str(slot_s): list(ladder.points) for slot_s, ladder in self._ladders.items()},
            "habits": {name: [habit.week, habit.past] for name, habit in self._habits.items()},
        }

    @classmethod
    def restore(cls, register: Register, state: dict[str, Any], rules: LeakRules | None = None) -> LeakDetector:
        """Return the detector as it was when `state` was taken; raises ValueError for a state it does not know."""
        detector = cls(register, rules)
        if state.get("version") != _STATE_VERSION:
            raise ValueError(f"leak state version {state.get('version')} is not {_STATE_VERSION}")
        detector._last = Point(*state["last"]) if state["last"] else None
        detector._raw, detector._late = state["raw"], state["late"]
        detector._week_from_ms = state["week_from_ms"]
        if saved := state["open"]:
            detector._open = _Open(**{**saved, "since": Point(*saved["since"])})
        for slot_s, ladder in detector._ladders.items():
            ladder.points.extend(Point(*point) for point in state["ladders"].get(str(slot_s), ()))
            flows = (detector._ml_per_h(b.total - a.total, b.at_ms - a.at_ms) for a, b in pairwise(ladder.points))
            ladder.flows.extend(flows)
        for name, habit in detector._habits.items():
            if name in state["habits"]:
                habit.week, habit.past = state["habits"][name]
        return detector

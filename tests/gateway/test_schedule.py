"""The poll plan: slots, back-off, budget; all of it without a clock."""

from __future__ import annotations

import math
import random

import pytest

from gateway import schedule
from gateway.schedule import History, Plan, PlannedMeter


def plan_of(count: int, *, every_s: float = 300, exchange_s: float = 1.0, silent_after: int = 3) -> Plan:
    phase_s = schedule.phase_s("hw-1/riser", every_s)
    meters = tuple(PlannedMeter(f"M{i}", every_s, phase_s, exchange_s) for i in range(count))
    return Plan(meters, silent_after, "hw-1/riser")


def run(plan: Plan, *, start_s: float, end_s: float, silent: frozenset[str] = frozenset(), timeout_s: float = 2.0,
        stall: tuple[float, float] | None = None) -> list[tuple[str, float]]:  # fmt: skip
    """Play a bus over a stretch of time; return who was asked when. The agenda agrees with next_poll at every step."""
    now_s, asked, histories, agenda = start_s, [], dict[str, History](), schedule.Agenda(plan)
    while now_s < end_s:
        if stall and stall[0] <= now_s < stall[1]:
            now_s = stall[1]
        meter, at_s = schedule.next_poll(plan, histories, now_s)
        assert agenda.next_poll(now_s) == (meter, at_s)
        if meter is None:
            now_s = at_s
            continue
        asked.append((meter.meter_id, now_s))
        history = histories.get(meter.meter_id, schedule.NEVER)
        if meter.meter_id in silent:
            now_s += timeout_s
            histories[meter.meter_id] = schedule.failed(plan, meter, history, now_s)
        else:
            now_s += meter.exchange_s
            histories[meter.meter_id] = schedule.succeeded(meter, now_s)
        agenda.note(meter, histories[meter.meter_id])
        assert agenda.history(meter) == histories[meter.meter_id]
    return asked


def test_every_meter_is_read_once_in_each_slot() -> None:
    asked = run(plan_of(50), start_s=1000, end_s=1000 + 3000)
    for i in range(50):
        times = [at for name, at in asked if name == f"M{i}"]
        assert len(times) in (10, 11)
        assert all(later - earlier <= 301 for earlier, later in zip(times[1:], times[2:], strict=False))


def test_an_agenda_agrees_with_the_plan_at_every_step_whatever_fails() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)  # noqa: S311
    every = [rng.choice((0.1, 7.0, 60.0, 300.0)) for _ in range(12)]
    meters = tuple(PlannedMeter(f"M{i}", s, schedule.phase_s("x", s), 0.01) for i, s in enumerate(every))
    plan, now_s = Plan(meters, 2, "x"), 5000.0
    known = {f"M{i}": schedule.resumed(meters[i], last_read_age_s=rng.random() * 400, now_s=now_s) for i in range(6)}
    histories, agenda, asked = dict(known), schedule.Agenda(plan, known), 0
    for _ in range(3000):
        meter, at_s = schedule.next_poll(plan, histories, now_s)
        assert agenda.next_poll(now_s) == (meter, at_s)
        if meter is None:
            now_s = at_s - (rng.random() * 1e-6 if rng.random() < 0.3 else 0)
            continue
        asked += 1
        history = histories.get(meter.meter_id, schedule.NEVER)
        failed = rng.random() < 0.2
        after = schedule.failed(plan, meter, history, now_s) if failed else schedule.succeeded(meter, now_s)
        histories[meter.meter_id] = after
        agenda.note(meter, after)
        if rng.random() < 0.2:  # somebody else, out of turn
            other = rng.choice(meters)
            histories[other.meter_id] = schedule.succeeded(other, now_s)
            agenda.note(other, histories[other.meter_id])
        now_s += rng.choice((0.0, 0.01, 0.01, 3.0))
    assert asked > 1000
    assert schedule.Agenda(Plan((), 2, "x")).next_poll(0.0) == (None, math.inf)


def test_missed_slots_are_not_made_up_for_in_a_burst() -> None:
    asked = run(plan_of(3), start_s=1000, end_s=4000, stall=(1500, 3000))
    assert len([at for _, at in asked if 3000 <= at < 3010]) == 3


def test_slots_that_passed_unused_are_counted_but_not_those_of_a_silent_meter() -> None:
    plan = plan_of(2, every_s=10, silent_after=1)
    known = {"M0": schedule.resumed(plan.meters[0], last_read_age_s=3600, now_s=1000)}
    agenda = schedule.Agenda(plan, known)
    for at_s in (1000.0, 1010.0, 1045.0, 1050.0):
        agenda.note(plan.meters[0], schedule.succeeded(plan.meters[0], at_s))
    assert agenda.missed == 2
    agenda.note(plan.meters[1], schedule.failed(plan, plan.meters[1], schedule.NEVER, 1000))
    agenda.note(plan.meters[1], schedule.succeeded(plan.meters[1], 1090))
    assert agenda.missed == 2


def test_a_silent_meter_costs_ever_fewer_slots_and_the_others_nothing() -> None:
    plan = plan_of(10)
    asked = run(plan, start_s=0, end_s=86_400, silent=frozenset({"M4"}))
    tried = [at for name, at in asked if name == "M4"]
    gaps = [later - earlier for earlier, later in zip(tried, tried[1:], strict=False)]
    assert len(tried) < 40
    assert max(gaps) <= 3600 * (1 + schedule.JITTER) + 300
    assert gaps[-1] > 2000
    assert all(len([1 for name, _ in asked if name == f"M{i}"]) >= 288 for i in range(10) if i != 4)


def test_a_meter_that_returns_is_back_on_its_grid_at_once() -> None:
    plan = plan_of(1)
    meter, history = plan.meters[0], schedule.NEVER
    for slot in range(8):
        history = schedule.failed(plan, meter, history, meter.slot_start_s(slot) + 5)
    assert history.retry_s is not None
    back = schedule.succeeded(meter, history.retry_s)
    assert schedule.due_s(plan, meter, back) - history.retry_s <= meter.every_s


def test_pauses_of_different_meters_differ() -> None:
    plan = plan_of(2)
    pauses = {schedule.failed(plan, meter, History(0, 9), 0.0).retry_s for meter in plan.meters}
    assert len(pauses) == 2


def test_a_line_too_slow_still_reads_everybody_in_turn() -> None:
    asked = run(plan_of(10, every_s=5), start_s=0, end_s=200)
    assert {len([1 for name, _ in asked if name == f"M{i}"]) for i in range(10)} <= {19, 20, 21}


def test_a_restart_does_not_read_twice_in_a_slot() -> None:
    meter = plan_of(1).meters[0]
    start_s = meter.slot_start_s(40)
    assert schedule.resumed(meter, last_read_age_s=10, now_s=start_s + 60).last_slot == 40
    assert schedule.resumed(meter, last_read_age_s=100, now_s=start_s + 60).last_slot == 39
    assert schedule.resumed(meter, last_read_age_s=None, now_s=start_s) == schedule.NEVER
    assert schedule.resumed(meter, last_read_age_s=-5, now_s=start_s) == schedule.NEVER


@pytest.mark.parametrize(
    ("count", "exchange_s", "every_s", "sentence"),
    [
        (250, 1.04, 300, "250 meters at 2400 Bd need 4 min 20 s a round; you asked for 5 min"),
        (1, 0.37, 60, "1 meter at 2400 Bd needs 0.37 s a round; you asked for 1 min"),
        (250, 1.04, 60, "250 meters at 2400 Bd need 4 min 20 s a round; you asked for 1 min. "
         "That is 434 % of the line: it cannot be kept. Read less often, or split the bus."),
    ],
)  # fmt: skip
def test_the_bus_budget_is_one_sentence(count: int, exchange_s: float, every_s: float, sentence: str) -> None:
    cost = schedule.budget(plan_of(count, every_s=every_s, exchange_s=exchange_s).meters)
    assert schedule.budget_sentence(cost, line="2400 Bd") == sentence

"""Leak detection: finds leaks in hours, keeps still about lawful use, bad data and gaps, and can say why."""

from __future__ import annotations

import json
from dataclasses import astuple
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.leak import LeakChange, LeakDetector
from domain.leak_rules import LeakRules
from domain.units import Unit
from tests.domain.homes import START, home_litres, reads, register, with_leak, with_toilet

if TYPE_CHECKING:
    from collections.abc import Iterable

LEARNT_H = 21 * 24 + 10


def _feed(detector: LeakDetector, told: Iterable[tuple[datetime, int]], first_seq: int = 1) -> list[LeakChange]:
    return [c for seq, (at, count) in enumerate(told, first_seq) for c in detector.feed(at, count, seq=seq)]


def _hours_after(change: LeakChange, from_h: float) -> float:
    return (change.last - START) / timedelta(hours=1) - from_h


@pytest.mark.parametrize("litres_per_h", [30, 45, 60])
def test_a_running_toilet_is_found_well_under_twelve_hours(litres_per_h: float) -> None:
    took_h = []
    for seed in range(6):
        from_h = 21 * 24 + (2, 10, 18)[seed % 3]
        use = with_toilet(home_litres(24, seed=seed), from_h=from_h, hours=24, litres_per_h=litres_per_h, seed=seed)
        opened, cleared = _feed(LeakDetector(register()), reads(use, every_min=15))
        took_h.append(_hours_after(opened, from_h))
        assert (opened.opened, cleared.opened, cleared.alarm_id) == (True, False, opened.alarm_id)
        assert 0.6 * litres_per_h <= opened.litres_per_h <= 1.1 * litres_per_h
        assert 0 < _hours_after(cleared, from_h + 24) <= 5
    assert min(took_h) > 0
    assert max(took_h) <= 12
    assert median(took_h) <= 10


@pytest.mark.parametrize("every_min", [1, 5, 15])
def test_the_interval_of_reads_changes_little(every_min: int) -> None:
    use = with_toilet(home_litres(24, seed=1), from_h=LEARNT_H, hours=24, litres_per_h=45, seed=1)
    opened, _ = _feed(LeakDetector(register()), reads(use, every_min=every_min))
    assert 7 <= _hours_after(opened, LEARNT_H) <= 8.5


@pytest.mark.parametrize(("litres_per_h", "within_h"), [(800, 2.5), (60, 8.5), (20, 12), (10, 16), (5, 25)])
def test_a_constant_leak_is_found_the_sooner_the_larger(litres_per_h: float, within_h: float) -> None:
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=48, litres_per_h=litres_per_h)
    opened, *_ = _feed(LeakDetector(register()), reads(use, every_min=15))
    assert 0 < _hours_after(opened, LEARNT_H) <= within_h


@pytest.mark.parametrize(("litres_per_h", "within_h"), [(60, 8.5), (1000, 2.5)])
def test_a_meter_that_is_not_known_yet_has_its_large_leaks_found_too(litres_per_h: float, within_h: float) -> None:
    use = with_leak(home_litres(2, seed=5), from_h=10, hours=30, litres_per_h=litres_per_h)
    opened, *_ = _feed(LeakDetector(register()), reads(use, every_min=5))
    assert 0 < _hours_after(opened, 10) <= within_h


@pytest.mark.parametrize("every_min", [1, 15, 60, 240, 1440])
@pytest.mark.parametrize("seed", [11, 12])
def test_a_home_without_a_leak_is_left_in_peace(every_min: int, seed: int) -> None:
    assert _feed(LeakDetector(register()), reads(home_litres(60, seed=seed), every_min=every_min)) == []


@pytest.mark.parametrize("litres_per_count", [10, 100])
def test_a_coarse_dial_neither_hides_a_leak_nor_makes_one(litres_per_count: int) -> None:
    dial = register(scale={10: 1, 100: 2}[litres_per_count])
    use = home_litres(40, seed=4)
    assert _feed(LeakDetector(dial), reads(use, every_min=15, litres_per_count=litres_per_count)) == []
    leaky = with_leak(use, from_h=LEARNT_H, hours=96, litres_per_h=60)
    opened, *_ = _feed(LeakDetector(dial), reads(leaky, every_min=15, litres_per_count=litres_per_count))
    assert 0 < _hours_after(opened, LEARNT_H) <= {10: 14, 100: 60}[litres_per_count]


def test_a_coarse_dial_read_every_four_hours_clears_like_any_other() -> None:
    told = [(START + timedelta(hours=4 * n), min(20 * n, 400)) for n in range(40)]
    # Slots of both lengths are two hours here; the alarm of one closes while the other still waits for this read.
    rules = LeakRules(rules=tuple(rule for rule in LeakRules().rules if rule.name in ("burst", "continuous")))
    opened, cleared = _feed(LeakDetector(register(scale=2), rules), told)
    assert (opened.rule, opened.litres_per_h, cleared.opened) == ("burst", 500, False)


def test_evidence_is_exact_and_names_its_reads() -> None:
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=20, litres_per_h=40)
    told = list(reads(use, every_min=15, start_count=99_999_000))
    opened, cleared = _feed(LeakDetector(register()), told)
    for change in (opened, cleared):
        (first_at, first), (last_at, last) = told[change.first_seq - 1], told[change.last_seq - 1]
        assert (change.since, change.last) == (first_at, last_at)
        assert change.counts == change.litres == (last - first) % 10**8
    assert opened.rule == "running"
    assert 38 <= opened.litres_per_h <= 42
    assert opened.since >= START + timedelta(hours=LEARNT_H - 0.5)


def test_evidence_is_in_litres_for_a_register_in_gallons() -> None:
    dial = register(unit=Unit.GALLON)
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=20, litres_per_h=40)
    opened, *_ = _feed(LeakDetector(dial), reads(use, every_min=15, litres_per_count=3.785411784))
    assert opened.litres == int(opened.counts * 3.785411784)
    assert 36 <= opened.litres_per_h <= 44


def test_the_first_row_of_the_worked_table() -> None:
    """docs/algorithms/leaks.md, "A worked alarm"."""
    detector = LeakDetector(register())
    count, told = 500, []
    for quarter in range(4 * 9):
        told.append((START + timedelta(minutes=15 * quarter), count))
        count += 14 if quarter == 9 else 0 if quarter == 20 else 10
    (opened,) = _feed(detector, told)
    assert opened.rule == "running"
    assert (opened.since, opened.last) == (START, START + timedelta(hours=8))
    assert (opened.first_seq, opened.last_seq) == (1, 33)
    assert (opened.counts, opened.litres_per_h) == (314, 40)
    still = [(told[-1][0] + timedelta(minutes=15 * n), count) for n in range(1, 9)]
    (cleared,) = _feed(detector, still, first_seq=37)
    assert (cleared.alarm_id, cleared.opened) == (opened.alarm_id, False)
    # Four still quarters after 09:00, and the one from 05:00 that is still in the window: two spare and three more.
    assert cleared.last == START + timedelta(hours=10)
    assert (cleared.counts, cleared.litres) == (354, 354)


def _bad(name: str, told: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """Return the reads with one fault a day from the tenth on."""
    result: list[tuple[datetime, int]] = []
    shift = 0
    for index, (at, count) in enumerate(told):
        day, slot = divmod(index, 96)
        hit = day >= 10 and slot == 47
        if name == "swap" and hit and day % 7 == 0:
            shift = 3 - count
        if name == "backflow" and hit:
            shift -= 20
        misread = {"spike": 100_000, "zero": -count, "jitter": -1}.get(name, 0) if hit else 0
        if name == "gap" and day >= 10 and 40 <= slot < 60:
            continue
        if name == "stale" and day >= 10 and 30 <= slot < 60 and result:
            count = result[-1][1] - shift
        result.append((at, max(0, (count + shift + misread) % 10**8)))
        if name == "duplicate" and hit:
            result.append(result[-1])
        if name == "late" and hit:
            result += told[index - 40 : index - 38]
        if name == "back_an_hour" and hit and day % 9 == 0:
            result += [(told[i][0] - timedelta(hours=1), told[i][1]) for i in range(index - 1, index + 4)]
    return result


FAULTS = ("swap", "backflow", "spike", "zero", "jitter", "gap", "stale", "duplicate", "late", "back_an_hour")


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_data_never_alarms(fault: str) -> None:
    told = list(reads(home_litres(40, seed=8), every_min=15, start_count=5_000_000))
    assert _feed(LeakDetector(register()), _bad(fault, told)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_data_does_not_hide_a_leak(fault: str) -> None:
    use = with_leak(home_litres(40, seed=8), from_h=LEARNT_H, hours=300, litres_per_h=60)
    opened, *_ = _feed(LeakDetector(register()), _bad(fault, list(reads(use, every_min=15, start_count=5_000_000))))
    assert 0 < _hours_after(opened, LEARNT_H) <= 24


def test_a_rollover_under_an_open_alarm_is_followed_exactly() -> None:
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=30, litres_per_h=60)
    plain = _feed(LeakDetector(register()), reads(use, every_min=15))
    rolled_at = 10**8 - int(sum(use[: round(LEARNT_H * 60) + 300]))
    rolled = _feed(LeakDetector(register()), reads(use, every_min=15, start_count=rolled_at))
    assert [(c.opened, c.last, c.counts) for c in rolled] == [(c.opened, c.last, c.counts) for c in plain]


def test_a_gap_proves_neither_flow_nor_stillness() -> None:
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=72, litres_per_h=60)
    hidden = START + timedelta(hours=LEARNT_H + 1), START + timedelta(hours=LEARNT_H + 30)
    told = [(at, n) for at, n in reads(use, every_min=15) if not hidden[0] < at < hidden[1]]
    opened, *_ = _feed(LeakDetector(register()), told)
    assert opened.since >= hidden[1]
    # Nor does a silence close an alarm.
    detector = LeakDetector(register())
    told = list(reads(use, every_min=15))
    upto = next(i for i, (at, _) in enumerate(told) if at > START + timedelta(hours=LEARNT_H + 10))
    assert [c.opened for c in _feed(detector, told[:upto])] == [True]
    assert _feed(detector, [(told[upto][0] + timedelta(hours=30), told[upto][1] + 5)]) == []


def test_a_clock_that_ran_ahead_does_not_silence_the_meter() -> None:
    detector = LeakDetector(register())
    use = with_leak(home_litres(24, seed=5), from_h=LEARNT_H, hours=72, litres_per_h=60)
    detector.feed(START + timedelta(days=3650), 0)
    assert [c.opened for c in _feed(detector, reads(use, every_min=15))][:1] == [True]


def test_late_history_is_ignored_however_much_of_it_comes() -> None:
    told = list(reads(home_litres(24, seed=5), every_min=15))
    detector = LeakDetector(register())
    _feed(detector, told)
    before = detector.state()
    for at, count in told[:400]:
        assert detector.feed(at, count, live=False) == []
    assert detector.state() == before


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_restored_detector_carries_on_as_if_never_stopped(data: st.DataObject) -> None:
    use = with_leak(home_litres(9, seed=2), from_h=150, hours=40, litres_per_h=90)
    told = list(reads(use, every_min=15, start_count=99_999_900))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=4)))
    whole = LeakDetector(register())
    expected = _feed(whole, told)
    assert [c.opened for c in expected] == [True, False]
    detector, got = LeakDetector(register()), []
    for begin, end in zip([0, *cuts], [*cuts, len(told)], strict=True):
        detector = LeakDetector.restore(register(), json.loads(json.dumps(detector.state())))
        got += _feed(detector, told[begin:end], first_seq=begin + 1)
    assert got == expected
    assert detector.state() == whole.state()


def test_a_state_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version"):
        LeakDetector.restore(register(), {**LeakDetector(register()).state(), "version": 99})


def test_memory_does_not_grow_with_age() -> None:
    detector = LeakDetector(register())
    told = list(reads(home_litres(60, seed=3), every_min=15))
    sizes = []
    for day in range(60):
        _feed(detector, told[day * 96 : (day + 1) * 96])
        sizes.append(len(json.dumps(detector.state())))
    assert max(sizes[40:]) <= max(sizes[30:40]) * 1.05
    assert max(sizes) < 8_000


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-90_000, 90_000), st.integers(0, 10**8 - 1)), max_size=60))
def test_no_sequence_of_reads_breaks_it(told: list[tuple[int, int]]) -> None:
    detector, at = LeakDetector(register()), START
    for step_s, count in told:
        at += timedelta(seconds=step_s)
        detector.feed(at, count)
    json.dumps(detector.state())


def test_every_rule_has_its_own_name_and_a_window_that_can_hold() -> None:
    rules = LeakRules().rules
    assert len({rule.name for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.spare_slots + rule.steady_slots <= rule.slots


def test_the_table_of_rules_is_the_programs() -> None:
    """docs/algorithms/leaks.md, "The rules"."""
    page = Path(__file__).parents[2] / "docs" / "algorithms" / "leaks.md"
    rows = [line.strip("| \n").split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    names = [rule.name for rule in LeakRules().rules]
    table = [tuple(row[:-1]) for row in rows if row[0] in names]
    assert table == [tuple(str(value) for value in astuple(rule)) for rule in LeakRules().rules]

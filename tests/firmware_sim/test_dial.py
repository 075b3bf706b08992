"""Dials: exact counts, roll-over, pulses, leaks, a closed main, a meter that is changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from domain.clock import ManualClock
from domain.units import Unit
from firmware_sim.dial import Dial, Mains, RegisterShape
from firmware_sim.household import Household
from tests.firmware_sim.conftest import MOMENT, Still

LITRES = RegisterShape(Unit.CUBIC_METRE, -3, 10**8)


class Steady:
    """A tap that runs at one litre a second."""

    def volume_ml(self, moment: datetime) -> int:
        return (moment - MOMENT) // timedelta(milliseconds=1)

    def describe(self) -> str:
        return "a running tap"


@pytest.mark.parametrize(
    ("unit", "scale", "seconds", "counts"),
    [
        (Unit.CUBIC_METRE, -3, 90, 90),
        (Unit.CUBIC_METRE, -6, 90, 90_000),
        (Unit.GALLON, 0, 3.785, 0),
        (Unit.GALLON, 0, 3.786, 1),
        (Unit.CUBIC_FOOT, 0, 283.17, 10),
        (Unit.LITRE, 1, 99, 9),
    ],
)
def test_litres_become_whole_counts(
    clock: ManualClock, mains: Mains, unit: Unit, scale: int, seconds: float, counts: int
) -> None:
    dial = Dial(Steady(), RegisterShape(unit, scale, None), 1000, mains)
    clock.advance(seconds)
    assert dial.count() == 1000 + counts


def test_a_dial_rolls_over_at_its_modulus(clock: ManualClock, mains: Mains) -> None:
    dial = Dial(Steady(), LITRES, 10**8 - 30, mains)
    clock.advance(29)
    assert dial.count() == 10**8 - 1
    clock.advance(1)
    assert dial.count() == 0
    assert dial.unrolled(mains.now()) == 10**8


def test_a_pulse_counts_at_once_and_is_not_counted_before(clock: ManualClock, dial: Dial, mains: Mains) -> None:
    before = mains.now()
    clock.advance(60)
    assert dial.pulse(7) == 12_352
    assert dial.count(before) == 12_345
    with pytest.raises(ValueError, match="forwards"):
        dial.pulse(-1)


def test_a_told_leak_runs_until_it_is_repaired(clock: ManualClock, dial: Dial) -> None:
    dial.leak(120)
    clock.advance(1800)
    assert dial.count() == 12_345 + 60
    dial.leak(60)
    clock.advance(3600)
    assert dial.count() == 12_345 + 120
    dial.leak(0)
    clock.advance(7200)
    assert dial.count() == 12_345 + 120
    with pytest.raises(ValueError, match="litres an hour"):
        dial.leak(-1)
    with pytest.raises(ValueError, match="choose one of steady, running-toilet"):
        dial.leak(1, pattern="fountain")


def test_a_running_toilet_comes_and_goes(clock: ManualClock, dial: Dial) -> None:
    dial.leak(90, pattern="running-toilet")
    shown = []
    for _ in range(5):
        clock.advance(15 * 60)
        shown.append(dial.count() - 12_345)
    assert shown == [22, 30, 30, 52, 60]


def test_a_closed_main_stops_all_dials_but_not_the_hand(clock: ManualClock, mains: Mains) -> None:
    dial = Dial(Steady(), LITRES, 0, mains)
    clock.advance(100)
    assert mains.close() == MOMENT + timedelta(seconds=100)
    clock.advance(1000)
    assert dial.count() == 100
    dial.pulse(5)
    assert dial.count() == 105


def test_a_clock_that_is_set_back_turns_no_dial_back(clock: ManualClock, mains: Mains) -> None:
    dial = Dial(Steady(), LITRES, 0, mains)
    clock.advance(100)
    assert dial.count() == 100
    clock.step(-50)
    assert dial.count() == 100
    clock.advance(60)
    assert dial.count() == 110


def test_a_meter_out_of_the_pipe_stands_still_and_goes_on_from_there(clock: ManualClock, mains: Mains) -> None:
    old, new = Dial(Steady(), LITRES, 500, mains), Dial(Steady(), LITRES, 0, mains)
    clock.advance(100)
    old.remove()
    new.start_from(0)
    clock.advance(30)
    assert (old.count(), new.count()) == (600, 30)
    assert new.count(MOMENT) == 0
    old.install()
    clock.advance(10)
    assert old.count() == 610


def test_the_flow_is_what_the_last_second_passed(clock: ManualClock, mains: Mains) -> None:
    dial = Dial(Steady(), LITRES, 0, mains)
    clock.advance(5)
    assert dial.litres_per_h(mains.now()) == 3600
    assert Dial(Still(), LITRES, 0, mains).litres_per_h(mains.now()) == 0


def test_a_household_turns_the_same_dial_twice(mains: Mains) -> None:
    moment = datetime(2026, 11, 9, 12, tzinfo=UTC)
    counts = [Dial(Household("1/4", origin=date(2026, 11, 1)), LITRES, 77, mains).count(moment) for _ in range(2)]
    assert counts[0] == counts[1] > 77

"""The collector's clock: never back before the last write, a step is an event, stamps cost nothing on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.clock import ManualClock, ScaledClock
from domain.reading import EventKind
from gateway.timekeeping import CollectorClock, machine_synchronised

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def clock_of(hand: ManualClock, source: list[bool]) -> CollectorClock:
    clock = CollectorClock(hand, synchronised=lambda: source[0])
    clock._asked_at = float("-inf")
    return clock


def ask_again(clock: CollectorClock) -> None:
    clock._asked_at = float("-inf")


def test_time_goes_on_from_the_last_write_until_the_clock_is_set() -> None:
    hand, source = ManualClock(datetime(1970, 1, 1, tzinfo=UTC)), [False]
    clock = clock_of(hand, source)
    clock.keep_above(NOW)
    hand.advance(10)
    assert clock.now() == NOW + timedelta(seconds=10)
    assert not clock.state().synchronised
    assert clock.check() is None
    hand.step((NOW + timedelta(hours=3) - hand.now()).total_seconds())
    source[0] = True
    ask_again(clock)
    event = clock.check()
    assert event is not None
    assert event.kind is EventKind.CLOCK_STEP
    assert event.detail["step_ms"] == (3 * 3600 - 10) * 1000
    assert clock.now() == NOW + timedelta(hours=3)
    assert clock.state().synchronised
    assert clock.state().synced_since == clock.now()
    assert clock.check() is None


def test_a_set_clock_behind_the_floor_is_believed() -> None:
    clock = clock_of(ManualClock(NOW), [True])
    clock.keep_above(NOW + timedelta(days=400))
    assert clock.now() == NOW


def test_steps_in_both_directions_are_events_and_slow_drift_is_none() -> None:
    hand = ManualClock(NOW)
    clock = clock_of(hand, [True])
    for _ in range(100):
        hand.advance(1)
        hand.step(0.5e-3)
        assert clock.check() is None
    hand.step(-3600)
    event = clock.check()
    assert event is not None
    assert event.detail["step_ms"] == -3600 * 1000
    hand.step(7200)
    event = clock.check()
    assert event is not None
    assert event.detail["step_ms"] == 7200 * 1000


def test_stamps_keep_one_distance_between_wall_and_monotonic_time() -> None:
    hand = ManualClock(NOW)
    clock = clock_of(hand, [True])
    apart = set()
    for n in range(50):
        hand.advance(0.37)
        wall, monotonic_ns = hand.now(), round(hand.monotonic() * 1e9) + (n * 7919) % 400_000
        settled = clock.settled_ns(wall, monotonic_ns)
        assert settled % 1000 == 0
        assert abs(settled - monotonic_ns) < 1_000_000
        apart.add((wall - NOW) // timedelta(microseconds=1) * 1000 - settled)
    assert len(apart) == 1
    hand.step(60)
    settled = clock.settled_ns(hand.now(), round(hand.monotonic() * 1e9))
    assert abs(settled - round(hand.monotonic() * 1e9)) < 1_000_000


def test_a_virtual_clock_counts_as_set() -> None:
    clock = CollectorClock(ScaledClock(speed=10, anchor_s=0, start=NOW), synchronised=lambda: False)
    assert clock.state().synchronised
    assert clock.real_seconds(10) == 1


def test_the_kernel_can_be_asked() -> None:
    assert machine_synchronised() in (True, False)

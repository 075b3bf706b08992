"""Clocks: the scaled one agrees between processes, the hand-turned one does what it is told."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.clock import ManualClock, ScaledClock, SystemClock, clock_from_spec, machine_boot_id

START = datetime(2026, 7, 1, 12, tzinfo=UTC)


def _offset_s(clock: ScaledClock) -> float:
    """What a scaled clock adds to the machine's own seconds; the median leaves out moments without a processor."""
    return median(clock.monotonic() - clock.speed * time.monotonic() for _ in range(9))


def test_two_processes_with_one_specification_agree() -> None:
    spec = f"scaled:600:{time.time() - 1000}:{START.timestamp()}"
    child = (
        "import sys, time; from statistics import median; from domain.clock import clock_from_spec\n"
        "c = clock_from_spec(sys.argv[1])\n"
        "print(repr(median(c.monotonic() - c.speed * time.monotonic() for _ in range(9))))"
    )
    answers = [
        float(subprocess.run([sys.executable, "-c", child, spec], check=True, capture_output=True, text=True).stdout)
        for _ in range(2)
    ]
    clock = clock_from_spec(spec)
    assert isinstance(clock, ScaledClock)
    # 5 ms of the machine's time, at the clock's speed.
    assert max(abs(answer - _offset_s(clock)) for answer in answers) < 0.005 * 600


def test_a_scaled_clock_does_not_feel_a_step_of_the_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ScaledClock(speed=60, anchor_s=time.time(), start=START)
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert timedelta(0) <= clock.now() - before < timedelta(hours=1)


def test_a_scaled_clock_that_lost_its_processor_between_two_readings_uses_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monotonic = iter([0.0, 5.0, 5.0, 5.0, *[6.0 + i / 1000 for i in range(100)]])
    real_time = iter([1000.0, 1005.0, *[1006.001 + i / 1000 for i in range(100)]])
    monkeypatch.setattr(time, "monotonic", lambda: next(monotonic))
    monkeypatch.setattr(time, "time", lambda: next(real_time))
    clock = ScaledClock(speed=100, anchor_s=1000.0, start=START)
    # The first try straddles five seconds and would be 250 virtual seconds out; the second is exact.
    assert clock._monotonic_at_anchor == pytest.approx(0.0)


@given(st.floats(0.01, 100_000), st.floats(0, 10**6))
def test_real_seconds_are_virtual_ones_divided_by_the_speed(speed: float, seconds: float) -> None:
    clock = ScaledClock(speed=speed, anchor_s=0.0, start=START)
    assert clock.real_seconds(seconds) * speed == pytest.approx(seconds)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ScaledClock(speed=speed, anchor_s=0.0, start=START)


@pytest.mark.parametrize(
    "spec",
    ["", "System", "scaled", "scaled:1:2", "scaled:1:2:3:4", "scaled:fast:0:0", "scaled:0:0:0", "scaled:1:0:1e300"],
)
def test_a_specification_that_is_none_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ValueError, match="is not a clock"):
        clock_from_spec(spec)


def test_the_system_clock_is_the_machines() -> None:
    clock = clock_from_spec("system")
    assert isinstance(clock, SystemClock)
    assert clock.now().tzinfo is UTC
    assert abs(clock.now().timestamp() - time.time()) < 60
    assert clock.real_seconds(3.5) == 3.5
    clock.sleep(-1)


def test_naive_starts_are_refused() -> None:
    naive = START.replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(naive)
    with pytest.raises(ValueError, match="aware"):
        ScaledClock(speed=1, anchor_s=0, start=naive)
    assert ManualClock(START.astimezone(timezone(timedelta(hours=-6)))).now().tzinfo is UTC


@given(st.lists(st.tuples(st.booleans(), st.integers(-10_000, 10_000)), max_size=30))
def test_monotonic_time_never_steps(moves: list[tuple[bool, int]]) -> None:
    clock = ManualClock(START)
    advanced, stepped, last = 0, 0, 0.0
    for is_step, seconds in moves:
        if is_step:
            clock.step(seconds)
            stepped += seconds
        else:
            clock.sleep(seconds)
            advanced += max(seconds, 0)
        assert clock.monotonic() >= last
        last = clock.monotonic()
    assert clock.monotonic() == advanced
    assert clock.now() == START + timedelta(seconds=advanced + stepped)
    assert clock.real_seconds(100) == 0


def test_the_boot_id_has_16_bytes_and_stays() -> None:
    assert len(machine_boot_id()) == 16
    assert machine_boot_id() == machine_boot_id()

"""Reads and events are checked when they are made; numbers on the wire stay what they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.clock import ClockState
from domain.errors import ConfigError, HeadwaterError, ResourceUnavailable
from domain.ids import MeterId, RegisterId
from domain.reading import Event, EventKind, ReadFlag, ReadQuality, Reason, Register, RegisterRead
from domain.units import Unit

NOW = datetime(2026, 7, 1, tzinfo=UTC)
CLOCK = ClockState(boot_id=bytes(16), monotonic_ns=1, synchronised=True, synced_since=NOW)


def _register(scale: int = -3, modulus: int | None = 10**8) -> Register:
    return Register(MeterId("EFE-1"), RegisterId("total"), Unit.CUBIC_METRE, scale, modulus)


def test_numbers_on_the_wire_are_never_renumbered() -> None:
    assert [quality.value for quality in ReadQuality] == [0, 1, 2, 3, 4]
    assert {reason.name: reason.value for reason in Reason} == {
        "NONE": 0,
        "UNEXPECTED_METER": 1,
        "IMPLAUSIBLE_STEP": 2,
        "METER_FAULT": 3,
        "CLOCK_NOT_SET": 4,
        "INTERPOLATED": 5,
        "MANUAL": 6,
    }
    assert [flag.value for flag in ReadFlag] == [1, 2, 4, 8, 16]


def test_alarms_are_urgent_and_routine_is_not() -> None:
    assert EventKind.LEAK_OPENED.urgent
    assert EventKind.LEAK_CLEARED.urgent
    assert not EventKind.STARTED.urgent


@pytest.mark.parametrize(("scale", "modulus"), [(10, None), (-10, None), (0, 1), (0, 0), (0, -5)])
def test_a_register_that_cannot_be_is_refused(scale: int, modulus: int | None) -> None:
    with pytest.raises(ValueError, match="register"):
        _register(scale, modulus)


@pytest.mark.parametrize("count", [-1, 10**8])
def test_a_count_outside_the_dial_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        RegisterRead(_register(), count, NOW, CLOCK)
    assert RegisterRead(_register(modulus=None), count, NOW, CLOCK).raw_count == count


def test_moments_are_aware() -> None:
    naive = NOW.replace(tzinfo=None)
    with pytest.raises(ValueError, match="aware"):
        RegisterRead(_register(), 1, naive, CLOCK)
    with pytest.raises(ValueError, match="aware"):
        Event("id", EventKind.STARTED, naive, CLOCK)


def test_marking_changes_quality_and_reason_alone() -> None:
    read = RegisterRead(_register(), 1, NOW, CLOCK, flags=ReadFlag.RETRIED)
    marked = read.marked(ReadQuality.SUSPECT, Reason.UNEXPECTED_METER)
    assert (marked.quality, marked.reason) == (ReadQuality.SUSPECT, Reason.UNEXPECTED_METER)
    assert (marked.raw_count, marked.read_at, marked.flags) == (1, NOW, ReadFlag.RETRIED)
    assert read.quality is ReadQuality.MEASURED


def test_errors_say_all_faults_and_their_exit_code() -> None:
    error = ConfigError(["bus[0] is wrong", "meter[3] too"])
    assert str(error) == "bus[0] is wrong\nmeter[3] too"
    assert error.as_json()["faults"] == ["bus[0] is wrong", "meter[3] too"]
    assert (error.exit_code, error.permanent) == (3, True)
    assert (ResourceUnavailable.exit_code, HeadwaterError.exit_code) == (10, 1)

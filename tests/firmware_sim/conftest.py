"""A dial that nobody turns, on a clock that is turned by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.clock import ManualClock
from domain.units import Unit
from firmware_sim.dial import Dial, Mains, RegisterShape

# 11:37 in Chicago, standard time.
MOMENT = datetime(2026, 11, 22, 17, 37, 5, tzinfo=UTC)


class Still:
    """A home where all taps stay closed."""

    def volume_ml(self, moment: datetime) -> int:
        return 0

    def describe(self) -> str:
        return "nobody"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MOMENT)


@pytest.fixture
def mains(clock: ManualClock) -> Mains:
    return Mains(clock)


@pytest.fixture
def dial(mains: Mains) -> Dial:
    return Dial(Still(), RegisterShape(Unit.CUBIC_METRE, -3, 10**8), 12_345, mains)

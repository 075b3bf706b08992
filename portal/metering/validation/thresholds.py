"""What the rules of validation compare with: every number has a name, a default and a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOLD, NOTE = "hold", "note"

_GALLON_L = 3.785411784

FLOW_MAX_L_PER_MIN: Mapping[str, int] = MappingProxyType(
    {
        size: round(gallons * _GALLON_L)
        for size, gallons in {
            "5/8": 20, "5/8x3/4": 20, "3/4": 30, "1": 50, "1 1/2": 100, "1-1/2": 100, "1.5": 100, "2": 160,
            "3": 350, "4": 1000, "6": 2000, "8": 3500, "10": 5500, "12": 6700,
        }.items()
    }
)  # fmt: skip
"""The flow that a meter of a size (inches) can pass for a short time, litres a minute.

source  AWWA C700 (positive displacement, to 2 in) and C702 class II / C701 (larger), safe maximum operating capacity.
"""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers of the rules, and which rules hold a bill.

    gap_days            days in a row without any read inside a period; the register keeps the volume, so it is noted.
    boundary_gap_days   days between the two reads around a boundary: longer, and the split by time decides the bill.
    boundary_gap_days_by_hand  the same for a meter that people read: once a month, and a little.
    spike_factor        of the highest day in a period over the mean day of the 91 days before it.
    spike_l             a spike is at least so much: a pool or a burst pipe, not a weekend with guests.
    flow_max_l_per_min  of a meter whose size nobody wrote down: what a 2-inch meter passes.
    flow_factor         how much above its own highest day's mean flow a meter may run for minutes.
    high_factor         a period's mean day over the greater of last year's and the recent one.
    high_l_per_day      and by at least so much: a household's use for a person is 300 to 400.
    low_factor          a period's mean day below this share (1/n) of the lesser of both.
    low_l_per_day       and by at least so much.
    history_days        days that a window must have in it before anything is compared with it.
    stuck_days          days at zero, at the end of a period, of a meter that hardly ever has a day at zero.
    stuck_zero_share    1/n of the recent days may be at zero; with more, zero is nothing new.
    negative_l          a step back of more than this in a day is no check valve that lets a glass pass.
    vacant_l_per_day    use where nobody has an account: more than a dripping tap.
    step_l              a step back, or beyond the possible flow, of more than this between two reads is another dial.
    estimates_max       estimated boundaries in a row before somebody has to read the meter.
    """

    gap_days: int = 3
    boundary_gap_days: int = 3
    boundary_gap_days_by_hand: int = 45
    spike_factor: int = 10
    spike_l: int = 4_000
    flow_max_l_per_min: int = FLOW_MAX_L_PER_MIN["2"]
    flow_factor: int = 10
    high_factor: int = 3
    high_l_per_day: int = 400
    low_factor: int = 5
    low_l_per_day: int = 200
    history_days: int = 28
    stuck_days: int = 14
    stuck_zero_share: int = 10
    negative_l: int = 20
    vacant_l_per_day: int = 50
    step_l: int = 1_000
    estimates_max: int = 2
    severities: Mapping[str, str] = field(default_factory=lambda: _SEVERITIES)

    def severity(self, rule: str) -> str:
        """Return whether a rule holds the bill."""
        return self.severities[rule]


_SEVERITIES: Mapping[str, str] = MappingProxyType(
    {
        "no-boundary": HOLD,  # the bill would rest on a split by time, or on nothing
        "gap": NOTE,  # the register counted on
        "roll-over": NOTE,  # looked at, and in order
        "negative": HOLD,  # nobody is paid for water
        "backflow": NOTE,  # a little went back; the volume of the period is right
        "spike": NOTE,  # a day above all others: the leak pages tell the resident
        "impossible": HOLD,  # the meter cannot pass this much
        "high": HOLD,  # the bill that people come to the counter with
        "low": NOTE,  # somebody is away, or a meter is wearing out
        "stuck": HOLD,  # the dial stands where water runs
        "idle": NOTE,  # the dial stands, and nobody lives there
        "vacant-use": NOTE,  # water runs where nobody pays for it
        "wrong-meter": HOLD,  # another meter answered, or the dial is another one
        "misread": NOTE,  # single reads off the track: they are left out already
        "suspect": NOTE,  # a day rests on reads that the collector doubted
        "suspect-boundary": HOLD,  # and here the bill does
        "sum": HOLD,  # the days do not make the period
        "estimated": NOTE,  # said on the bill
        "estimates": HOLD,  # too many in a row
    }
)
RULES: tuple[str, ...] = tuple(_SEVERITIES)
DEFAULTS = Thresholds()

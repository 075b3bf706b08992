"""Steps between reads that no meter makes: a dial that jumps or falls back is another meter's dial, or a misread."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from domain.units import Unit, count_value, rollover_difference
from portal.metering.validation.thresholds import DEFAULTS, Thresholds

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

_MINUTE_US = 60_000_000
SAME_TRACK = 3
"""So many reads that follow each other plausibly, off the old track, are another dial and no misread."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a register may count between two reads, in its own counts.

    step     either way, at any time; flow: in a minute besides. modulus: where it rolls over.
    """

    step: Fraction
    flow: Fraction
    modulus: int | None

    def excess(self, earlier: tuple[int, int], later: tuple[int, int]) -> str:
        """Return `fall`, `jump` or nothing for the step from one (read_us, raw count) to a later one."""
        counts = rollover_difference(earlier[1], later[1], self.modulus)
        if counts < -self.step:
            return "fall"
        if counts <= self.step:
            return ""
        return "jump" if counts > self.step + self.flow * (later[0] - earlier[0]) / _MINUTE_US else ""

    def nearer(self, read: tuple[int, int], one: tuple[int, int], other: tuple[int, int]) -> bool:
        """Tell whether a read follows from one read and is no farther from it than from the other."""
        own, others = (abs(rollover_difference(before[1], read[1], self.modulus)) for before in (one, other))
        return not self.excess(one, read) and own <= others


def allowance_of(unit: str, scale: int, modulus: int | None, thresholds: Thresholds = DEFAULTS) -> Allowance:
    """Return what a register of a unit and scale may count, when nothing more is known of its meter."""
    worth = count_value(Unit(unit), scale)
    return Allowance(Fraction(thresholds.step_l) / worth, Fraction(thresholds.flow_max_l_per_min) / worth, modulus)


@dataclass(frozen=True, slots=True)
class OffTrack:
    """Reads that do not follow from the one before: from first_us to last_us, `open` when the track was left for good.

    before  the last (read_us, raw count) on the track; first_count: of the first read off it; kind: fall or jump.
    """

    first_us: int
    last_us: int
    open: bool
    kind: str
    before: tuple[int, int]
    first_count: int
    reads: int


def off_track(reads: Iterable[tuple[int, int]], allowance: Allowance, trusted: Container[int] = ()) -> list[OffTrack]:
    """Return where reads (read_us, raw count, in time order) leave their track; the first read is on it.

    trusted  moments of reads that are on the track whatever they show: somebody has looked at them.
    A read that follows from the last good one, and not from the strays, ends a run of misreads. Strays that follow from
    each other are another dial: nothing after them is believed.
    """
    result: list[OffTrack] = []
    good: tuple[int, int] | None = None
    strays: list[tuple[int, int]] = []
    following, kind = 0, ""
    for read in reads:
        if good is None or read[0] in trusted:
            if strays and good is not None:
                result.append(_run(strays, good, kind, is_open=False))
            strays, good = [], read
        elif not strays:
            if step := allowance.excess(good, read):
                strays, following, kind = [read], 1, step
            else:
                good = read
        else:
            follows = allowance.nearer(read, strays[-1], good)
            if following < SAME_TRACK and not follows and not allowance.excess(good, read):
                result.append(_run(strays, good, kind, is_open=False))
                strays, good = [], read
            else:
                following = following + 1 if follows or following >= SAME_TRACK else 1
                strays.append(read)
    if strays and good is not None:
        result.append(_run(strays, good, kind, is_open=following >= SAME_TRACK))
    return result


def _run(strays: list[tuple[int, int]], good: tuple[int, int], kind: str, *, is_open: bool) -> OffTrack:
    return OffTrack(strays[0][0], strays[-1][0], is_open, kind, good, strays[0][1], len(strays))

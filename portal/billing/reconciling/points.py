"""Checks one service point's issued segments: dials against reads, units against registers, chart against dials."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from domain.units import rollover_difference
from portal.billing.reconciling.difference import Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from portal.billing.reconciling.facts import Dial, End, Segment
    from portal.billing.reconciling.reads import Known
    from portal.metering.spans import MeteredPart


@dataclass(frozen=True, slots=True)
class TrueUp:
    """What a bill made up for: billed units of a bill before it, all its service points together."""

    number: str
    earlier: str
    units: int


@dataclass(slots=True)
class Chain:
    """Issued segments of one service point that follow each other without a gap."""

    segments: list[Segment]
    registers: dict[tuple[int, int], list[tuple[Dial, End]]] = field(default_factory=lambda: defaultdict(list))


def chains(segments: Sequence[Segment]) -> list[Chain]:
    """Divide a service point's segments where nobody was billed for a time."""
    result: list[Chain] = []
    for segment in segments:
        if not result or result[-1].segments[-1].end < segment.start:
            result.append(Chain([]))
        result[-1].segments.append(segment)
        for dial in segment.dials:
            ends = result[-1].registers[dial.installation, dial.register]
            ends += [(dial, dial.first), (dial, dial.last)]
    return result


def check_dials(segment: Segment, known: Known, midnight: Callable[[date], datetime]) -> Iterator[Difference]:
    """Compare both ends of each dial with the reads, and the reads with the batches that brought them."""
    low, high = midnight(segment.start), midnight(segment.end)
    for dial in segment.dials:
        for end in (dial.first, dial.last):
            where = f"{dial.meter} at {end.at:%Y-%m-%d %H:%M} UTC"
            if not low <= end.at <= high:
                yield Difference("dial-time", segment.place, f"the dial of {where} lies outside of the billed days")
            if end.estimated:
                continue
            shown = known.shown(dial, end)
            if not shown:
                yield Difference("no-read", segment.place, f"no stored read stands behind the dial of {where}")
            elif end.shown not in shown:
                reads = " or ".join(f"{count:,}" for count in sorted(shown))
                text = f"the bill shows {end.shown:,} on {where}, the stored reads say {reads}"
                yield Difference("dial-read", segment.place, text)
            for us in known.without_batch(dial, end):
                yield Difference(
                    "no-batch", segment.place, f"no signed batch brought the read behind {where} ({us} us)"
                )


def check_follows(chain: Chain) -> Iterator[Difference]:
    """Compare each segment with the next: days follow, and so do the dials, unless an estimate was replaced."""
    for one, two in pairwise(chain.segments):
        if two.start < one.end:
            text = f"{two.start} to {min(one.end, two.end)} is billed here and by bill {one.number}"
            yield Difference("overlap", two.place, text)
    for (_installation, _register), ends in chain.registers.items():
        for (dial, before), (_dial, after) in list(pairwise(ends))[1::2]:
            if before.estimated or after.estimated:
                continue
            if before.at != after.at:
                until, again = f"{before.at:%Y-%m-%d %H:%M}", f"{after.at:%Y-%m-%d %H:%M}"
                text = f"{dial.meter} is billed up to {until} and again from {again} UTC"
                yield Difference("dial-gap", chain.segments[0].place, text)
            elif before.shown != after.shown:
                text = f"one bill ends at {before.shown:,} of {dial.meter}, the next one starts at {after.shown:,}"
                yield Difference("dial-jump", chain.segments[0].place, text)


def residual(chain: Chain, known: Known) -> tuple[Fraction, Fraction, Fraction]:
    """Return (billed, used, carried) litres: billed and carried on must be what was carried in and used.

    billed   billed units, and what is carried on behind the last; used: register difference by stored reads, with what
             was below one unit on the dial at the start.
    """
    first, last = chain.segments[0], chain.segments[-1]
    billed = sum((segment.units * segment.unit_litres for segment in chain.segments), Fraction(0)) + last.rest
    on_dial = sum((dial.litres * dial.first.shown for dial in first.dials), Fraction(0))
    used = on_dial % first.unit_litres
    for ends in chain.registers.values():
        counts = _sure(ends, known)
        dial = ends[0][0]
        modulus = known.modulus.get(dial.register)
        steps = sum(rollover_difference(one, two, modulus) for one, two in pairwise(counts))
        used += steps * dial.litres
    return billed, used, last.rest


def _sure(ends: Sequence[tuple[Dial, End]], known: Known) -> list[int]:
    """Return the counts at the ends of one register's dials: what the reads say; estimates only where nothing else."""
    counts: dict[datetime, int] = {}
    estimates: dict[datetime, int] = {}
    for dial, end in ends:
        shown = known.shown(dial, end) if not end.estimated else set()
        if shown:
            counts[end.at] = end.shown if end.shown in shown else min(shown)
        else:
            estimates[end.at] = end.shown
    outer = {min(end.at for _dial, end in ends), max(end.at for _dial, end in ends)}
    kept = {**{at: count for at, count in estimates.items() if at in outer}, **counts}
    return [kept[at] for at in sorted(kept)]


def check_chart(
    chain: Chain, parts: Sequence[MeteredPart], midnight: Callable[[date], datetime]
) -> Iterator[Difference]:
    """Compare what the bills' dials counted with what the chart has between the same moments."""
    by_register = {(part.installation_id, part.register.pk): part for part in parts}
    for segment in chain.segments:
        billed = {(dial.installation, dial.register) for dial in segment.dials}
        low, high = midnight(segment.start), midnight(segment.end)
        for key, part in by_register.items():
            inside = [count for count in part.counts if low <= count.at <= high]
            if len(inside) > 1 and key not in billed and (billed or segment.units):
                text = f"a register of {part.register.meter.meter_id} counted in the billed time and is not on the bill"
                yield Difference("dial-missing", segment.place, text)
        for dial in segment.dials:
            if dial.first.estimated or dial.last.estimated:
                continue
            drawn_by = by_register.get((dial.installation, dial.register))
            first = None if drawn_by is None else drawn_by.at(dial.first.at)
            last = None if drawn_by is None else drawn_by.at(dial.last.at)
            said = dial.last.count - dial.first.count
            if first is None or last is None:
                text = f"the chart knows nothing of {dial.meter} at an end of the billed time"
                yield Difference("chart", segment.place, text)
            elif (drawn := last.count - first.count) != said:
                text = f"the chart shows {drawn:,} counts of {dial.meter}, the bill {said:,}"
                yield Difference("chart", segment.place, text)

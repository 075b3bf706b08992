"""The bars of a bill's chart in numbers, the same for the page's SVG and the PDF, and where they stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from portal.billing.documents import figures

if TYPE_CHECKING:
    from portal.billing.documents.facts import BillFacts, PeriodFacts

SLOTS = 13
WIDTH, HEIGHT = 640, 220
_LEFT, _TOP, _FLOOR = 66, 24, 176
_GAP_SHARE = 0.28


@dataclass(frozen=True, slots=True)
class Bar:
    """One period: its labels, its share of the scale, and its place in an SVG of WIDTH by HEIGHT."""

    month: str
    year: str
    text: str
    share: float
    current: bool
    estimated: bool
    x: float
    y: float
    width: float
    height: float
    middle: float


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of the scale."""

    text: str
    share: float
    y: float


def bars(facts: BillFacts) -> tuple[tuple[Bar, ...], tuple[Tick, ...]]:
    """Return the bars, the newest in the last of thirteen places, and the lines of the scale behind them."""
    periods = facts.periods
    if not periods:
        return (), ()
    worth = Fraction(10) ** facts.segments[0].unit_scale
    top, step = scale(max(period.units * worth for period in periods))
    slot = (WIDTH - _LEFT) / SLOTS
    width = slot * (1 - _GAP_SHARE)
    first = SLOTS - len(periods)
    found = []
    for n, period in enumerate(periods):
        share = float(max(Fraction(0), period.units * worth) / top)
        height = share * (_FLOOR - _TOP)
        x = _LEFT + (first + n) * slot + (slot - width) / 2
        middle_day = period.start + timedelta(days=period.days // 2)
        found.append(
            Bar(
                month=figures.month_letters(middle_day),
                year=str(middle_day.year) if n == 0 or _new_year(periods[n - 1], period) else "",
                text=figures.amount(period.units * worth),
                share=round(share, 4),
                current=n == len(periods) - 1,
                estimated=period.estimated,
                x=round(x, 1),
                y=round(_FLOOR - height, 1),
                width=round(width, 1),
                height=round(height, 1),
                middle=round(x + width / 2, 1),
            )
        )
    return tuple(found), tuple(_tick(step * n, top) for n in range(int(top / step) + 1))


def _tick(value: Fraction, top: Fraction) -> Tick:
    share = float(value / top)
    return Tick(figures.amount(value), round(share, 4), round(_FLOOR - share * (_FLOOR - _TOP), 1))


def scale(most: Fraction) -> tuple[Fraction, Fraction]:
    """Return the top of the scale and the step of its lines: 1, 2 or 5 times a power of ten, at most five steps."""
    if most <= 0:
        return Fraction(1), Fraction(1)
    step = Fraction(1)
    while step * 5 < most:
        step *= 10
    while step * 5 / 10 >= most:
        step /= 10
    step = next(step * part / 10 for part in (2, 5, 10) if step * part / 10 * 5 >= most)
    return step * -(-most // step), step


def _new_year(before: PeriodFacts, period: PeriodFacts) -> bool:
    middles = [item.start + timedelta(days=item.days // 2) for item in (before, period)]
    return middles[0].year != middles[1].year

"""How much water, compared with earlier periods, in words and tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from portal.billing.documents import figures

if TYPE_CHECKING:
    from portal.billing.documents.facts import BillFacts, PeriodFacts

_YEAR = timedelta(days=365)
_SAME_SEASON = timedelta(days=16)


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """One period of the table beside the chart."""

    period: str
    used: str
    days: str
    per_day: str
    remark: str
    current: bool


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """This period, the one before, the same one a year ago."""

    label: str
    used: str
    days: str
    per_day: str


def period_rows(facts: BillFacts) -> tuple[PeriodRow, ...]:
    """Return the periods of the chart as rows, the newest first."""
    last = len(facts.periods) - 1
    return tuple(
        PeriodRow(
            period=_span(period),
            used=_used(period, facts),
            days=str(period.days),
            per_day=_per_day(period, facts),
            remark=_("estimated") if period.estimated else "",
            current=n == last,
        )
        for n, period in reversed(list(enumerate(facts.periods)))
    )


def compared(facts: BillFacts) -> tuple[ComparedRow, ...]:
    """Return this period beside the one before and the same one a year ago, as far as there are such."""
    if not facts.periods:
        return ()
    found = [(_("This period"), facts.periods[-1])]
    if len(facts.periods) > 1:
        found.append((_("The period before"), facts.periods[-2]))
    if (old := a_year_ago(facts)) is not None and old is not facts.periods[-2]:
        found.append((_("The same period last year"), old))
    return tuple(
        ComparedRow(label, _used(period, facts), str(period.days), _per_day(period, facts)) for label, period in found
    )


def comparison_sentence(facts: BillFacts) -> str:
    """Return how this period's use of a day compares with the same period last year, else with the one before."""
    if len(facts.periods) < 2:
        return ""
    now, old = facts.periods[-1], a_year_ago(facts)
    other = old or facts.periods[-2]
    if not other.units:
        return ""
    change = Fraction(now.units, now.days) / Fraction(other.units, other.days) - 1
    percent = int(abs(change) * 100 + Fraction(1, 2))
    values = {"percent": percent}
    if percent == 0:
        return (
            _("A day's use was the same as in the same period last year.")
            if old
            else _("A day's use was the same as in the period before.")
        )
    if change > 0:
        text = (
            _("You used %(percent)s%% more water a day than in the same period last year.")
            if old
            else _("You used %(percent)s%% more water a day than in the period before.")
        )
    else:
        text = (
            _("You used %(percent)s%% less water a day than in the same period last year.")
            if old
            else _("You used %(percent)s%% less water a day than in the period before.")
        )
    return text % values


def a_year_ago(facts: BillFacts) -> PeriodFacts | None:
    """Return the period that ended about a year before this one, None when there is none."""
    wanted = facts.period_end - _YEAR
    near = [period for period in facts.periods[:-1] if abs(period.end - wanted) <= _SAME_SEASON]
    return min(near, key=lambda period: abs(period.end - wanted), default=None)


def chart_text(facts: BillFacts) -> str:
    """Return what the chart shows, for those who do not see it."""
    if not facts.periods:
        return ""
    most = max(facts.periods, key=lambda period: period.units)
    values = {
        "periods": len(facts.periods),
        "used": _used(facts.periods[-1], facts),
        "most": _used(most, facts),
        "when": _span(most),
    }
    if len(facts.periods) == 1:
        return _("Bar chart of your water use with one bar: %(used)s in this period.") % values
    return (
        _(
            "Bar chart of your water use in the last %(periods)s periods. This period: %(used)s. The most was "
            "%(most)s, from %(when)s."
        )
        % values
    )


def _used(period: PeriodFacts, facts: BillFacts) -> str:
    segment = facts.segments[0]
    return f"{figures.amount(period.units * Fraction(10) ** segment.unit_scale)} {figures.symbol(segment.unit)}"


def _per_day(period: PeriodFacts, facts: BillFacts) -> str:
    segment = facts.segments[0]
    a_day = Fraction(period.units, period.days) * Fraction(10) ** segment.unit_scale
    return f"{figures.amount(a_day, figures.daily_places(segment.unit))} {figures.symbol(segment.unit)}"


def _span(period: PeriodFacts) -> str:
    values = {
        "first": figures.short_day(period.start),
        "last": figures.short_day(period.end - timedelta(days=1)),
    }
    return _("%(first)s to %(last)s") % values

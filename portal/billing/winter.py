"""Winter averages: made from the bills of the winter months, kept as rows, in force until the next winter's."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from django.db.models import Sum

from portal.billing.calculation import NewWinter
from portal.billing.models import Bill, BillSegment, WinterAverageOf
from portal.core.prepared import Prepared
from rates.errors import InputError
from rates.winter import MonthUse, WinterRule, average_start, winter_average

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date

    from django.db.models import QuerySet

    from portal.billing.calculation import Terms
    from portal.billing.periods import Period
    from portal.billing.shelf import Shelf
    from portal.core.prepared import Ask

Key = tuple[int, int]
"""Account and service point."""

Winters = dict[Key, tuple[tuple["date", Fraction], ...]]
"""From when, and how many units for a full period, in order."""

_YEAR = timedelta(days=366)


def standing(accounts: Collection[int]) -> Winters:
    """Return the winter averages of accounts (row ids)."""
    found: dict[Key, list[tuple[date, Fraction]]] = defaultdict(list)
    one = len(accounts) == 1
    for account, point, start, units in STANDING_WINTERS(tuple(accounts)) if one else _standing(accounts):
        found[account, point].append((start, Fraction(units)))
    return {key: tuple(values) for key, values in found.items()}


def _standing(accounts: Collection[int]) -> QuerySet[WinterAverageOf, tuple[int, int, date, str]]:
    rows = WinterAverageOf.objects.filter(account__in=accounts).order_by("start")
    return rows.values_list("account", "service_point", "start", "units")


STANDING_WINTERS: Prepared[tuple[int, int, date, str]] = Prepared(_standing)


def missing(
    wanted: Mapping[int, tuple[Period, Sequence[Terms]]], shelf: Shelf, known: Winters
) -> dict[Key, tuple[date, WinterRule]]:
    """Return which averages have to be made for bills (period and terms by account): from which day, by which rule."""
    result = {}
    for account, (period, terms) in wanted.items():
        for row in terms:
            if row.start >= period.end or (row.end is not None and row.end <= period.start):
                continue
            try:
                rule = shelf.on(period.start).book.winter_rule(row.rate_class, period.start)
            except InputError:
                continue  # the calculation says so
            if rule is None:
                continue
            start, key = average_start(rule, period.last_day), (account, row.service_point)
            if not any(since >= start for since, _ in known.get(key, ())):
                result[key] = start, rule
    return result


def made(keys: Mapping[Key, tuple[date, WinterRule]]) -> dict[Key, NewWinter]:
    """Return the averages that the bills of the winter before give; nothing where the rule's default holds."""
    if not keys:
        return {}
    accounts, since, until = _asked(keys)
    rows = _BILLED(accounts, since, until) if len(accounts) == 1 else _billed(accounts, since, until)
    uses: dict[Key, list[tuple[MonthUse, str]]] = defaultdict(list)
    for account, point, bill, first, end, units in rows:
        start, _ = keys.get((account, point), (None, None))
        if start is not None and start - _YEAR < end <= start + timedelta(days=1):
            uses[account, point].append((MonthUse(first, end, units), bill))
    result = {}
    for key, of_key in uses.items():
        start, rule = keys[key]
        average = winter_average(rule, [use for use, _ in of_key])
        if average.basis and average.units is not None:
            bills = dict(of_key)
            basis = tuple(
                {"bill": bills[use], "start": use.start.isoformat(), "end": use.end.isoformat(), "units": use.units}
                for use in average.basis
            )
            result[key] = NewWinter(key[1], start, average.units, basis)
    return result


def made_asks(keys: Mapping[Key, tuple[date, WinterRule]]) -> list[Ask]:
    """Return what `made` is going to ask for the keys of one account, to be asked ahead with more."""
    return [(_BILLED, *_asked(keys))] if keys else []


def _asked(keys: Mapping[Key, tuple[date, WinterRule]]) -> tuple[tuple[int, ...], date, date]:
    starts = [start for start, _ in keys.values()]
    return tuple(sorted({account for account, _ in keys})), min(starts) - _YEAR, max(starts) + _YEAR


def _billed(accounts: Collection[int], after: date, until: date) -> QuerySet[BillSegment, Any]:
    """Return (account, service point, bill, its first day, its end, units) of what was billed between two days."""
    return (
        BillSegment.objects.filter(bill__account__in=accounts, bill__period_end__gt=after, bill__period_end__lte=until)
        .exclude(bill__state=Bill.State.CANCELLED)
        .values_list(
            "bill__account", "agreement__service_point", "bill__public_id", "bill__period_start", "bill__period_end"
        )
        .annotate(total=Sum("units"))
        .order_by("bill__period_end")
    )


_BILLED: Prepared[Any] = Prepared(_billed)

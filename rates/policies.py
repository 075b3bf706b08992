"""Rules for fees, due dates, proration, estimates, adjustments and budgets: data in the rate file, arithmetic here.

All amounts are integer cents. A rule that a utility does not have is None; nothing is charged by a rule that is not
written in its file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

from rates.book import cents_of

SATURDAY = 5


def next_business_day(day: date, holidays: Collection[date] = ()) -> date:
    """Return the day itself, or the first day after it that is neither on a weekend nor a holiday."""
    while day.weekday() >= SATURDAY or day in holidays:
        day += timedelta(days=1)
    return day


@dataclass(frozen=True, slots=True)
class ProrationRule:
    """When a period counts as a full one: within tolerance_percent of the cycle's nominal days."""

    tolerance_percent: Fraction = Fraction(10)

    def full_days(self, days: int, nominal_days: int) -> int:
        """Return the days that fixed charges and tiers are meant for: the period's own, or the cycle's nominal ones."""
        within = abs(days - nominal_days) * 100 <= self.tolerance_percent * nominal_days
        return days if within else nominal_days


@dataclass(frozen=True, slots=True)
class DueRule:
    """When a bill is due: some days after its date, or on a fixed day of a month at least `days` later.

    days            after the bill's date (with day_of_month: the least time between the two).
    day_of_month    1 to 28; None: no fixed day.
    next_business_day  a due date on a weekend or holiday moves to the next business day.
    """

    days: int = 20
    day_of_month: int | None = None
    next_business_day: bool = True
    holidays: frozenset[date] = frozenset()

    def due_date(self, bill_date: date) -> date:
        """Return the last day on which payment is in time."""
        day = bill_date + timedelta(days=self.days)
        if self.day_of_month is not None:
            while day.day != self.day_of_month:
                day += timedelta(days=1)
        return next_business_day(day, self.holidays) if self.next_business_day else day


@dataclass(frozen=True, slots=True)
class LateFee:
    """What late payment costs: the larger of a percentage and a least amount; never a fee on a fee.

    threshold_cents  an account that owes less pays none. after_days: so many days after the due date it is charged.
    """

    percent: Fraction
    minimum_cents: int = 0
    threshold_cents: int = 0
    after_days: int = 1

    def fee_cents(self, past_due_cents: int, *, late_fees_in_it_cents: int = 0) -> int:
        """Return the fee for what is past due; late fees inside it are left out of the percentage."""
        base = past_due_cents - late_fees_in_it_cents
        if base <= 0 or past_due_cents < self.threshold_cents:
            return 0
        return max(cents_of(Fraction(base, 100) * self.percent / 100), self.minimum_cents)

    def charge_on(self, due_date: date) -> date:
        """Return the day from which the fee is owed."""
        return due_date + timedelta(days=self.after_days)


@dataclass(frozen=True, slots=True)
class LeakAdjustment:
    """How much of a leak the utility takes on.

    share           of the excess over the customer's own average that is credited.
    average_months  how many of the bills before it make the average.
    every_months    once in so many months (0: once in a life).
    rounding        the credit is rounded up to a multiple of so many billed units: the odd part goes to the customer.
    excess_percent  the use must be at least so much above the average, in percent.
    needs_proof     of the repair.  bills_max: so many bills at most are adjusted for one leak.
    """

    share: Fraction = Fraction(1, 2)
    average_months: int = 12
    every_months: int = 12
    rounding: int = 1
    excess_percent: Fraction = Fraction(0)
    needs_proof: bool = True
    bills_max: int = 1

    def credit_units(self, used: int, average: Fraction | int) -> int:
        """Return how many billed units are credited; 0 when the excess is too small."""
        excess = used - Fraction(average)
        if excess <= 0 or excess * 100 < self.excess_percent * Fraction(average):
            return 0
        return int(-(-(excess * self.share) // self.rounding) * self.rounding)

    def allowed_on(self, on: date, earlier: Collection[date]) -> bool:
        """Say whether the account may have one on a day, given the days of those that it had."""
        before = [day for day in earlier if day <= on]
        if not before:
            return True
        if self.every_months == 0:
            return False
        months = (on.year - max(before).year) * 12 + on.month - max(before).month
        return months > self.every_months or (months == self.every_months and on.day >= max(before).day)


@dataclass(frozen=True, slots=True)
class BudgetBilling:
    """Equal amounts in place of what each month used: sum of a year / divisor * factor.

    divisor        12, or 11 with the twelfth month settling. settle_month: in which the plan is settled; None: after
                   twelve months from its start.
    history_months so many months of bills are needed.
    """

    divisor: int = 12
    factor: Fraction = Fraction(1)
    settle_month: int | None = None
    history_months: int = 12

    def monthly_cents(self, bills_cents: Sequence[int]) -> int | None:
        """Return the amount of a month from the bills of the months before; None when there are too few."""
        if len(bills_cents) < self.history_months:
            return None
        return cents_of(Fraction(sum(bills_cents[-self.history_months :]), 100) / self.divisor * self.factor)

    def settle_on(self, start: date) -> date:
        """Return the first day of the month in which a plan that starts on a day is settled."""
        month = self.settle_month or start.month
        return date(start.year + (month <= start.month), month, 1)


@dataclass(frozen=True, slots=True)
class EstimationRule:
    """So many estimated bills in a row at most; the next one is held until somebody has read the meter."""

    max_consecutive: int = 2


@dataclass(frozen=True, slots=True)
class Deposit:
    """What is asked of a new account, by rate class; given back after good payment or at the end.

    amount_cents          by rate class; a class that is not named pays none.
    refund_after_months   None: at the end only. late_max: so many late payments at most until then.
    """

    amount_cents: Mapping[str, int] = field(default_factory=dict)
    refund_after_months: int | None = None
    late_max: int = 0


@dataclass(frozen=True, slots=True)
class ReturnedPayment:
    """A payment that the bank sent back: its fee, and from how many in a year only cash or card will do."""

    fee_cents: int
    cash_only_after: int | None = None
    cash_only_months: int = 12


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules that hold on a day. fees: cents by code (`connection`, `transfer`, `reconnect`, ...)."""

    proration: ProrationRule = ProrationRule()
    due: DueRule = DueRule()
    estimation: EstimationRule = EstimationRule()
    late_fee: LateFee | None = None
    leak: LeakAdjustment | None = None
    budget: BudgetBilling | None = None
    deposit: Deposit | None = None
    returned_payment: ReturnedPayment | None = None
    fees: Mapping[str, int] = field(default_factory=dict)
    fee_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

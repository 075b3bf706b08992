"""From register to bill: what a run makes of reads, agreements and rates; the figures were worked out by hand."""

from __future__ import annotations

from datetime import date

import pytest

from portal.billing.models import Bill
from tests.portal import billed
from tests.portal.billed import lines_of, reads, run, steady

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _book() -> None:
    billed.rate_book()


def test_a_month_of_a_household_end_to_end() -> None:
    home = billed.home(1, date(2026, 4, 1))
    reads(home.register, steady(date(2026, 4, 1), date(2026, 7, 2), 411), fold=True)
    (bill,) = run(date(2026, 7, 1))
    assert bill.state == Bill.State.ISSUED
    assert (bill.period_start, bill.period_end) == (date(2026, 6, 1), date(2026, 7, 1))
    (segment,) = bill.segments.all()
    assert segment.units == 30 * 411 == 12_330
    # 10.90 + 5 x 3.46 + 7.33 x 4.50 = 10.90 + 17.30 + 32.985
    assert lines_of(bill)[:3] == [("water", "base", 1090), ("water", "use", 1730), ("water", "use", 3299)]
    assert bill.charges_cents == sum(line.amount_cents for line in bill.lines.all())

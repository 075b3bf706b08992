"""Cost so far and the projected bill: what the bill itself would say."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portal.billing.projection import cost_so_far, projected
from portal.metering.calendar import midnight
from tests.portal import billed
from tests.portal.billed import CHICAGO, lines_of, reads, run, steady

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _book() -> None:
    billed.rate_book()


def test_ten_days_into_a_month_of_even_use() -> None:
    home = billed.home(1, date(2026, 4, 1))
    reads(home.register, steady(date(2026, 4, 1), date(2026, 6, 11), 400))
    run(date(2026, 6, 1))
    now = midnight(date(2026, 6, 11), CHICAGO) + timedelta(hours=9)
    so_far = cost_so_far(home.account, now)
    assert so_far is not None
    assert (so_far.units, so_far.as_of) == (4_000, midnight(date(2026, 6, 11), CHICAGO))
    # 10.90 + 4 x 3.46 water, 5.00 + 4 x 2.70 + 5.00 sewer on actual use, 14.00 sanitation
    assert so_far.cents == 1090 + 1384 + 500 + 1080 + 500 + 1400
    ahead = projected(home.account, now)
    assert ahead is not None
    assert ahead.units == 12_000
    reads(home.register, list(steady(date(2026, 6, 11), date(2026, 7, 2), 400, start=71 * 400))[1:])
    run(date(2026, 6, 1))
    (bill,) = run(date(2026, 7, 1))
    assert ahead.cents == bill.charges_cents
    assert [(line.service, line.code, line.amount_cents) for line in ahead.lines] == lines_of(bill)


def test_what_nobody_knows_is_not_made_up() -> None:
    home = billed.home(1, date(2026, 6, 1))
    assert cost_so_far(home.account, midnight(date(2026, 6, 11), CHICAGO)) is None


def test_it_takes_few_queries() -> None:
    home = billed.home(1, date(2026, 4, 1))
    reads(home.register, steady(date(2026, 4, 1), date(2026, 6, 11), 400), fold=True)
    with CaptureQueriesContext(connection) as queries:
        projected(home.account, midnight(date(2026, 6, 11), CHICAGO))
    assert len(queries) <= 30

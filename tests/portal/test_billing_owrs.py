"""A bill priced by an Open Water Rate Specification file, from the dial to the ledger, and its explanation."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest

from portal.billing.documents.facts import facts_of
from portal.billing.documents.words import words_of
from portal.billing.rate_books import approve, load
from portal.ledger.services import balance_cents
from rates.book import cents_of
from tests.portal import billed
from tests.portal.billed import lines_of, reads, run, steady
from tests.portal.building import person

pytestmark = pytest.mark.django_db

FILE = """\
metadata:
  effective_date: 01/01/2024
  utility_name: Example Springs
  bill_frequency: Monthly
  bill_unit: ccf
rate_structure:
  RESIDENTIAL_SINGLE:
    service_charge:
      depends_on: meter_size
      values:
        5/8": 10.00
        3/4": 14.00
    tier_starts: [0, 6, 16]
    tier_prices: [2.005, 3.10, 4.25]
    commodity_charge: Tiered
    gpcd: 50
    sewer_charge: 0.25*gpcd*days_in_period*(1/748)
    bill: service_charge+commodity_charge+sewer_charge
"""


def test_a_month_from_the_dial_to_the_ledger() -> None:
    approve(load(FILE, name="springs.owrs", label="tests"), actor=person("ben@utility.example", is_staff=True))
    home = billed.home(1, date(2026, 4, 1), rate_class="RESIDENTIAL_SINGLE", meter_size='3/4"')
    reads(home.register, steady(date(2026, 4, 1), date(2026, 5, 2), 400))
    (bill,) = run(date(2026, 5, 1))
    assert bill.state == "issued", bill.findings
    # 12,000 gal are 16.04 ccf: 16 whole ones, 5 + 10 + 1 by tiers; the days are those of the period
    sewer = cents_of(Fraction(1, 4) * 50 * 30 / 748)
    assert lines_of(bill) == [
        ("water", "service_charge", 1400),
        ("water", "commodity_charge", 1003),
        ("water", "commodity_charge", 3100),
        ("water", "commodity_charge", 425),
        ("sewer", "sewer_charge", sewer),
    ]
    assert bill.charges_cents == 1400 + 1003 + 3100 + 425 + sewer
    assert balance_cents(home.account) == bill.charges_cents
    words = words_of(facts_of(bill), "en")
    said = [detail for section in words.sections for line in section.lines for detail in line.details]
    assert any("5 ccf at $2.005" in text for text in said), said

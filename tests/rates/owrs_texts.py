"""Small rate files of our own in the Open Water Rate Specification, and a short way to price with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from textwrap import dedent, indent

from rates.book import Priced, PriceRequest
from rates.owrs import OwrsBook

HEAD = """\
metadata:
  effective_date: 07/01/2021
  utility_name: Example Springs Water
  bill_frequency: Bi-Monthly
  bill_unit: kgal
rate_structure:
"""


def book_of(parts: str, *, name: str = "example.owrs", rate_class: str = "RESIDENTIAL_SINGLE") -> OwrsBook:
    """Load a file with one class that has these parts."""
    return OwrsBook.load(HEAD + f"  {rate_class}:\n" + indent(dedent(parts).strip("\n"), "    ") + "\n", name)


def priced(book: OwrsBook, units: object, /, *, rate_class: str = "RESIDENTIAL_SINGLE", **inputs: object) -> Priced:
    """Price a use in the summer of 2022."""
    days = {key: inputs.pop(key) for key in ("days", "full_days") if key in inputs}
    request = PriceRequest(rate_class, Fraction(str(units)), date(2022, 7, 20), 7, inputs=inputs, **days)  # type: ignore[arg-type]
    return book.price(request)


def total(book: OwrsBook, units: object, /, **inputs: object) -> Fraction:
    """Return what a use comes to."""
    return priced(book, units, **inputs).total


def dollars(text: str) -> Fraction:
    """Return an amount written as a decimal."""
    return Fraction(text)


METER: Mapping[str, object] = {"meter_size": '3/4"'}
TIERED = """
    service_charge:
      depends_on: meter_size
      values:
        5/8": 10.10
        3/4"  : 12.40
        1 1/2": 30.00
        2|1/2": 44.00
    commodity_charge: Tiered
    tier_starts: [0, 6, 16]
    tier_prices:
      - 2.00
      - .8
      - "1,004.5"
    bill: service_charge + commodity_charge
"""
BUDGET = """
    indoor: hhsize*gpcd*days_in_period*(1/748)
    budget: indoor+outdoor
    gpcd: 55
    outdoor: factor * et_amount * irr_area * 0.62/748
    factor: .7
    tier_starts: [0, indoor, 100%, 150%]
    tier_prices: [1, 2, 4, 8]
    commodity_charge: Budget
    bill: commodity_charge
"""
HOUSE: Mapping[str, object] = {"hhsize": 4, "days_in_period": 61, "et_amount": "5.5", "irr_area": 1800}

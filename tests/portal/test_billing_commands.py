"""`headwater portal bill ...`: what the commands print, as text and as JSON."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.cli import root
from portal.billing.models import Bill
from portal.billing.reports import report, text_of
from tests.portal import billed
from tests.portal.billed import reads, run, steady

pytestmark = pytest.mark.django_db
MAY, JUNE, JULY = (date(2026, month, 1) for month in (5, 6, 7))


def said(*arguments: str) -> Any:
    done = CliRunner().invoke(root, ["portal", "bill", *arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_a_run_from_the_command_line_and_its_report() -> None:
    billed.rate_book()
    for number in range(3):
        reads(billed.home(number, MAY).register, steady(MAY, date(2026, 7, 2), 200 + number))
    silent = billed.home(9, MAY, first_count=None)
    made = said("run", "A", "--period-end", "2026-06-01", "--bill-date", "2026-06-01", "--issue")
    assert (made["accounts"], made["issued"], made["held"]) == (4, 3, 1)
    again = said("run", "A", "--period-end", "2026-06-01")
    assert (again["run"], again["calculated"]) == (made["run"], 4)
    found = said("report", made["run"])
    assert found["exceptions"][0]["account"] == silent.account.number
    assert "no-end-read" in found["exceptions"][0]["holds"]
    assert sum(line["cents"] for line in found["lines"]) == found["charges_cents"]
    assert found["aging"]["current_cents"] > 0
    assert said("continue", "A", "--held")["held"] == 1
    assert "3 issued" in text_of(found)


def test_a_run_is_compared_with_the_one_before() -> None:
    billed.rate_book()
    reads(billed.home(1, MAY).register, steady(MAY, date(2026, 7, 2), 300))
    run(JUNE)
    (bill,) = run(JULY)
    assert bill.run is not None
    found = report(bill.run)
    assert found["before"]["calculated"] == 1
    assert found["before"]["units"] == [{"unit": "gal", "scale": 0, "units": 9_300}]


def test_preview_final_and_rebill() -> None:
    billed.rate_book()
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 7, 2), 300))
    (bill,) = run(JUNE)
    shown = said("preview", home.account.number)
    assert shown["period_start"] == "2026-06-01"
    new = said("rebill", bill.number or "", "--reason", "a test")
    assert (new["kind"], new["state"], new["charges_cents"]) == ("corrected", "issued", bill.charges_cents)
    final = said("final", home.account.number, "--on", "2026-06-11")
    assert (final["kind"], final["state"]) == ("final", "issued")
    assert Bill.objects.exclude(state="cancelled").count() == 2

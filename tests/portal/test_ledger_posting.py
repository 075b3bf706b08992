"""Posting: once for a key, balanced, never changed; reversal; balances."""

from __future__ import annotations

from datetime import date

import pytest

from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.ledger import chart
from portal.ledger.models import JournalEntry, LedgerAccount, Posting
from portal.ledger.services import (
    Leg,
    NewEntry,
    balance_cents,
    balances,
    post,
    post_many,
    receivable_legs,
    reverse,
)
from tests.portal.testing_ledger import DAY, DUE, account, bill_legs

pytestmark = pytest.mark.django_db


def test_a_bill_is_posted_once_however_often_it_is_tried() -> None:
    payer = account()
    first = post("bill", DAY, bill_legs(payer, water=4500, sewer=1200), key="bill:1")
    again = post("bill", DAY, bill_legs(payer, sewer=1200, water=4500), key="bill:1")
    assert again.pk == first.pk
    assert JournalEntry.objects.count() == 1
    assert balance_cents(payer) == 5700


def test_the_same_key_with_other_legs_is_refused() -> None:
    payer = account()
    post("bill", DAY, bill_legs(payer, water=4500), key="bill:1")
    with pytest.raises(Refused, match="posted on 2026-03-02 with other legs") as refused:
        post("bill", DAY, bill_legs(payer, water=4501), key="bill:1")
    assert refused.value.code == "key"
    assert balance_cents(payer) == 4500


@pytest.mark.parametrize(
    ("legs", "says"),
    [
        ([Leg(chart.CASH, 100), Leg(chart.WATER, -99)], "sum to 1 cents"),
        ([Leg(chart.CASH, 0), Leg(chart.WATER, 0)], "at least two legs"),
        ([Leg(chart.RECEIVABLES, 100), Leg(chart.WATER, -100)], "1200 needs a customer's account"),
        ([Leg(chart.CASH, 100), Leg("9999", -100)], "not in the chart of accounts: 9999"),
    ],
)
def test_legs_that_make_no_entry_are_refused(legs: list[Leg], says: str) -> None:
    with pytest.raises(Refused, match=says):
        post("test", DAY, legs, key="k")
    assert not JournalEntry.objects.exists()


def test_income_takes_no_customer() -> None:
    payer = account()
    legs = [Leg(chart.RECEIVABLES, 100, account=payer.pk), Leg(chart.WATER, -100, account=payer.pk)]
    with pytest.raises(Refused, match="4100 takes no customer's account"):
        post("test", DAY, legs, key="k")


def test_many_are_posted_in_a_number_of_queries_that_does_not_grow(django_assert_max_num_queries: object) -> None:
    payers = [account(f"{n:05}") for n in range(30)]
    entries = [NewEntry("bill", DAY, bill_legs(payer, water=100 + payer.pk), f"bill:{payer.pk}") for payer in payers]
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        made = post_many(entries)
    assert [row.key for row in made] == [entry.key for entry in entries]
    assert post_many(entries) == made
    assert balances([payer.pk for payer in payers]) == {payer.pk: 100 + payer.pk for payer in payers}


def test_many_are_posted_all_or_none() -> None:
    payer = account()
    good = NewEntry("bill", DAY, bill_legs(payer, water=100), "bill:1")
    with pytest.raises(Refused, match="9999"):
        post_many([good, NewEntry("bill", DAY, [Leg(chart.CASH, 1), Leg("9999", -1)], "bill:2")])
    assert not JournalEntry.objects.exists()
    with pytest.raises(Refused, match="posted twice in one go: bill:1"):
        post_many([good, good])


def test_a_reversal_mirrors_every_leg_and_happens_once() -> None:
    payer = account()
    entry = post("bill", DAY, bill_legs(payer, water=4500, sewer=1200), key="bill:1")
    made = reverse(entry, key="cancel:1", reason="wrong  meter", on=date(2026, 2, 1))
    assert made.date == DAY, "never before what it takes back"
    assert made.memo == "wrong meter"
    legs = Posting.objects.filter(entry=made).values_list("ledger_account__code", "amount_cents", "service", "due_on")
    assert set(legs) == {
        ("1200", -4500, "water", DUE),
        ("1200", -1200, "sewer", DUE),
        ("4100", 4500, "water", None),
        ("4200", 1200, "sewer", None),
    }
    assert balance_cents(payer) == 0
    assert reverse(entry, key="cancel:1", reason="wrong meter").pk == made.pk
    assert AuditEntry.objects.filter(action="ledger.reversed").count() == 1
    with pytest.raises(Refused, match="was reversed on"):
        reverse(entry, key="cancel:2", reason="again")
    with pytest.raises(Refused, match="is a reversal"):
        reverse(made, key="cancel:3", reason="undo")
    with pytest.raises(Refused, match="say why"):
        reverse(entry, key="cancel:1", reason="  ")


def test_a_balance_is_that_of_a_day() -> None:
    payer = account()
    post("bill", DAY, bill_legs(payer, water=4500), key="bill:1")
    post(
        "payment",
        date(2026, 3, 9),
        [Leg(chart.CASH, 4000), Leg(chart.RECEIVABLES, -4000, account=payer.pk)],
        key="payment:1",
    )
    assert [balance_cents(payer, date(2026, 3, day)) for day in (1, 2, 8, 9)] == [0, 4500, 4500, 500]
    assert balances([payer.pk], on=date(2026, 3, 8)) == {payer.pk: 4500}
    assert balances([payer.pk, 10**9]) == {payer.pk: 500, 10**9: 0}


def test_receivables_are_one_leg_a_service() -> None:
    assert receivable_legs(7, {"water": 10, "sewer": 5, "free": 0}, due_on=DUE) == [
        Leg("1200", 5, 7, "sewer", DUE),
        Leg("1200", 10, 7, "water", DUE),
    ]


def test_the_chart_is_there_and_comes_back() -> None:
    assert set(LedgerAccount.objects.values_list("code", flat=True)) >= {code for code, _, _ in chart.CHART}
    LedgerAccount.objects.filter(code=chart.WATER).delete()
    post("bill", DAY, bill_legs(account(), water=1), key="bill:1")
    assert LedgerAccount.objects.get(code=chart.WATER).name == "Water"

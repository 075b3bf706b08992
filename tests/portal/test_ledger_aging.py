"""Aging worked by hand, and compared with a slow second opinion; payments over the counter."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, timedelta

import pytest

from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.ledger import chart
from portal.ledger.models import JournalEntry
from portal.ledger.services import (
    Ages,
    Leg,
    OpenItem,
    aging,
    balance_cents,
    balances,
    open_items,
    post,
    record_payment,
    return_payment,
    reverse,
)
from tests.portal.testing_ledger import account, bill_legs

pytestmark = pytest.mark.django_db

JANUARY, FEBRUARY, MARCH = date(2026, 1, 20), date(2026, 2, 20), date(2026, 3, 20)


def bills() -> int:
    """Three bills of 100.00 water and 40.00 sewer, due on the 20th of three months; 190.00 paid on 1 March."""
    payer = account()
    for month, due in enumerate((JANUARY, FEBRUARY, MARCH), 1):
        legs = bill_legs(payer, water=10_000, sewer=4_000, due_on=due)
        post("bill", date(2026, month, 1), legs, key=f"bill:{month}")
    record_payment(payer, 19_000, method="check", received_on=date(2026, 3, 1), reference="1042")
    return payer.pk


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2025, 12, 31), None),
        (date(2026, 1, 1), Ages(current_cents=14_000)),
        (date(2026, 1, 20), Ages(current_cents=14_000)),
        (date(2026, 1, 21), Ages(to_30_cents=14_000)),
        # 140.00 since 20 January (39 days) and 140.00 since 20 February (8 days), before the payment.
        (date(2026, 2, 28), Ages(to_30_cents=14_000, to_60_cents=14_000)),
        # 190.00 pays January whole and 50.00 of February: 90.00 stay past due, March is not due yet.
        (date(2026, 3, 1), Ages(current_cents=14_000, to_30_cents=9_000)),
        (date(2026, 4, 19), Ages(to_30_cents=14_000, to_60_cents=9_000)),
        (date(2026, 5, 21), Ages(to_90_cents=14_000 + 9_000)),
        (date(2026, 5, 22), Ages(to_90_cents=14_000, over_90_cents=9_000)),
    ],
)
def test_ages_by_hand(on: date, expected: Ages | None) -> None:
    payer = bills()
    found = aging(on)
    assert found.accounts == ({} if expected is None else {payer: expected})
    assert found.total == (expected or Ages())
    assert found.total.balance_cents == balances([payer], on=on)[payer]


def test_a_payment_pays_in_the_order_of_services() -> None:
    payer = bills()
    on = date(2026, 3, 1)
    assert open_items(on, service_order=["sewer", "water"])[:2] == [
        OpenItem(payer, FEBRUARY, "water", 9_000),
        OpenItem(payer, MARCH, "sewer", 4_000),
    ]
    assert open_items(on, service_order=["water"])[:2] == [
        OpenItem(payer, FEBRUARY, "water", 5_000),
        OpenItem(payer, FEBRUARY, "sewer", 4_000),
    ]


def test_credit_is_shown_as_credit() -> None:
    payer = account()
    record_payment(payer, 5_000, method="cash", received_on=JANUARY, reference="r1")
    assert aging(JANUARY).accounts == {payer.pk: Ages(credit_cents=5_000)}
    post("bill", FEBRUARY, bill_legs(payer, water=3_000, due_on=MARCH), key="bill:1")
    assert aging(FEBRUARY).accounts == {payer.pk: Ages(credit_cents=2_000)}
    assert aging(FEBRUARY).total.balance_cents == -2_000


def test_a_returned_payment_leaves_the_bill_as_old_as_it_was() -> None:
    payer = bills()
    payment = JournalEntry.objects.get(kind="payment")
    return_payment(payment, reason="no funds", on=date(2026, 3, 9))
    assert aging(date(2026, 3, 8)).accounts[payer].to_60_cents == 0
    assert aging(date(2026, 3, 9)).accounts[payer] == Ages(current_cents=14_000, to_30_cents=14_000, to_60_cents=14_000)


def test_only_the_accounts_that_are_asked_for() -> None:
    payer = bills()
    other = account("other")
    post("bill", MARCH, bill_legs(other, water=100), key="bill:other")
    assert set(aging(MARCH, accounts=[other.pk]).accounts) == {other.pk}
    assert set(aging(MARCH).accounts) == {payer, other.pk}


def slow_ages(on: date, entries: list[tuple[date, date | None, list[tuple[date, int]]]]) -> Ages:
    """The same by plain arithmetic: entries as (day, day of reversal, [(due, cents)])."""
    debits: defaultdict[date, int] = defaultdict(int)
    credit = 0
    for day, reversed_on, legs in entries:
        if day > on or (reversed_on is not None and reversed_on <= on):
            continue
        for due, cents in legs:
            if cents > 0:
                debits[due] += cents
            else:
                credit -= cents
    buckets: defaultdict[str, int] = defaultdict(int)
    for due in sorted(debits):
        paid = min(credit, debits[due])
        credit -= paid
        late = (on - due).days
        name = ["current", "to_30", "to_60", "to_90", "over_90"][0 if late <= 0 else min(4, 1 + (late - 1) // 30)]
        buckets[f"{name}_cents"] += debits[due] - paid
    return Ages(**buckets, credit_cents=credit)


@pytest.mark.parametrize("seed", range(4))
def test_ages_agree_with_a_second_opinion(seed: int) -> None:
    chance, payer = random.Random(seed), account()
    start, known = date(2026, 1, 1), []
    for number in range(40):
        day = start + timedelta(days=chance.randrange(200))
        if chance.random() < 0.5:
            due = day + timedelta(days=20)
            parts = [(due, chance.randrange(1, 9_000)), (due, chance.choice([-300, 700]))]
            legs = [
                Leg(chart.RECEIVABLES, cents, payer.pk, service, due)
                for (due, cents), service in zip(parts, ("water", "sewer"), strict=True)
            ]
            total = sum(cents for _, cents in parts)
            legs.append(Leg(chart.WATER, -total))
            if not total:
                continue
        else:
            cents = chance.randrange(1, 12_000)
            parts, legs = [(day, -cents)], [Leg(chart.CASH, cents), Leg(chart.RECEIVABLES, -cents, payer.pk)]
        entry = post("test", day, legs, key=f"k{number}")
        back = day + timedelta(days=chance.randrange(40)) if chance.random() < 0.25 else None
        if back:
            reverse(entry, key=f"r{number}", reason="test", on=back)
        known.append((day, back, parts))
    for _ in range(25):
        on = start + timedelta(days=chance.randrange(330))
        assert aging(on).accounts.get(payer.pk, Ages()) == slow_ages(on, known), (seed, on)


# -- payments over the counter


def test_a_payment_is_recorded_once_for_its_reference() -> None:
    payer = account()
    first = record_payment(payer, 4_000, method="check", received_on=JANUARY, reference=" 10  42 ")
    assert first.key == f"payment:check:{payer.public_id}:10 42"
    assert record_payment(payer, 4_000, method="check", received_on=JANUARY, reference="10 42").pk == first.pk
    assert balance_cents(payer) == -4_000
    assert AuditEntry.objects.filter(action="payment.recorded").count() == 1
    with pytest.raises(Refused, match="other legs"):
        record_payment(payer, 4_001, method="check", received_on=JANUARY, reference="10 42")


def test_the_same_amount_again_must_be_confirmed() -> None:
    payer = account()
    first = record_payment(payer, 4_000, method="check", received_on=JANUARY, reference="1")
    with pytest.raises(Refused, match="same amount was posted within 24 hours") as refused:
        record_payment(payer, 4_000, method="cash", received_on=JANUARY, reference="2")
    assert refused.value.code == "duplicate"
    assert balance_cents(payer) == -4_000
    record_payment(account("other"), 4_000, method="cash", received_on=JANUARY, reference="2")
    record_payment(payer, 4_000, method="cash", received_on=JANUARY, reference="2", confirmed=True)
    assert balance_cents(payer) == -8_000
    return_payment(first, reason="no funds")
    third = JournalEntry.objects.get(key=f"payment:cash:{payer.public_id}:2")
    return_payment(third, reason="no funds")
    record_payment(payer, 4_000, method="cash", received_on=JANUARY, reference="3")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount_cents": 0}, "amount"),
        ({"amount_cents": -5}, "amount"),
        ({"method": "barter"}, "method"),
        ({"received_on": date(2999, 1, 1)}, "day"),
        ({"reference": "  "}, "reference"),
    ],
)
def test_payments_that_are_refused(change: dict[str, object], code: str) -> None:
    wanted = {"amount_cents": 100, "method": "cash", "received_on": JANUARY, "reference": "1", **change}
    with pytest.raises(Refused) as refused:
        record_payment(account(), **wanted)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_only_payments_are_returned() -> None:
    payer = account()
    entry = post("bill", JANUARY, bill_legs(payer, water=100), key="bill:1")
    with pytest.raises(Refused, match="not a payment"):
        return_payment(entry, reason="no funds")

"""Adjustments: evidence, the leak rule's arithmetic, a second person, posted once."""

from __future__ import annotations

from datetime import date
from fractions import Fraction

import pytest
from django.db import IntegrityError, transaction

from portal.billing import adjustments
from portal.billing.auditing import audit_all
from portal.billing.models import Adjustment, Bill, Charge
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User
from portal.ledger.models import JournalEntry
from portal.ledger.services import aging, balance_cents, reverse, today
from rates.policies import LeakAdjustment
from tests.portal.bills import DraftLine, all_lines, make_account, make_bill

pytestmark = pytest.mark.django_db

RULE = LeakAdjustment()
WORDS = {"reason": "A toilet leaked for two weeks", "evidence": "Plumber's bill no. 88 of 12 May, photo in the file"}
NORMAL = Fraction(200)


@pytest.fixture
def clerk() -> User:
    return User.objects.create_user("clerk@example.org", is_staff=True)


@pytest.fixture
def chief() -> User:
    return User.objects.create_user("chief@example.org", is_staff=True)


def leak_bill(*, before: int = 4, usual: int = 6_000, used: int = 26_000) -> Bill:
    """Four usual months, then one with a leak: May 2026, 31 days."""
    payer = make_account()
    for month in range(5 - before, 5):
        make_bill(payer, units=usual, period_start=date(2026, month, 1), period_end=date(2026, month + 1, 1))
    return make_bill(payer, units=used)


def ask(bill: Bill, by: User, rule: LeakAdjustment | None = RULE, **changes: object) -> Adjustment:
    wanted: dict[str, object] = {"proof_of_repair": True, "daily_units_now": NORMAL, "by": by, **WORDS, **changes}
    return adjustments.request_leak(bill, rule, **wanted)  # type: ignore[arg-type]


def test_the_leak_rule_by_hand(clerk: User) -> None:
    """26,000 gal in 31 days; before that 24,000 in 120 days, so 6,200 in 31: excess 19,800, half of it 9,900 credited.

    Off the top: 6,000 over 20,000 gal at 9.51, 3,900 at 6.75: 57.06 + 26.325 = 83.385, half up 83.39.
    """
    bill = leak_bill()
    made = ask(bill, clerk)
    assert made.amount_cents == -8339
    assert made.calculation["average_units"] == "6200"
    assert made.calculation["credit_units"] == 9_900
    assert [(line["code"], line["units"]) for line in made.calculation["taken"]] == [
        ("tier-4", "6000"),
        ("tier-3", "3900"),
    ]
    assert len(made.calculation["basis"]) == 4
    assert not JournalEntry.objects.filter(kind="adjustment").exists(), "nothing counts before it is approved"


def test_sewer_too_when_the_water_did_not_reach_it(clerk: User) -> None:
    """Sewer counted 6,000 of 26,000 gal: 9,900 of use are 6,000 * 9,900 / 26,000 = 2,284.6 gal at 2.70, 6.17."""
    assert ask(leak_bill(), clerk, sewer=True).amount_cents == -(8339 + 617)


def test_a_surcharge_comes_off_as_well(clerk: User) -> None:
    payer = make_account()
    for month in range(2, 5):
        make_bill(payer, units=6_000, period_start=date(2026, month, 1), period_end=date(2026, month + 1, 1))
    surcharge = DraftLine(
        "water", "summer", "surcharge", {"en": "Summer"}, 210, quantity="6000", price="0.35", per="1000"
    )
    bill = make_bill(payer, units=26_000, lines=[*all_lines(26_000), surcharge])
    made = ask(bill, clerk)
    # 18,000 in 89 days is 6,269 2/3... in 31: excess 19,730.3, half 9,865.2, rounded up for the customer.
    assert made.calculation["credit_units"] == 9_866
    assert made.amount_cents == -round(6_000 * 0.951 + 3_866 * 0.675 + 6_000 * 0.035)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"proof_of_repair": False}, "proof"),
        ({"daily_units_now": None}, "not-normal"),
        ({"daily_units_now": Fraction(251)}, "not-normal"),
        ({"rule": None}, "policy"),
        ({"rule": LeakAdjustment(excess_percent=Fraction(1000))}, "nothing"),
        ({"reason": "leak"}, "reason"),
        ({"evidence": " "}, "evidence"),
    ],
)
def test_what_the_rule_refuses(clerk: User, changes: dict[str, object], code: str) -> None:
    with pytest.raises(Refused) as refused:
        ask(leak_bill(), clerk, **changes)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert not Adjustment.objects.exists()


def test_without_history_nobody_knows_what_is_usual(clerk: User) -> None:
    with pytest.raises(Refused, match="needs 3 bills before this one; there are 2"):
        ask(leak_bill(before=2), clerk)


def test_back_to_normal_is_a_quarter_above_average(clerk: User) -> None:
    assert ask(leak_bill(), clerk, daily_units_now=Fraction(250)).amount_cents == -8339


def test_approval_posts_once_and_at_once(clerk: User, chief: User) -> None:
    bill = leak_bill()
    before = balance_cents(bill.account)
    row = ask(bill, clerk)
    adjustments.approve(row, by=chief, rule=RULE)
    adjustments.approve(row, by=chief, rule=RULE)
    assert balance_cents(bill.account) == before - 8339
    entry = JournalEntry.objects.get(kind="adjustment")
    assert entry.key == f"adjustment:{row.public_id}"
    assert entry.actor == chief
    assert aging(today()).total.balance_cents == before - 8339
    assert not Charge.objects.exists(), "no line of the next bill: it is inside the balance before"
    assert audit_all() == []
    actions = AuditEntry.objects.filter(target_id=bill.account.public_id, action__startswith="adjustment")
    told = actions.values_list("action", "actor__email")
    assert set(told) == {("adjustment.requested", clerk.email), ("adjustment.approved", chief.email)}


def test_who_asked_does_not_decide(clerk: User, chief: User) -> None:
    row = ask(leak_bill(), clerk)
    for decide in (
        lambda: adjustments.approve(row, by=clerk),
        lambda: adjustments.reject(row, by=clerk, decision="I changed my mind"),
    ):
        with pytest.raises(Refused) as refused:
            decide()
        assert refused.value.code == "second-person"
    assert not adjustments.may_decide(row, clerk)
    assert adjustments.may_decide(row, chief)
    with pytest.raises(IntegrityError), transaction.atomic():
        Adjustment.objects.filter(pk=row.pk).update(state="approved", decided_by=clerk, decided_at=row.requested_at)
    resident = User.objects.create_user("r@example.org")
    with pytest.raises(Refused, match="Only staff"):
        adjustments.approve(row, by=resident)


def test_a_rejection_says_why_and_posts_nothing(clerk: User, chief: User) -> None:
    bill = leak_bill()
    before = balance_cents(bill.account)
    row = ask(bill, clerk)
    with pytest.raises(Refused, match="why it is rejected"):
        adjustments.reject(row, by=chief, decision="no")
    adjustments.reject(row, by=chief, decision="The receipt is for another house")
    with pytest.raises(Refused, match="decided already"):
        adjustments.approve(row, by=chief)
    assert balance_cents(bill.account) == before
    assert audit_all() == []
    assert ask(bill, clerk).amount_cents == -8339, "after a rejection it may be asked for again"


def test_a_bill_is_adjusted_for_a_leak_once(clerk: User) -> None:
    bill = leak_bill()
    ask(bill, clerk)
    with pytest.raises(Refused) as refused:
        ask(bill, clerk)
    assert refused.value.code == "again"


def test_once_in_twelve_months(clerk: User, chief: User) -> None:
    bill = leak_bill()
    adjustments.approve(ask(bill, clerk), by=chief, rule=RULE)
    make_bill(bill.account, units=6_000)
    later = make_bill(bill.account, units=30_000)
    with pytest.raises(Refused) as refused:
        ask(later, clerk)
    assert refused.value.code == "too-often"
    assert ask(later, clerk, LeakAdjustment(every_months=-1)).amount_cents < 0


def test_two_bills_of_one_leak_when_the_rule_has_them(clerk: User, chief: User) -> None:
    bill = leak_bill()
    following = make_bill(bill.account, units=30_000)
    adjustments.approve(ask(bill, clerk), by=chief, rule=RULE)
    with pytest.raises(Refused, match="does not allow another one yet"):
        ask(following, clerk)
    two = LeakAdjustment(bills_max=2)
    assert ask(following, clerk, two).amount_cents < 0
    third = make_bill(bill.account, units=30_000)
    with pytest.raises(Refused, match="does not allow another one yet"):
        adjustments.approve(ask(third, clerk, two), by=chief, rule=RULE)


def test_two_that_were_asked_for_at_once_are_not_both_approved(clerk: User, chief: User) -> None:
    bill = leak_bill()
    make_bill(bill.account, units=6_000)
    later = make_bill(bill.account, units=30_000)
    first, second = ask(bill, clerk), ask(later, clerk)
    adjustments.approve(first, by=chief, rule=RULE)
    with pytest.raises(Refused) as refused:
        adjustments.approve(second, by=chief, rule=RULE)
    assert refused.value.code == "too-often"


def test_a_cancelled_bill_is_not_adjusted(clerk: User, chief: User) -> None:
    bill = leak_bill()
    row = ask(bill, clerk)
    assert bill.entry is not None
    reverse(bill.entry, key=f"bill:{bill.public_id}:reversed", reason="wrong meter")
    Bill.objects.filter(pk=bill.pk).update(state="cancelled")
    with pytest.raises(Refused, match="cancelled in the meantime"):
        adjustments.approve(row, by=chief)


def test_goodwill_is_no_more_than_the_bill(clerk: User, chief: User) -> None:
    bill = make_bill()
    wanted = {"policy": "goodwill", "by": clerk, "bill": bill, **WORDS}
    with pytest.raises(Refused, match="more than the bill"):
        adjustments.request(bill.account, amount_cents=-bill.charges_cents - 1, **wanted)  # type: ignore[arg-type]
    row = adjustments.request(bill.account, amount_cents=-bill.charges_cents, **wanted)  # type: ignore[arg-type]
    adjustments.approve(row, by=chief)
    assert balance_cents(bill.account) == 0
    charge = adjustments.request(bill.account, policy="read-error", amount_cents=500, by=clerk, **WORDS)
    adjustments.approve(charge, by=chief)
    assert aging(today()).accounts[bill.account.pk].current_cents == 500, "a charge is not past due the day it is made"

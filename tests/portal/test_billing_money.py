"""Budget plans, deposits, fees, grace, returned payments: each rule by hand, nothing charged twice."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import pytest

from portal.billing import budget, deposits, fees
from portal.billing.auditing import audit_all
from portal.billing.lateness import late_bills
from portal.billing.models import Bill, BillLine, BudgetPlan, Charge, Deposit, OutageGrace
from portal.billing.nightly import daily_money
from portal.billing.posting import legs_of, service_cents
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.models import JournalEntry
from portal.ledger.services import balance_cents, balances, post, record_payment
from rates.policies import BudgetBilling, LateFee, Policies, ReturnedPayment
from rates.policies import Deposit as DepositRule
from tests.portal.bills import DraftLine, make_account, make_bill, pay

pytestmark = pytest.mark.django_db

LATE = Policies(late_fee=LateFee(Fraction(10), minimum_cents=500, threshold_cents=2_500, after_days=3))


def flat(cents: int) -> list[DraftLine]:
    return [DraftLine("water", "base", "fixed", {"en": "Water"}, cents)]


def year(payer: Account, cents: int = 6_000) -> None:
    """Twelve bills, January to December 2025, each one 1.00 more than the one before."""
    for month in range(12):
        make_bill(
            payer,
            lines=flat(cents + 100 * month),
            period_start=date(2025, month + 1, 1),
            period_end=date(2025 + (month == 11), (month + 1) % 12 + 1, 1),
        )


def charge_to(bill: Bill, charge: Charge) -> None:
    """Put a waiting charge on a draft."""
    line = BillLine.objects.create(
        bill=bill,
        position=90 + bill.lines.count(),
        service=charge.service,
        code=charge.code,
        kind=charge.kind,
        amount_cents=charge.amount_cents,
    )
    charge.line = line
    charge.save()
    bill.charges_cents += charge.amount_cents
    bill.save()


def issue(bill: Bill) -> Bill:
    """What bills.issue does with the ledger."""
    due = budget.due_for(bill)
    legs = legs_of(bill.account_id, bill.lines.all(), due_on=bill.due_date, budget=due)
    bill.entry = post("bill", bill.bill_date, legs, key=f"bill:{bill.public_id}")
    bill.number, bill.state, bill.issued_at = f"n{bill.pk}", "issued", bill.calculated_at
    bill.due_cents = bill.charges_cents
    bill.save()
    return bill


# -- budget plans


def test_a_plan_is_a_twelfth_of_a_year_by_the_rule() -> None:
    payer = make_account()
    year(payer)
    plan = budget.start_plan(payer, BudgetBilling(factor=Fraction("1.05")), start=date(2026, 1, 1))
    assert plan.amount_cents == round((12 * 6_000 + 100 * 66) * 1.05 / 12) == 6_878
    assert len(plan.basis) == 12
    assert plan.settle_on == date(2027, 1, 1)
    with pytest.raises(Refused, match="already"):
        budget.start_plan(payer, BudgetBilling(), start=date(2026, 1, 1))
    assert set(budget.plans_of([payer.pk])) == {payer.pk}


def test_a_plan_needs_a_year() -> None:
    payer = make_account()
    make_bill(payer)
    with pytest.raises(Refused, match="needs 12 months of bills; there are 1"):
        budget.start_plan(payer, BudgetBilling(), start=date(2026, 7, 1))


def test_a_year_on_a_plan_comes_to_what_was_used() -> None:
    """Eleven months at the plan's amount, then everything: what was asked for equals what was used, to the cent."""
    payer = make_account()
    year(payer)
    rule = BudgetBilling(divisor=11, settle_month=12)
    plan = budget.start_plan(payer, rule, start=date(2026, 1, 1))
    before = balance_cents(payer)
    used = [5_000 + 517 * month for month in range(12)]
    asked = []
    for month, cents in enumerate(used):
        draft = make_bill(
            payer,
            issued=False,
            lines=flat(cents),
            period_start=date(2026, month + 1, 1),
            period_end=date(2026 + (month == 11), (month + 1) % 12 + 1, 1),
        )
        owed = balance_cents(payer)
        issue(draft)
        asked.append(balance_cents(payer) - owed)
    # The bill for November is dated 3 December: the settle month. The one after it has nothing left to settle.
    assert asked[:10] == [plan.amount_cents] * 10
    assert asked[10] == sum(used[:11]) - 10 * plan.amount_cents
    assert asked[11] == used[11]
    assert balance_cents(payer) - before == sum(used)
    assert balances([payer.pk], code=chart.BUDGET_DEFERRED) == {payer.pk: 0}
    assert audit_all() == []
    assert budget.close_settled(date(2026, 12, 5)) == [plan]
    assert BudgetPlan.objects.get().end_reason == "settled"
    assert budget.close_settled(date(2026, 12, 6)) == []


def test_fees_are_paid_beside_the_plan() -> None:
    payer = make_account()
    year(payer)
    plan = budget.start_plan(payer, BudgetBilling(), start=date(2026, 1, 1))
    draft = make_bill(
        payer, issued=False, lines=flat(9_999), period_start=date(2026, 1, 1), period_end=date(2026, 2, 1)
    )
    charge_to(
        draft,
        fees.charge_fee(
            payer, "connection", about="a", on=date(2026, 1, 5), rules=Policies(fees={"connection": 1_000})
        ),
    )
    owed = balance_cents(payer)
    issue(draft)
    assert balance_cents(payer) - owed == plan.amount_cents + 1_000
    assert service_cents(draft.lines.all()) == 9_999
    assert audit_all() == []


def test_an_ended_plan_is_settled_on_the_next_bill() -> None:
    payer = make_account()
    year(payer)
    plan = budget.start_plan(payer, BudgetBilling(), start=date(2026, 1, 1))
    issue(
        make_bill(payer, issued=False, lines=flat(10_000), period_start=date(2026, 1, 1), period_end=date(2026, 2, 1))
    )
    deferred = 10_000 - plan.amount_cents
    assert balances([payer.pk], code=chart.BUDGET_DEFERRED) == {payer.pk: deferred}
    budget.end_plan(plan, reason="asked for by phone")
    budget.end_plan(plan, reason="asked for by phone")
    assert AuditEntry.objects.filter(action="budget.ended").count() == 1
    draft = make_bill(
        payer, issued=False, lines=flat(4_000), period_start=date(2026, 2, 1), period_end=date(2026, 3, 1)
    )
    due = budget.due_for(draft)
    assert due is not None
    assert due.settles
    assert due.receivable_cents(4_000) == 4_000 + deferred
    issue(draft)
    assert budget.due_for(draft) is None


def test_a_final_bill_settles() -> None:
    payer = make_account()
    year(payer)
    budget.start_plan(payer, BudgetBilling(), start=date(2026, 1, 1))
    draft = make_bill(payer, issued=False, kind="final", period_start=date(2026, 1, 1), period_end=date(2026, 1, 10))
    due = budget.due_for(draft)
    assert due is not None
    assert due.settles


def test_two_late_payments_end_a_plan() -> None:
    payer = make_account()
    year(payer)
    pay(payer, balance_cents(payer), date(2026, 1, 4))
    plan = budget.start_plan(payer, BudgetBilling(), start=date(2026, 1, 5))
    for month in (1, 2, 3):
        bill = make_bill(
            payer, lines=flat(6_000), period_start=date(2026, month, 1), period_end=date(2026, month + 1, 1)
        )
        # January on the day, February and March a day late.
        pay(payer, 6_000, bill.due_date + timedelta(days=month > 1))
    late = late_bills(payer, since=plan.start, until=date(2026, 5, 1))
    assert [bill.period_start.month for bill in late] == [2, 3]
    assert budget.remove_late(date(2026, 4, 20)) == []
    assert budget.remove_late(date(2026, 5, 1)) == [plan]
    assert "paid late" in BudgetPlan.objects.get().end_reason


def test_plans_of_many_take_few_queries(django_assert_max_num_queries: object) -> None:
    payers = [make_account() for _ in range(12)]
    with django_assert_max_num_queries(2):  # type: ignore[operator]
        assert budget.states([payer.pk for payer in payers], date(2026, 1, 1)) == {}


# -- deposits


def test_a_deposit_over_the_counter_and_back() -> None:
    payer = make_account()
    made = deposits.take(payer, 7_500, on=date(2026, 5, 1), method="check", reference="77")
    assert deposits.take(payer, 7_500, on=date(2026, 5, 1), method="check", reference="77") == made
    assert balances([payer.pk], code=chart.DEPOSITS) == {payer.pk: -7_500}
    assert balance_cents(payer) == 0, "a deposit is no payment"
    make_bill(payer, lines=flat(3_000))
    deposits.give_back(made, on=date(2026, 9, 1), pay_out=True)
    deposits.give_back(made, on=date(2026, 9, 2), pay_out=True)
    assert balance_cents(payer) == 0
    entry = JournalEntry.objects.get(kind="deposit-return")
    legs = dict(entry.postings.values_list("ledger_account__code", "amount_cents"))
    assert legs == {"2200": 7_500, "1200": -3_000, "1000": -4_500}
    assert audit_all() == []


def test_a_deposit_may_go_on_the_final_bill() -> None:
    payer = make_account()
    made = deposits.take(payer, 7_500, on=date(2026, 5, 1), method="cash", reference="77")
    deposits.give_back(made, on=date(2026, 9, 1), pay_out=False)
    assert balance_cents(payer) == -7_500
    make_bill(payer, lines=flat(9_000), kind="final")
    assert balance_cents(payer) == 1_500


def test_arrears_above_the_deposit_stay_owed() -> None:
    payer = make_account()
    made = deposits.take(payer, 3_000, on=date(2026, 5, 1), method="cash", reference="77")
    make_bill(payer, lines=flat(9_000))
    deposits.give_back(made, on=date(2026, 9, 1), pay_out=True)
    assert balance_cents(payer) == 6_000
    assert not JournalEntry.objects.get(kind="deposit-return").postings.filter(ledger_account__code="1000").exists()


def test_a_deposit_on_the_first_bill() -> None:
    payer = make_account()
    rule = DepositRule({"residential": 5_000})
    made = deposits.put_on_bill(payer, "residential", rule, on=date(2026, 5, 1))
    assert deposits.put_on_bill(payer, "residential", rule, on=date(2026, 5, 2)) == made
    assert not deposits.held(made)
    assert audit_all() == []
    draft = make_bill(payer, issued=False, lines=flat(3_000))
    charge_to(draft, Charge.objects.get())
    issue(draft)
    assert deposits.held(made)
    assert balance_cents(payer) == 8_000
    assert balances([payer.pk], code=chart.DEPOSITS) == {payer.pk: -5_000}
    assert audit_all() == []
    pay(payer, 8_000, date(2026, 6, 10))
    deposits.give_back(made, on=date(2026, 9, 1), pay_out=True)
    assert balances([payer.pk], code=chart.DEPOSITS) == {payer.pk: 0}
    assert audit_all() == []
    with pytest.raises(Refused, match="no deposit of this class"):
        deposits.put_on_bill(payer, "fire", rule, on=date(2026, 5, 1))


def test_a_deposit_never_billed_is_waived() -> None:
    payer = make_account()
    made = deposits.put_on_bill(payer, "residential", DepositRule({"residential": 5_000}), on=date(2026, 5, 1))
    deposits.give_back(made, on=date(2026, 5, 3), pay_out=True)
    assert Charge.objects.get().waived_at is not None
    assert not JournalEntry.objects.exists()
    assert audit_all() == []


def test_good_payers_get_it_back_early() -> None:
    payer = make_account()
    made = deposits.take(payer, 3_000, on=date(2025, 5, 15), method="cash", reference="77")
    rule = DepositRule(refund_after_months=12, late_max=0)
    assert not deposits.earned_back(made, rule, on=date(2026, 5, 14))
    assert deposits.earned_back(made, rule, on=date(2026, 5, 15))
    bill = make_bill(payer, lines=flat(3_000), period_start=date(2026, 1, 1), period_end=date(2026, 2, 1))
    pay(payer, 3_000, bill.due_date + timedelta(days=1))
    assert not deposits.earned_back(made, rule, on=date(2026, 5, 15))
    assert deposits.earned_back(made, DepositRule(refund_after_months=12, late_max=1), on=date(2026, 5, 15))
    assert not deposits.earned_back(made, DepositRule(), on=date(2036, 5, 15))


@pytest.mark.parametrize(
    ("change", "code"), [({"amount_cents": 0}, "amount"), ({"method": "x"}, "method"), ({"reference": ""}, "reference")]
)
def test_deposits_that_are_refused(change: dict[str, object], code: str) -> None:
    wanted = {"amount_cents": 100, "on": date(2026, 5, 1), "method": "cash", "reference": "1", **change}
    with pytest.raises(Refused) as refused:
        deposits.take(make_account(), **wanted)  # type: ignore[arg-type]
    assert refused.value.code == code
    assert not Deposit.objects.exists()


# -- fees


def late_bill(cents: int = 9_000) -> Bill:
    return make_bill(lines=flat(cents))


def test_a_late_fee_once_for_a_bill_after_its_days() -> None:
    bill = late_bill()
    day = bill.due_date + timedelta(days=3)
    assert fees.charge_late_fees(day - timedelta(days=1), LATE) == []
    [fee] = fees.charge_late_fees(day, LATE)
    assert (fee.key, fee.amount_cents, fee.on) == (f"late-fee:{bill.public_id}", 900, day)
    assert fees.charge_late_fees(day, LATE) == []
    assert fees.charge_late_fees(day + timedelta(days=30), LATE) == []
    assert Charge.objects.count() == 1
    assert fees.charge_late_fees(day, Policies()) == []


def test_only_what_is_unpaid_and_never_late_fees() -> None:
    bill = late_bill(9_000)
    pay(bill.account, 4_000, bill.due_date)
    [fee] = fees.charge_late_fees(bill.due_date + timedelta(days=3), LATE)
    assert fee.amount_cents == 500, "10 % of 50.00 is the minimum too"
    draft = make_bill(bill.account, issued=False, lines=flat(6_000))
    charge_to(draft, fee)
    issue(draft)
    [second] = fees.charge_late_fees(draft.due_date + timedelta(days=3), LATE)
    assert second.key == f"late-fee:{draft.public_id}"
    assert second.amount_cents == 600, "on 60.00 of water, not on the 5.00 of the late fee"


def test_little_owed_costs_nothing() -> None:
    bill = late_bill(2_499)
    assert fees.charge_late_fees(bill.due_date + timedelta(days=3), LATE) == []
    paid = late_bill(9_000)
    pay(paid.account, 9_000, paid.due_date + timedelta(days=2))
    assert fees.charge_late_fees(paid.due_date + timedelta(days=3), LATE) == []


def test_a_bill_of_long_ago_is_left_alone() -> None:
    bill = late_bill()
    assert fees.charge_late_fees(bill.due_date + timedelta(days=fees.LOOK_BACK_DAYS + 1), LATE) == []


def test_an_outage_holds_late_fees() -> None:
    bill = late_bill()
    due = bill.due_date
    grace = fees.start_grace(reason="the processor is down", start=due - timedelta(days=1))
    assert fees.start_grace(reason="again") == grace
    assert fees.charge_late_fees(due + timedelta(days=10), LATE) == []
    fees.end_grace(grace, end=due + timedelta(days=10))
    fees.end_grace(grace, end=due + timedelta(days=11))
    assert OutageGrace.objects.get().end == due + timedelta(days=10)
    assert fees.charge_late_fees(due + timedelta(days=12), LATE) == [], "three days to pay after it ended"
    assert len(fees.charge_late_fees(due + timedelta(days=13), LATE)) == 1
    assert set(AuditEntry.objects.filter(action__startswith="grace").values_list("action", flat=True)) == {
        "grace.started",
        "grace.ended",
    }
    with pytest.raises(Refused, match="Say why"):
        fees.start_grace(reason=" ")


def test_an_outage_before_or_after_holds_nothing() -> None:
    bill = late_bill()
    for start, end in ((-20, -10), (4, 9)):
        OutageGrace.objects.create(
            start=bill.due_date + timedelta(days=start), end=bill.due_date + timedelta(days=end), reason="x"
        )
    assert len(fees.charge_late_fees(bill.due_date + timedelta(days=3), LATE)) == 1


def test_fees_of_the_rate_file_once_each() -> None:
    payer = make_account()
    rules = Policies(fees={"transfer": 2_000}, fee_labels={"transfer": {"en": "Moving", "es": "Traslado"}})
    made = fees.charge_fee(payer, "transfer", about="agreement1", on=date(2026, 5, 1), rules=rules)
    assert fees.charge_fee(payer, "transfer", about="agreement1", on=date(2026, 6, 1), rules=rules) == made
    assert (made.key, made.amount_cents, made.label["es"]) == ("transfer:agreement1", 2_000, "Traslado")
    with pytest.raises(Refused, match="no fee “reconnect”; they have: transfer"):
        fees.charge_fee(payer, "reconnect", about="x", on=date(2026, 5, 1), rules=rules)


def test_a_fee_is_waived_before_it_is_billed(admin_user: object) -> None:
    payer = make_account()
    made = fees.charge_fee(payer, "a", about="x", on=date(2026, 5, 1), rules=Policies(fees={"a": 500}))
    with pytest.raises(Refused, match="Say why"):
        fees.waive(made, reason="", actor=admin_user)  # type: ignore[arg-type]
    fees.waive(made, reason="our own mistake", actor=admin_user)  # type: ignore[arg-type]
    assert Charge.objects.get().waived_at is not None
    other = fees.charge_fee(payer, "a", about="y", on=date(2026, 5, 1), rules=Policies(fees={"a": 500}))
    draft = make_bill(payer, issued=False)
    charge_to(draft, other)
    with pytest.raises(Refused, match="ask for an adjustment"):
        fees.waive(other, reason="late", actor=admin_user)  # type: ignore[arg-type]


def test_a_returned_payment_is_taken_back_and_costs_its_fee_once() -> None:
    bill = make_bill()
    entry = record_payment(bill.account, 9_000, method="check", received_on=date(2026, 6, 10), reference="1")
    rules = Policies(returned_payment=ReturnedPayment(2_500, cash_only_after=2))
    made, fee = fees.returned_payment(entry, reason="no funds", rules=rules, on=date(2026, 6, 15))
    again, same = fees.returned_payment(entry, reason="no funds", rules=rules, on=date(2026, 6, 15))
    assert (again, same) == (made, fee)
    assert fee is not None
    assert (fee.amount_cents, fee.key) == (2_500, f"returned-payment:{entry.public_id}")
    assert balance_cents(bill.account) == bill.charges_cents
    assert fees.cash_only_until(bill.account, rules.returned_payment, on=date(2026, 6, 20)) is None
    second = record_payment(bill.account, 9_001, method="check", received_on=date(2026, 7, 1), reference="2")
    fees.returned_payment(second, reason="no funds", rules=rules, on=date(2026, 7, 5))
    assert fees.cash_only_until(bill.account, rules.returned_payment, on=date(2026, 7, 20)) == date(2027, 7, 5)
    assert fees.cash_only_until(bill.account, None, on=date(2026, 7, 20)) is None
    assert audit_all() == []


def test_without_an_approved_book_the_nightly_job_does_nothing() -> None:
    daily_money(now())
    assert not Charge.objects.exists()

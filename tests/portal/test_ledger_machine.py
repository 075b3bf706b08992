"""The books balance after any sequence of operations, faults and retries.

Every operation may be killed before any of its statements: then nothing of it may stand, and doing it again must do it
once. After each step the audit is clean and every account owes what a plain sum says.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from portal.billing import adjustments, bills, budget, deposits, fees
from portal.billing.auditing import audit_all
from portal.billing.models import Bill, BillLine, BudgetPlan, Charge, Deposit
from portal.billing.posting import ONE_OFF
from portal.core.models import User
from portal.customers.models import Account
from portal.ledger import chart
from portal.ledger.models import JournalEntry, Posting, Seal
from portal.ledger.services import aging, balances, record_payment, return_payment, today
from rates.policies import Deposit as DepositRule
from rates.policies import Policies, ReturnedPayment
from tests.portal.bills import DraftLine, make_account, make_bill

pytestmark = pytest.mark.django_db

CENTS = st.integers(min_value=1, max_value=30_000)
KILL = st.one_of(st.none(), st.integers(min_value=0, max_value=30))
"""Before which statement an operation is killed."""

RULES = Policies(returned_payment=ReturnedPayment(2_500))
WORDS = {"reason": "said by telephone", "evidence": "call of that day, written down"}


class Killed(Exception):
    """The process died here."""


class _Killer:
    """Raises once, before a statement; what rolls back afterwards gets through.

    Each operation's own transaction is a savepoint here: the end of one is no place to die, nothing would undo it.
    """

    def __init__(self, before: int) -> None:
        self.left = before
        self.done = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.left -= not sql.startswith("RELEASE")
        if self.left < 0 and not self.done and not sql.startswith("RELEASE"):
            self.done = True
            raise Killed
        return execute(sql, params, many, context)


class Books(RuleBasedStateMachine):
    """Three accounts, and what each should owe, have deferred and have deposited."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.clerk = User.objects.create_user("clerk@example.org", is_staff=True)
        self.chief = User.objects.create_user("chief@example.org", is_staff=True)
        self.payers = [make_account(f"payer-{number}") for number in range(3)]
        self.owed: Counter[int] = Counter()
        self.deferred: Counter[int] = Counter()
        self.held: Counter[int] = Counter()
        self.moved: dict[int, tuple[int, int, int]] = {}
        self.again: Callable[[], object] = lambda: None
        self.number = 0

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def do(self, kill: int | None, work: Callable[[], Any]) -> Any:
        """Do it, killed before a statement first; then do it, and once more."""
        if kill is not None:
            before = self.rows()
            killer = _Killer(kill)
            with contextlib.suppress(Killed), connection.execute_wrapper(killer):
                work()
            # Killed after its commit, the operation stands, and the next one is its retry.
            assert not killer.done or self.rows() == before, "a killed operation left something"
        done = work()
        self.again = work
        return done

    def rows(self) -> list[int]:
        return [each.objects.count() for each in (JournalEntry, Posting, Seal, Bill, BillLine, Charge, Deposit)]

    def payer(self, number: int) -> Account:
        return self.payers[number % len(self.payers)]

    def fresh(self) -> str:
        self.number += 1
        return f"reference {self.number}"

    # -- operations

    @rule(who=st.integers(0, 2), water=st.integers(0, 30_000), credit=st.integers(-2_000, 0), kill=KILL)
    def bill(self, who: int, water: int, credit: int, kill: int | None) -> None:
        payer = self.payer(who)
        lines = [
            DraftLine("water", "base", "fixed", {"en": "Water"}, water),
            DraftLine("sewer", "credit", "credit", {"en": "Credit"}, credit),
        ]
        draft = make_bill(payer, issued=False, lines=lines)
        for position, charge in enumerate(Charge.objects.filter(account=payer, line__isnull=True, waived_at=None), 50):
            charge.line = BillLine.objects.create(
                bill=draft,
                position=position,
                service=charge.service,
                code=charge.code,
                kind=charge.kind,
                amount_cents=charge.amount_cents,
            )
            charge.save()
            draft.charges_cents += charge.amount_cents
        draft.save()
        services = water + credit
        plan = BudgetPlan.objects.filter(account=payer, end__isnull=True, start__lte=draft.bill_date).first()
        moved = 0
        if plan is not None and draft.bill_date < plan.settle_on:
            moved = services - plan.amount_cents
        elif plan is not None or self.deferred[payer.pk]:
            moved = -self.deferred[payer.pk]
        taken = sum(line.amount_cents for line in draft.lines.all() if line.kind == "deposit")
        self.do(kill, lambda: bills.issue(draft, self.clerk))
        self.move(draft, payer, draft.charges_cents - moved, moved, taken)
        assert services == sum(line.amount_cents for line in draft.lines.all() if line.kind not in ONE_OFF)

    def move(self, bill: Bill, payer: Account, owed: int, deferred: int, held: int) -> None:
        self.moved[bill.pk] = owed, deferred, held
        for sums, cents in ((self.owed, owed), (self.deferred, deferred), (self.held, held)):
            sums[payer.pk] += cents

    @precondition(lambda self: Bill.objects.filter(state="issued").exists())
    @rule(which=st.integers(0, 50), kill=KILL)
    def cancel(self, which: int, kill: int | None) -> None:
        issued = Bill.objects.filter(state="issued").order_by("pk")
        bill = issued[which % len(issued)]
        if adjustments.Adjustment.objects.filter(bill=bill, state="requested").exists():
            return

        def work() -> None:
            if Bill.objects.get(pk=bill.pk).state == "issued":
                bills.cancel(bill, reason="wrong", actor=self.chief)

        self.do(kill, work)
        owed, deferred, held = self.moved[bill.pk]
        self.move(bill, bill.account, -owed, -deferred, -held)

    @rule(who=st.integers(0, 2), cents=CENTS, kill=KILL)
    def pay(self, who: int, cents: int, kill: int | None) -> None:
        payer, reference = self.payer(who), self.fresh()
        self.do(
            kill,
            lambda: record_payment(
                payer,
                cents,
                method="check",
                received_on=date(2026, 6, 1),
                reference=reference,
                actor=self.clerk,
                confirmed=True,
            ),
        )
        self.owed[payer.pk] -= cents

    @precondition(lambda self: JournalEntry.objects.filter(kind="payment", reversed_by__isnull=True).exists())
    @rule(which=st.integers(0, 50), fee=st.booleans(), kill=KILL)
    def send_back(self, which: int, fee: bool, kill: int | None) -> None:
        standing = JournalEntry.objects.filter(kind="payment", reversed_by__isnull=True).order_by("pk")
        entry = standing[which % len(standing)]
        leg = entry.postings.get(account__isnull=False)
        if fee:
            self.do(kill, lambda: fees.returned_payment(entry, reason="no funds", rules=RULES))
        else:
            self.do(kill, lambda: return_payment(entry, reason="no funds"))
        assert leg.account_id is not None
        self.owed[leg.account_id] -= leg.amount_cents

    @rule(who=st.integers(0, 2), cents=CENTS, credit=st.booleans(), approve=st.booleans(), kill=KILL)
    def adjust(self, who: int, cents: int, credit: bool, approve: bool, kill: int | None) -> None:
        payer, amount = self.payer(who), -cents if credit else cents
        row = adjustments.request(payer, policy="goodwill", amount_cents=amount, by=self.clerk, **WORDS)
        if approve:
            self.do(kill, lambda: adjustments.approve(row, by=self.chief))
            self.owed[payer.pk] += amount
        else:
            self.do(kill, lambda: adjustments.reject(row, by=self.chief, decision="not shown by anything"))

    @rule(who=st.integers(0, 2), cents=CENTS, kill=KILL)
    def take_deposit(self, who: int, cents: int, kill: int | None) -> None:
        payer, reference = self.payer(who), self.fresh()
        self.do(kill, lambda: deposits.take(payer, cents, on=today(), method="cash", reference=reference))
        self.held[payer.pk] += cents

    @rule(who=st.integers(0, 2), cents=CENTS)
    def ask_deposit(self, who: int, cents: int) -> None:
        asked = DepositRule({"residential": cents})
        deposits.put_on_bill(self.payer(who), "residential", asked, on=date(2026, 5, 1))

    @precondition(lambda self: Deposit.objects.filter(returned_on__isnull=True).exists())
    @rule(which=st.integers(0, 50), pay_out=st.booleans(), kill=KILL)
    def give_back(self, which: int, pay_out: bool, kill: int | None) -> None:
        standing = Deposit.objects.filter(returned_on__isnull=True).order_by("pk")
        row = standing[which % len(standing)]
        held = deposits.held(row)
        if held and row.entry_id is None:
            return  # a deposit that came by a bill goes with it when that one is cancelled
        covered = row.amount_cents if not pay_out else min(row.amount_cents, max(0, self.owed[row.account_id]))
        self.do(kill, lambda: deposits.give_back(row, on=today(), pay_out=pay_out))
        if held:
            self.held[row.account_id] -= row.amount_cents
            self.owed[row.account_id] -= covered

    @rule(who=st.integers(0, 2), cents=CENTS, months=st.integers(1, 6))
    def start_budget(self, who: int, cents: int, months: int) -> None:
        payer = self.payer(who)
        if not BudgetPlan.objects.filter(account=payer, end__isnull=True).exists():
            start = date(2026, 5, 1)
            settle_on = start + timedelta(days=30 * months)
            BudgetPlan.objects.create(account=payer, amount_cents=cents, start=start, settle_on=settle_on)

    @precondition(lambda self: BudgetPlan.objects.filter(end__isnull=True).exists())
    @rule(which=st.integers(0, 2), kill=KILL)
    def end_budget(self, which: int, kill: int | None) -> None:
        standing = BudgetPlan.objects.filter(end__isnull=True).order_by("pk")
        plan = standing[which % len(standing)]
        self.do(kill, lambda: budget.end_plan(plan, reason="asked for"))

    @rule()
    def retry(self) -> None:
        """The last operation once more, as a queue or an impatient hand would: nothing may move."""
        before = self.rows()
        self.again()
        assert self.rows() == before

    # -- what always holds

    @invariant()
    def the_audit_is_clean(self) -> None:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
        else:
            connection.check_constraints()
        assert audit_all() == []

    @invariant()
    def every_account_owes_the_plain_sum(self) -> None:
        ids = [payer.pk for payer in self.payers]
        assert balances(ids) == {each: self.owed[each] for each in ids}
        assert balances(ids, code=chart.BUDGET_DEFERRED) == {each: self.deferred[each] for each in ids}
        assert balances(ids, code=chart.DEPOSITS) == {each: -self.held[each] for each in ids}
        ages = aging(date(2999, 1, 1)).accounts
        assert {each: ages[each].balance_cents if each in ages else 0 for each in ids} == balances(ids)


@pytest.mark.timeout(600)
def test_the_books_balance_after_anything() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Books,
        settings=settings(
            max_examples=10,
            stateful_step_count=15,
            phases=[Phase.generate],  # a failing sequence is printed; making it shorter takes minutes
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

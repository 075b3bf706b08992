"""Budget billing: the same amount every month in place of what was used, and once a year what it really was.

What the services came to is posted as income every month; what is asked for is the plan's amount, and the difference
stands on 1210 until it is settled: on the first bill dated in the settle month or later, on the final bill, or on the
first bill after the plan was ended. Fees, deposits and adjustments are paid at once. `due_for` and `states` say what a
bill asks for; posting.legs_of posts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from portal.billing.lateness import late_bills
from portal.billing.models import Bill, BudgetPlan
from portal.billing.posting import ONE_OFF
from portal.core.errors import Refused
from portal.core.services import audit
from portal.ledger import chart
from portal.ledger.services import balances, today

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from portal.core.models import User
    from portal.customers.models import Account
    from rates.policies import BudgetBilling

REMOVED_AFTER_LATE = 2
"""So many late payments within a plan end it (Brentwood, Huntingburg)."""


@dataclass(frozen=True, slots=True)
class BudgetDue:
    """What a plan makes of one bill.

    amount_cents           the month's amount; not used when the bill settles.
    deferred_before_cents  what stands on 1210: used and not asked for yet (negative: asked for and not used yet).
    settles                the bill asks for everything.
    """

    amount_cents: int
    deferred_before_cents: int
    settles: bool

    def deferred_cents(self, services_cents: int) -> int:
        """Return what the bill moves on 1210, given what its services came to."""
        return -self.deferred_before_cents if self.settles else services_cents - self.amount_cents

    def receivable_cents(self, services_cents: int) -> int:
        """Return what is asked for in place of what the services came to."""
        return services_cents - self.deferred_cents(services_cents)

    def as_facts(self, services_cents: int) -> dict[str, Any]:
        """Return what the bill says of it: JSON-able."""
        moved = self.deferred_cents(services_cents)
        return {
            "amount_cents": self.receivable_cents(services_cents),
            "services_cents": services_cents,
            "deferred_before_cents": self.deferred_before_cents,
            "deferred_after_cents": self.deferred_before_cents + moved,
            "settles": self.settles,
        }


def states(accounts: Sequence[int], on: date, *, final: bool = False) -> dict[int, BudgetDue]:
    """Return what plans make of bills dated `on`: for the accounts among these that have one, or have one to settle.

    A number of queries that does not grow with the accounts of a chunk.
    """
    plans = {
        plan.account_id: plan
        for plan in BudgetPlan.objects.filter(account__in=accounts, end__isnull=True, start__lte=on)
    }
    standing = balances(accounts, code=chart.BUDGET_DEFERRED)
    found = {}
    for account, deferred in standing.items():
        plan = plans.get(account)
        if plan is None and not deferred:
            continue
        settles = final or plan is None or on >= plan.settle_on
        found[account] = BudgetDue(plan.amount_cents if plan else 0, deferred, settles)
    return found


def due_for(bill: Bill) -> BudgetDue | None:
    """Return what a plan makes of a bill that is not posted yet; None for an account without one."""
    return states([bill.account_id], bill.bill_date, final=bill.kind == Bill.Kind.FINAL).get(bill.account_id)


@transaction.atomic
def start_plan(account: Account, rule: BudgetBilling, *, start: date, actor: User | None = None) -> BudgetPlan:
    """Start a plan from the account's own bills of the last months, by the utility's rule.

    raises  Refused(`history`) when there are too few bills; Refused(`open`) when a plan stands already.
    """
    months = history(account, rule, before=start)
    amount = rule.monthly_cents([cents for _, cents in months])
    if amount is None:
        shown = {"need": rule.history_months, "have": len(months)}
        raise Refused("history", _("A plan needs %(need)s months of bills; there are %(have)s.") % shown)
    if amount <= 0:
        raise Refused("history", _("The bills of the last year come to nothing; a plan would not help."))
    written = {
        "divisor": rule.divisor,
        "factor": str(rule.factor),
        "settle_month": rule.settle_month,
        "history_months": rule.history_months,
    }
    try:
        with transaction.atomic():
            plan = BudgetPlan.objects.create(
                account=account,
                rule=written,
                basis=[{"bill": bill.public_id, "cents": cents} for bill, cents in months],
                amount_cents=amount,
                start=start,
                settle_on=rule.settle_on(start),
            )
    except IntegrityError as error:
        raise Refused("open", _("The account has a budget plan already.")) from error
    audit("budget.started", actor=actor, target=plan, detail={"account": account.public_id, "amount_cents": amount})
    return plan


def history(account: Account, rule: BudgetBilling, *, before: date) -> list[tuple[Bill, int]]:
    """Return the issued bills that a plan is made of, the oldest first, each with what its services came to."""
    bills = Bill.objects.filter(account=account, state=Bill.State.ISSUED, period_end__lte=before)
    last = list(bills.order_by("-period_end").prefetch_related("lines")[: rule.history_months])
    return [
        (bill, sum(line.amount_cents for line in bill.lines.all() if line.kind not in ONE_OFF))
        for bill in reversed(last)
    ]


@transaction.atomic
def end_plan(plan: BudgetPlan, *, reason: str, on: date | None = None, actor: User | None = None) -> BudgetPlan:
    """End a plan; what it deferred is settled on the account's next bill. Ending it twice changes nothing."""
    reason = " ".join(reason.split())[:200]
    if not reason:
        raise Refused("reason", _("Say why."))
    plan = BudgetPlan.objects.select_for_update().get(pk=plan.pk)
    if plan.end is None:
        plan.end, plan.end_reason = on or today(), reason
        plan.save(update_fields=["end", "end_reason"])
        audit("budget.ended", actor=actor, target=plan, reason=reason)
    return plan


def remove_late(on: date, *, late_max: int = REMOVED_AFTER_LATE) -> list[BudgetPlan]:
    """End the plans of accounts that paid late `late_max` times since the plan started; return them."""
    ended = []
    for plan in BudgetPlan.objects.filter(end__isnull=True, start__lt=on).select_related("account"):
        late = late_bills(plan.account, since=plan.start, until=on)
        if len(late) >= late_max:
            ended.append(end_plan(plan, reason=f"paid late: {', '.join(str(bill) for bill in late)}", on=on))
    return ended


def close_settled(on: date) -> list[BudgetPlan]:
    """End the plans whose settling bill was issued; return them. Until then a plan past its day settles every bill."""
    due = BudgetPlan.objects.filter(end__isnull=True, settle_on__lte=on).select_related("account")
    return [end_plan(plan, reason="settled", on=on) for plan in due if _settled(plan)]


def _settled(plan: BudgetPlan) -> bool:
    return Bill.objects.filter(account=plan.account, state=Bill.State.ISSUED, bill_date__gte=plan.settle_on).exists()


def plans_of(accounts: Iterable[int]) -> dict[int, BudgetPlan]:
    """Return the open plan of each account that has one."""
    return {plan.account_id: plan for plan in BudgetPlan.objects.filter(account__in=list(accounts), end__isnull=True)}

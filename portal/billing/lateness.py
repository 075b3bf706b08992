"""Who paid late: an account whose receivables of a due day, and those before it, were not covered by that day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portal.billing.models import Bill
from portal.ledger import chart
from portal.ledger.models import Posting

if TYPE_CHECKING:
    from datetime import date

    from portal.customers.models import Account


def late_bills(account: Account, *, since: date, until: date) -> list[Bill]:
    """Return the issued bills that fell due in [since, until) and were not covered on their day, the oldest first.

    Credits are set against the oldest receivables first; what was reversed since counts neither way.
    """
    bills = list(
        Bill.objects.filter(account=account, state=Bill.State.ISSUED, due_date__gte=since, due_date__lt=until).order_by(
            "due_date"
        )
    )
    if not bills:
        return []
    postings = list(
        Posting.objects.filter(account=account, ledger_account__code=chart.RECEIVABLES)
        .filter(entry__reverses__isnull=True, entry__reversed_by__isnull=True)
        .values_list("entry__date", "due_on", "amount_cents")
    )
    return [bill for bill in bills if _uncovered_cents(postings, bill.due_date) > 0]


def _uncovered_cents(postings: list[tuple[date, date | None, int]], day: date) -> int:
    owed = sum(cents for _, due_on, cents in postings if cents > 0 and due_on is not None and due_on <= day)
    owed += sum(cents for on, due_on, cents in postings if cents > 0 and due_on is None and on <= day)
    return owed + sum(cents for on, _, cents in postings if cents < 0 and on <= day)

"""The list of bills with its filters, and the work list of those that are held."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from django.db.models import TextField
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from portal.billing.models import Bill, Cycle
from portal.staff.account_page import bill_name, bill_state, period
from portal.staff.findings import told, words
from portal.staff.listing import Cell, Listing, day, money, page_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_CODE = re.compile(r"[a-z0-9-]{1,40}")
_REASONS_LOOKED_AT = 5_000


@dataclass(frozen=True, slots=True)
class Filter:
    """What of the bills is asked for; empty: all. month: of the period's last day, as 2026-06; reason: of a hold."""

    state: str = ""
    cycle: str = ""
    month: str = ""
    reason: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> Filter:
        """Return what a query asks for; nonsense asks for nothing."""
        state = asked.get("state", "")
        month, reason = asked.get("month", ""), asked.get("reason", "")
        return cls(
            state=state if state in Bill.State.values else "",
            cycle=asked.get("cycle", "")[:16],
            month=month if _MONTH.fullmatch(month) else "",
            reason=reason if _CODE.fullmatch(reason) else "",
        )

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        chosen = {"state": self.state, "cycle": self.cycle, "month": self.month, "reason": self.reason}
        return urlencode({key: value for key, value in chosen.items() if value})

    def bills(self) -> QuerySet[Bill]:
        """Return the bills, the newest first."""
        found = Bill.objects.order_by("-pk")
        if self.state:
            found = found.filter(state=self.state)
        if self.cycle:
            found = found.filter(account__billing__cycle__code=self.cycle)
        if self.month:
            year, month = map(int, self.month.split("-"))
            following = date(year + month // 12, month % 12 + 1, 1)
            found = found.filter(period_end__gt=date(year, month, 1), period_end__lte=following)
        if self.reason:
            found = found.alias(seen=Cast("findings", TextField())).filter(seen__contains=f'"{self.reason}"')
        return found


def bill_list(asked: Filter, page: int) -> Listing:
    """List bills, a page at a time."""
    rows, more = page_of(asked.bills().select_related("account"), page)
    return Listing(
        _("Bills"),
        (_("Bill"), _("Account"), _("Name"), _("Period"), _("State"), _("Charges"), _("Due"), _("Due on")),
        tuple(
            (
                Cell(bill_name(bill), href=reverse("staff:bill", args=[bill.public_id])),
                Cell(bill.account.number, href=reverse("staff:account", args=[bill.account.public_id])),
                Cell(bill.account.name or "\N{EN DASH}"),
                Cell(period(bill)),
                bill_state(bill),
                money(bill.charges_cents),
                money(bill.due_cents),
                day(bill.due_date),
            )
            for bill in rows
        ),
        _("No bill is like that."),
        page,
        more,
    )


def held_reasons(found: QuerySet[Bill]) -> list[tuple[str, str, int]]:
    """Return why bills are held: code, words, how many; the most frequent first."""
    counts: Counter[str] = Counter()
    for findings in found.filter(state=Bill.State.HELD).values_list("findings", flat=True)[:_REASONS_LOOKED_AT]:
        counts.update({row["code"] for row in told(findings) if row["hold"]})
    return [(code, words(code), number) for code, number in counts.most_common()]


def cycles() -> list[Cycle]:
    """Return the cycles by their codes."""
    return list(Cycle.objects.order_by("code"))

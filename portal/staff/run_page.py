"""The monitor and the report of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.billing.models import Bill, BillLine, BillRun
from portal.staff.account_page import Part, label_of
from portal.staff.findings import told
from portal.staff.listing import Cell, Listing, dollars, money, when

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portal.billing.tasks import Work

EXCEPTIONS_SHOWN = 100


def run_state(run: BillRun) -> Cell:
    """Return a run's state as a tag."""
    tone = {"issued": "good", "cancelled": ""}.get(run.state, "warn")
    return Cell(str(run.get_state_display()), tone)


@dataclass(frozen=True, slots=True)
class RunPage:
    """Everything that the page shows of one run.

    moving   the worker is at it, or will be; stopped: nobody is at it any more, and somebody may let it go on.
    bills    how many bills are in each state.
    """

    run: BillRun
    state: Cell
    done: int
    total: int
    moving: bool
    stopped: bool
    failure: str
    bills: dict[str, int]
    report: list[Part] = field(default_factory=list)

    @property
    def percent(self) -> int:
        """How much is done."""
        return 100 if not self.total else min(100, 100 * self.done // self.total)

    @property
    def progress(self) -> str:
        """How much is done, in words."""
        shown = {"done": f"{self.done:,}", "total": f"{self.total:,}"}
        if self.run.state == BillRun.State.ISSUING:
            return _("%(done)s of %(total)s bills issued") % shown
        return _("%(done)s of %(total)s accounts calculated") % shown

    @property
    def held(self) -> int:
        """How many bills wait for somebody to look."""
        return self.bills.get("held", 0)

    @property
    def held_text(self) -> str:
        """The words of the way to the held bills."""
        return ngettext("Look at %(n)s held bill", "Look at %(n)s held bills", self.held) % {"n": f"{self.held:,}"}

    @property
    def issue_text(self) -> str:
        """The words of the button that issues."""
        drafts = self.bills.get("draft", 0)
        return ngettext("Issue %(n)s bill", "Issue %(n)s bills", drafts) % {"n": f"{drafts:,}"}

    @property
    def can_issue(self) -> bool:
        """Whether bills of it can go out now."""
        ready = self.run.state in (BillRun.State.CALCULATED, BillRun.State.ISSUED)
        return ready and not self.moving and self.bills.get("draft", 0) > 0

    @property
    def can_cancel(self) -> bool:
        """Whether it can still be given up as a whole."""
        calculating = self.run.state == BillRun.State.CALCULATING and not self.moving
        return (calculating or self.run.state == BillRun.State.CALCULATED) and not self.bills.get("issued", 0)

    @property
    def figures(self) -> list[tuple[str, Any]]:
        """What is known of it in numbers."""
        shown = [(str(text), f"{self.bills.get(value, 0):,}") for value, text in Bill.State.choices]
        charges = Bill.objects.filter(run=self.run).exclude(state="cancelled").aggregate(sum=Sum("charges_cents"))
        return [
            *shown,
            (_("Charges"), dollars(charges["sum"] or 0)),
            (_("Bill date"), self.run.bill_date.isoformat()),
            (_("Due on"), self.run.due_date.isoformat()),
            (_("Started"), _who(self.run.started_by, when(self.run.started_at).text)),
            (_("Issued by"), _who(self.run.issued_by, "")),
            (_("Finished"), when(self.run.finished_at).text if self.run.finished_at else "\N{EN DASH}"),
        ]


def _who(user: Any, at: str) -> str:
    return ", ".join(part for part in (user.get_full_name() if user else "", at) if part) or "\N{EN DASH}"


def run_page(run: BillRun, work: Work) -> RunPage:
    """Return the page of a run and of the work on it."""
    under_way = run.state in (BillRun.State.CALCULATING, BillRun.State.ISSUING)
    counted = Bill.objects.filter(run=run).values_list("state").annotate(number=Count("pk")).order_by()
    bills = dict(counted)
    done, total = int(run.progress.get("calculated", 0)), run.accounts
    if run.state == BillRun.State.ISSUING:
        done, total = bills.get("issued", 0), bills.get("issued", 0) + bills.get("draft", 0)
    page = RunPage(
        run=run,
        state=run_state(run),
        done=done,
        total=total,
        moving=work.under_way,
        stopped=under_way and not work.under_way,
        failure=work.failure,
        bills=bills,
    )
    if not under_way:
        page.report.extend((Part("lines", _totals(run)), Part("exceptions", _exceptions(run))))
    return page


def _totals(run: BillRun) -> Listing:
    """Sum the lines of a run by service, line and rate version."""
    lines = BillLine.objects.filter(bill__run=run).exclude(bill__state="cancelled")
    summed = lines.values("service", "code", "version").annotate(number=Count("pk"), cents=Sum("amount_cents"))
    rows = list(summed.order_by("service", "code", "version"))
    labels = _labels(run, {(row["service"], row["code"]) for row in rows})
    total = sum(row["cents"] for row in rows)
    body = [
        (
            Cell(f"{labels.get((row['service'], row['code']), row['code'])} ({row['code']})"),
            Cell(row["service"]),
            Cell(row["version"] or "\N{EN DASH}"),
            Cell(f"{row['number']:,}", "number"),
            money(row["cents"]),
        )
        for row in rows
    ]
    if body:
        number = sum(row["number"] for row in rows)
        body.append((Cell(_("All lines")), Cell(""), Cell(""), Cell(f"{number:,}", "number"), money(total)))
    return Listing(
        _("Totals by rate line"),
        (_("Line"), _("Service"), _("Rates"), _("Bills"), _("Amount")),
        tuple(body),
        _("No line."),
    )


def _labels(run: BillRun, codes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    found = {}
    for service, code in codes:
        line = (
            BillLine.objects.filter(bill__run=run, service=service, code=code).values_list("label", flat=True).first()
        )
        found[service, code] = label_of(line or {}, code)
    return found


def _exceptions(run: BillRun) -> Listing:
    """List the bills of a run at which somebody must look, or something was noticed."""
    found = Bill.objects.filter(run=run).exclude(findings=[]).exclude(state="cancelled").select_related("account")
    rows = []
    for bill in found.order_by("-state", "account__number")[:EXCEPTIONS_SHOWN]:
        said = told(bill.findings)
        held = bill.state == Bill.State.HELD
        rows.append(
            (
                Cell(bill.account.number, href=reverse("staff:bill", args=[bill.public_id])),
                Cell(bill.account.name or "\N{EN DASH}"),
                Cell(str(bill.get_state_display()), "bad" if held else "warn"),
                Cell("; ".join(row["words"] for row in said)),
                money(bill.charges_cents),
            )
        )
    return Listing(
        _("Exceptions"),
        (_("Account"), _("Name"), _("State"), _("What was noticed"), _("Charges")),
        tuple(rows),
        _("Nothing was noticed."),
    )

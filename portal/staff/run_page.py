"""The monitor and the report of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.billing.documents.lines import service_name
from portal.billing.models import Bill, BillLine, BillRun
from portal.billing.reports import report
from portal.billing.runs import counts
from portal.staff.account_page import NONE, Part, label_of
from portal.staff.findings import words
from portal.staff.listing import Cell, Listing, days, dollars, last_day, money, when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from portal.billing.tasks import Work


def run_state(run: BillRun) -> Cell:
    """Return a run's state as a tag."""
    tone = {"issued": "good", "cancelled": ""}.get(run.state, "warn")
    return Cell(str(run.get_state_display()), tone)


def run_name(run: BillRun) -> str:
    """Return what a run is called: its cycle and the last day of its period."""
    return f"{run.cycle.code}, {last_day(run.period_end).isoformat()}"


@dataclass(frozen=True, slots=True)
class RunPage:
    """Everything that the page shows of one run.

    moving   the worker is at it, or will be; stopped: nobody is at it any more, and somebody may let it go on.
    bills    how many bills are in each state; before: the run before of the cycle, for comparison.
    """

    run: BillRun
    state: Cell
    done: int
    total: int
    moving: bool
    stopped: bool
    failure: str
    bills: dict[str, int]
    charges_cents: int
    report: list[Part] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return run_name(self.run)

    @property
    def period(self) -> str:
        """Its days."""
        return days(self.run.period_start, self.run.period_end)

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
        return [
            *shown,
            (_("Charges"), dollars(self.charges_cents)),
            *([(_("Charges of the run before"), dollars(self.before["charges_cents"]))] if self.before else []),
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
    # While it moves, what its last step wrote down is enough: a page that asks every two seconds counts nothing.
    found = run.progress if work.under_way and "at" in run.progress else counts(run)
    bills = {state: int(found.get(state, 0)) for state in Bill.State.values}
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
        charges_cents=int(found.get("charges_cents", 0)),
    )
    if not under_way:
        found = report(run)
        parts = {"lines": _totals, "noticed": _noticed, "exceptions": _held, "aging": _owed}
        page.report.extend(Part(name, made(found)) for name, made in parts.items())
        page.before.update(found["before"] or {})
    return page


def _labels(run: str, codes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return what lines are called on the bills of a run, by service and code."""
    found = {}
    for service, code in codes:
        lines = BillLine.objects.filter(bill__run__public_id=run, service=service, code=code)
        found[service, code] = label_of(lines.values_list("label", flat=True).first() or {}, code)
    return found


def _totals(found: Mapping[str, Any]) -> Listing:
    """List what the lines of a run come to, by service, line, tier and rate version."""
    labels = _labels(found["run"], {(row["service"], row["code"]) for row in found["lines"]})
    rows = [
        (
            Cell(
                labels[row["service"], row["code"]]
                + (f", {_('tier')} {row['tier']}" if row["tier"] is not None else "")
            ),
            Cell(service_name(row["service"])),
            Cell(row["version"] or row["kind"]),
            Cell(f"{row['lines']:,}", "number"),
            money(row["cents"]),
        )
        for row in found["lines"]
    ]
    if rows:
        lines, cents = (sum(row[key] for row in found["lines"]) for key in ("lines", "cents"))
        rows.append((Cell(_("All lines")), Cell(NONE), Cell(NONE), Cell(f"{lines:,}", "number"), money(cents)))
    return Listing(
        _("Totals by rate line"),
        (_("Line"), _("Service"), _("Rates"), _("Lines"), _("Amount")),
        tuple(rows),
        _("No line."),
    )


def _noticed(found: Mapping[str, Any]) -> Listing:
    """List what was noticed, and on how many bills."""
    return Listing(
        _("What was noticed"),
        (_("What"), _("Effect"), _("Bills")),
        tuple(
            (
                Cell(words(row["code"])),
                Cell(_("holds the bill"), "bad") if row["severity"] == "hold" else Cell(_("note"), "warn"),
                Cell(f"{row['bills']:,}", "number"),
            )
            for row in found["findings"]
        ),
        _("Nothing was noticed."),
    )


def _held(found: Mapping[str, Any]) -> Listing:
    """List the bills that are held, the first 200."""
    return Listing(
        _("Held bills"),
        (_("Account"), _("Why"), _("Charges")),
        tuple(
            (
                Cell(row["account"], href=reverse("staff:bill", args=[row["bill"]])),
                Cell("; ".join(words(code) for code in row["holds"])),
                money(row["charges_cents"]),
            )
            for row in found["exceptions"]
        ),
        _("No bill is held."),
    )


def _owed(found: Mapping[str, Any]) -> Listing:
    """List what the cycle's accounts owe by age on the bills' day."""
    return Listing(
        _("What the cycle owes, by age"),
        (_("Age"), _("Amount")),
        tuple((Cell(AGES[name]() if name in AGES else name), money(cents)) for name, cents in found["aging"].items()),
        _("Nothing is owed."),
    )


AGES: dict[str, Callable[[], str]] = {
    "current_cents": lambda: _("not due yet"),
    "to_30_cents": lambda: _("1 to 30 days late"),
    "to_60_cents": lambda: _("31 to 60 days late"),
    "to_90_cents": lambda: _("61 to 90 days late"),
    "over_90_cents": lambda: _("more than 90 days late"),
    "credit_cents": lambda: _("customers' credit"),
}
"""The ages of what is owed, as staff say them."""

"""`headwater portal bill ...`: bill runs and single bills. Bodies import Django only when they run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from portal.bill_files_cli import attach as attach_files

if TYPE_CHECKING:
    from datetime import datetime

    from portal.billing.calculation import CalculatedBill
    from portal.billing.models import Bill, BillRun
    from portal.customers.models import Account

_ACTOR = "command line"
_DAY = click.DateTime(formats=["%Y-%m-%d"])
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_jobs = click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes at work.")
_chunk = click.option(
    "--chunk", default=500, show_default=True, type=click.IntRange(1, 5000), help="Accounts in one transaction."
)


def _django() -> None:
    from portal.cli import _django as ready

    ready()


def _print(result: dict[str, Any], *, as_json: bool, text: str) -> None:
    click.echo(json.dumps(result) if as_json else text)


@click.group("bill")
def bill_group() -> None:
    """Calculate, issue and correct bills."""


@bill_group.command("run")
@click.argument("cycle")
@click.option("--period-end", type=_DAY, help="The first day after the period (default: the newest one that is over).")
@click.option("--bill-date", type=_DAY, help="The day on the bills (default: today).")
@click.option("--issue", "and_issue", is_flag=True, help="Issue what is not held, without a look at it first.")
@_jobs
@_chunk
@_json
def run_command(
    cycle: str,
    period_end: datetime | None,
    bill_date: datetime | None,
    and_issue: bool,
    jobs: int,
    chunk: int,
    as_json: bool,
) -> None:
    """Calculate the bills of CYCLE for a period; started again, it goes on where it was."""
    _django()
    from portal.billing.models import Cycle
    from portal.billing.processes import continue_with
    from portal.billing.runs import issue_run, start_run
    from portal.core.errors import Refused

    row = Cycle.objects.filter(code=cycle).first()
    if row is None:
        raise Refused(
            "cycle", f"{cycle}: no such cycle; there are: {', '.join(Cycle.objects.values_list('code', flat=True))}"
        )
    run = start_run(row, _day(period_end), bill_date=_day(bill_date), label=_ACTOR)
    run = continue_with(run, jobs, chunk=chunk, label=_ACTOR)
    if and_issue:
        run = issue_run(run, label=_ACTOR, chunk=chunk)
    _tell(run, as_json=as_json)


@bill_group.command("continue")
@click.argument("run")
@click.option("--held", is_flag=True, help="Then calculate its held bills again: late reads may be here.")
@_jobs
@_chunk
@_json
def continue_command(run: str, held: bool, jobs: int, chunk: int, as_json: bool) -> None:
    """Go on with RUN (its id, or a cycle's code for its newest run) where it stopped."""
    _django()
    from portal.billing.processes import continue_with
    from portal.billing.runs import recalculate_held

    row = continue_with(_run(run), jobs, chunk=chunk, label=_ACTOR)
    if held:
        row = recalculate_held(row, chunk=chunk, label=_ACTOR)
    _tell(row, as_json=as_json)


@bill_group.command("issue")
@click.argument("run")
@_jobs
@_chunk
@_json
def issue_command(run: str, jobs: int, chunk: int, as_json: bool) -> None:
    """Issue the bills of RUN that nothing holds: number, ledger, message; again, those released since."""
    _django()
    from portal.billing.processes import continue_with
    from portal.billing.runs import begin_issue, issue_run

    row = begin_issue(_run(run), label=_ACTOR)
    if jobs > 1:
        row = continue_with(row, jobs, chunk=chunk, label=_ACTOR)
    _tell(issue_run(row, label=_ACTOR, chunk=chunk), as_json=as_json)


@bill_group.command("report")
@click.argument("run")
@_json
def report_command(run: str, as_json: bool) -> None:
    """Print the totals of RUN by rate line, what is held and why, and how it compares to the run before."""
    _django()
    from portal.billing.reports import report, text_of

    found = report(_run(run))
    _print(found, as_json=as_json, text=text_of(found))


@bill_group.command("preview")
@click.argument("account")
@_json
def preview_command(account: str, as_json: bool) -> None:
    """Print what the next bill of ACCOUNT (its number) would be up to today; nothing is written."""
    _django()
    from portal.billing.bills import preview

    _tell_calculated(preview(_account(account)), as_json=as_json)


@bill_group.command("final")
@click.argument("account")
@click.option("--on", type=_DAY, required=True, help="The first day that the account does not pay for any more.")
@_json
def final_command(account: str, on: datetime, as_json: bool) -> None:
    """End the agreements of ACCOUNT on a day and make its final bill."""
    _django()
    from portal.billing.bills import final_bill

    _tell_bill(final_bill(_account(account), on.date(), label=_ACTOR), as_json=as_json)


@bill_group.command("rebill")
@click.argument("bill")
@click.option("--reason", required=True, help="Why; it goes to the audit log and on the cancelled bill.")
@_json
def rebill_command(bill: str, reason: str, as_json: bool) -> None:
    """Take the issued BILL (its number) back and issue the one that follows from what is known now."""
    _django()
    from portal.billing.bills import cancel_and_rebill

    _tell_bill(cancel_and_rebill(_bill(bill), reason=reason, label=_ACTOR), as_json=as_json)


@bill_group.command("recalculate")
@click.argument("bill")
@_json
def recalculate_command(bill: str, as_json: bool) -> None:
    """Calculate the held or draft BILL (its id) again from what is known now."""
    _django()
    from portal.billing.bills import recalculate

    _tell_bill(recalculate(_bill(bill), label=_ACTOR), as_json=as_json)


def _day(moment: datetime | None) -> Any:
    return None if moment is None else moment.date()


def _run(name: str) -> BillRun:
    from portal.billing.models import BillRun
    from portal.core.errors import Refused

    rows = BillRun.objects.exclude(state=BillRun.State.CANCELLED).order_by("-period_end")
    run = rows.filter(public_id=name).first() or rows.filter(cycle__code=name).first()
    if run is None:
        raise Refused("run", f"{name}: no such run; give its id, or the code of a cycle that was run")
    return run


def _account(number: str) -> Account:
    from portal.core.errors import Refused
    from portal.customers.models import Account

    row = Account.objects.filter(number=number).first()
    if row is None:
        raise Refused("account", f"{number}: no such account; give its number as it stands on the bill")
    return row


def _bill(name: str) -> Bill:
    from portal.billing.models import Bill
    from portal.core.errors import Refused

    row = Bill.objects.filter(number=name).first() or Bill.objects.filter(public_id=name).first()
    if row is None:
        raise Refused("bill", f"{name}: no such bill; give its number or its id")
    return row


def _tell(run: BillRun, *, as_json: bool) -> None:
    done = {
        "run": run.public_id,
        "cycle": run.cycle.code,
        "period_start": run.period_start.isoformat(),
        "period_end": run.period_end.isoformat(),
        "state": run.state,
        **run.progress,
    }
    progress = run.progress
    text = (
        f"run {run.public_id}: {run.state}; {progress.get('calculated', 0)} of {run.accounts} accounts, "
        f"{progress.get('held', 0)} held, {progress.get('issued', 0)} issued"
    )
    _print(done, as_json=as_json, text=text)


def _tell_bill(bill: Bill, *, as_json: bool) -> None:
    done = {
        "bill": bill.public_id,
        "number": bill.number,
        "state": bill.state,
        "kind": bill.kind,
        "charges_cents": bill.charges_cents,
        "due_cents": bill.due_cents,
        "due_date": bill.due_date.isoformat(),
        "findings": bill.findings,
    }
    holds = [found["code"] for found in bill.findings if found["severity"] == "hold"]
    text = f"{bill}: {bill.state}, charges {bill.charges_cents / 100:.2f}, due {bill.due_cents / 100:.2f}"
    _print(done, as_json=as_json, text=text + (f"; held: {', '.join(holds)}" if holds else ""))


def _tell_calculated(bill: CalculatedBill, *, as_json: bool) -> None:
    done = {
        "period_start": bill.period.start.isoformat(),
        "period_end": bill.period.end.isoformat(),
        "charges_cents": bill.charges_cents,
        "lines": [
            {"service": line.service, "code": line.code, "label": dict(line.label), "amount_cents": line.amount_cents}
            for line in bill.lines
        ],
        "findings": [finding.as_json() for finding in bill.findings],
    }
    rows = [f"  {line.label.get('en', line.code):50} {line.amount_cents / 100:10.2f}" for line in bill.lines]
    head = f"{bill.period.start} to {bill.period.last_day}: {bill.charges_cents / 100:.2f}"
    holds = [
        f"  held: {found.code} {found.detail.get('text', '')}" for found in bill.findings if found.severity == "hold"
    ]
    _print(done, as_json=as_json, text="\n".join([head, *rows, *holds]))


attach_files(bill_group)

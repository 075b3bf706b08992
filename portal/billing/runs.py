"""Bill runs: a cycle's accounts in chunks, each chunk one transaction, as many processes at once as one likes.

A chunk claims its accounts by locking their rows and skipping those that another process holds. What a killed process
had in hand is rolled back and claimed by the next one: an account without its bill is how the run knows what is left.
That no account is billed twice is the unique constraint's word, whatever happens here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from portal.billing.bills import due_date, issue_locked
from portal.billing.calculation import calculate
from portal.billing.drafts import rewrite_draft, write_drafts
from portal.billing.gathering import Want, gather
from portal.billing.models import Bill, BillingAccount, BillRun, Charge, ServiceAgreement
from portal.billing.periods import Period, last_ended, period_ending
from portal.billing.shelf import standing_shelf
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.services import audit
from portal.ledger.services import today

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from django.db.models import QuerySet

    from portal.billing.models import Cycle
    from portal.core.models import User

CHUNK = 500


def start_run(
    cycle: Cycle,
    period_end: date | None = None,
    actor: User | None = None,
    *,
    bill_date: date | None = None,
    label: str = "",
) -> BillRun:
    """Return the run of a cycle for a period, made when there is none; nothing is calculated yet.

    period_end  by default the newest period that is over. bill_date: by default today.
    raises Refused(`period`) for a day on which none ends, or a period that is not over; Refused(`rate-book`).
    """
    on = bill_date or today()
    period = last_ended(cycle, on) if period_end is None else period_ending(cycle, period_end)
    if period.end > today():
        raise Refused("period", _("This period is not over; its last reads are not here yet."))
    shelf = standing_shelf()
    if not shelf.books:
        raise Refused("rate-book", _("No rate book is approved; load one and have it approved by a second person."))
    run, made = BillRun.objects.exclude(state=BillRun.State.CANCELLED).get_or_create(
        cycle=cycle,
        period_end=period.end,
        defaults={
            "period_start": period.start,
            "bill_date": on,
            "due_date": due_date(shelf, on),
            "started_by": actor,
            "started_at": now(),
        },
    )
    if made:
        run.accounts = billable(run).count()
        run.save(update_fields=["accounts"])
        detail = {"cycle": cycle.code, "period_end": period.end.isoformat(), "accounts": run.accounts}
        audit("run.start", actor=actor, label=label, target=run, detail=detail)
    return run


def billable(run: BillRun) -> QuerySet[BillingAccount]:
    """Return the accounts that the run has still to bill: with an agreement on days that are on no bill yet."""
    living = Bill.objects.filter(account=OuterRef("account")).exclude(state=Bill.State.CANCELLED)
    newest = Subquery(living.order_by("-period_end").values("period_end")[:1])
    agreements = ServiceAgreement.objects.filter(account=OuterRef("account"), start__lt=run.period_end)
    open_then = agreements.filter(Q(end__isnull=True) | Q(end__gt=OuterRef("billed_through")))
    return (
        BillingAccount.objects.filter(cycle=run.cycle_id)
        .annotate(last_billed=newest, billed_through=Coalesce(newest, run.period_start))
        .filter(Exists(open_then), billed_through__lt=run.period_end)
        .filter(Q(closed_on__isnull=True) | Q(closed_on__gt=F("billed_through")))
        .order_by("account")
    )


def calculate_run(run: BillRun, *, chunk: int = CHUNK) -> BillRun:
    """Calculate what is left of a run, chunk by chunk, until nothing is; return the run as it is then.

    Other processes may do the same at the same time. Killed at any moment, it goes on where it was.
    """
    after = 0
    # Forward from chunk to chunk, so that what is done is not looked at again; then once more from the beginning.
    while (last := _calculate_chunk(run, chunk, after)) or after:
        after = last
    with transaction.atomic():
        row = BillRun.objects.select_for_update().get(pk=run.pk)
        if row.state == BillRun.State.CALCULATING and not billable(row).exists():
            row.state, row.progress = BillRun.State.CALCULATED, counts(row)
            row.save(update_fields=["state", "progress"])
    run.refresh_from_db()
    return run


def _calculate_chunk(run: BillRun, chunk: int, after: int) -> int:
    """Calculate some accounts behind one in one transaction; return the last of them, 0 when there is none left.

    Those that another process has in hand are passed over.
    """
    with transaction.atomic():
        if BillRun.objects.filter(pk=run.pk).values_list("state", flat=True).get() != BillRun.State.CALCULATING:
            return 0
        rows = [row.account_id for row in _claimed(billable(run).filter(account__gt=after), chunk)]
        if not rows:
            return 0
        # Some may have got their bills a moment ago, before they were ours: asked again now that nobody else can.
        left = list(billable(run).filter(account__in=rows))
        wants = _wants(run, left)
        shelf = standing_shelf()
        facts = gather(wants, shelf, record=True)
        bills = [calculate(facts[want.account], shelf) for want in wants]
        due = dict.fromkeys(facts, run.due_date)
        write_drafts(bills, bill_date=run.bill_date, due_dates=due, run=run)
        _tell_progress(run)
        return int(rows[-1])


def _claimed(rows: QuerySet[Any], chunk: int) -> list[Any]:
    skip = connection.features.has_select_for_update_skip_locked
    return list(rows.select_for_update(skip_locked=skip, of=("self",) if skip else ())[:chunk])


def _wants(run: BillRun, rows: Sequence[Any]) -> list[Want]:
    """Return the bills that are wanted: from the first day that is on no bill, to the period's end or the account's."""
    agreements: dict[int, list[tuple[date, date | None]]] = {row.account_id: [] for row in rows}
    spans = ServiceAgreement.objects.filter(account__in=agreements, start__lt=run.period_end).order_by("start")
    for account, start, end in spans.values_list("account", "start", "end"):
        agreements[account].append((start, end))
    floor = _first_day(run)
    wants = []
    for row in rows:
        open_then = [start for start, last in agreements[row.account_id] if last is None or last > row.billed_through]
        first = row.last_billed or (floor if floor < open_then[0] < run.period_start else run.period_start)
        start, end = max(first, open_then[0]), run.period_end
        if row.closed_on is not None and start < row.closed_on < end:
            end = row.closed_on
        wants.append(Want(row.account_id, Period(start, end), run.cycle, run.bill_date))
    return wants


def _first_day(run: BillRun) -> date:
    """Return from when on what no bill has is billed: the period before counts when the portal billed it.

    Who moved in a few days before that period's end, and was entered after its run, owes those days too.
    """
    before = BillRun.objects.filter(cycle=run.cycle_id, period_end=run.period_start)
    start = before.exclude(state=BillRun.State.CANCELLED).values_list("period_start", flat=True).first()
    return start or run.period_start


def _tell_progress(run: BillRun) -> None:
    """Write how far the run is. Last in a chunk: other processes wait for the row from here to the commit."""
    row = BillRun.objects.select_for_update().get(pk=run.pk)
    row.progress = counts(row)
    row.save(update_fields=["progress"])


def counts(run: BillRun) -> dict[str, Any]:
    """Return how many bills of a run are in which state, and what they come to."""
    rows = (
        Bill.objects.filter(run=run).values_list("state").annotate(n=Count("pk"), cents=Sum("charges_cents")).order_by()
    )
    found = {state: (n, cents) for state, n, cents in rows}
    alive = [state for state in found if state != Bill.State.CANCELLED]
    return {
        "accounts": run.accounts,
        "calculated": sum(found[state][0] for state in alive),
        **{str(state): found.get(state, (0, 0))[0] for state in Bill.State.values},
        "charges_cents": sum(found[state][1] for state in alive),
        "at": now().isoformat(),
    }


@transaction.atomic
def begin_issue(run: BillRun, actor: User | None = None, *, label: str = "") -> BillRun:
    """Say that a run is being issued from now on; raises Refused(`calculating`) when it is not calculated."""
    row = BillRun.objects.select_for_update().get(pk=run.pk)
    if row.state in (BillRun.State.CALCULATING, BillRun.State.CANCELLED):
        raise Refused("calculating", _("This run is not calculated to its end; continue it first."))
    if row.state == BillRun.State.CALCULATED:
        row.state, row.issued_by = BillRun.State.ISSUING, actor
        row.save(update_fields=["state", "issued_by"])
        audit("run.issue", actor=actor, label=label, target=row)
    return row


def issue_run(run: BillRun, actor: User | None = None, *, label: str = "", chunk: int = CHUNK) -> BillRun:
    """Issue the drafts of a run, chunk by chunk; held bills stay. Again, it issues what was released since.

    raises Refused(`calculating`) while accounts are left without a bill.
    """
    begin_issue(run, actor, label=label)
    while _issue_chunk(run, actor, label, chunk):
        pass
    with transaction.atomic():
        row = BillRun.objects.select_for_update().get(pk=run.pk)
        row.progress = counts(row)
        if row.state == BillRun.State.ISSUING and not row.progress["draft"]:
            row.state, row.finished_at = BillRun.State.ISSUED, now()
        row.save(update_fields=["state", "finished_at", "progress"])
    run.refresh_from_db()
    return run


def _issue_chunk(run: BillRun, actor: User | None, label: str, chunk: int) -> int:
    with transaction.atomic():
        drafts = Bill.objects.filter(run=run, state=Bill.State.DRAFT).select_related("account").order_by("pk")
        bills = _claimed(drafts, chunk)
        issue_locked(bills, actor=actor, label=label)
        if bills:
            _tell_progress(run)
        return len(bills)


def continue_run(run: BillRun, *, chunk: int = CHUNK, actor: User | None = None, label: str = "") -> BillRun:
    """Go on with a run where it stopped: calculate what is left, or issue what is left of one that was being issued."""
    run.refresh_from_db()
    if run.state == BillRun.State.CALCULATING:
        return calculate_run(run, chunk=chunk)
    if run.state == BillRun.State.ISSUING:
        return issue_run(run, actor, label=label, chunk=chunk)
    return run


def recalculate_held(run: BillRun, *, chunk: int = CHUNK, actor: User | None = None, label: str = "") -> BillRun:
    """Calculate all held bills of a run again, in chunks: late reads may be here, or their findings resolved."""
    after = 0
    while last := _recalculate_chunk(run, after, chunk):
        after = last
    audit("run.recalculate", actor=actor, label=label, target=run)
    run.refresh_from_db()
    return run


def _recalculate_chunk(run: BillRun, after: int, chunk: int) -> int:
    """Calculate some held bills again; return the last one's row id, 0 when there is none."""
    with transaction.atomic():
        held = Bill.objects.filter(run=run, state=Bill.State.HELD, pk__gt=after).order_by("pk")
        bills = _claimed(held, chunk)
        if not bills:
            return 0
        shelf, pks = standing_shelf(), [bill.pk for bill in bills]
        Charge.objects.filter(line__bill__in=pks).update(line=None)
        wants = [
            Want(bill.account_id, Period(bill.period_start, bill.period_end), run.cycle, bill.bill_date)
            for bill in bills
        ]
        facts = gather(wants, shelf, without=pks, record=True)
        for bill in bills:
            done = calculate(facts[bill.account_id], shelf)
            rewrite_draft(bill, done, bill_date=bill.bill_date, due_date=bill.due_date)
        _tell_progress(run)
        return int(pks[-1])


@transaction.atomic
def cancel_run(run: BillRun, *, reason: str, actor: User | None = None, label: str = "") -> BillRun:
    """Give a run up before any bill of it is issued: its drafts go, and the cycle can be run again.

    raises Refused(`issued`), Refused(`reason`).
    """
    reason = " ".join(reason.split())[:200]
    if not reason:
        raise Refused("reason", _("Say why."))
    row = BillRun.objects.select_for_update().get(pk=run.pk)
    if row.state not in (BillRun.State.CALCULATING, BillRun.State.CALCULATED):
        raise Refused("issued", _("Bills of this run are issued; cancel them one by one."))
    row.state, row.progress = BillRun.State.CANCELLED, counts(row)
    row.save(update_fields=["state", "progress"])
    Bill.objects.filter(run=row).delete()
    audit("run.cancel", actor=actor, label=label, target=row, reason=reason)
    return row

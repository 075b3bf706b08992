"""The long work of a run, done by the worker: whoever asks for it on a page does not wait for it there.

Asking twice does no harm: several processes may work at one run, and what is done is never done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _
from django_tasks import TaskResultStatus, task
from django_tasks_db.models import DBTaskResult

from portal.billing import runs
from portal.billing.models import BillRun
from portal.core.clock import clock, now
from portal.core.errors import Refused
from portal.core.models import User
from portal.core.services import audit

if TYPE_CHECKING:
    from datetime import date

    from portal.billing.models import Cycle

STOPPED_AFTER_S = 90.0
"""Real seconds without a step after which the worker that had a run in hand has most likely died."""

_FAILURE_CHARS = 300


@task()
def go_on(run: str, actor: str) -> str:
    """Calculate, or issue, what is left of a run; return the state it is in then."""
    row = BillRun.objects.get(public_id=run)
    return str(runs.continue_run(row, actor=_user(actor)).state)


@task()
def issue(run: str, actor: str) -> str:
    """Issue the drafts of a run; return the state it is in then."""
    return str(runs.issue_run(BillRun.objects.get(public_id=run), _user(actor)).state)


@dataclass(frozen=True, slots=True)
class Work:
    """Whether the worker is at a run (or will be), and what stopped it last."""

    under_way: bool
    failure: str = ""


def work_on(run: BillRun) -> Work:
    """Return how it stands with the tasks of a run.

    A task that runs and has made no step for STOPPED_AFTER_S counts as dead: a killed worker says nothing.
    """
    rows = DBTaskResult.objects.filter(
        task_path__in=[go_on.module_path, issue.module_path], args_kwargs__args__0=run.public_id
    )
    newest = rows.order_by("-enqueued_at").first()
    if newest is None:
        return Work(False)
    if newest.status == TaskResultStatus.READY:
        return Work(True)
    if newest.status == TaskResultStatus.RUNNING:
        step = datetime.fromisoformat(run.progress["at"]) if "at" in run.progress else None
        begun = newest.started_at or newest.enqueued_at
        quiet_s = (datetime.now(UTC) - begun).total_seconds()  # the queue keeps its times by the machine's clock
        if step is not None:
            quiet_s = min(quiet_s, clock().real_seconds(max(0.0, (now() - step).total_seconds())))
        return Work(quiet_s < STOPPED_AFTER_S)
    if newest.status == TaskResultStatus.FAILED:
        lines = newest.traceback.strip().splitlines()
        return Work(False, (lines[-1] if lines else newest.exception_class_path)[:_FAILURE_CHARS])
    return Work(False)


@transaction.atomic
def ask_start(cycle: Cycle, period_end: date | None, *, actor: User) -> BillRun:
    """Return the run of a cycle for a period, and have the worker calculate what is left of it."""
    run = runs.start_run(cycle, period_end, actor)
    if run.state == BillRun.State.CALCULATING and not work_on(run).under_way:
        go_on.enqueue(run.public_id, actor.public_id)
    return run


@transaction.atomic
def ask_continue(run: BillRun, *, actor: User) -> None:
    """Have the worker go on with a run that stopped; raises Refused(`state`, `at-work`)."""
    run = BillRun.objects.select_for_update().get(pk=run.pk)
    if run.state not in (BillRun.State.CALCULATING, BillRun.State.ISSUING):
        raise Refused("state", _("Nothing of this run is left to do."))
    if work_on(run).under_way:
        raise Refused("at-work", _("The worker is at this run already."))
    audit("run.continue", actor=actor, target=run, detail={"state": run.state})
    go_on.enqueue(run.public_id, actor.public_id)


@transaction.atomic
def ask_issue(run: BillRun, *, actor: User) -> None:
    """Have the worker issue the drafts of a run; raises Refused(`state`, `at-work`)."""
    run = BillRun.objects.select_for_update().get(pk=run.pk)
    if run.state not in (BillRun.State.CALCULATED, BillRun.State.ISSUED):
        raise Refused("state", _("This run cannot be issued now."))
    if work_on(run).under_way:
        raise Refused("at-work", _("The worker is at this run already."))
    audit("run.ask-issue", actor=actor, target=run)
    issue.enqueue(run.public_id, actor.public_id)


def _user(public_id: str) -> User:
    return User.objects.get(public_id=public_id)

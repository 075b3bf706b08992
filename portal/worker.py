"""`headwater portal worker`: background tasks, and a schedule of jobs that are idempotent for each of their periods."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.db import Error as DatabaseFault
from django.db import connection, transaction

from portal.access.forgetting import forget
from portal.access.second_steps import seal_second_steps
from portal.alerts.evaluation import look_at_bills, look_at_leaks, look_at_notices, look_at_usage
from portal.billing.auditing import audit_nightly
from portal.billing.nightly import daily_money
from portal.comparison.averages import compute_similar_homes, fill_earlier_month
from portal.core.clock import clock, now
from portal.core.logs import without_personal_data
from portal.core.models import DueJob
from portal.downloads.retention import forget_old
from portal.ingest.letters import prune_letters
from portal.metering.folding import fold_closed_days
from portal.metering.validation.screening import screen_recent
from portal.notifications.sending import send_due, waited_for

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
_SWEEP_EVERY_S = 30.0
_LOOK_EVERY_S = 2.0
_ERROR_CHARS = 300


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done once in every period of the portal's clock.

    run  gets the moment; doing it twice in a period does no harm, so a worker that dies in the middle may repeat it.
    """

    name: str
    every: timedelta
    run: Callable[[datetime], object]


JOBS = (
    Job("fold closed days", timedelta(hours=1), fold_closed_days),
    Job("screen recent reads", timedelta(minutes=10), screen_recent),
    Job("prune refused batches", timedelta(days=1), prune_letters),
    Job("alerts of leaks", timedelta(minutes=1), look_at_leaks),
    Job("alerts of bills", timedelta(minutes=1), look_at_bills),
    Job("alerts of service notices", timedelta(minutes=1), look_at_notices),
    Job("alerts of water use", timedelta(minutes=10), look_at_usage),
    Job("forget old tries and sign-ins", timedelta(days=1), forget),
    Job("encrypt second steps with today's key", timedelta(days=1), seal_second_steps),
    Job("similar homes", timedelta(days=1), compute_similar_homes),
    Job("similar homes of earlier months", timedelta(minutes=10), fill_earlier_month),
    Job("late fees and budget plans", timedelta(days=1), daily_money),
    Job("audit the books", timedelta(days=1), audit_nightly),
    Job("take away what is past its time", timedelta(days=1), forget_old),
)


def sweep(moment: datetime, jobs: tuple[Job, ...] = JOBS) -> list[str]:
    """Run every job whose time has come; return their names. Several workers may sweep: each job runs in one."""
    return [job.name for job in jobs if _run_if_due(job, moment)]


def _run_if_due(job: Job, moment: datetime) -> bool:
    period = _period(job, moment)
    DueJob.objects.get_or_create(name=job.name, defaults={"due_at": moment})
    with transaction.atomic():
        # The row is held while the job runs: another worker skips it (PostgreSQL) or waits and finds it done (SQLite).
        rows = DueJob.objects.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
        row = rows.filter(name=job.name, due_at__lte=moment).exclude(last_period=period).first()
        if row is None:
            return False
        try:
            with transaction.atomic():
                job.run(moment)
        except Exception as error:
            if isinstance(error, DatabaseFault):
                raise
            _LOG.exception("job %r failed; it is tried again in its next period", job.name)
            row.last_error = without_personal_data(repr(error))[:_ERROR_CHARS]
        else:
            row.last_error = ""
        row.last_period, row.due_at, row.last_finished_at = period, _period_end(job, moment), moment
        row.save()
    return True


def _period(job: Job, moment: datetime) -> str:
    return _period_start(job, moment).isoformat()


def _period_start(job: Job, moment: datetime) -> datetime:
    since = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // job.every
    return datetime(1970, 1, 1, tzinfo=UTC) + since * job.every


def _period_end(job: Job, moment: datetime) -> datetime:
    return _period_start(job, moment) + job.every


@dataclass
class Worker:
    """Sweeps the schedule and runs queued tasks until it is stopped; what people wait for it sends beside that."""

    def __post_init__(self) -> None:
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Return from `run` when the job in hand is done. Safe to call from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Serve; a database that is away is tried again."""
        lane = threading.Thread(target=self._carry_what_is_waited_for, name="waited-for")
        lane.start()
        _LOG.info("worker ready")
        try:
            self._sweep_until_stopped()
        finally:
            self.stop()
            lane.join()

    def _sweep_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                for name in sweep(now()):
                    _LOG.info("done: %s", name)
                run_queued_tasks()
                # No job of the schedule: a job holds its row, and on SQLite the database, for as long as it runs.
                if (mail := send_due()).sent or mail.failed:
                    _LOG.info(
                        "messages: %d sent, %d to be tried again, %d given up", mail.sent, mail.later, mail.failed
                    )
            except DatabaseFault as error:
                _LOG.warning("the database is away or locked, trying again: %s", error)
                connection.close()
            self._rest(max(1.0, min(_SWEEP_EVERY_S, clock().real_seconds(_SWEEP_EVERY_S))))
        connection.close()

    def _rest(self, seconds: float) -> None:
        """Wait for the next sweep, or until a task is queued."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopping.wait(min(_LOOK_EVERY_S, left)):
                return
            with contextlib.suppress(DatabaseFault):  # the sweep that follows says so, and opens another connection
                if tasks_waiting():
                    return

    def _carry_what_is_waited_for(self) -> None:
        """Send codes and links as soon as they are queued: a job of the schedule may take minutes, nobody waits so."""
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                if waited_for(now()):
                    send_due(only_waited_for=True)
            except DatabaseFault:  # the sweep says so
                connection.close()
            except Exception:
                _LOG.exception("a message that somebody waits for could not be sent; it is tried again")
        connection.close()


def tasks_waiting() -> int:
    """Return how many queued tasks are ready to run."""
    from django_tasks_db.models import DBTaskResult

    waiting: int = DBTaskResult.objects.ready().count()
    return waiting


def run_queued_tasks() -> int:
    """Run the tasks that are queued and ready (django-tasks-db), in this process; return how many there were."""
    from django_tasks_db.management.commands.db_worker import Worker as TaskWorker

    waiting = tasks_waiting()
    if waiting:
        TaskWorker(
            queue_names=["*"],
            interval=0,
            batch=True,
            backend_name="default",
            startup_delay=False,
            max_tasks=None,
            worker_id=f"headwater-{os.getpid()}",
            excluded_queue_names=[],
        ).run()
    return waiting

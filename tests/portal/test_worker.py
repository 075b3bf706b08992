"""The worker's schedule: each job once in each of its periods, also when it fails, also with several workers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django_tasks import task

from portal.core.models import DueJob
from portal.metering.models import RecentRead, RegisterDay
from portal.worker import JOBS, Job, Worker, run_queued_tasks, sweep
from tests.portal.building import NOON, enrolled, read, total


@pytest.mark.django_db
def test_a_job_runs_once_in_a_period() -> None:
    ran = []
    jobs = (Job("count", timedelta(hours=1), ran.append),)
    for minutes in (0, 10, 59, 60, 61, 200):
        sweep(NOON + timedelta(minutes=minutes), jobs)
    assert ran == [NOON, NOON + timedelta(hours=1), NOON + timedelta(minutes=200)]
    assert DueJob.objects.get().due_at == NOON + timedelta(hours=4)


@pytest.mark.django_db
def test_a_job_that_fails_is_written_down_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    def fail(moment: object) -> None:
        raise ValueError("broken job")

    ran = []
    jobs = (Job("fails", timedelta(hours=1), fail), Job("works", timedelta(hours=1), ran.append))
    assert sweep(NOON, jobs) == ["fails", "works"]
    assert ran == [NOON]
    assert "broken job" in DueJob.objects.get(name="fails").last_error
    assert "broken job" in caplog.text
    assert sweep(NOON, jobs) == []


@pytest.mark.django_db
def test_the_schedule_folds_closed_days() -> None:
    from portal.ingest.apply import apply_batch

    box = enrolled()
    apply_batch(box.sealed([read(total(), n, NOON + timedelta(hours=n)) for n in range(3)]), box.name, NOON)
    sweep(NOON + timedelta(days=2), JOBS)
    assert RecentRead.objects.count() == 0
    assert RegisterDay.objects.get().reads == 3


@task()
def double(number: int) -> int:
    return 2 * number


@pytest.mark.django_db(transaction=True)
def test_queued_tasks_are_run() -> None:
    result = double.enqueue(21)
    assert run_queued_tasks() == 1
    result.refresh()
    assert result.return_value == 42
    assert run_queued_tasks() == 0


@pytest.mark.django_db
def test_a_queued_task_ends_the_rest_between_two_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    class Looked:
        """An event that is never set, and for which nobody waits."""

        waits = 0

        def wait(self, _seconds: float) -> bool:
            self.waits += 1
            if self.waits == 3:
                double.enqueue(4)
            return False

    worker = Worker()
    looked = Looked()
    monkeypatch.setattr(worker, "_stopping", looked)
    worker._rest(3600.0)
    assert looked.waits == 3

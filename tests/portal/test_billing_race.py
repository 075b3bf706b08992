"""Two processes at one run: no account is billed twice, and neither waits for the other for long."""

from __future__ import annotations

import threading
from datetime import date
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction

from portal.billing.models import Bill, BillRun
from portal.billing.periods import Period
from portal.billing.runs import calculate_run, issue_run, start_run
from portal.ledger.models import JournalEntry
from tests.portal import billed
from tests.portal.billed import cycle, reads, steady

if TYPE_CHECKING:
    from collections.abc import Callable

MAY, JUNE = date(2026, 5, 1), date(2026, 6, 1)


def both(work: Callable[[], object]) -> list[BaseException]:
    """Do something in two threads at once, each with its own connection; return what was raised."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(2)

    def one() -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite in memory has one writer and no rows to skip")
def test_two_that_race_share_the_accounts() -> None:
    billed.rate_book()
    for number in range(24):
        reads(billed.home(number, MAY).register, steady(MAY, date(2026, 6, 2), 200 + number))
    assert both(lambda: start_run(cycle(), JUNE, bill_date=JUNE)) == []
    run = BillRun.objects.get()
    assert both(lambda: calculate_run(BillRun.objects.get(), chunk=3)) == []
    calculate_run(run)
    assert run.state == "calculated"
    assert Bill.objects.count() == Bill.objects.values("account").distinct().count() == 24
    assert both(lambda: issue_run(BillRun.objects.get(), chunk=5)) == []
    assert Bill.objects.filter(state="issued").count() == JournalEntry.objects.filter(kind="bill").count() == 24


@pytest.mark.django_db
def test_the_last_line_is_the_database() -> None:
    billed.rate_book()
    home = billed.home(1, MAY)
    reads(home.register, steady(MAY, date(2026, 6, 2), 300))
    (bill,) = billed.run(JUNE)
    copy = Bill.objects.get(pk=bill.pk)
    copy.pk, copy.public_id, copy.number, copy.state, copy.entry = None, "x" * 13, None, "draft", None
    assert Period(copy.period_start, copy.period_end).days == 31
    with pytest.raises(IntegrityError), transaction.atomic():
        copy.save(force_insert=True)

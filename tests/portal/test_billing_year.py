"""A generated year: registers, charts, bills and ledger agree; and a planted difference of each sort is found."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from django.db import connection, transaction
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from portal.billing.models import Bill, BilledDial, BillLine, BillSegment
from portal.billing.reconcile import reconcile
from portal.cli import portal as portal_group
from portal.core.errors import ReconciliationDifference
from portal.core.public_id import new_public_id
from portal.metering.models import ReadVerdict, RegisterDay, StoredBatch
from portal.metering.packed import DAY_US, pack_day, unpack_day
from tests.portal.year import town

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_django.plugin import DjangoDbBlocker

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("generated-year")]


@pytest.fixture(scope="module")
def built(django_db_setup: None, django_db_blocker: DjangoDbBlocker, portal_keys: Path) -> Iterator[None]:
    """Let the year go by once for all tests of this module, in a transaction that is rolled back behind them."""
    with (
        django_db_blocker.unblock(),
        override_settings(PORTAL_DIR=portal_keys, EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend"),
        transaction.atomic(),
    ):
        town()
        yield
        transaction.set_rollback(True)


@pytest.fixture
def year(built: None, db: None) -> None:
    """The year; what a test does to it is taken back."""


def test_registers_charts_bills_and_ledger_of_the_year_agree(year: None) -> None:
    found = reconcile(charts=None)
    assert [str(difference) for difference in found.differences] == []
    assert found.accounts == 21
    assert found.service_points == found.charts - 1 == 20, "one chart more: a home stood empty for nine days"
    assert found.bills > 240
    codes = Counter(finding["code"] for bill in Bill.objects.all() for finding in bill.findings)
    assert codes["true-up"] == 3, "the year has estimates that were made up for"
    assert codes["roll-over"] > 5
    assert Bill.objects.filter(kind=Bill.Kind.FINAL).count() == 2
    assert BillSegment.objects.filter(bill__period_start="2026-03-01", start="2026-03-11").count() > 15
    swap = BilledDial.objects.filter(
        register__meter__meter_id__startswith="SWAP", segment__bill__period_end="2026-02-01"
    )
    assert swap.count() == 2
    assert BilledDial.objects.filter(first_interpolated=True).exists()
    assert BilledDial.objects.filter(first_interpolated=False).exists()


def test_the_command_says_that_all_agree_and_exits_with_0(year: None) -> None:
    done = CliRunner().invoke(portal_group, ["reconcile-bills", "--charts", "3", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["differences"] == []


def _dial() -> BilledDial:
    """A dial in the middle of the year whose ends are measured reads."""
    dials = BilledDial.objects.filter(segment__bill__period_end="2026-02-01", last_interpolated=False, last_quality=0)
    return dials.filter(register__meter__meter_id="YEAR-0004").get()


def _a_changed_dial() -> None:
    BilledDial.objects.filter(pk=_dial().pk).update(last_shown=F("last_shown") + 1)


def _a_changed_amount() -> None:
    line = BillLine.objects.filter(bill=_dial().segment.bill, kind="usage").first()
    assert line is not None
    BillLine.objects.filter(pk=line.pk).update(amount_cents=F("amount_cents") + 1)


def _an_amount_moved_between_lines() -> None:
    one, two = BillLine.objects.filter(bill=_dial().segment.bill, kind="usage")[:2]
    BillLine.objects.filter(pk=one.pk).update(amount_cents=F("amount_cents") + 1)
    BillLine.objects.filter(pk=two.pk).update(amount_cents=F("amount_cents") - 1)


def _a_missing_segment() -> None:
    BillSegment.objects.filter(pk=_dial().segment_id).delete()


def _changed_units() -> None:
    BillSegment.objects.filter(pk=_dial().segment_id).update(units=F("units") + 1)


def _a_lost_remainder() -> None:
    last = BillSegment.objects.filter(bill__state="issued").exclude(remainder="0").order_by("-end").first()
    assert last is not None
    BillSegment.objects.filter(pk=last.pk).update(remainder="0")


def _a_shifted_read() -> None:
    dial = _dial()
    [us] = dial.last_us
    row = RegisterDay.objects.get(register=dial.register_id, day=us // DAY_US)
    reads = [
        read._replace(raw_count=read.raw_count + 5) if read.read_us == us else read
        for read in unpack_day(row.day, bytes(row.packed))
    ]
    RegisterDay.objects.filter(register=row.register, day=row.day).update(packed=pack_day(row.day, reads))


def _an_excluded_read() -> None:
    dial = _dial()
    [us] = dial.last_us
    ReadVerdict.objects.create(
        register=dial.register, read_us=us, until_us=us, verdict="excluded", rule="manual", decided_at=timezone.now()
    )


def _a_lost_batch() -> None:
    StoredBatch.objects.filter(first_read_at__lte=_dial().end, last_read_at__gte=_dial().end).delete()


def _an_unposted_bill() -> None:
    bill = _dial().segment.bill
    other = Bill.objects.filter(account=bill.account, period_start=bill.period_end).get()
    Bill.objects.filter(pk=bill.pk).update(entry=other.entry)


def _a_doubled_bill() -> None:
    bill = _dial().segment.bill
    segments = list(bill.segments.all())
    bill.pk, bill.public_id, bill.number = None, new_public_id(), "DOUBLE-1"
    bill.period_start = bill.period_start.replace(day=2)
    bill.save(force_insert=True)
    for segment in segments:
        segment.pk, segment.public_id, segment.bill = None, new_public_id(), bill
        segment.save(force_insert=True)


PLANTED: list[tuple[Callable[[], None], str]] = [
    (_a_changed_dial, "dial-read"),
    (_a_changed_amount, "ledger"),
    (_an_amount_moved_between_lines, "line"),
    (_a_missing_segment, "days-left-out"),
    (_changed_units, "units"),
    (_a_lost_remainder, "units"),
    (_a_shifted_read, "dial-read"),
    (_an_excluded_read, "chart"),
    (_a_lost_batch, "no-batch"),
    (_an_unposted_bill, "ledger"),
    (_a_doubled_bill, "billed-twice"),
]


@pytest.mark.parametrize(("plant", "check"), PLANTED, ids=[plant.__name__.strip("_") for plant, _check in PLANTED])
def test_a_planted_difference_is_found(year: None, plant: Callable[[], None], check: str) -> None:
    plant()
    done = CliRunner().invoke(portal_group, ["reconcile-bills", "--charts", "1"])
    assert isinstance(done.exception, ReconciliationDifference), done.output
    assert done.exception.exit_code == 9
    assert f"[{check}]" in done.output, done.output


def test_the_number_of_queries_does_not_grow_with_the_bills(year: None) -> None:
    def queries() -> int:
        with connection.execute_wrapper(_counting(counted := [])):
            reconcile(charts=0)
        return len(counted)

    before = queries()
    # As many bills again, of accounts that are billed as these are, would be read by the same statements; fewer, too.
    gone = Bill.objects.filter(account__number__gt="0000010", account__number__lt="0000100")
    BilledDial.objects.filter(segment__bill__in=gone).delete()
    BillLine.objects.filter(bill__in=gone).delete()
    BillSegment.objects.filter(bill__in=gone).delete()
    assert before - queries() < 10


def _counting(counted: list[str]) -> Callable[..., object]:
    def wrapper(execute: Callable[..., object], sql: str, params: object, many: bool, context: object) -> object:
        counted.append(sql)
        return execute(sql, params, many, context)

    return wrapper

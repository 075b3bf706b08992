"""Bills reach people: by email unless paper was asked for, once; paper in the order of the route."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pikepdf
import pytest
from allauth.account.models import EmailAddress
from click.testing import CliRunner
from django.core import mail
from django.db import transaction

from portal.billing.delivery import deliver, deliver_many, deliveries_of, hidden
from portal.billing.documents import pdf
from portal.billing.documents.facts import facts_of, freeze
from portal.billing.documents.files import write_run
from portal.billing.models import Bill, BillDelivery, BillRun, Cycle, PrintBatch
from portal.billing.printing import print_run, write
from portal.cli import portal
from portal.core.errors import ReconciliationDifference, Refused
from portal.core.models import UtilitySettings
from portal.notifications.bounces import mark_bad
from portal.notifications.models import Message
from portal.notifications.sending import send_due
from tests.portal.bills import make_account, make_bill
from tests.portal.building import person

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


def _run() -> BillRun:
    cycle, _ = Cycle.objects.get_or_create(code="M1")
    return BillRun.objects.create(
        cycle=cycle,
        period_start=date(2026, 5, 1),
        period_end=date(2026, 6, 1),
        bill_date=date(2026, 6, 3),
        due_date=date(2026, 6, 24),
        state="issued",
        started_at=datetime(2026, 6, 3, tzinfo=UTC),
    )


def _frozen(*bills: Bill) -> list[Bill]:
    freeze(bills)
    for bill in bills:
        bill.save()
    return list(bills)


def _paper_run(stops: list[tuple[str, int]]) -> tuple[BillRun, list[Bill]]:
    run = _run()
    bills = [make_bill(make_account(paper=True, route=route, stop=stop), run=run) for route, stop in stops]
    deliver_many(_frozen(*bills))
    return run, bills


# which way


def test_a_bill_goes_by_email_once_with_itself_attached() -> None:
    UtilitySettings.objects.update_or_create(
        pk=1, defaults={"name": "City Water", "portal_url": "https://water.example.org/", "contact_phone": "555-0139"}
    )
    [bill] = _frozen(make_bill(make_account(email="ana@example.org")))
    deliver(bill)
    deliver(bill)
    assert send_due().sent == 1
    assert send_due().sent == 0
    [email] = mail.outbox
    assert (email.to, email.subject) == (["ana@example.org"], "City Water: your water bill is ready")
    assert bill.account.number not in email.subject + email.body
    assert f"https://water.example.org/bill/{bill.public_id}/" in email.body
    [sent] = deliveries_of(bill)
    assert (sent.channel, sent.to, sent.failed) == ("email", "a…a@example.org", False)
    assert sent.done_at is not None
    assert sent.code in email.body
    assert sent.code in str(email.alternatives[0].content)
    [(name, content, kind)] = email.attachments
    assert (name, kind) == (f"{bill.number}.pdf", "application/pdf")
    with pikepdf.open(io.BytesIO(content)) as document, document.open_metadata() as metadata:
        assert bill.number in metadata["dc:title"]


def test_a_spanish_account_gets_everything_in_spanish() -> None:
    [bill] = _frozen(make_bill(make_account(email="ana@example.org", language="es")))
    deliver(bill)
    send_due()
    [email] = mail.outbox
    assert email.subject.endswith(": su factura de agua está lista")
    assert email.extra_headers["Content-Language"] == "es"
    assert "Importe a pagar: $101.45" in email.body
    with pikepdf.open(io.BytesIO(email.attachments[0][1])) as document:
        assert str(document.Root.Lang) == "es"


def test_paper_comes_only_when_asked_for_or_when_nothing_else_reaches_them() -> None:
    user = person("holder@example.org")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    unverified = person("unsure@example.org")
    EmailAddress.objects.create(user=unverified, email=unverified.email, verified=False, primary=True)
    bills = _frozen(
        make_bill(make_account(email="a@example.org", paper=True)),
        make_bill(make_account(user=user)),
        make_bill(make_account(user=unverified)),
    )
    deliver_many(bills)
    ways = {row.bill_id: (row.channel, row.to) for row in BillDelivery.objects.all()}
    assert ways[bills[0].pk][0] == "paper"
    assert ways[bills[1].pk] == ("email", "holder@example.org")
    assert ways[bills[2].pk][0] == "paper"
    assert "Elm Street" in ways[bills[2].pk][1]
    assert Message.objects.count() == 1


def test_what_is_taken_back_before_the_commit_is_not_sent() -> None:
    [bill] = _frozen(make_bill(make_account(email="ana@example.org")))
    with transaction.atomic():
        deliver(bill)
        transaction.set_rollback(True)
    assert send_due().sent == 0
    assert not deliveries_of(bill)


def test_a_draft_is_not_sent() -> None:
    with pytest.raises(Refused, match="only issued"):
        deliver(make_bill(issued=False))


def test_a_whole_run_takes_as_many_queries_as_one_bill(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    bills = _frozen(*(make_bill(make_account(email=f"a{n}@example.org")) for n in range(6)))
    deliver_many(bills[:1])
    with django_assert_max_num_queries(12) as one:
        deliver_many(bills[1:2])
    with django_assert_max_num_queries(len(one)):
        deliver_many(bills[2:])
    assert Message.objects.count() == 6


@pytest.mark.parametrize(("address", "shown"), [("ana@x.org", "a…a@x.org"), ("ab@x.org", "a…@x.org")])
def test_an_address_is_shown_hidden(address: str, shown: str) -> None:
    assert hidden(address) == shown


def test_a_bill_to_an_address_that_messages_come_back_from_goes_on_paper() -> None:
    one, two = make_bill(make_account(email="Ana@example.org")), make_bill(make_account(email="ben@example.org"))
    _frozen(one, two)
    mark_bad("ana@example.org", "550 user unknown", label="tests")
    deliver_many([one, two])
    assert dict(BillDelivery.objects.values_list("bill", "channel")) == {one.pk: "paper", two.pk: "email"}
    assert Message.objects.get().to == "ben@example.org"


# paper


def test_a_print_batch_follows_the_route_and_starts_every_bill_on_a_sheet() -> None:
    run, bills = _paper_run([("R2", 1), ("R1", 20), ("R1", 3)])
    [printed] = print_run(run, label="tests")
    rows = list(csv.DictReader(io.StringIO(printed.addresses.read_text(encoding="utf-8"))))
    assert [row["bill"] for row in rows] == [bills[2].number, bills[1].number, bills[0].number]
    assert [row["sequence"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["line1"] == "Ana Morales"
    assert "Elm Street" in rows[0]["line2"]
    with pikepdf.open(printed.pdf) as document:
        pages = len(document.pages)
        boxes = {tuple(map(float, page.mediabox)) for page in document.pages}
    sheets = [int(row["sheets"]) for row in rows]
    assert boxes == {(0, 0, 612, 792)}
    assert printed.batch.sheets == sum(sheets)
    assert pages == 2 * sum(sheets[:-1]) + int(rows[-1]["pages"])
    assert all(deliveries_of(bill)[0].done_at for bill in bills)


def test_a_batch_of_many_is_laid_out_in_parts_and_still_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = _paper_run([("R1", n) for n in range(5)])
    monkeypatch.setattr(pdf, "PRINT_CHUNK", 2)
    [printed] = print_run(run, label="tests")
    rows = list(csv.DictReader(io.StringIO(printed.addresses.read_text(encoding="utf-8"))))
    with pikepdf.open(printed.pdf) as document:
        assert len(document.pages) == 2 * sum(int(row["sheets"]) for row in rows[:-1]) + int(rows[-1]["pages"])
    assert len(rows) == 5


def test_a_batch_is_made_once_and_comes_out_the_same_again() -> None:
    run, _ = _paper_run([("R1", 1), ("R1", 2)])
    [first] = print_run(run, label="tests")
    content = first.pdf.read_bytes(), first.addresses.read_bytes()
    first.pdf.unlink()
    first.addresses.write_text("damaged", encoding="utf-8")
    [again] = print_run(run, label="tests")
    assert (again.pdf.read_bytes(), again.addresses.read_bytes()) == content
    assert PrintBatch.objects.count() == 1


def test_what_is_issued_later_is_another_batch_and_nothing_is_printed_twice() -> None:
    run, bills = _paper_run([("R1", 1)])
    print_run(run, label="tests")
    late = make_bill(make_account(paper=True), run=run)
    cancelled = make_bill(make_account(paper=True), run=run)
    deliver_many(_frozen(late, cancelled))
    Bill.objects.filter(pk=cancelled.pk).update(state="cancelled")
    batches = print_run(run, label="tests")
    assert [printed.batch.bills for printed in batches] == [1, 1]
    numbers = [printed.addresses.read_text(encoding="utf-8").splitlines()[1].split(",")[1] for printed in batches]
    assert numbers == [bills[0].number, late.number]


def test_a_batch_that_would_come_out_otherwise_is_refused() -> None:
    run, bills = _paper_run([("R1", 1)])
    [printed] = print_run(run, label="tests")
    printed.pdf.unlink()
    bills[0].facts["name"] = "Somebody Else"
    bills[0].save()
    with pytest.raises(ReconciliationDifference, match="otherwise"):
        write(PrintBatch.objects.get())


def test_a_name_that_a_spreadsheet_would_run_is_text() -> None:
    run = _run()
    bill = make_bill(make_account(name="=HYPERLINK(1)", paper=True), run=run)
    deliver_many(_frozen(bill))
    [printed] = print_run(run, label="tests")
    assert "'=HYPERLINK(1)" in printed.addresses.read_text(encoding="utf-8")


# files


def test_a_run_is_written_in_parts_and_goes_on_where_it_was(tmp_path: Path) -> None:
    run, bills = _paper_run([("R1", 1), ("R1", 2), ("R1", 3)])
    assert write_run(run, tmp_path, part=1, parts=2) == 1
    assert write_run(run, tmp_path) == 2
    assert write_run(run, tmp_path) == 0
    assert {path.stem for path in tmp_path.iterdir()} == {bill.number for bill in bills}


def test_the_commands_write_a_bill_and_a_batch(tmp_path: Path) -> None:
    run, bills = _paper_run([("R1", 1)])
    file = tmp_path / "bill.pdf"
    call = ["bill", "pdf", str(bills[0].number), "-o", str(file), "--language", "es", "--json"]
    done = CliRunner().invoke(portal, call)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["language"] == "es"
    assert file.read_bytes().startswith(b"%PDF")
    printed = CliRunner().invoke(portal, ["bill", "print", run.public_id, "-o", str(tmp_path), "--json"])
    assert printed.exit_code == 0, printed.output
    [batch] = json.loads(printed.output)["batches"]
    assert (tmp_path / batch["pdf"]).is_file()
    assert (tmp_path / batch["csv"]).is_file()
    assert facts_of(bills[0]).number == bills[0].number

"""The audit finds what the database could not refuse; the export adds up; the command exits with 9."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from click.testing import CliRunner
from django.db import connection

from portal.billing.auditing import audit_all, audit_nightly
from portal.billing.models import Bill
from portal.cli import portal as portal_command
from portal.core.clock import now
from portal.core.errors import ReconciliationDifference
from portal.ledger import auditing, triggers
from portal.ledger.errors import LedgerDifference
from portal.ledger.journal import COLUMNS, write_csv, write_json_lines
from portal.ledger.models import JournalEntry
from portal.ledger.services import audit_ledger, post, record_payment, reverse
from tests.portal.bills import make_account, make_bill, pay
from tests.portal.testing_ledger import DAY, account, bill_legs

pytestmark = pytest.mark.django_db


def run(sql: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


@pytest.fixture
def lifted() -> Iterator[None]:
    """The triggers away, as somebody who owns the tables could have had them; the audit must not rest on them."""
    triggers.remove(connection)
    yield
    triggers.install(connection)


@pytest.fixture
def books() -> Bill:
    """Two bills, a payment, a reversed entry."""
    payer = make_account()
    first = make_bill(payer)
    make_bill(payer)
    pay(payer, 5_000, date(2026, 6, 10))
    wrong = post("bill-like", DAY, bill_legs(payer, water=100), key="x:1")
    reverse(wrong, key="x:1:reversed", reason="wrong", on=DAY)
    return first


def checks() -> set[str]:
    return {difference.check for difference in audit_all()} - {"guarded"}


@pytest.mark.usefixtures("books")
def test_clean_books_have_no_difference() -> None:
    assert audit_all() == []
    audit_nightly(now())


@pytest.mark.usefixtures("lifted")
@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (
            "UPDATE ledger_posting SET amount_cents = amount_cents + 1 WHERE id = (SELECT MIN(id) FROM ledger_posting)",
            {"books balance", "entry balances", "bill posted with its amount"},
        ),
        # Two wrongs that make a right of the sum: only the entries and the bills know.
        (
            "UPDATE ledger_posting SET amount_cents = amount_cents + 1 WHERE id IN (SELECT MIN(p.id) FROM "
            "ledger_posting p JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id WHERE a.code = '1200' UNION "
            "SELECT MIN(p.id) FROM ledger_posting p JOIN ledger_ledgeraccount a ON a.id = p.ledger_account_id "
            "WHERE a.code = '4100')",
            {"books balance", "entry balances", "bill posted with its amount"},
        ),
        (
            "UPDATE ledger_journalentry SET key = 'bill:other' WHERE key LIKE 'bill:%%'",
            {"bill posted under its own key"},
        ),
        (
            "DELETE FROM ledger_posting WHERE entry_id = (SELECT id FROM ledger_journalentry WHERE kind = 'payment')",
            {"entry balances"},
        ),
        (
            "UPDATE ledger_posting SET amount_cents = 2 * amount_cents WHERE entry_id = "
            "(SELECT id FROM ledger_journalentry WHERE key = 'x:1:reversed')",
            {"reversal mirrors"},
        ),
        (
            "UPDATE ledger_posting SET account_id = NULL WHERE account_id IS NOT NULL",
            {"control account", "bill posted with its amount"},
        ),
        (
            "UPDATE ledger_journalentry SET date = '2020-01-01' WHERE key = 'x:1:reversed'",
            {"reversal after its entry"},
        ),
        (
            "UPDATE billing_bill SET charges_cents = charges_cents + 100",
            {"bill is its lines", "bill posted with its amount"},
        ),
        ("UPDATE billing_billline SET amount_cents = amount_cents + 1", {"bill is its lines"}),
        ("UPDATE billing_bill SET state = 'cancelled'", {"cancelled bill is reversed"}),
        ("UPDATE billing_bill SET entry_id = NULL, state = 'cancelled'", {"bill posted under its own key"}),
    ],
)
def test_what_was_tampered_with_is_found(books: Bill, sql: str, found: set[str]) -> None:
    if "key = 'bill:other'" in sql:
        sql = sql.replace("LIKE 'bill:%%'", f"= 'bill:{books.public_id}'")
    run(sql)
    assert found <= checks()
    assert found & checks() == found


@pytest.mark.usefixtures("books")
def test_an_entry_that_says_it_is_a_bill_but_is_none_is_found() -> None:
    post("bill", DAY, bill_legs(account(), water=100), key="bill:nobody")
    assert checks() == {"entry of a bill has its bill"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's own ways")
@pytest.mark.django_db(transaction=True)
def test_an_entry_without_its_seal_is_found() -> None:
    """On a connection that has foreign keys off, as the sqlite3 shell has them, half an entry can be committed."""
    connection.disable_constraint_checking()
    columns = "(public_id, key, kind, date, posted_at, memo, actor_label, detail, seal_id)"
    run(
        f"INSERT INTO ledger_journalentry {columns} VALUES ('q', 'raw:1', 'x', %s, %s, '', '', '{{}}', 'q')", DAY, now()
    )
    connection.enable_constraint_checking()
    assert checks() == {"entry sealed", "entry balances"}


def test_a_missing_trigger_is_found(lifted: None) -> None:
    assert {(each.check, each.about) for each in audit_ledger()} == {
        ("guarded", name) for name in triggers.expected(connection)
    }


@pytest.mark.usefixtures("books")
def test_the_job_says_what_it_found() -> None:
    run("UPDATE billing_billline SET amount_cents = amount_cents + 1")
    with pytest.raises(LedgerDifference, match="bill is its lines") as raised:
        audit_nightly(now())
    assert isinstance(raised.value, ReconciliationDifference)
    assert raised.value.exit_code == 9


@pytest.mark.usefixtures("books")
def test_a_thousand_differences_are_counted_and_not_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "SHOWN_MAX", 1)
    run("UPDATE billing_billline SET amount_cents = amount_cents + 1")
    shown = [str(each) for each in audit_all() if each.check == "bill is its lines"]
    assert shown[-1] == "bill is its lines: more: 1 not listed"


# -- the commands


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(portal_command, ["ledger", *arguments])


@pytest.mark.usefixtures("books")
def test_the_commands_print_what_stands() -> None:
    number = Bill.objects.values_list("account__number", flat=True)[0]
    assert invoke("audit").output == "The books agree.\n"
    assert json.loads(invoke("audit", "--json").output) == {"differences": []}
    assert invoke("balance", number).output == "152.90\n"
    assert json.loads(invoke("balance", number, "--on", "2026-06-09", "--json").output) == {
        "account": number,
        "balance_cents": 10_145,
    }
    aged = json.loads(invoke("aging", "--on", "2026-07-01", "--json").output)
    assert aged["total"]["to_30_cents"] == 10_145 - 5_000
    assert aged["accounts"] == 1
    table = invoke("aging", "--on", "2026-07-01").output.splitlines()
    assert table[1].split() == [number, "0.00", "51.45", "0.00", "0.00", "0.00", "0.00", "51.45"]
    assert table[-1].split()[0] == "TOTAL"
    assert invoke("aging", "--account", "nobody").exception.code == "account"


@pytest.mark.usefixtures("lifted", "books")
def test_the_audit_command_fails_on_a_difference() -> None:
    run("UPDATE billing_billline SET amount_cents = amount_cents + 1")
    done = invoke("audit", "--json")
    assert isinstance(done.exception, LedgerDifference)
    assert {each["check"] for each in json.loads(done.output)["differences"]} >= {"bill is its lines", "guarded"}


# -- the export


def test_the_export_adds_up_and_keeps_to_its_days(tmp_path: Any) -> None:
    payer = account("=1+1")
    for day in (1, 2, 3, 4):
        post(
            "bill", date(2026, 3, day), bill_legs(payer, water=1000 * day, sewer=10), key=f"bill:{day}", memo="=evil()"
        )
    record_payment(payer, 500, method="cash", received_on=date(2026, 3, 5), reference="a,b")
    out = io.StringIO()
    sums = write_csv(out, date(2026, 3, 2), date(2026, 3, 3))
    *rows, total = csv.DictReader(io.StringIO(out.getvalue()))
    assert {row["date"] for row in rows} == {"2026-03-02", "2026-03-03"}
    assert (sums.postings, sums.entries, sums.debit_cents, sums.credit_cents) == (8, 2, 5020, 5020)
    assert total["entry"] == "TOTAL"
    assert int(total["debit_cents"]) == sum(int(row["debit_cents"]) for row in rows) == 5020
    assert int(total["credit_cents"]) == sum(int(row["credit_cents"]) for row in rows) == 5020
    assert {row["memo"] for row in rows} == {"'=evil()"}, "no cell is a formula"
    assert list(rows[0]) == list(COLUMNS)
    lines = io.StringIO()
    write_json_lines(lines, None, None)
    *objects, last = map(json.loads, lines.getvalue().splitlines())
    assert last["total"] == {
        "postings": len(objects),
        "entries": 5,
        "debit_cents": sum(row["debit_cents"] for row in objects),
        "credit_cents": sum(row["credit_cents"] for row in objects),
    }
    file = tmp_path / "journal.csv"
    done = invoke("export", "--from", "2026-03-02", "--to", "2026-03-03", "--out", str(file))
    assert file.read_text() == out.getvalue()
    assert "8 postings of 2 entries, 50.20 each side" in done.stderr
    assert invoke("export", "--json").output == lines.getvalue()


def test_the_export_of_a_reversal_names_what_it_takes_back() -> None:
    entry = post("bill", DAY, bill_legs(account(), water=100), key="bill:1")
    made = reverse(entry, key="bill:1:reversed", reason="wrong", on=DAY)
    out = io.StringIO()
    write_json_lines(out, DAY, DAY)
    rows = [json.loads(line) for line in out.getvalue().splitlines()][:-1]
    assert [row["reverses"] for row in rows if row["entry"] == made.public_id] == [entry.public_id] * 2
    assert JournalEntry.objects.count() == 2

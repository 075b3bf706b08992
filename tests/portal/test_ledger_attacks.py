"""What the database refuses of the journal, asked in plain SQL; and what the audit sees where it cannot refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from portal.core.clock import now
from portal.customers.models import Account
from portal.ledger import triggers
from portal.ledger.models import JournalEntry, LedgerAccount, Posting
from portal.ledger.services import balance_cents, post, reverse
from tests.portal.testing_ledger import DAY, account, bill_legs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.django_db

SQLITE = connection.vendor == "sqlite"
only_sqlite = pytest.mark.skipif(not SQLITE, reason="SQLite's own ways")
only_postgresql = pytest.mark.skipif(SQLITE, reason="PostgreSQL's own ways")


BALANCED: list[tuple[str, object]] = [("1000", 100), ("4100", -100)]


def run(sql: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


@pytest.fixture
def entry() -> JournalEntry:
    return post("bill", DAY, bill_legs(account(), water=4500, sewer=1200), key="bill:1")


def raw_entry(public_id: str = "r" * 13, *, seal: str | None = None, reverses: int | None = None) -> int:
    """An entry written around the services."""
    run(
        "INSERT INTO ledger_journalentry (public_id, key, kind, date, posted_at, memo, actor_label, detail, seal_id, "
        "reverses_id) VALUES (%s, %s, 'raw', %s, %s, '', '', '{}', %s, %s)",
        public_id,
        f"raw:{public_id}",
        DAY,
        now(),
        seal or public_id,
        reverses,
    )
    return JournalEntry.objects.values_list("pk", flat=True).get(public_id=public_id)


def raw_posting(entry_id: int, code: str, cents: object, payer: int | None = None) -> None:
    run(
        "INSERT INTO ledger_posting (entry_id, ledger_account_id, account_id, amount_cents, service) "
        "VALUES (%s, %s, %s, %s, '')",
        entry_id,
        LedgerAccount.objects.get(code=code).pk,
        payer,
        cents,
    )


def raw_seal(public_id: str = "r" * 13) -> None:
    run("INSERT INTO ledger_seal (entry_public_id) VALUES (%s)", public_id)


def commit() -> None:
    """What a commit checks."""
    if SQLITE:
        connection.check_constraints()
    else:
        run("SET CONSTRAINTS ALL IMMEDIATE")
        run("SET CONSTRAINTS ALL DEFERRED")


@transaction.atomic
def attempt(
    legs: Sequence[tuple[str, object]],
    *,
    payer: int | None = None,
    seal: bool = True,
    reverses: int | None = None,
    between: Callable[[int], None] | None = None,
) -> None:
    """An entry in plain SQL with its legs, as a transaction of its own."""
    made = raw_entry(reverses=reverses)
    for code, cents in legs:
        raw_posting(made, code, cents, payer if code == "1200" else None)
    if between:
        between(made)
    if seal:
        raw_seal()
    commit()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE ledger_posting SET amount_cents = amount_cents",
        "UPDATE ledger_posting SET account_id = NULL",
        "UPDATE ledger_journalentry SET date = '2020-01-01'",
        "UPDATE ledger_journalentry SET memo = 'x'",
        "UPDATE ledger_seal SET entry_public_id = 'x'",
        "DELETE FROM ledger_posting",
        "DELETE FROM ledger_posting WHERE id = (SELECT min(id) FROM ledger_posting)",
        "DELETE FROM ledger_journalentry",
        "DELETE FROM ledger_seal",
        "UPDATE ledger_ledgeraccount SET code = '4999' WHERE code = '4100'",
        "UPDATE ledger_ledgeraccount SET kind = 'asset' WHERE code = '4100'",
    ],
)
@pytest.mark.usefixtures("entry")
def test_nothing_posted_changes_or_goes(sql: str) -> None:
    before = list(Posting.objects.order_by("pk").values())
    with pytest.raises(IntegrityError, match="ledger: "), transaction.atomic():
        run(sql)
    assert list(Posting.objects.order_by("pk").values()) == before


@only_postgresql
@pytest.mark.parametrize(
    "sql",
    [
        "TRUNCATE ledger_posting",
        "TRUNCATE ledger_journalentry CASCADE",
        "TRUNCATE ledger_seal CASCADE",
        "TRUNCATE ledger_ledgeraccount CASCADE",
        "TRUNCATE customers_account CASCADE",
    ],
)
def test_nothing_is_truncated(entry: JournalEntry, sql: str) -> None:
    commit()
    with pytest.raises(IntegrityError, match="ledger: "), transaction.atomic():
        run(sql)
    assert entry.postings.count() == 4


def test_the_orm_is_no_way_around(entry: JournalEntry) -> None:
    entry.memo = "other"
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        Posting.objects.update(amount_cents=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Posting.objects.all().delete()


@pytest.mark.parametrize("legs", [[("1000", 100), ("4100", -99)], [("1000", 100)], []])
def test_what_does_not_balance_is_not_sealed(legs: list[tuple[str, object]]) -> None:
    with pytest.raises(IntegrityError, match="two postings at least"):
        attempt(legs)


def test_what_is_not_sealed_is_not_committed() -> None:
    with pytest.raises(IntegrityError):
        attempt(BALANCED, seal=False)


@pytest.mark.django_db(transaction=True)
def test_the_commit_itself_refuses_what_is_not_sealed() -> None:
    post("bill", DAY, bill_legs(account(), water=4500), key="bill:1")
    with pytest.raises(IntegrityError, match="(?i)foreign key"):
        _half_an_entry()
    assert JournalEntry.objects.get().key == "bill:1"


@transaction.atomic
def _half_an_entry() -> None:
    made = raw_entry()
    raw_posting(made, "1200", 100, account("10002").pk)
    raw_posting(made, "4100", -100)


def test_a_foreign_seal_does_not_count(entry: JournalEntry) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        raw_entry(seal=entry.public_id)


def test_a_seal_without_an_entry_is_refused() -> None:
    with pytest.raises(IntegrityError, match="ledger: "), transaction.atomic():
        raw_seal()


def test_a_sealed_entry_takes_no_more(entry: JournalEntry) -> None:
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic():
        raw_posting(entry.pk, "1000", 100)


def test_a_whole_entry_in_plain_sql_is_taken_once() -> None:
    attempt(BALANCED)
    with pytest.raises(IntegrityError), transaction.atomic():
        raw_seal()


def test_a_reversal_that_is_no_mirror_is_refused(entry: JournalEntry) -> None:
    with pytest.raises(IntegrityError, match="mirrors every posting"):
        attempt([("1200", -5700), ("1000", 5700)], payer=Account.objects.get().pk, reverses=entry.pk)


def test_an_entry_is_reversed_once(entry: JournalEntry) -> None:
    reverse(entry, key="reverse:1", reason="wrong")
    with pytest.raises(IntegrityError), transaction.atomic():
        raw_entry(reverses=entry.pk)


@only_postgresql
def test_the_deferred_trigger_stands_without_the_seal() -> None:
    """Both must hold: an entry whose seal was let through is still summed at commit."""
    run("ALTER TABLE ledger_seal DISABLE TRIGGER ledger_seal_whole")
    with pytest.raises(IntegrityError, match="two postings at least"):
        attempt([("1000", 100), ("4100", -99)])


@only_postgresql
def test_a_temporary_table_does_not_hide_the_postings() -> None:
    def hide(made: int) -> None:
        run("CREATE TEMPORARY TABLE ledger_posting (entry_id bigint, amount_cents bigint) ON COMMIT DROP")
        run("INSERT INTO ledger_posting VALUES (%s, 5), (%s, -5)", made, made)

    with pytest.raises(IntegrityError, match="two postings at least"):
        attempt([], between=hide)


@only_sqlite
@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR REPLACE INTO ledger_posting (id, entry_id, ledger_account_id, amount_cents, service) "
        "SELECT id, entry_id, ledger_account_id, 1, '' FROM ledger_posting",
        "INSERT OR REPLACE INTO ledger_journalentry SELECT * FROM ledger_journalentry",
        "REPLACE INTO ledger_journalentry (public_id, key, kind, date, posted_at, memo, actor_label, detail, seal_id) "
        "VALUES ('q', 'bill:1', 'x', '2026-01-01', '2026-01-01', '', '', '{}', 'q')",
        "INSERT OR REPLACE INTO ledger_seal SELECT * FROM ledger_seal",
        "UPDATE OR REPLACE ledger_posting SET amount_cents = 5",
        "INSERT INTO ledger_seal SELECT * FROM ledger_seal WHERE 1 ON CONFLICT DO UPDATE SET entry_public_id = 'x'",
    ],
)
def test_replacing_is_no_way_to_delete(entry: JournalEntry, sql: str) -> None:
    before: list[dict[str, Any]] = list(Posting.objects.order_by("pk").values())
    with pytest.raises(IntegrityError, match="ledger: "), transaction.atomic():
        run(sql)
    assert list(Posting.objects.order_by("pk").values()) == before
    assert JournalEntry.objects.get().key == entry.key


@only_sqlite
def test_replacing_a_posting_from_an_open_entry_is_refused(entry: JournalEntry) -> None:
    first = entry.postings.order_by("pk")[0]

    def replace(made: int) -> None:
        run(
            "INSERT OR REPLACE INTO ledger_posting (id, entry_id, ledger_account_id, amount_cents, service) "
            "VALUES (%s, %s, %s, 5, '')",
            first.pk,
            made,
            first.ledger_account_id,
        )

    with pytest.raises(IntegrityError, match="never changed"):
        attempt([("1000", -5)], between=replace)


@only_sqlite
@pytest.mark.parametrize("legs", [[("1000", 0.5), ("4100", -0.5)], [("1000", "many"), ("4100", 0.25)]])
def test_only_whole_cents_are_sealed(legs: list[tuple[str, object]]) -> None:
    with pytest.raises(IntegrityError, match="whole cents"):
        attempt(legs)


@transaction.atomic
def _post_and_fail(payer: Account) -> None:
    post("bill", DAY, bill_legs(payer, water=4500), key="bill:1")
    raise ZeroDivisionError


def test_a_rolled_back_entry_was_never_there() -> None:
    payer = account()
    with pytest.raises(ZeroDivisionError):
        _post_and_fail(payer)
    assert balance_cents(payer) == 0
    post("bill", DAY, bill_legs(payer, water=4500), key="bill:1")
    assert balance_cents(payer) == 4500


def test_all_triggers_stand() -> None:
    assert triggers.found(connection) == {name: sql for name, (_, sql) in triggers.expected(connection).items()}


def test_a_trigger_that_was_dropped_or_altered_is_missed_and_made_anew() -> None:
    of = "" if SQLITE else " ON ledger_posting"
    run(f"DROP TRIGGER ledger_posting_open{of}")
    assert "ledger_posting_open" not in triggers.found(connection)
    if SQLITE:
        run("CREATE TRIGGER ledger_posting_open BEFORE INSERT ON ledger_posting BEGIN SELECT 1; END")
    else:
        run(
            "CREATE TRIGGER ledger_posting_open AFTER INSERT ON ledger_posting FOR EACH ROW "
            "EXECUTE FUNCTION ledger_posting_open()"
        )
        run("CREATE OR REPLACE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
        run("ALTER TABLE ledger_seal DISABLE TRIGGER ledger_seal_whole")
    wanted = {name: sql for name, (_, sql) in triggers.expected(connection).items()}
    altered = set() if SQLITE else {"ledger_balanced"}
    standing = triggers.found(connection)
    assert standing.get("ledger_posting_open") != wanted["ledger_posting_open"]
    assert not {"ledger_entry_balanced", "ledger_seal_whole"} & set(standing) or not altered
    triggers.install(connection)
    assert triggers.found(connection) == wanted

"""Transactions and payments: two lists of one account, whose balance is the ledger's, to the cent."""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from portal.customers import services as customers
from portal.customers.models import AccountAccess
from portal.ledger import history
from portal.ledger.models import JournalEntry, Posting
from portal.ledger.services import Leg, balance_cents, post, record_payment, return_payment, reverse
from tests.portal.bills import make_account, make_bill
from tests.portal.building import NOON, person

if TYPE_CHECKING:
    from django.http import HttpResponse

    from portal.core.models import User
    from portal.customers.models import Account

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def account() -> Account:
    """A bill, a payment that the bank returned, one that it did not, an adjustment, a deposit."""
    account = make_account(user=person(), name="Ana")
    make_bill(account)
    bounced = record_payment(account, 5_000, method="check", received_on=date(2026, 6, 10), reference="check 104711")
    return_payment(bounced, reason="no funds", on=date(2026, 6, 14))
    record_payment(
        account, 7_500, method="transfer", received_on=date(2026, 6, 20), reference='=HYPERLINK("x")', confirmed=True
    )
    legs = [Leg("1200", -345, account=account.pk, service="adjustment"), Leg("4900", 345)]
    post("adjustment", date(2026, 6, 21), legs, key="adjustment:test", memo="staff only: waived for a friend")
    held = [Leg("1000", 6_000), Leg("2200", -6_000, account=account.pk)]
    post("deposit", date(2026, 6, 22), held, key="deposit:cash:test:R-1", memo="cash R-1")
    return account


def pages_of(account: Account) -> str:
    return f"/bills/{account.public_id}/history/"


def lines(answer: HttpResponse) -> list[list[str]]:
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    return list(csv.reader(io.StringIO(text)))


def test_the_running_balance_is_the_ledgers_after_every_entry(account: Account) -> None:
    found = history.transactions(account, most=100)
    assert found[0].balance_cents == balance_cents(account)
    assert [row.balance_cents for row in reversed(found)] == [
        row.balance_cents for row in history.all_transactions(account)
    ]
    for earlier, later in zip(found[1:], found, strict=False):
        assert later.balance_cents - earlier.balance_cents == later.cents
        if earlier.entry.date != later.entry.date:
            assert earlier.balance_cents == balance_cents(account, earlier.entry.date)
    touched = set(Posting.objects.filter(account=account).values_list("entry", flat=True))
    assert {row.entry.pk for row in found} == touched


def test_pages_of_any_size_join_without_a_gap_or_a_repeat(account: Account) -> None:
    whole = history.transactions(account, most=100)
    for size in (1, 2, 4):
        parts = [row for first in range(0, 10, size) for row in history.transactions(account, first=first, most=size)]
        assert parts == whole


def test_transactions_in_words(account: Account) -> None:
    client = signed_in(account.users.get())
    text = client.get(pages_of(account)).content.decode()
    for said in (
        f'id="owed" data-cents="{balance_cents(account)}"',
        "Payment, check",
        "Payment of Jun 10, 2026 taken back",
        "Taken back on Jun 14, 2026",
        "Adjustment",
        "Deposit paid",
        "$60.00 is held as a deposit",
        "Bill 2026",
    ):
        assert said in text, said
    assert "friend" not in text  # what staff note for themselves
    assert [int(cents) for cents in re.findall(r'<tr data-cents="(-?\d+)"', text)] == [
        row.cents for row in history.transactions(account, most=25)
    ]


def test_payments_are_another_list(account: Account) -> None:
    text = signed_in(account.users.get()).get(pages_of(account) + "payments/").content.decode()
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    assert body.count("<tr>") == 3
    for said in ("…4711", "$50.00", "$75.00", "$60.00", "Taken back on Jun 14, 2026", "Held as a deposit."):
        assert said in body, said
    assert "104711" not in body
    assert "Bill" not in body


def test_both_as_csv(account: Account) -> None:
    client = signed_in(account.users.get())
    answer = client.get(pages_of(account) + "transactions.csv")
    assert answer["Content-Type"].startswith("text/csv")
    rows = lines(answer)  # type: ignore[arg-type]
    assert rows[0][0] == "Date"
    assert rows[-1][4] == f"{balance_cents(account) / 100:.2f}"
    assert sum(round(float(row[3]) * 100) for row in rows[1:]) == balance_cents(account)
    paid = lines(client.get(pages_of(account) + "payments.csv"))  # type: ignore[arg-type]
    assert [row[3] for row in paid[1:]] == ["60.00", "75.00", "50.00"]
    assert not [cell for row in [*rows, *paid] for cell in row if cell.startswith(("=", "+", "@"))]
    spanish = client.get(pages_of(account) + "payments.csv", headers={"accept-language": "es"})
    assert lines(spanish)[0] != paid[0]  # type: ignore[arg-type]


def test_a_long_history_is_cut_into_pages(account: Account) -> None:
    for number in range(30):
        legs = [Leg("1200", 100 + number, account=account.pk), Leg("4500", -100 - number)]
        entry = post("adjustment", date(2026, 7, 1), legs, key=f"adjustment:many-{number}")
    reverse(entry, key="reversed:test", reason="posted by mistake", on=date(2026, 7, 2))
    client = signed_in(account.users.get())
    first = client.get(pages_of(account)).content.decode()
    assert first.count("<tr data-cents") == 25
    assert "Entry of Jul 1, 2026 taken back" in first
    second = client.get(pages_of(account) + "?page=2").content.decode()
    assert second.count("<tr data-cents") == 12
    for nonsense in ("0", "-1", "x", "99999999999", "²"):
        assert client.get(pages_of(account) + f"?page={nonsense}").status_code == 200


@pytest.mark.parametrize("path", ["", "payments/", "transactions.csv", "payments.csv"])
def test_who_may_not_see_bills_sees_none_of_it(account: Account, path: str) -> None:
    address = pages_of(account) + path
    assert Client().get(address).status_code == 302
    assert signed_in(person("stranger@example.org")).get(address).status_code == 404
    guest = person("guest@example.org")
    access = customers.grant_access(account, guest, at=NOON, level=AccountAccess.Level.MANAGE_ALERTS)
    assert signed_in(guest).get(address).status_code == 404
    AccountAccess.objects.filter(pk=access.pk).update(level="view-bills")
    assert signed_in(guest).get(address).status_code == 200


def test_the_bills_page_leads_there_and_an_empty_account_says_so(account: Account) -> None:
    client = signed_in(account.users.get())
    text = client.get(f"/bills/{account.public_id}/").content.decode()
    assert f'href="{pages_of(account)}"' in text
    assert f'href="{pages_of(account)}payments/"' in text
    empty = make_account(user=account.users.get(), name="Ana")
    for path in ("", "payments/"):
        assert 'id="no-rows"' in client.get(pages_of(empty) + path).content.decode()
    assert JournalEntry.objects.exists()

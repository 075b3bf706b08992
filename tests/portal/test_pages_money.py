"""The staff's money pages: who may see them, what each does, what each refuses."""

from __future__ import annotations

import re
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.urls import reverse

from portal.billing.models import Adjustment, Bill, Charge
from portal.core.models import User
from portal.ledger.models import JournalEntry
from portal.ledger.services import balance_cents, record_payment
from rates.policies import LeakAdjustment, Policies, ReturnedPayment
from tests.portal.bills import make_bill
from tests.portal.test_billing_adjustments import leak_bill

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

WORDS = {"reason": "We read the wrong meter", "evidence": "Photo of both dials, 3 June"}


@pytest.fixture(autouse=True)
def rules(monkeypatch: pytest.MonkeyPatch) -> Callable[[Policies], None]:
    """The rules in force: none, unless a test names some."""

    def hold(policies: Policies) -> None:
        for place in ("portal.staff.money.policies_on", "portal.staff.books.policies_on"):
            monkeypatch.setattr(place, lambda day: policies)

    hold(Policies())
    return hold


@pytest.fixture
def sign_in() -> Callable[[str], Client]:
    def as_(email: str) -> Client:
        user, _ = User.objects.get_or_create(
            email=email, defaults={"is_staff": "resident" not in email, "name": email.partition("@")[0].title()}
        )
        client = Client()
        client.force_login(user)
        return client

    return as_


@pytest.fixture
def clerk(sign_in: Callable[[str], Client]) -> Client:
    return sign_in("clerk@example.org")


@pytest.fixture
def chief(sign_in: Callable[[str], Client]) -> Client:
    return sign_in("chief@example.org")


def asked(client: Client, bill: Bill, **changes: str) -> str:
    """Ask for a credit on a page; return where it leads."""
    form = {"policy": "read-error", "amount": "12.50", "way": "credit", **WORDS, **changes}
    done = client.post(reverse("staff:adjust-bill", args=[bill.public_id]), form)
    assert done.status_code == 303, done.content.decode()
    return str(done["Location"])


@pytest.mark.parametrize("name", ["adjustments", "payment", "journal", "aging"])
def test_only_staff(sign_in: Callable[[str], Client], name: str) -> None:
    address = reverse(f"staff:{name}")
    assert Client().get(address).status_code == 302
    assert sign_in("resident@example.org").get(address).status_code == 403
    page = sign_in("clerk@example.org").get(address)
    assert page.status_code == 200
    assert b"Money" in page.content


def test_one_asks_another_approves(clerk: Client, chief: Client) -> None:
    bill = make_bill()
    address = asked(clerk, bill)
    own = clerk.get(address).content.decode()
    assert "somebody else must decide it" in own
    assert re.search(r'id="approve" disabled', own)
    refused = clerk.post(address, {"action": "approve"})
    assert refused.status_code == 403
    assert "somebody else must decide it" in refused.content.decode()
    assert balance_cents(bill.account) == bill.charges_cents
    assert bill.account.number in clerk.get(reverse("staff:adjustments")).content.decode()
    other = chief.get(address).content.decode()
    assert not re.search(r'id="approve" disabled', other)
    assert "Photo of both dials" in other
    assert chief.post(address, {"action": "approve"}).status_code == 303
    assert balance_cents(bill.account) == bill.charges_cents - 1250
    assert 'data-state="approved"' in clerk.get(address).content.decode()
    assert bill.account.number not in clerk.get(reverse("staff:adjustments")).content.decode()
    assert bill.account.number in clerk.get(reverse("staff:adjustments") + "?state=approved").content.decode()
    again = chief.post(address, {"action": "reject", "decision": "changed my mind"})
    assert again.status_code == 422


def test_a_rejection_needs_words(clerk: Client, chief: Client) -> None:
    address = asked(clerk, make_bill(), way="charge")
    assert Adjustment.objects.get().amount_cents == 1250
    assert chief.post(address, {"action": "reject"}).status_code == 422
    assert chief.post(address, {"action": "reject", "decision": "The dials are right"}).status_code == 303
    assert not JournalEntry.objects.filter(kind="adjustment").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amount": "a lot"}, "dollars and cents"),
        ({"amount": "9999.00"}, "more than the bill"),
        ({"reason": ""}, "Write the reason"),
        ({"policy": "leak"}, "no rule for leaks"),
        ({"policy": "bribe"}, "Choose why"),
    ],
)
def test_what_is_refused_is_said_and_kept(clerk: Client, changes: dict[str, str], says: str) -> None:
    bill = make_bill()
    form = {"policy": "read-error", "amount": "12.50", "way": "credit", **WORDS, **changes}
    done = clerk.post(reverse("staff:adjust-bill", args=[bill.public_id]), form)
    assert done.status_code == 422
    assert says in done.content.decode()
    assert "Photo of both dials" in done.content.decode()
    assert not Adjustment.objects.exists()


def test_a_payment_is_recorded_once_and_a_double_is_asked_about(clerk: Client) -> None:
    bill = make_bill()
    form = {
        "account": bill.account.number,
        "amount": "$40.00",
        "method": "check",
        "received_on": "2026-06-10",
        "reference": "1042",
    }
    address = reverse("staff:payment")
    for _ in range(2):
        assert clerk.post(address, form).status_code == 303
    assert balance_cents(bill.account) == bill.charges_cents - 4000
    double = clerk.post(address, {**form, "reference": "1043"})
    assert double.status_code == 422
    assert "Yes, this is another payment" in double.content.decode()
    assert clerk.post(address, {**form, "reference": "1043", "confirmed": "yes"}).status_code == 303
    assert balance_cents(bill.account) == bill.charges_cents - 8000
    entry = JournalEntry.objects.filter(kind="payment").first()
    assert entry is not None
    assert entry.actor is not None
    assert entry.actor.email == "clerk@example.org"
    for wrong, says in (("account", "No account"), ("received_on", "year-month-day"), ("reference", "check")):
        assert says in clerk.post(address, {**form, wrong: " "}).content.decode()


def test_after_returned_payments_only_cash(clerk: Client, rules: Callable[[Policies], None]) -> None:
    rules(Policies(returned_payment=ReturnedPayment(2_500, cash_only_after=1)))
    bill = make_bill()
    entry = record_payment(bill.account, 9_000, method="check", received_on=date(2026, 6, 10), reference="1")
    done = clerk.post(reverse("staff:entry", args=[entry.public_id]), {"action": "returned", "reason": "no funds"})
    assert done.status_code == 303
    assert Charge.objects.get().amount_cents == 2_500
    assert balance_cents(bill.account) == bill.charges_cents
    form = {"account": bill.account.number, "amount": "90", "received_on": "2026-06-11", "reference": "2"}
    refused = clerk.post(reverse("staff:payment"), {**form, "method": "check"})
    assert refused.status_code == 422
    returned = JournalEntry.objects.get(reverses=entry).date
    last = returned.replace(year=returned.year + 1, day=min(returned.day, 28)) - timedelta(days=1)  # of twelve months
    assert f"Cash or card only until {last}, after" in refused.content.decode()
    assert clerk.post(reverse("staff:payment"), {**form, "method": "cash"}).status_code == 303


def test_the_journal_is_searched_and_an_entry_reversed(clerk: Client) -> None:
    bill = make_bill()
    entry = record_payment(bill.account, 9_000, method="check", received_on=date(2026, 6, 10), reference="ref-77")
    address = reverse("staff:journal")
    for query, there in (
        ("q=ref-77", True),
        (f"q={bill.account.number}", True),
        ("q=nothing-like-it", False),
        ("from=2026-06-10&to=2026-06-10", True),
        ("from=2026-06-11", False),
    ):
        assert (entry.public_id in clerk.get(f"{address}?{query}").content.decode()) is there, query
    assert clerk.get(f"{address}?from=yesterday").status_code == 422
    one = reverse("staff:entry", args=[entry.public_id])
    assert clerk.post(one, {"action": "reverse", "reason": "oops"}).status_code == 422
    done = clerk.post(one, {"action": "reverse", "reason": "booked on the wrong account"})
    assert done.status_code == 303
    assert "It takes back" in clerk.get(str(done["Location"])).content.decode()
    assert "It was reversed by" in clerk.get(one).content.decode()
    assert balance_cents(bill.account) == bill.charges_cents
    again = clerk.post(one, {"action": "returned", "reason": "booked on the wrong account"})
    assert again.status_code == 422


def test_a_bill_is_not_reversed_in_the_journal(clerk: Client) -> None:
    bill = make_bill()
    assert bill.entry is not None
    address = reverse("staff:entry", args=[bill.entry.public_id])
    assert 'id="reverse"' not in clerk.get(address).content.decode()
    refused = clerk.post(address, {"action": "reverse", "reason": "wrong, all of it"})
    assert refused.status_code == 422
    assert "cancel the bill" in refused.content.decode()
    assert JournalEntry.objects.count() == 1


def test_the_aging_of_a_day(clerk: Client) -> None:
    bill = make_bill()
    assert bill.due_date == date(2026, 6, 24)
    text = clerk.get(reverse("staff:aging") + "?on=2026-07-01").content.decode()
    assert bill.account.number in text
    assert text.count("$101.45") >= 4
    assert "Nobody owes anything." in clerk.get(reverse("staff:aging") + "?on=2020-01-01").content.decode()
    assert clerk.get(reverse("staff:aging") + "?on=soon").status_code == 422


def test_a_leak_is_calculated_before_it_is_asked_for(
    clerk: Client, rules: Callable[[Policies], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules(Policies(leak=LeakAdjustment()))
    monkeypatch.setattr("portal.staff.money.daily_units_now", lambda bill: Fraction(200))
    bill = leak_bill()
    address = reverse("staff:adjust-bill", args=[bill.public_id])
    shown = clerk.get(address).content.decode()
    assert "$83.39" in shown
    assert "back to normal" in shown
    assert "needs proof" in clerk.post(address, {"policy": "leak", **WORDS}).content.decode()
    done = clerk.post(address, {"policy": "leak", "proof": "yes", **WORDS})
    assert "9,900" in clerk.get(str(done["Location"])).content.decode()
    assert Adjustment.objects.get().amount_cents == -8339

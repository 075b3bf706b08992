"""Registering with a bill: forgiving of spelling, unforgiving of guesses, and silent about who is a customer."""

from __future__ import annotations

import re
import statistics
import threading
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from portal.access import registration
from portal.access.models import PendingClaim, RegistrationTry
from portal.access.registration import TRIES_A_DAY, link_account, prove, refusal, unlink
from portal.access.typed import cents_typed, day_typed
from portal.billing.delivery import deliver
from portal.billing.models import Bill, BillingAccount
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.customers.models import Account, AccountAccess
from portal.customers.numbers import change_number
from portal.customers.permissions import Level
from portal.ledger.models import JournalEntry
from portal.ledger.payments import return_payment
from portal.notifications.models import Message, Phone
from portal.notifications.services import code_text
from tests.portal.bills import make_account, make_bill, pay
from tests.portal.building import person, sent_mail

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.django_db
PASSWORD = "clear-water-9"


@pytest.fixture(autouse=True)
def nobody_tried_before() -> None:
    cache.clear()


@pytest.fixture
def account() -> Account:
    """An account with two bills and a payment between them; the newer one has other amounts."""
    found = make_account("00-1234567", name="Ana Morales")
    make_bill(found, units=9_000)
    pay(found, 4_000, date(2026, 6, 20))
    make_bill(found, units=12_345)
    return found


def newest(account: Account) -> Bill:
    return Bill.objects.filter(account=account).latest("bill_date")


def amount_of(account: Account) -> str:
    return f"{newest(account).due_cents / 100:.2f}"


def refused(number: str, **typed: str) -> str:
    with pytest.raises(Refused) as error:
        prove(number, **typed)
    assert error.value.code == "proof"
    return str(error.value)


@pytest.mark.parametrize("number", ["00-1234567", "1234567", "001234567", " 00 123.4567 ", "0-0/1234567"])
def test_a_number_is_read_however_it_is_spelt(account: Account, number: str) -> None:
    assert prove(number, amount=amount_of(account)) == account


def test_capitals_in_a_number_do_not_count() -> None:
    found = make_account("ab-77")
    make_bill(found)
    assert prove("AB77", amount=amount_of(found)) == prove("Ab-77", amount=amount_of(found)) == found


def test_the_bills_number_means_its_account(account: Account) -> None:
    number = newest(account).number or ""
    for spelt in (number, number.replace("-", ""), number.replace("-", " "), number.replace("-0", "-")):
        RegistrationTry.objects.all().delete()
        assert prove(spelt, amount=amount_of(account)) == account


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("$1,234.50", 123_450),
        ("1234.5", 123_450),
        ("1234", 123_400),
        (" 1,234.50 USD", 123_450),
        ("1.234,50", 123_450),
        ("61,25", 6_125),
        ("0.07", 7),
        ("", None),
    ],
)
def test_amounts_as_people_type_them(text: str, cents: int | None) -> None:
    assert cents_typed(text) == cents


@pytest.mark.parametrize("text", ["12.345", "about 60", "-5", "1,23,4", "9" * 50, "١٢٣ or so"])
def test_what_is_no_amount_is_said_and_costs_no_try(account: Account, text: str) -> None:
    with pytest.raises(Refused) as error:
        prove("1234567", amount=text)
    assert error.value.code == "amount"
    assert not RegistrationTry.objects.exists()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("2026-06-03", "en"),
        ("06/03/2026", "en"),
        ("6/3/26", "en"),
        ("06-03-2026", "en"),
        ("June 3, 2026", "en"),
        ("Jun. 3 2026", "en"),
        ("3 June 2026", "en"),
        ("2026-06-03", "es"),
        ("03/06/2026", "es"),
        ("3.6.2026", "es"),
        ("3 de junio de 2026", "es"),
        ("3 jun 2026", "es"),
        ("June 3, 2026", "es"),
    ],
)
def test_days_as_people_type_them(text: str, language: str) -> None:
    assert day_typed(text, language=language) == date(2026, 6, 3)


def test_what_can_only_be_a_day_is_one() -> None:
    assert day_typed("17/06/2026", language="en") == day_typed("06/17/2026", language="es") == date(2026, 6, 17)


@pytest.mark.parametrize("text", ["2026-02-30", "13/13/2026", "Juno 3, 2026x", "yesterday", "3 ma 2026"])
def test_what_is_no_day_is_said(text: str) -> None:
    with pytest.raises(Refused) as error:
        day_typed(text, language="en")
    assert error.value.code == "date"


def test_the_date_of_the_newest_bill_is_enough_and_a_wrong_one_beside_a_right_amount_is_not(account: Account) -> None:
    day = newest(account).bill_date
    assert prove("1234567", date=f"{day:%m/%d/%Y}") == account
    with translation.override("es"):
        assert prove("1234567", date=f"{day:%d/%m/%Y}") == account
    refused("1234567", amount=amount_of(account), date=str(day - timedelta(days=1)))


def test_only_the_most_recent_bill_proves_and_the_last_payment(account: Account) -> None:
    older = Bill.objects.filter(account=account).earliest("bill_date")
    refused("1234567", amount=f"{older.due_cents / 100:.2f}", date=str(older.bill_date))
    refused("1234567", date=str(older.bill_date))
    assert prove("1234567", amount="40.00") == account
    # A bill that was taken back is not the most recent one.
    Bill.objects.filter(pk=newest(account).pk).update(state="cancelled")
    assert prove("1234567", date=str(older.bill_date)) == account


def test_what_was_taken_back_proves_nothing(account: Account) -> None:
    """A payment that the bank returned, and the number of a bill that another one replaced."""
    taken_back, amount = newest(account), amount_of(account)
    return_payment(JournalEntry.objects.get(kind="payment"), reason="no funds", label="tests")
    refused("1234567", amount="40.00")
    make_bill(account, units=500)
    Bill.objects.filter(pk=taken_back.pk).update(state="cancelled")
    assert amount_of(account) != amount
    refused(taken_back.number or "", amount=amount_of(account))
    assert prove(newest(account).number or "", amount=amount_of(account)) == account


def test_nothing_owed_proves_nothing() -> None:
    """A bill over 0.00 could be guessed by anyone: its date proves, its amount does not."""
    found = make_account("5550001")
    make_bill(found)
    Bill.objects.update(due_cents=0, charges_cents=0)
    refused("5550001", amount="0.00")
    assert prove("5550001", date=str(newest(found).bill_date)) == found


def test_a_former_number_proves_and_the_sign_in_outlives_a_change_of_number(account: Account) -> None:
    user = person()
    link_account(user, prove("1234567", amount=amount_of(account)))
    change_number(account, "N-900", label="tests")
    assert prove("00-1234567", amount=amount_of(account)) == prove("n900", amount=amount_of(account)) == account
    client = Client()
    client.force_login(user)
    assert "N-900" in client.get("/profile/accounts/").content.decode()
    assert client.get(f"/bills/{account.public_id}/").status_code == 200


def all_failures(account: Account) -> list[tuple[str, dict[str, str]]]:
    """(number, what is typed) of every way to fail; `full` has no tries left."""
    make_account("7000001")  # no bill yet
    full = make_account("7000002")
    make_bill(full)
    for _ in range(TRIES_A_DAY):
        refused("7000002", amount="0.02")
    return [
        ("9999999", {"amount": "61.25"}),
        ("202606-7654321", {"amount": "61.25"}),
        ("1234567", {"amount": "0.03"}),
        ("1234567", {"date": "2020-01-01"}),
        ("9999998", {"date": "2020-01-02"}),
        ("7000001", {"amount": "61.25"}),
        ("7000002", {"amount": amount_of(full)}),
    ]


@contextmanager
def digests_counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    made: list[bytes] = []
    real = registration.hmac.digest

    def digest(key: bytes, text: bytes, how: str) -> bytes:
        made.append(text)
        return real(key, text, how)

    with monkeypatch.context() as patch:
        patch.setattr(registration.hmac, "digest", digest)
        yield made


def test_every_failure_says_the_same_and_does_the_same_work(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, work = set(), {}
    cases = all_failures(account)
    for number, typed in cases:
        with (
            CaptureQueriesContext(
                connection,
            ) as queries,
            digests_counted(monkeypatch) as digests,
        ):
            texts.add(refused(number, network="203.0.113.7/32", **typed))
        shapes = [re.sub(r"'[^']*'|\d+|x?'[0-9a-f]+'|%s", "?", query["sql"])[:90] for query in queries]
        work[number, *typed.values()] = (shapes, len(digests))
    assert texts == {refusal()}
    # Whoever types a date and no amount costs two counts more, which they know: it tells nothing of the account.
    dates = [done for (_number, *typed), done in work.items() if "-" in typed[0]]
    first, *others = [done for done in work.values() if done not in dates]
    assert (first[1], len(dates), dates[0][1]) == (2, 2, 5)
    assert all(other == first for other in others)
    assert dates[0] == dates[1]
    right = amount_of(account)
    with CaptureQueriesContext(connection) as queries, digests_counted(monkeypatch) as digests:
        prove("1234567", amount=right, network="203.0.113.7/32")
    assert (len(queries), len(digests)) == (len(first[0]), first[1])


def test_the_time_tells_nothing_either(account: Account) -> None:
    """Coarse on purpose: the medians of an account that exists and of one that does not are within a factor of two."""
    times: dict[str, list[float]] = {"1234567": [], "9999999": []}
    for _ in range(25):
        for number, taken in times.items():
            start = time.perf_counter()
            refused(number, amount="0.04")
            taken.append(time.perf_counter() - start)
    one, other = (statistics.median(taken) for taken in times.values())
    assert 0.5 < one / other < 2, (one, other)


def test_five_tries_a_day_for_an_account_by_whatever_number(account: Account) -> None:
    change_number(account, "N-900", label="tests")
    bill = newest(account).number or ""
    for number in ("N900", "1234567", bill, "n 900", "001234567"):
        refused(number, amount="0.05")
    assert refused("N900", amount=amount_of(account)) == refusal()
    RegistrationTry.objects.update(day=date(2026, 1, 1))
    assert prove("N900", amount=amount_of(account)) == account


def test_tries_are_kept_without_saying_whose(account: Account) -> None:
    refused("1234567", amount="0.06")
    refused("9999999", amount="0.06")
    kept = [bytes(row.account_digest) for row in RegistrationTry.objects.all()]
    assert len({len(digest) for digest in kept}) == 1
    assert len(set(kept)) == 2
    assert not any(b"1234567" in digest or b"9999999" in digest for digest in kept)


def test_a_network_that_walks_through_numbers_is_stopped(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "NETWORK_TRIES_A_DAY", 3)
    for number in ("8000001", "8000002", "8000003"):
        refused(number, amount="61.25", network="203.0.113.7/32")
    refused("1234567", amount=amount_of(account), network="203.0.113.7/32")
    assert prove("1234567", amount=amount_of(account), network="198.51.100.1/32") == account


def swept(numbers: int, day: str, *, network: str) -> list[str]:
    """Try one account number after the other with one date; return the numbers that it opened."""
    opened = []
    for number in range(2_000_000, 2_000_000 + numbers):
        try:
            prove(str(number), date=day, network=network)
        except Refused:
            continue
        opened.append(str(number))
    return opened


def test_a_sweep_with_the_date_that_a_cycle_shares_opens_few_accounts_of_one_network(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these accounts has the same bill date; by date alone a network gets three tries, and the rest nothing."""
    monkeypatch.setattr(registration, "DATES_A_NETWORK_A_DAY", 3)
    UtilitySettings.objects.update_or_create(pk=1, defaults={"contact_email": "office@water.example"})
    for number in range(2_000_000, 2_000_006):
        make_bill(make_account(str(number)))
    other = Account.objects.get(number="2000005")
    assert len({bill.bill_date for bill in Bill.objects.filter(account__number__startswith="2")}) == 1
    day = str(newest(other).bill_date)
    assert swept(6, day, network="203.0.113.7/32") == ["2000000", "2000001", "2000002"]
    # The next numbers of bills, which run in sequence, open no more of them than the next accounts do.
    following = [newest(Account.objects.get(number=f"200000{n}")).number or "" for n in (3, 4)]
    assert [refused(number, date=day, network="203.0.113.7/32") for number in following] == [refusal()] * 2
    # The amount still opens it there, and the date from somewhere else.
    assert prove("2000005", amount=amount_of(other), network="203.0.113.7/32") == other
    assert prove("2000005", date=day, network="198.51.100.1/32") == other
    told = Message.objects.get(to="office@water.example")
    assert code_text(told.public_id) in told.text
    assert "walking through account numbers" in told.text
    assert not re.search(r"20000\d\d|203\.0\.113", told.text)
    assert AuditEntry.objects.filter(action="registration.sweep").count() == 1


def test_a_sweep_from_everywhere_closes_the_date_for_the_day_and_leaves_the_amount(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "DATE_MISSES_A_DAY", 4)
    UtilitySettings.objects.update_or_create(pk=1, defaults={"contact_email": "office@water.example"})
    day = str(newest(account).bill_date)
    assert prove("1234567", date=day, network="192.0.2.1/32") == account
    for number in range(5):
        refused(f"90000{number}", date=day, network=f"203.0.113.{number}/32")
    assert refused("1234567", date=day, network="192.0.2.1/32") == refusal()
    assert prove("1234567", amount=amount_of(account), network="192.0.2.1/32") == account
    assert Message.objects.filter(to="office@water.example").count() == 1


def test_one_network_cannot_close_the_date_for_the_city(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "DATES_A_NETWORK_A_DAY", 3)
    monkeypatch.setattr(registration, "DATE_MISSES_A_DAY", 4)
    day = newest(account).bill_date
    assert swept(20, str(day), network="203.0.113.7/32") == []
    assert prove("1234567", date=str(day), network="198.51.100.1/32") == account


def test_the_address_of_record_is_told_of_a_new_sign_in(account: Account) -> None:
    """A customer without a sign-in learns of whoever made one for their account; one who made it learns nothing new."""
    billing = BillingAccount.objects.get(account=account)
    billing.email, billing.paper = "ana.record@example.org", False
    billing.save()
    link_account(person("mallory@example.org", name="Mallory"), account)
    letter = Message.objects.get(to="ana.record@example.org")
    assert (letter.account, letter.user, letter.subject) == (
        account,
        None,
        "A sign-in was linked to your water account",
    )
    assert "Mallory has proved" in letter.text
    assert letter.text.count(code_text(letter.public_id)) == 1
    other = make_account("7654321")
    make_bill(other)
    BillingAccount.objects.filter(account=other).update(email="Own@example.org", paper=False)
    link_account(person("own@example.org"), other)
    assert Message.objects.filter(account=other).count() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite in memory has one writer")
def test_a_flood_at_once_gets_five_tries() -> None:
    found = make_account("6000001")
    make_bill(found)
    right = amount_of(found)
    passed: list[int] = []
    codes: set[str] = set()
    gate = threading.Barrier(12)

    def attempt(number: int) -> None:
        gate.wait()
        try:
            prove("6000001", amount=right)
            passed.append(number)
        except Refused as error:
            codes.add(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(passed), codes) == (TRIES_A_DAY, {"proof"})
    assert [row.tries for row in RegistrationTry.objects.all()] == [TRIES_A_DAY]


def new_sign_in(email: str = "new@example.org", **fields: str) -> dict[str, str]:
    return {"email": email, "name": "Ana Morales", "password1": PASSWORD, "password2": PASSWORD, **fields}


def proved(client: Client, account: Account) -> Any:
    return client.post("/register/", {"number": account.number, "amount": amount_of(account)})


def link_in(body: str) -> str:
    found = re.search(r"https?://[^/]+(/accounts/\S+)", body)
    assert found is not None, body
    return found[1]


def test_registering_ends_with_a_linked_account_once_the_address_is_confirmed(account: Account) -> None:
    client = Client()
    assert proved(client, account).url == "/register/sign-in/"
    sent = client.post("/register/sign-in/", new_sign_in(username="Ana.M"))
    assert (sent.status_code, sent.url) == (302, "/accounts/confirm-email/")
    user = User.objects.get(email="new@example.org")
    assert (user.name, user.username) == ("Ana Morales", "ana.m")
    assert not AccountAccess.objects.exists()
    assert "_auth_user_id" not in client.session
    (message,) = sent_mail()
    path = link_in(message.body)
    assert account.number not in message.body
    # Looking at the link confirms nothing: mail scanners open every link.
    client.get(path)
    assert not AccountAccess.objects.exists()
    done = client.post(path)
    assert (done.status_code, done.url) == (302, "/")
    access = AccountAccess.objects.get()
    assert (access.account, access.user, access.level) == (account, user, Level.HOLDER)
    assert client.get(f"/bills/{account.public_id}/").status_code == 200
    assert not PendingClaim.objects.exists()


def test_bills_come_by_email_once_there_is_a_sign_in_and_on_paper_again_when_asked_for(account: Account) -> None:
    """Whoever held no sign-in got paper; registering ends that, a second holder's does not; the page brings it back."""
    billing = BillingAccount.objects.get(account=account)
    billing.paper, billing.email = True, ""
    billing.save()
    entries, client = JournalEntry.objects.count(), Client()
    proved(client, account)
    assert "come by email from then on, not on paper" in client.get("/register/sign-in/").content.decode()
    client.post("/register/sign-in/", new_sign_in())
    billing.refresh_from_db()
    assert billing.paper  # nobody has confirmed that address yet
    client.post(link_in(sent_mail()[0].body))
    billing.refresh_from_db()
    assert (billing.paper, billing.email) == (False, "new@example.org")
    assert JournalEntry.objects.count() == entries  # a sign-in costs nothing
    make_bill(account)
    deliver(newest(account))
    assert newest(account).deliveries.get().channel == "email"
    client.post(f"/bills/{account.public_id}/delivery/", {"way": "paper", "language": "en"})
    link_account(person("ben@example.org"), account)
    make_bill(account)
    deliver(newest(account))
    assert newest(account).deliveries.get().channel == "paper"


def test_a_mobile_number_is_asked_for_never_needed_and_waits_to_be_confirmed(account: Account) -> None:
    client = Client()
    proved(client, account)
    asked = client.get("/register/sign-in/").content.decode()
    assert "Mobile number (optional)" in asked
    wrong = client.post("/register/sign-in/", new_sign_in(phone="555-01"))
    assert (wrong.status_code, User.objects.count()) == (422, 0)
    assert "area code" in wrong.content.decode()
    client.post("/register/sign-in/", new_sign_in(phone=" (405) 555-0123 "))
    user = User.objects.get()
    assert user.phone_given == "+14055550123"
    assert not Message.objects.filter(channel="sms").exists()  # nobody has agreed to a text yet
    client.force_login(user)
    with override_settings(DEMO=True):
        page = client.get("/profile/phone/").content.decode()
        assert 'value="(405) 555-0123"' in page
        client.post("/profile/phone/", {"number": "(405) 555-0123", "consent": "yes"})
        code = re.search(r"\b\d{6}\b", Message.objects.get(channel="sms").says)
        assert code is not None
        client.post("/profile/phone/confirm/", {"code": code[0]})
    user.refresh_from_db()
    assert (user.phone_given, Phone.objects.get().number) == ("", "+14055550123")


def test_a_claim_that_nobody_confirmed_in_a_day_is_void_and_its_sign_in_goes(account: Account) -> None:
    client = Client()
    proved(client, account)
    client.post("/register/sign-in/", new_sign_in())
    path = link_in(sent_mail()[0].body)
    PendingClaim.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    user = User.objects.get(email="new@example.org")
    registration.settle_claims(user)
    assert not AccountAccess.objects.exists()
    # settle_claims has taken the void claim away; with another one the sign-in is removed by the nightly job.
    PendingClaim.objects.create(user=user, account=account, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    confirmed = person("ben@example.org")
    EmailAddress.objects.create(user=confirmed, email=confirmed.email, verified=True, primary=True)
    PendingClaim.objects.create(user=confirmed, account=account, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    registration.prune()
    assert list(User.objects.values_list("email", flat=True)) == ["ben@example.org"]
    assert not PendingClaim.objects.exists()
    assert client.post(path).status_code in (200, 404)
    assert not AccountAccess.objects.exists()


def test_an_address_that_has_a_sign_in_is_told_by_mail_alone(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr("django.contrib.auth.hashers.Argon2PasswordHasher.encode", _counted(hashed))
    other = make_account("7654321")
    make_bill(other)
    User.objects.create_user("taken@example.org", None)
    hashed.clear()
    answers = []
    for found, email in ((account, "new@example.org"), (other, "taken@example.org")):
        client = Client()
        proved(client, found)
        sent = client.post("/register/sign-in/", new_sign_in(email))
        shown = client.get(sent.url).content.decode()
        answers.append(
            (sent.status_code, sent.url, re.sub(r"[a-z]+@example.org|value=\"[^\"]+\"", "", shown), len(hashed))
        )
        hashed.clear()
    assert answers[0] == answers[1]
    assert answers[0][3] == 1
    subjects = {message.to[0]: message.subject for message in sent_mail()}
    assert subjects == {
        "new@example.org": "Confirm your email address",
        "taken@example.org": "You have a sign-in already",
    }
    assert User.objects.count() == 2


def _counted(made: list[str]) -> Any:
    def encode(self: Any, password: str, salt: str) -> str:
        made.append(self.algorithm)
        return f"{self.algorithm}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA"

    return encode


def test_one_proof_makes_one_sign_in(account: Account) -> None:
    client = Client()
    proved(client, account)
    client.post("/register/sign-in/", new_sign_in())
    again = client.post("/register/sign-in/", new_sign_in("second@example.org"))
    assert (again.status_code, again.url) == (302, "/register/")
    assert not User.objects.filter(email="second@example.org").exists()


def test_without_a_proof_there_is_no_sign_in(account: Account) -> None:
    client = Client()
    assert client.get("/register/sign-in/").url == "/register/"
    client.post("/register/sign-in/", new_sign_in())
    for method in (client.get, client.post):
        assert method("/accounts/signup/", new_sign_in()).url == "/register/"
    session = client.session
    session["proved_account"] = {"account": account.public_id, "until": 0, "used": False}
    session.save()
    assert client.get("/register/sign-in/").url == "/register/"
    assert not User.objects.exists()


def test_the_page_says_what_is_wrong_where_it_is_wrong(account: Account) -> None:
    client = Client()
    page = client.post("/register/", {"number": "1234567", "amount": "sixty"})
    assert page.status_code == 422
    assert "Write the amount as it stands on the bill" in page.context["form"].errors["amount"][0]
    page = client.post("/register/", {"number": "1234567"})
    assert list(page.context["form"].errors) == ["amount"]
    page = client.post("/register/", {"number": "1234567", "amount": "0.09"})
    assert page.context["form"].errors["__all__"] == [refusal()]


def test_another_account_is_linked_to_the_same_sign_in_and_its_holder_is_told(account: Account) -> None:
    holder, newcomer = person(), person("ben@example.org", name="Ben Ortiz")
    for user in (holder, newcomer):
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    link_account(holder, account)
    assert not Message.objects.exists()
    own = make_account("7654321", user=newcomer)
    client = Client()
    client.force_login(newcomer)
    done = client.post("/profile/accounts/", {"number": "1234567", "amount": amount_of(account)})
    assert done.status_code == 303
    page = client.get("/profile/accounts/").content.decode()
    assert own.number in page
    assert account.number in page
    (message,) = Message.objects.all()
    assert (message.to, message.category) == (holder.email, "account")
    assert "Ben Ortiz" in message.text
    client.post("/profile/accounts/", {"number": "1234567", "amount": amount_of(account)})
    assert Message.objects.count() == 1


def test_a_guest_who_proves_the_account_holds_it(account: Account) -> None:
    guest = person()
    AccountAccess.objects.create(account=account, user=guest, level=Level.VIEW_USAGE, granted_at=datetime.now(UTC))
    link_account(guest, account)
    assert [row.level for row in AccountAccess.objects.filter(ended_at=None)] == [Level.HOLDER]


def test_what_was_proved_before_signing_in_is_linked_afterwards(account: Account) -> None:
    user = person()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    client = Client()
    proved(client, account)
    client.post("/accounts/login/", {"login": user.email, "password": "correct-horse-7"})
    assert b'id="link-proved"' in client.get("/profile/accounts/").content
    client.post("/profile/accounts/link/")
    assert AccountAccess.objects.get().user == user
    assert b'id="link-proved"' not in client.get("/profile/accounts/").content


def test_letting_an_account_go_takes_the_guests_of_the_last_holder_along(account: Account) -> None:
    one, two, guest = person(), person("ben@example.org"), person("cleo@example.org")
    link_account(one, account)
    link_account(two, account)
    AccountAccess.objects.create(account=account, user=guest, level=Level.VIEW_BILLS, granted_at=datetime.now(UTC))
    client = Client()
    client.force_login(one)
    assert client.get(f"/profile/accounts/{account.public_id}/unlink/").status_code == 200
    client.post(f"/profile/accounts/{account.public_id}/unlink/")
    assert {row.user.email for row in AccountAccess.objects.filter(ended_at=None)} == {two.email, guest.email}
    assert client.post(f"/profile/accounts/{account.public_id}/unlink/").status_code == 404
    assert client.get(f"/bills/{account.public_id}/").status_code == 404
    unlink(two, account)
    assert not AccountAccess.objects.filter(ended_at=None).exists()


def test_bills_do_not_follow_who_let_the_account_go(account: Account) -> None:
    """Its next holder, and the home, would learn nothing of what goes to an address of the one before."""
    billing, ana, ben = BillingAccount.objects.get(account=account), person(), person("ben@example.org")
    link_account(ana, account)
    link_account(ben, account)
    BillingAccount.objects.update(email=ana.email.upper(), paper=False)
    client, said = Client(), "on paper"
    for user, told in ((ben, False), (ana, True)):
        client.force_login(user)
        assert (said in client.get(f"/profile/accounts/{account.public_id}/unlink/").content.decode()) is told
        client.post(f"/profile/accounts/{account.public_id}/unlink/")
        billing.refresh_from_db()
        assert (billing.paper, billing.email) == ((True, "") if told else (False, ana.email.upper()))
    assert AuditEntry.objects.filter(action="bills.delivery", actor=ana).exists()
    make_bill(account)
    deliver(newest(account))
    assert newest(account).deliveries.get().channel == "paper"


def test_a_guest_cannot_unlink_a_stranger_neither(account: Account) -> None:
    guest = person()
    AccountAccess.objects.create(account=account, user=guest, level=Level.MANAGE_ALL, granted_at=datetime.now(UTC))
    client = Client()
    client.force_login(guest)
    assert client.post(f"/profile/accounts/{account.public_id}/unlink/").status_code == 404
    with pytest.raises(Refused):
        unlink(guest, account)

"""Mail about a sign-in: queued, first in line, readable by its receiver alone, the same work for who is unknown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from portal.core.models import User
from portal.core.sealing import MARK, MESSAGES, seal
from portal.notifications.models import Category, Message
from portal.notifications.sending import send_due
from portal.notifications.services import NewEmail, queue_email
from portal.worker import Worker
from tests.portal.bills import make_account, make_bill

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
KNOWN, UNKNOWN = "ana@example.org", "bob@example.org"
LINK = re.compile(r"https?://[^/\s]+(/accounts/(?:password/reset/key|confirm-email)/\S+)")


class Away(EmailBackend):
    """A mail server that nobody reaches."""

    def open(self) -> bool:
        raise ConnectionRefusedError

    def send_messages(self, email_messages: Any) -> int:
        raise ConnectionRefusedError


@pytest.fixture(autouse=True)
def nobody_asked_before(settings: SettingsWrapper) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    cache.clear()


@pytest.fixture
def ana() -> User:
    user = User.objects.create_user(KNOWN, "correct-horse-7")
    EmailAddress.objects.create(user=user, email=KNOWN, verified=True, primary=True)
    return user


@pytest.fixture
def away(settings: SettingsWrapper) -> str:
    """The mail server is away; returns the backend with which it is back."""
    back = str(settings.EMAIL_BACKEND)
    settings.EMAIL_BACKEND = f"{Away.__module__}.{Away.__qualname__}"
    return back


def ask(email: str = KNOWN) -> str:
    """Ask for a new password; return what the pages say."""
    answer = Client().post("/accounts/password/reset/", {"email": email}, follow=True)
    assert answer.status_code == 200
    return re.sub(r'value="[^"]*"', "", answer.content.decode())


def staff_page(path: str) -> str:
    client = Client()
    client.force_login(User.objects.create_user("sam@example.org", is_staff=True))
    return client.get(path).content.decode()


def test_a_mail_server_that_is_away_stops_no_page_and_gets_the_mail_when_it_is_back(
    ana: User, away: str, settings: SettingsWrapper
) -> None:
    page = ask()
    assert "500" not in page
    assert (send_due().sent, Message.objects.get().sent_at, mail.outbox) == (0, None, [])
    Message.objects.update(next_try_at=Message.objects.get().queued_at)  # a minute later
    settings.EMAIL_BACKEND = away
    assert send_due().sent == 1
    (message,) = mail.outbox
    assert (message.to, message.subject) == ([KNOWN], "Set a new password")
    path = LINK.search(str(message.body))
    assert path is not None
    assert Client().get(path[1], follow=True).redirect_chain


def test_a_registration_goes_on_while_the_mail_server_is_away(away: str) -> None:
    bill, client = make_bill(make_account("1234567")), Client()
    client.post("/register/", {"number": bill.number, "date": str(bill.bill_date)})
    fields = {"email": UNKNOWN, "name": "Bob", "password1": "clear-water-9", "password2": "clear-water-9"}
    assert client.post("/register/sign-in/", fields).url == "/accounts/confirm-email/"
    row = Message.objects.get()
    assert (row.to, row.secret, row.user) == (UNKNOWN, True, User.objects.get(email=UNKNOWN))
    assert LINK.search(row.says)


def test_a_link_that_waits_lies_sealed_and_goes_out_after_a_change_of_the_key(
    ana: User, settings: SettingsWrapper
) -> None:
    """A copy of the database alone lets nobody in, however long the mail server was away."""
    ask()
    row = Message.objects.get()
    assert LINK.search(row.says)
    assert row.text.startswith(MARK)
    assert "http" not in row.text
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key, " * 4, [settings.SECRET_KEY]
    assert send_due().sent == 1
    assert LINK.search(str(mail.outbox[0].body))


@pytest.mark.parametrize("sealed", [seal("https://water.example/", MESSAGES)[:-9] + "changed==", seal("JBSWY3DP")])
def test_what_no_key_opens_or_was_sealed_for_something_else_is_never_sent(ana: User, sealed: str) -> None:
    """Whoever may write to the tables gets no second step opened by having it sent to them."""
    ask()
    Message.objects.update(text=sealed)
    done = send_due()
    assert (done.sent, done.failed, mail.outbox) == (0, 1, [])
    row = Message.objects.get()
    assert (row.text, row.last_error) == ("", "no key opens its text; the person asks anew")


def test_staff_see_that_a_link_was_sent_and_never_the_link(ana: User) -> None:
    ask()
    row = Message.objects.get()
    link = LINK.search(row.says)
    assert link is not None
    for kept in ("waiting", "sent"):
        page = staff_page(f"/staff/messages/{row.public_id}/")
        assert "Set a new password" in page, kept
        assert "/reset/key/" not in page
        User.objects.filter(email="sam@example.org").delete()
        send_due()
    row.refresh_from_db()
    assert (row.text, row.html, row.secret) == ("", "", True)
    assert row.sent_at is not None
    own = Client()
    own.force_login(ana)
    assert "/reset/key/" not in own.get("/profile/messages/").content.decode()


def test_a_notice_keeps_its_text_and_belongs_to_the_person(ana: User) -> None:
    client = Client()
    client.force_login(ana)
    fields = {"oldpassword": "correct-horse-7", "password1": "clear-water-9", "password2": "clear-water-9"}
    client.post("/accounts/password/change/", fields)
    send_due()
    row = Message.objects.get()
    assert (row.user, row.secret, row.subject) == (ana, False, "Your password was changed")
    assert "If this was not you" in row.text


def test_an_address_that_nobody_has_gets_the_same_answer_for_the_same_work(ana: User) -> None:
    work = {}
    for email in (KNOWN, UNKNOWN):
        with CaptureQueriesContext(connection) as queries:
            page = ask(email)
        shapes = [re.sub(r"'[^']*'|\d+", "?", query["sql"])[:60] for query in queries]
        work[email] = (page, [shape for shape in shapes if "headwater_cache" not in shape])
    assert work[KNOWN][0] == work[UNKNOWN][0]
    assert work[KNOWN][1] == work[UNKNOWN][1]
    assert list(Message.objects.order_by("pk").values_list("to", "secret")) == [(KNOWN, True), (UNKNOWN, True)]


def test_what_somebody_waits_for_goes_before_a_thousand_bills(ana: User) -> None:
    for number in range(3):
        queue_email(NewEmail(key=f"b{number}", to=UNKNOWN, subject="A bill", text="A bill", category=Category.BILL))
    ask()
    assert send_due(limit=1).sent == 1
    assert [message.to for message in mail.outbox] == [[KNOWN]]
    ask()
    assert send_due(only_waited_for=True).sent == 1
    assert Message.objects.filter(sent_at__isnull=True).count() == 3


def test_the_worker_sends_it_beside_a_job_that_takes_long(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane of its own looks every two seconds, and a message that cannot be made ends it not."""
    made: list[bool] = []

    class Looks:
        """Three looks, then the worker is stopped."""

        looks = 0

        def wait(self, seconds: float) -> bool:
            assert seconds <= 2
            Looks.looks += 1
            return Looks.looks > 3

    def build(*, only_waited_for: bool) -> None:
        made.append(only_waited_for)
        if len(made) == 1:
            raise ValueError("cannot be made")
        send_due(only_waited_for=True)

    worker = Worker()
    monkeypatch.setattr(worker, "_stopping", Looks())
    monkeypatch.setattr("portal.worker.send_due", build)
    monkeypatch.setattr("portal.worker.connection.close", lambda: None)
    ask()
    worker._carry_what_is_waited_for()
    assert (made, len(mail.outbox)) == ([True, True], 1)

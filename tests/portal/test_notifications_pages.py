"""Pages about messages: a person's history, `is this message real?`, addresses that come back, the log of the staff."""

from __future__ import annotations

import ast
import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from allauth.account.models import EmailAddress
from allauth.account.signals import email_confirmed
from click.testing import CliRunner
from django.core import mail
from django.core.cache import cache
from django.core.mail.backends.filebased import EmailBackend
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from portal.cli import portal
from portal.core.errors import Refused
from portal.core.models import AuditEntry, User, UtilitySettings
from portal.customers.models import Account
from portal.notifications.bounces import clear_bad, is_bad, mark_bad, take_report
from portal.notifications.history import code_typed
from portal.notifications.models import BadAddress, Category, Message, Phone, ReceivedText
from portal.notifications.notify import Channel, Notice, notify
from portal.notifications.personal_data import MESSAGES, PHONES, RECEIVED_TEXTS
from portal.notifications.sending import send_due
from portal.notifications.services import NewEmail, NewText, code_text, queue_email, queue_texts
from portal.resident.messages import ASKS_A_HOME

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django.fixtures import SettingsWrapper

NOON = datetime(2026, 7, 4, 17, tzinfo=UTC)
PORTAL = Path(__file__).resolve().parents[2] / "portal"


@pytest.fixture
def ana(db: None) -> User:
    """A person with a verified address."""
    cache.clear()
    UtilitySettings.objects.create(
        pk=1, name="City Water", contact_phone="405-555-0100", portal_url="https://water.city.example"
    )
    return _person("ana")


def _person(name: str, **fields: Any) -> User:
    person = User.objects.create_user(f"{name}@example.org", language="en", **fields)
    EmailAddress.objects.create(user=person, email=person.email, verified=True, primary=True)
    return person


def _email(person: User, key: str = "k1", **fields: Any) -> Message:
    made = queue_email(
        NewEmail(
            key, person.email, "Your bill is ready", "The <b>whole</b> text", user=person.pk, category=Category.BILL
        )
    )
    Message.objects.filter(pk=made.pk).update(**fields)
    return Message.objects.get(pk=made.pk)


# the history


def test_a_person_sees_every_message_to_them_and_nobody_elses(client: Client, ana: User) -> None:
    mine, ben = _email(ana, sent_at=NOON), _person("ben")
    to_address = queue_email(NewEmail("k2", ana.email, "To the address", "text", category=Category.BILL))
    queue_texts([NewText("k3", "+14055550123", "A text of ana", Category.ALERT, user=ana.pk)])
    queue_texts([NewText("k4", "+14055550123", "Your code is 123456", Category.ACCOUNT, user=ana.pk, secret=True)])
    _email(ben, "k5", subject="For Ben alone")
    queue_email(NewEmail("k6", ben.email, "To Ben's address", "text"))
    client.force_login(ana)
    page = client.get(reverse("resident:messages")).content.decode()
    for part in ("Your bill is ready", "To the address", "A text of ana", code_text(mine.public_id), "(405) 555-0123"):
        assert part in page
    assert code_text(to_address.public_id) in page
    assert "&lt;b&gt;whole&lt;/b&gt;" in page
    assert "Ben" not in page
    assert "123456" not in page
    assert page.count("<article") == 4


def test_an_address_that_is_not_verified_shows_nothing_of_what_went_there(client: Client, ana: User) -> None:
    queue_email(NewEmail("k2", ana.email, "To the address", "text"))
    EmailAddress.objects.update(verified=False)
    client.force_login(ana)
    assert "To the address" not in client.get(reverse("resident:messages")).content.decode()


@pytest.mark.parametrize(
    ("channel", "fields", "words"),
    [
        ("email", {}, "waiting to be sent"),
        ("email", {"tries": 2}, "is tried again"),
        ("email", {"sent_at": NOON}, "sent"),
        ("sms", {"sent_at": NOON, "delivered_at": NOON}, "delivered"),
        ("sms", {"sent_at": NOON, "bounced_at": NOON}, "did not arrive"),
        ("email", {"failed_at": NOON}, "could not be sent"),
    ],
)
def test_delivery_states_in_words(client: Client, ana: User, channel: str, fields: Any, words: str) -> None:
    _email(ana, channel=channel, **fields)
    client.force_login(ana)
    assert f"{words}</span>" in client.get(reverse("resident:messages")).content.decode()


def test_the_history_is_paged(client: Client, ana: User) -> None:
    for n in range(21):
        _email(ana, f"k{n}", queued_at=NOON + timedelta(minutes=n))
    client.force_login(ana)
    address = reverse("resident:messages")
    first, second = (client.get(address, {"page": n}).content.decode() for n in ("1", "2"))
    assert (first.count("<article"), second.count("<article")) == (20, 1)
    for nonsense in ("0", "-1", "x", "9" * 30, "٣"):
        assert client.get(address, {"page": nonsense}).status_code == 200


# is this message real?


def _ask(client: Client, code: str, **extra: Any) -> Any:
    return client.post(reverse("resident:message-real"), {"code": code}, **extra)


def test_a_code_tells_what_we_sent_and_nothing_personal(client: Client, ana: User) -> None:
    account = Account.objects.create(number="A-777", name="Ana Diaz")
    message = _email(ana, sent_at=NOON, account=account)
    for typed in (code_text(message.public_id), message.public_id.upper(), f" {code_text(message.public_id)}. "):
        page = _ask(client, typed).content.decode()
        assert "code-known" in page
        assert "On Saturday, July 4, 2026 we sent a message with this code, by email, about a bill." in page
        for personal in ("ana", "Diaz", "A-777", "Your bill is ready", "whole"):
            assert personal not in page.split("<main")[1]


@pytest.mark.parametrize("typed", ["bcdf-ghjk-mnpqr", "x", "<script>", "bcdfghjkmnpqrs", "\0", "é" * 13, "0" * 10_000])
def test_a_code_that_is_not_ours_leads_to_the_telephone(client: Client, ana: User, typed: str) -> None:
    page = _ask(client, typed).content.decode()
    assert "code-unknown" in page
    assert "405-555-0100" in page
    assert "<script>" not in page.split("<main")[1]


def test_what_has_not_gone_out_is_not_ours_yet(client: Client, ana: User) -> None:
    message = _email(ana)
    assert "code-unknown" in _ask(client, message.public_id).content.decode()


def test_right_and_wrong_codes_take_the_same_steps(client: Client, ana: User) -> None:
    message = _email(ana, sent_at=NOON)
    steps = []
    for typed in (message.public_id, "bcdfghjkmnpqr", "nonsense"):
        with CaptureQueriesContext(connection) as asked:
            _ask(client, typed)
        said = [re.sub(r"'[^']*'", "?", query["sql"]) for query in asked.captured_queries]
        steps.append([sql for sql in said if "SAVEPOINT" not in sql and "headwater_cache" not in sql])
    assert steps[0] == steps[1] == steps[2]


def test_codes_cannot_be_tried_for_long(client: Client, ana: User) -> None:
    message = _email(ana, sent_at=NOON)
    for _ in range(ASKS_A_HOME):
        assert _ask(client, "bcdfghjkmnpqr").status_code == 200
    answer = _ask(client, message.public_id)
    assert answer.status_code == 429
    assert "code-known" not in answer.content.decode()
    assert _ask(client, message.public_id, REMOTE_ADDR="203.0.113.9").status_code == 200


def test_an_empty_code_is_asked_for_again(client: Client, ana: User) -> None:
    answer = _ask(client, " ")
    assert answer.status_code == 422
    assert '<a href="#message-code">' in answer.content.decode()
    assert code_typed("") == ""


def test_every_message_carries_the_code_by_which_it_is_known(client: Client, ana: User) -> None:
    notify(ana, Notice("n1", "alert", "A leak", "Text.", "Text."), by=frozenset({Channel.EMAIL}))
    send_due()
    code = next(word for word in mail.outbox[0].body.split() if word.count("-") == 2 and len(word.strip(".")) == 15)
    assert "code-known" in _ask(client, code).content.decode()
    assert "Or call us: 405-555-0100" in mail.outbox[0].body
    assert "Or call us: 405-555-0100" in str(mail.outbox[0].alternatives[0].content)  # type: ignore[attr-defined]


def test_whoever_writes_an_email_draws_its_code_first() -> None:
    """A code that is drawn when the email is queued cannot stand in its text; the letters' own tests see to that."""
    without = []
    texts = {file: file.read_text(encoding="utf-8") for file in PORTAL.rglob("*.py")}
    makers = [file for file, text in texts.items() if "NewEmail(" in text]
    assert len(makers) > 6
    for file in makers:
        for node in ast.walk(ast.parse(texts[file])):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NewEmail":
                without += [] if "public_id" in {word.arg for word in node.keywords} else [f"{file.name}:{node.lineno}"]
    assert without == []


def test_in_doubt_one_is_told_whom_to_call_before_any_code_is_typed(client: Client, ana: User) -> None:
    page = client.get(reverse("resident:message-real")).content.decode().split("<footer")[0]
    assert 'When in doubt call us: <a href="tel:405-555-0100">' in page


# addresses that come back

REPORT = """From: MAILER-DAEMON@mail.city.example
To: portal@localhost
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

The mail system could not deliver your message.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.city.example
Arrival-Date: Sat, 4 Jul 2026 12:00:00 -0500

Final-Recipient: rfc822; {to}
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{to}>: user unknown

--b
Content-Type: {kind}

{returned}
--b--
"""


def _report(message: Message, *, to: str = "", action: str = "failed", kind: str = "message/rfc822") -> bytes:
    returned = f"Message-ID: <{message.public_id}@localhost>\nSubject: x\nTo: {message.to}\n\nbody"
    text = REPORT.format(to=to or message.to, action=action, kind=kind, returned=returned)
    return text.replace("\n", "\r\n").encode()


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers"])
def test_a_delivery_report_marks_message_and_address_once(ana: User, kind: str) -> None:
    message = _email(ana, sent_at=NOON)
    for _ in range(2):
        [bounce] = take_report(_report(message, kind=kind), label="tests")
        assert (bounce.known, bounce.permanent) == (True, True)
    message.refresh_from_db()
    assert message.bounced_at
    assert message.last_error == "smtp; 550 5.1.1 <the address>: user unknown"
    assert is_bad("ANA@example.org")
    assert AuditEntry.objects.filter(action="address.bad").count() == 1


@pytest.mark.parametrize("how", [{"action": "delayed"}, {"to": "somebody.else@example.org"}])
def test_a_delay_or_another_recipient_changes_nothing(ana: User, how: dict[str, str]) -> None:
    message = _email(ana, sent_at=NOON)
    take_report(_report(message, **how), label="tests")
    message.refresh_from_db()
    assert message.bounced_at is None
    assert not BadAddress.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("report", [b"", b"Subject: hi\n\nhello", b"\xff" * 100, b"x" * 2_000_001])
def test_what_is_no_report_is_refused(report: bytes) -> None:
    with pytest.raises(Refused):
        take_report(report, label="tests")


def test_reports_cut_or_damaged_anywhere_do_no_harm(ana: User) -> None:
    """What marks an address still says that it failed, and of which message; nothing else is touched."""
    message, other = _email(ana, sent_at=NOON), _email(ana, "k2", sent_at=NOON)
    report = _report(message)
    for cut in range(0, len(report), 37):
        for damaged in (report[:cut], report[:cut] + b"\xff\x00" + report[cut + 2 :]):
            try:
                take_report(damaged, label="tests")
            except Refused:
                assert not BadAddress.objects.exists()
            if BadAddress.objects.exclude(email=ana.email).exists() or is_bad(ana.email):
                assert b"Action: failed" in damaged
                assert message.public_id.encode() in damaged
            BadAddress.objects.all().delete()
    other.refresh_from_db()
    assert other.bounced_at is None


def test_a_marked_address_gets_nothing_but_sign_in_until_its_owner_confirms_it(client: Client, ana: User) -> None:
    waiting = _email(ana)
    mark_bad(ana.email, "550 user unknown", label="tests")
    assert send_due().failed == 1
    waiting.refresh_from_db()
    assert "come back" in waiting.last_error
    client.force_login(ana)
    page = client.get(reverse("resident:messages")).content.decode()
    assert "address-came-back" in page
    client.post(reverse("resident:address-link"))
    client.post(reverse("resident:address-link"))
    assert send_due().sent == 1
    link = next(word for word in mail.outbox[-1].body.split() if "/address/" in word)
    path = link.removeprefix("https://water.city.example")
    client.logout()
    assert client.get(path).status_code == 200
    assert is_bad(ana.email)  # a scanner that opens links confirms nothing
    assert "address-good" in client.post(path).content.decode()
    assert not is_bad(ana.email)
    assert client.post(path[:-3] + "x/").status_code == 410


def test_confirming_an_address_in_any_other_way_clears_it_too(ana: User) -> None:
    mark_bad(ana.email, "550", label="tests")
    row = EmailAddress.objects.get(user=ana)
    email_confirmed.send(EmailAddress, request=None, email_address=row)
    assert not is_bad(ana.email)
    assert not clear_bad(ana.email)


# the staff's log


@pytest.fixture
def staff(client: Client, ana: User) -> User:
    """Somebody of the office, signed in."""
    person = _person("office", is_staff=True)
    client.force_login(person)
    return person


def test_the_log_is_filtered_and_searched_in_full(client: Client, staff: User, ana: User) -> None:
    account = Account.objects.create(number="0012-34", name="Ana")
    _email(ana, "k1", account=account, sent_at=NOON)
    _email(ana, "k2", failed_at=NOON, last_error="550 no such user")
    queue_texts([NewText("k3", "+14055550123", "A text", Category.ALERT)])
    address = reverse("staff:messages")

    def rows(**query: str) -> int:
        page = client.get(address, query).content.decode()
        return page.count('role="rowheader"')

    assert rows() == 3
    assert (rows(state="given-up"), rows(state="sent"), rows(channel="sms"), rows(category="bill")) == (1, 1, 1, 2)
    assert (rows(q="12-34"), rows(q="ANA@example.org"), rows(q="405-555-0123"), rows(q="ana@example")) == (1, 2, 1, 0)
    assert rows(q=code_text(Message.objects.get(key="k2").public_id)) == 1
    assert rows(q="no such thing", state="nonsense", page="x") == 0
    page = client.get(address).content.decode()
    assert "1 given up" in page
    assert "whole" not in page


def test_the_text_is_shown_for_a_reason_that_is_written_down(client: Client, staff: User, ana: User) -> None:
    message = _email(ana, sent_at=NOON)
    address = reverse("staff:message", args=[message.public_id])
    assert "whole" not in client.get(address).content.decode()
    refused = client.post(address, {"action": "read", "reason": " x "})
    assert (refused.status_code, "whole" in refused.content.decode()) == (422, False)
    assert "whole" in client.post(address, {"action": "read", "reason": "the customer asks"}).content.decode()
    entry = AuditEntry.objects.get(action="message.look")
    assert (entry.actor, entry.reason, entry.target_id) == (staff, "the customer asks", message.public_id)
    Message.objects.update(secret=True)
    assert client.post(address, {"action": "read", "reason": "the customer asks"}).status_code == 422


def test_staff_send_again_what_was_given_up_or_came_back(client: Client, staff: User, ana: User) -> None:
    sent = _email(ana, "k1", sent_at=NOON)
    back = _email(ana, "k2", sent_at=NOON, bounced_at=NOON, last_error="550")
    address = reverse("staff:message", args=[back.public_id])
    assert client.post(address, {"action": "again", "reason": ""}).status_code == 422
    assert client.post(address, {"action": "again", "reason": "called us", "to": "two@x, y@z"}).status_code == 422
    assert not mail.outbox
    assert client.post(address, {"action": "again", "reason": "called us", "to": "New@example.org"}).status_code == 303
    entry = AuditEntry.objects.get(action="message.retry")
    assert (entry.actor, entry.reason, entry.detail) == (staff, "called us", {"address": "changed"})
    assert send_due().sent == 1
    assert mail.outbox[0].to == ["new@example.org"]
    other = reverse("staff:message", args=[sent.public_id])
    assert client.post(other, {"action": "again", "reason": "called us"}).status_code == 422
    assert client.post(other, {"action": "nonsense", "reason": "called us"}).status_code == 422
    assert client.post(other, {"action": "bad", "reason": "letter from the post"}).status_code == 303
    assert is_bad(ana.email)
    assert client.post(other, {"action": "good"}).status_code == 303
    assert not is_bad(ana.email)


def test_a_code_is_never_sent_again(client: Client, staff: User, ana: User) -> None:
    message = _email(ana, failed_at=NOON, secret=True, text="")
    address = reverse("staff:message", args=[message.public_id])
    assert "again-form" not in client.get(address).content.decode()
    assert client.post(address, {"action": "again", "reason": "called us"}).status_code == 422
    assert send_due().sent == 0


@pytest.mark.parametrize("name", ["messages", "message"])
def test_residents_do_not_see_the_log(client: Client, ana: User, name: str) -> None:
    args = [] if name == "messages" else [_email(ana).public_id]
    client.force_login(ana)
    assert client.get(reverse(f"staff:{name}", args=args)).status_code == 403


# the outbox of a demonstration


def test_the_outbox_is_a_page_in_a_demonstration_alone(client: Client, ana: User, settings: SettingsWrapper) -> None:
    settings.DEMO = False
    assert client.get("/outbox/").status_code == 404


def test_the_outbox_reads_as_its_receivers_would(
    client: Client, ana: User, settings: SettingsWrapper, tmp_path: Path
) -> None:
    settings.DEMO = True
    settings.EMAIL_FILE_PATH = tmp_path
    assert "outbox-empty" in client.get("/outbox/").content.decode()
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.filebased.EmailBackend"):
        backend = EmailBackend(file_path=str(tmp_path))
        for subject in ("First", "Second ñ"):
            backend.send_messages(
                [mail.EmailMessage(subject, "See https://water.city.example/x/ <script>", to=["ana@example.org"])]
            )
        backend.close()
    newer = tmp_path / "20990101-000000-bcdf.sms"
    newer.write_text("To: +14055550123\nDate: x\n\nYour code is 123456\n", encoding="utf-8")
    os.utime(newer, (4_000_000_000, 4_000_000_000))
    page = client.get("/outbox/").content.decode()
    assert page.index("123456") < page.index("Second ñ") < page.index("First")
    assert '<a href="https://water.city.example/x/"' in page
    assert "<script>" not in page.split("<main")[1]


# what is held about a person


def test_a_person_takes_along_and_leaves_behind_what_is_theirs(ana: User) -> None:
    _email(ana, "k1", sent_at=NOON)
    _email(ana, "k2")
    Phone.objects.create(
        user=ana, number="+14055550123", consented_at=NOON, verified_at=NOON, consent_text="Yes", consent_language="en"
    )
    ReceivedText.objects.create(provider_id="SM1", number="+14055550123", kind="other", text="hi", received_at=NOON)
    kinds = {kind.name: kind for kind in (MESSAGES, RECEIVED_TEXTS, PHONES)}
    held = {name: list(kind.rows(ana)) for name, kind in kinds.items()}
    assert [len(rows) for rows in held.values()] == [2, 1, 1]
    assert held["telephones"][0]["consent_text"] == "Yes"
    assert [kind.erase(ana) for kind in kinds.values()] == [2, 1, 1]
    assert [kind.erase(ana) for kind in kinds.values()] == [0, 0, 0]
    left = Message.objects.get()
    assert (left.to, left.text, left.subject, left.user, left.sent_at) == ("", "", "", None, NOON)
    assert ReceivedText.objects.get().text == ""
    assert send_due().sent == 0


def test_a_mail_server_pipes_its_reports_in(ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    message = _email(ana, sent_at=NOON)
    answer = CliRunner().invoke(portal, ["messages", "bounce", "--json"], input=_report(message))
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["recipients"][0]["ours"] is True
    assert is_bad(ana.email)
    answer = CliRunner().invoke(portal, ["messages", "count", "--json"])
    assert json.loads(answer.output)["email"]["came-back"] == 1

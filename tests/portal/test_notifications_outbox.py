"""The outbox: queued once, sent once, tried again with growing pauses, given up for staff to see."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from smtplib import SMTPDataError, SMTPRecipientsRefused, SMTPServerDisconnected
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction

from domain.errors import ConfigError
from portal.config.environment import read_environment
from portal.core.clock import now
from portal.core.errors import Refused
from portal.core.models import AuditEntry
from portal.notifications import sending
from portal.notifications.attachments import Attached, Maker, register
from portal.notifications.models import Message
from portal.notifications.sending import FIRST_BACK_OFF, LEASE, LONGEST_BACK_OFF, TRIES_MAX, back_off, send_due
from portal.notifications.services import NewEmail, failures, queue_email, queue_emails, try_again

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper


def _new(key: str = "k1", to: str = "ana@example.org", **fields: Any) -> NewEmail:
    return NewEmail(key=key, to=to, subject="A subject", text="A text", **fields)


class Scripted(EmailBackend):
    """A mail server that answers as the test says: an error, or None to take the message."""

    answers: ClassVar[list[Exception | None]] = []
    opened: ClassVar[list[Exception | None]] = []

    def open(self) -> bool:
        if Scripted.opened and (fault := Scripted.opened.pop(0)) is not None:
            raise fault
        return True

    def send_messages(self, email_messages: Any) -> int:
        if Scripted.answers and (fault := Scripted.answers.pop(0)) is not None:
            raise fault
        return super().send_messages(email_messages)


@pytest.fixture
def server(settings: SettingsWrapper) -> type[Scripted]:
    """Mail goes to the scripted server."""
    settings.EMAIL_BACKEND = f"{Scripted.__module__}.{Scripted.__qualname__}"
    Scripted.answers, Scripted.opened = [], []
    return Scripted


def _refused(code: int, to: str = "ana@example.org") -> SMTPRecipientsRefused:
    return SMTPRecipientsRefused({to: (code, f"{code} <{to}> no such user".encode())})


@pytest.mark.django_db
def test_a_key_is_queued_and_sent_once() -> None:
    first = queue_email(_new())
    assert queue_email(_new(to="other@example.org")).pk == first.pk
    assert (send_due().sent, send_due().sent) == (1, 0)
    [email] = mail.outbox
    assert email.to == ["ana@example.org"]
    assert email.extra_headers["Message-ID"].startswith(f"<{first.public_id}@")


@pytest.mark.django_db
def test_a_message_lives_and_dies_with_what_causes_it() -> None:
    with transaction.atomic():
        queue_email(_new())
        transaction.set_rollback(True)
    assert not Message.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"to": "nobody"}, {"to": ""}])
def test_without_an_address_nothing_is_queued(fields: dict[str, str]) -> None:
    with pytest.raises(Refused, match="needs an address"):
        queue_emails([_new("k0"), _new(**fields)])
    assert not Message.objects.exists()


def test_a_subject_is_one_line() -> None:
    with pytest.raises(Refused, match="one line"):
        queue_emails([NewEmail("k", "a@example.org", "two\nlines", "text")])


@pytest.mark.django_db
def test_what_the_server_does_not_take_now_is_tried_again_later(server: type[Scripted]) -> None:
    message = queue_email(_new())
    server.answers += [_refused(450), SMTPDataError(451, b"busy"), None]
    moment = message.queued_at
    assert send_due(moment).later == 1
    assert send_due(moment + back_off(1) - timedelta(seconds=1)).later == 0
    assert send_due(moment + back_off(1)).later == 1
    assert send_due(moment + back_off(1) + back_off(2)).sent == 1
    message.refresh_from_db()
    assert (message.tries, message.last_error, message.failed_at) == (3, "", None)
    assert len(mail.outbox) == 1


def test_pauses_grow_to_six_hours() -> None:
    pauses = [back_off(n) for n in range(1, TRIES_MAX)]
    assert pauses[0] == FIRST_BACK_OFF
    assert pauses[-1] == LONGEST_BACK_OFF
    assert all(later == min(2 * earlier, LONGEST_BACK_OFF) for earlier, later in zip(pauses, pauses[1:], strict=False))
    assert timedelta(days=1) < sum(pauses, timedelta()) < timedelta(days=2)


@pytest.mark.django_db
def test_an_address_that_does_not_exist_is_given_up_at_once(server: type[Scripted]) -> None:
    message, other = queue_email(_new()), queue_email(_new("k2", "ben@example.org"))
    server.answers += [_refused(550)]
    done = send_due()
    assert (done.failed, done.sent) == (1, 1)
    assert list(failures()) == [message]
    message.refresh_from_db()
    assert message.last_error == "550 550 <the address> no such user"
    assert Message.objects.get(pk=other.pk).sent_at is not None
    assert send_due(now() + timedelta(days=9)).sent == 0


@pytest.mark.django_db
def test_after_the_last_try_a_message_is_given_up(server: type[Scripted]) -> None:
    message = queue_email(_new())
    server.answers += [SMTPDataError(451, b"busy")] * TRIES_MAX
    moment = message.queued_at
    for _ in range(TRIES_MAX):
        assert not failures().exists()
        send_due(moment)
        moment += LONGEST_BACK_OFF
    assert list(failures()) == [message]


@pytest.mark.django_db
def test_a_server_that_is_away_costs_no_message_a_try(server: type[Scripted], caplog: pytest.LogCaptureFixture) -> None:
    messages = [queue_email(_new(f"k{n}")) for n in range(3)]
    server.opened += [ConnectionRefusedError()]
    assert (send_due(messages[-1].queued_at), mail.outbox) == (sending.Sent(), [])
    assert set(Message.objects.values_list("tries", "last_error")) == {
        (0, "the mail server is away: ConnectionRefusedError")
    }
    assert "ana@" not in caplog.text
    assert send_due(messages[-1].queued_at + FIRST_BACK_OFF).sent == 3


@pytest.mark.django_db
def test_a_message_at_which_the_server_hangs_up_does_not_hold_up_the_others(server: type[Scripted]) -> None:
    first, *others = [queue_email(_new(f"k{n}")) for n in range(3)]
    server.answers += [SMTPServerDisconnected("bye")]
    assert send_due().later == 1
    first.refresh_from_db()
    assert (first.tries, first.last_error) == (1, "connection lost: SMTPServerDisconnected")
    assert {Message.objects.get(pk=message.pk).tries for message in others} == {0}
    assert send_due(now() + back_off(1)).sent == 3


@pytest.mark.django_db
def test_what_one_worker_has_claimed_no_other_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    message = queue_email(_new())
    moment = message.queued_at
    inner = []
    real = sending._send_one

    def send(*arguments: Any) -> None:
        inner.append(send_due(moment).sent)  # another worker, while this one talks to the server
        real(*arguments)

    monkeypatch.setattr(sending, "_send_one", send)
    assert send_due(moment).sent == 1
    assert (inner, len(mail.outbox)) == ([0], 1)


@pytest.mark.django_db
def test_a_worker_that_dies_leaves_its_message_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    message = queue_email(_new())

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sending, "_send_one", die)
        with pytest.raises(KeyboardInterrupt):
            send_due(message.queued_at)
    assert send_due(message.queued_at + LEASE - timedelta(seconds=1)).sent == 0
    assert send_due(message.queued_at + LEASE).sent == 1


@pytest.mark.django_db
def test_an_attachment_is_made_when_it_is_sent_and_a_missing_one_gives_up() -> None:
    told, gone = [], []

    def went(reference: str, at: datetime, label: str) -> None:
        gone.append(reference)

    def make(reference: str) -> Attached:
        if reference == "gone":
            raise Refused("gone", "the paper is gone")
        return Attached("a.txt", b"content", "text/plain")

    register("test-paper", Maker(make=make, sent=lambda reference, at: told.append(reference), lost=went))
    queue_email(_new("k1", attachment="test-paper:here"))
    lost = queue_email(_new("k2", attachment="test-paper:gone"))
    stranger = queue_email(_new("k3", attachment="nobody:x"))
    done = send_due()
    assert (done.sent, done.failed, told, gone) == (1, 2, ["here"], ["gone"])
    assert mail.outbox[0].attachments[0][0] == "a.txt"
    assert set(failures()) == {lost, stranger}
    assert "the paper is gone" in Message.objects.get(pk=lost.pk).last_error


@pytest.mark.django_db
def test_staff_put_a_failure_back_with_another_address(server: type[Scripted]) -> None:
    message = queue_email(_new())
    with pytest.raises(Refused, match="given up"):
        try_again(message, label="tests")
    server.answers += [_refused(550)]
    send_due()
    try_again(message, label="tests", to="ana.new@example.org")
    assert send_due().sent == 1
    assert mail.outbox[0].to == ["ana.new@example.org"]
    assert AuditEntry.objects.get(action="message.retry").detail == {"address": "changed"}
    with pytest.raises(Refused, match="given up"):
        try_again(message, label="tests")


# the mail server of the settings


def _faults(**environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_environment(environment)
    return str(caught.value)


def test_without_a_mail_server_messages_are_files(tmp_path: Path) -> None:
    server = read_environment({"HEADWATER_PORTAL_DIR": str(tmp_path)}).mail
    assert (server.host, server.folder) == ("", tmp_path / "outbox")


def test_a_mail_server_is_an_address(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    sender = {"HEADWATER_EMAIL_FROM": "City Water <billing@city.example>"}
    url = {"HEADWATER_EMAIL_URL": "smtp+starttls://me%40city:pa%20ss@mail.city.example"}
    server = read_environment({**sender, **url}).mail
    assert (server.host, server.port, server.user, server.password) == ("mail.city.example", 587, "me@city", "pa ss")
    assert (server.starttls, server.implicit_tls) == (True, False)
    url = {"HEADWATER_EMAIL_URL": "smtps://me@mail.city.example", "HEADWATER_EMAIL_PASSWORD_FILE": str(secret)}
    server = read_environment({**sender, **url}).mail
    assert (server.port, server.password, server.implicit_tls, server.sender) == (
        465,
        "s3cret",
        True,
        sender["HEADWATER_EMAIL_FROM"],
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://mail.city.example", "expected smtp+starttls://"),
        ("smtps://", "expected smtp+starttls://"),
        ("smtps://mail.city.example:99999", "expected smtp+starttls://"),
        ("smtp://mail.city.example", "clear text to mail.city.example"),
    ],
)
def test_a_mail_server_that_cannot_be_is_refused(url: str, expected: str) -> None:
    assert expected in _faults(HEADWATER_EMAIL_URL=url, HEADWATER_EMAIL_FROM="a@city.example")


def test_faults_of_the_mail_server_come_together_and_without_its_password() -> None:
    text = _faults(
        HEADWATER_EMAIL_URL="smtp://me:pa55word@mail.city.example", HEADWATER_EMAIL_PASSWORD_FILE="/nowhere/at/all"
    )
    assert "clear text" in text
    assert "HEADWATER_EMAIL_FROM" in text
    assert "pa55word" not in text + _faults(HEADWATER_EMAIL_URL="ftp://me:pa55word@mail")

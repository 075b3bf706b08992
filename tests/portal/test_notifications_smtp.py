"""Email over a real SMTP conversation with a loopback server that takes, refuses, delays or hangs up."""

from __future__ import annotations

import socketserver
import threading
from email import policy
from email.parser import BytesParser
from typing import TYPE_CHECKING

import pytest

from portal.core.models import UtilitySettings
from portal.notifications.bounces import mark_bad
from portal.notifications.models import Category, Message
from portal.notifications.sending import send_due
from portal.notifications.services import NewEmail, queue_email

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage

    from pytest_django.fixtures import SettingsWrapper


class MailServer(socketserver.ThreadingTCPServer):
    """As much of RFC 5321 as a client needs. Addresses say how it answers: `no@`, `later@`, `gone@`, `busy@`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: list[EmailMessage] = []
        self.connections = 0


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.server.connections += 1
        self._say("220 loopback ESMTP")
        to = ""
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "RCPT":
                to = line.partition("<")[2].partition(">")[0]
                self._say(_RCPT.get(to.partition("@")[0], "250 ok").format(to=to))
            elif verb == "DATA" and to.startswith("gone@"):
                return
            elif verb == "DATA":
                self._say("354 go on")
                self._take("451 busy" if to.startswith("busy@") else "250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 ok")

    def _take(self, answer: str) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        if answer.startswith("250"):
            self.server.taken.append(BytesParser(policy=policy.default).parsebytes(b"".join(lines)))  # type: ignore[arg-type]
        self._say(answer)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


_RCPT = {"no": "550 5.1.1 <{to}>: no such user", "later": "450 4.2.1 <{to}>: mailbox busy"}


@pytest.fixture(scope="module")
def _running() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(_running: MailServer, settings: SettingsWrapper, db: None) -> MailServer:
    """Mail goes to the loopback server."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = _running.server_address[:2]
    settings.DEFAULT_FROM_EMAIL = "City Water <water@city.example>"
    UtilitySettings.objects.create(
        pk=1, name="City Water", contact_email="help@city.example", portal_url="https://water.city.example"
    )
    _running.taken.clear()
    _running.connections = 0
    return _running


def _queue(to: str, **fields: Category) -> Message:
    text = ".a line that begins with a dot\nñ and a long line " + "x" * 1200
    return queue_email(NewEmail(key=to, to=to, subject="Ihre Größe ñ", text=text, html="<p>ñ</p>", **fields))


def test_a_message_arrives_whole_with_its_headers(server: MailServer) -> None:
    message = _queue("ana@example.org", category=Category.ALERT)
    assert send_due().sent == 1
    [mail] = server.taken
    assert (mail["To"], mail["From"], mail["Reply-To"]) == (
        "ana@example.org",
        "City Water <water@city.example>",
        "help@city.example",
    )
    assert (mail["Subject"], mail["Message-ID"]) == ("Ihre Größe ñ", f"<{message.public_id}@city.example>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"].startswith("<https://water.city.example/")
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n").rstrip("\n") == message.text


def test_each_answer_of_the_server_means_what_it_says(server: MailServer) -> None:
    for to in ("no@example.org", "later@example.org", "busy@example.org", "ana@example.org"):
        _queue(to)
    done = send_due()
    assert (done.sent, done.later, done.failed, server.connections) == (1, 2, 1, 1)
    said = dict(Message.objects.values_list("to", "last_error"))
    assert said["no@example.org"] == "550 5.1.1 <the address>: no such user"
    assert said["later@example.org"] == "450 4.2.1 <the address>: mailbox busy"
    assert said["busy@example.org"] == "451 busy"
    assert Message.objects.get(failed_at__isnull=False).to == "no@example.org"


def test_a_server_that_hangs_up_costs_one_message_a_try_and_the_others_nothing(server: MailServer) -> None:
    _queue("gone@example.org"), _queue("ana@example.org")
    assert send_due().later == 1
    assert dict(Message.objects.values_list("to", "tries")) == {"gone@example.org": 1, "ana@example.org": 0}


def test_a_marked_address_is_not_even_tried_but_for_what_concerns_sign_in(server: MailServer) -> None:
    mark_bad("Ana@example.org", "550", label="tests")
    _queue("ana@example.org", category=Category.BILL)
    assert (send_due().failed, server.taken) == (1, [])
    queue_email(NewEmail("k2", "ana@example.org", "Sign-in", "text"))
    assert send_due().sent == 1

"""The ASGI application: plain requests whole in one kept thread, streams as they come, and what goes wrong in between.

A portal with one thread and addresses of its own, so that each request follows the one before in the same thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished
from django.db import connection, connections
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from portal.cli import _inherited_socket
from portal.config import asgi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from django.http import HttpRequest
    from pytest_django.fixtures import SettingsWrapper

Event = dict[str, Any]
MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")
handler500 = "portal.core.security.server_error"
seen: list[str] = []
"""What the views below were called with, and how their streams ended."""


def _backend() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT 1")
        return str(cursor.fetchone()[0])


def plain(request: HttpRequest) -> HttpResponse:
    """Say the language and the mark that stand when a request comes, then leave others behind."""
    said = f"{translation.get_language()} {MARK.get()}"
    translation.activate("es")
    MARK.set("left behind")
    return HttpResponse(said)


def backend(request: HttpRequest) -> HttpResponse:
    """Say by which connection the database was asked."""
    return HttpResponse(_backend())


def severed(request: HttpRequest) -> HttpResponse:
    """Lose the connection in the middle."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return HttpResponse()


def fault(request: HttpRequest) -> HttpResponse:
    """A fault of ours."""
    raise LookupError("planted")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    """Take what is sent."""
    seen.append(f"upload of {len(request.body)}")
    return HttpResponse()


def close(request: HttpRequest) -> HttpResponse:
    """Close what the thread holds."""
    connections.close_all()
    return HttpResponse()


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """Say one thing, and nothing more for ever."""

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            seen.append("stream ended")

    return StreamingHttpResponse(pieces())


def told(request: HttpRequest) -> StreamingHttpResponse:
    """Say the language piece by piece, as a file that is made while it is sent."""

    async def pieces() -> AsyncIterator[bytes]:
        yield str(translation.get_language()).encode()
        yield (await sync_to_async(translation.get_language)()).encode()

    return StreamingHttpResponse(pieces())


VIEWS = (plain, backend, severed, fault, upload, close, stream, told)
urlpatterns = [path(f"{view.__name__}/", view) for view in VIEWS]


@pytest.fixture
def served(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> Iterator[asgi.Application]:
    """The application with the addresses above and one thread."""
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr(asgi, "THREADS", 1)
    seen.clear()
    application = asgi.Application()
    yield application
    asked(application, "close")


def asked(application: asgi.Application, name: str, *, language: str = "en") -> tuple[int, str]:
    """Return status and text of a whole answer."""
    sent = talk(application, name, [{"type": "http.request", "body": b""}], language=language)
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:]).decode()


def talk(
    application: asgi.Application,
    name: str,
    said: Iterable[Event],
    *,
    language: str = "en",
    leave_after: int = 0,
    query: bytes = b"",
    content: bytes = b"text/plain",
) -> list[Event]:
    """Return what the application sends to a client that says these things; it leaves after so many events."""
    headers = [(b"host", b"testserver"), (b"accept-language", language.encode()), (b"content-type", content)]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST" if name == "upload" else "GET", "path": f"/{name}/",
        "query_string": query, "headers": headers,
    }  # fmt: skip

    async def client() -> list[Event]:
        sent: list[Event] = []
        left, waiting = asyncio.Event(), iter(said)

        async def receive() -> Event:
            for event in waiting:
                return event
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(event: Event) -> None:
            sent.append(event)
            if leave_after and len(sent) >= leave_after:
                left.set()

        async with asyncio.timeout(30):
            await application(scope, receive, send)
        return sent

    return asyncio.run(client())


def test_nothing_of_one_request_is_left_for_the_next(served: asgi.Application) -> None:
    assert asked(served, "plain", language="es") == (200, "es none")
    assert asked(served, "plain") == (200, "en none")


def test_a_fault_is_a_page_and_the_thread_serves_on(served: asgi.Application) -> None:
    status, text = asked(served, "fault")
    assert (status, "went wrong" in text, "planted" in text) == (500, True, False)
    assert asked(served, "plain") == (200, "en none")


def test_every_answer_tells_that_it_is_finished(served: asgi.Application) -> None:
    finished: list[object] = []

    def note(**_others: object) -> None:
        finished.append(1)

    request_finished.connect(note)
    try:
        for name in ("plain", "fault"):
            asked(served, name)
        talk(served, "stream", [{"type": "http.request", "body": b""}], leave_after=2)
    finally:
        request_finished.disconnect(note)
    assert len(finished) == 3


def test_a_stream_is_sent_as_it_comes_and_ends_when_the_client_leaves(served: asgi.Application) -> None:
    sent = talk(served, "stream", [{"type": "http.request", "body": b""}], leave_after=2)
    assert [event.get("body") for event in sent][1:] == [b"first"]  # it was there while the stream still ran
    assert seen == ["stream ended"]
    assert asked(served, "plain") == (200, "en none")  # no thread is held


def test_a_stream_speaks_the_language_of_its_request(served: asgi.Application) -> None:
    assert asked(served, "told", language="es") == (200, "eses")
    assert asked(served, "told") == (200, "enen")


def test_a_plain_request_starts_no_thread(served: asgi.Application, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    asked(served, "plain")  # this one starts the thread of them all
    monkeypatch.setattr(threading.Thread, "start", started.append)
    assert asked(served, "plain") == (200, "en none")
    assert started == []


def test_an_upload_that_is_cut_reaches_no_view(served: asgi.Application) -> None:
    half = {"type": "http.request", "body": b"x" * 1000, "more_body": True}
    assert talk(served, "upload", [half, {"type": "http.disconnect"}]) == []
    assert seen == []
    talk(served, "upload", [half, {"type": "http.request", "body": b"y"}])
    assert seen == ["upload of 1001"]


@pytest.mark.parametrize("charset", ["hex", "idna", "undefined", "utf-16", "utf-7", "unicode_escape", "punycode"])
@pytest.mark.parametrize("query", [b"", b"a=%5Cx&b=-"])
def test_what_is_not_in_utf_8_is_refused(served: asgi.Application, charset: str, query: bytes) -> None:
    content = f"application/x-www-form-urlencoded; charset={charset}".encode()
    sent = talk(served, "upload", [{"type": "http.request", "body": b"a=1"}], query=query, content=content)
    assert (sent[0]["status"], seen) == (415, [])


def test_other_ways_to_say_utf_8_and_names_of_nothing_are_served(served: asgi.Application) -> None:
    for charset in ("utf-8", "UTF8", "no-such-charset"):
        content = f"text/plain; charset={charset}".encode()
        sent = talk(served, "upload", [{"type": "http.request", "body": b"a=1"}], content=content)
        assert sent[0]["status"] == 200
    assert seen == ["upload of 3"] * 3


@pytest.mark.parametrize(
    ("query", "content", "status"),
    [(b"", b"text/plain; charset=hex", 415), (b"&".join([b"a=1"] * 1001), b"text/plain; charset=utf-8", 400)],
)
def test_what_cannot_be_read_is_answered_with_the_headers_of_every_answer(
    served: asgi.Application, query: bytes, content: bytes, status: int
) -> None:
    asked = [
        talk(served, "upload", [{"type": "http.request", "body": b""}], query=query, content=content),
        talk(served, "plain", [{"type": "http.request", "body": b""}]),
    ]
    refused, plain = (dict(events[0]["headers"]) for events in asked)
    assert asked[0][0]["status"] == status
    said = {name for name in plain if name not in (b"Content-Type", b"Content-Length", b"Vary", b"Content-Language")}
    assert b"frame-ancestors 'none'" in refused[b"Content-Security-Policy"]
    assert len(said) >= 5
    assert {name: refused.get(name) for name in said} == {name: plain[name] for name in said}


def test_too_many_parameters_are_a_bad_request(served: asgi.Application) -> None:
    said, query = [{"type": "http.request", "body": b""}], b"&".join([b"a=1"] * 1001)
    assert talk(served, "upload", said, query=query, content=b"text/plain; charset=utf-8")[0]["status"] == 400


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps no connection")
@pytest.mark.django_db(transaction=True)
def test_a_connection_is_kept_and_a_broken_one_replaced(served: asgi.Application) -> None:
    first = asked(served, "backend")
    assert first[0] == 200
    assert [asked(served, "backend") for _ in range(4)] == [first] * 4
    assert asked(served, "severed")[0] == 503
    status, second = asked(served, "backend")
    assert (status, second != first[1]) == (200, True)
    assert asked(served, "backend") == (200, second)


def test_an_inherited_socket_keeps_no_packet_back() -> None:
    async def nodelay() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                found.set_result(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        with socket.create_server(("127.0.0.1", 0)) as listener, _inherited_socket(os.dup(listener.fileno())) as given:
            async with await asyncio.get_running_loop().create_server(Accepted, sock=given):
                with socket.create_connection(listener.getsockname()):
                    return await asyncio.wait_for(found, 30)

    assert asyncio.run(nodelay()) == 1

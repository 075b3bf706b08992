"""The ASGI application that uvicorn serves."""

from __future__ import annotations

import asyncio
import codecs
import os
import resource
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import django
from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.core.exceptions import RequestAborted, SuspiciousOperation
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.core.signals import request_started
from django.http import HttpResponse, HttpResponseBadRequest
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, resolve, set_script_prefix

from portal.core.security import with_policy
from portal.core.threads import keeping_threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")

THREADS = 16
"""So many requests are worked on at once; the rest wait. Each thread has one connection to the database."""
OPEN_FILES = 16_384
"""Every open page holds a socket; many systems start a process with 1,024 files, which 1,000 open pages use up."""

_NOT_UTF_8 = "415 The only charset here is UTF-8"


class Application(ASGIHandler):
    """Django's handler, but a request for a plain view is answered in one thread: signals, middleware, view and close.

    Django itself changes between threads twice for each middleware and starts two threads for the signals, which took
    a third of a page's time. Views that are coroutines go Django's own way. What a view answers may be a stream of
    events: no thread is held by that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole = _Whole()
        self._threads = keeping_threads(THREADS, "request")

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request, or the answer to one that cannot be read; Django lets both of these faults through."""
        answer = HttpResponse(_NOT_UTF_8, status=415, content_type="text/plain")
        try:
            request, fault = super().create_request(scope, body_file)
            charset = request.encoding if request else None
            if request is not None and (charset is None or codecs.lookup(charset).name == "utf-8"):
                return request, None
            answer = fault if isinstance(fault, HttpResponse) else answer
        except SuspiciousOperation:  # too many parameters in the address
            answer = HttpResponseBadRequest()
        except (LookupError, UnicodeError):  # a charset that is none, such as `hex`
            pass
        return None, _with_headers(scope, answer)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer what a client asks."""
        if scope["type"] != "http" or _is_coroutine(scope["path"].removeprefix(get_script_prefix(scope))):
            await super().__call__(scope, receive, send)
            return
        try:
            body_file = await self.read_body(receive)
        except RequestAborted:
            return
        answer = sync_to_async(self._answer, thread_sensitive=False, executor=self._threads)
        try:
            response = await answer(scope, body_file)
            if response.streaming:
                await self._stream(response, receive, send)
            else:
                await self.send_response(response, send)
        finally:
            body_file.close()

    def _answer(self, scope: Mapping[str, Any], body_file: IO[bytes]) -> HttpResponseBase:
        """Return the answer, which is closed already unless it is a stream.

        At both signals Django looks after the connections of the thread in which they are sent: this one.
        """
        set_script_prefix(get_script_prefix(scope))
        request_started.send(sender=type(self), scope=scope)
        request, fault = self.create_request(scope, body_file)
        response = fault if request is None else self._whole.get_response(request)
        assert response is not None
        response._handler_class = type(self)  # type: ignore[attr-defined]
        if not response.streaming:
            response.close()
        return response

    async def _stream(self, response: HttpResponseBase, receive: Any, send: Any) -> None:
        """Send a stream until it ends or the client leaves."""
        async with ThreadSensitiveContext():
            tasks = [
                asyncio.create_task(self.listen_for_disconnect(receive)),
                asyncio.create_task(self.send_response(response, send)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await sync_to_async(response.close)()
        for end in ends:
            if isinstance(end, BaseException) and not isinstance(end, RequestAborted | asyncio.CancelledError):
                raise end


class _Whole(BaseHandler):
    """The same middleware and views, called one from another."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware(is_async=False)


def _with_headers(scope: Mapping[str, Any], answer: HttpResponse) -> HttpResponseBase:
    """Let an answer that passes no middleware say to browsers what every other one says."""
    legible = [pair for pair in scope["headers"] if pair[0].lower() != b"content-type"]
    request = ASGIRequest({**scope, "query_string": b"", "headers": legible}, BytesIO())
    for middleware in (XFrameOptionsMiddleware, SecurityMiddleware):
        middleware(lambda _request: answer).process_response(request, answer)
    return with_policy(request, answer)


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _is_coroutine(path: str) -> bool:
    try:
        return bool(iscoroutinefunction(resolve(path).func))
    except Resolver404:
        return False


_allow_open_files()
django.setup(set_prefix=False)
application = Application()

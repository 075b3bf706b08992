"""The ASGI application that uvicorn serves."""

from __future__ import annotations

import codecs
import os
import resource
from typing import IO, TYPE_CHECKING, Any

import django
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse, HttpResponseBadRequest
from django.urls import Resolver404, resolve

from portal.core.threads import keeping_threads, look_after_connections

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.core.handlers.asgi import ASGIRequest
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")

THREADS = 16
"""So many requests are worked on at once; the rest wait. Each thread has one connection to the database."""
OPEN_FILES = 16_384
"""Every open page holds a socket; many systems start a process with 1,024 files, which 1,000 open pages use up."""


class Application(ASGIHandler):
    """Django's handler, but a request for a plain view goes through all middleware and its view in one thread, at once.

    Django itself changes between threads twice for each middleware, which took a third of a page's time. Views that
    are coroutines go Django's own way. What a view answers may be a stream of events: no thread is held by that.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole = _Whole()
        self._threads = keeping_threads(THREADS, "request")

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """Return the request, or the answer to one that cannot be read; Django lets both of these faults through."""
        try:
            made = super().create_request(scope, body_file)
            charset = made[0].encoding if made[0] else None
            if charset is None or codecs.lookup(charset).name == "utf-8":
                return made
        except SuspiciousOperation:  # too many parameters in the address
            return None, HttpResponseBadRequest()
        except (LookupError, UnicodeError):  # a charset that is none, such as `hex`
            pass
        return None, HttpResponse("415 The only charset here is UTF-8", status=415, content_type="text/plain")

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        if _is_coroutine(request.path_info):
            return await super().get_response_async(request)
        return await sync_to_async(self._whole.answer, thread_sensitive=False, executor=self._threads)(request)


class _Whole(BaseHandler):
    """The same middleware and views, called one from another."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware(is_async=False)

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request; what happened to the thread's connections before is of no concern to it."""
        look_after_connections()
        try:
            return self.get_response(request)
        finally:
            look_after_connections()


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

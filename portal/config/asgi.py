"""The ASGI application that uvicorn serves."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import django
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.db import connections
from django.urls import Resolver404, resolve

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings")

THREADS = 16
"""So many requests are worked on at once; the rest wait. Each thread has one connection to the database."""
KEPT_S = 60
"""So long a thread keeps a connection to PostgreSQL: to open one takes longer than most pages do."""


class Application(ASGIHandler):
    """Django's handler, but a request for a plain view goes through all middleware and its view in one thread, at once.

    Django itself changes between threads twice for each middleware, which took a third of a page's time. Views that
    are coroutines (open streams) go Django's own way.
    """

    def __init__(self) -> None:
        super().__init__()
        self._whole = _Whole()
        self._threads = ThreadPoolExecutor(THREADS, "request", initializer=_keep_connections)

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
        _look_after_connections()
        try:
            return self.get_response(request)
        finally:
            _look_after_connections()


def _keep_connections() -> None:
    for connection in connections.all():
        if connection.vendor == "postgresql":
            connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": KEPT_S}


def _look_after_connections() -> None:
    """Close connections that are broken or kept long enough; Django's own signal for that comes in another thread."""
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()


def _is_coroutine(path: str) -> bool:
    try:
        return bool(iscoroutinefunction(resolve(path).func))
    except Resolver404:
        return False


django.setup(set_prefix=False)
application = Application()

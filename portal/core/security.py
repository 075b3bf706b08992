"""What every answer says to browsers: own files only, nothing inline, nothing kept; and the page for our faults."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from django.http import HttpRequest

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class Middleware:
    """Middleware that works in both of Django's modes: whatever is behind it answers."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request."""
        return self.get_response(request)


class ContentSecurityPolicyMiddleware(Middleware):
    """Adds the policy to answers that have none of their own, keeps those to people with a session out of caches."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request and add the header."""
        response = self.get_response(request)
        return (
            with_policy(request, response) if isinstance(response, HttpResponseBase) else self._later(request, response)
        )

    async def _later(self, request: HttpRequest, response: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        return with_policy(request, await response)


def with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Add the policy to an answer that has none, and keep one to a person with a session out of caches."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    if settings.SESSION_COOKIE_NAME in request.COOKIES and "Cache-Control" not in response.headers:
        add_never_cache_headers(response)
    return response


RETRY_AFTER_S = 60
_SQLITE_WAITS = ("locked", "busy", "unable to open", "disk i/o")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer for an error that nobody caught: 503 while the database is busy or away, 500 for a fault of ours.

    A sign-in writes (session, attempts, history): while another program holds the database it cannot. Trying again in
    a minute helps then, and the answer says so.
    """
    if _database_waits(sys.exc_info()[1]):
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": str(RETRY_AFTER_S)})
    return HttpResponse(render_to_string("500.html"), status=500)


def _database_waits(error: BaseException | None) -> bool:
    """Tell whether an error is of a database that will answer again, and not of what it was asked."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    if type(error.__cause__).__module__.startswith("psycopg"):
        return True
    return any(word in str(error).lower() for word in _SQLITE_WAITS)

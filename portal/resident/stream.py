"""The stream of one usage page: server-sent events that say `something changed here, fetch again`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgiref.sync import SyncToAsync
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse

from portal.core.clock import now
from portal.core.models import User
from portal.core.services import current_change
from portal.core.threads import keeping_threads, look_after_connections
from portal.customers.services import visible_service_points, visible_spans
from portal.resident.live import audience, hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from django.http.response import HttpResponseBase

HEARTBEAT_S = 15.0
STREAM_S_MAX = 900.0
"""After this the browser connects anew, and the session is checked anew."""
RETRY_MS = 2000
_threads = keeping_threads(4, "stream")
"""Where streams that begin ask what they missed: a thousand that come back at once share four connections."""


def changes(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """Stream the changes of one service point to somebody who lives there.

    Who may see them is asked in a thread, as for any page; the stream itself is a coroutine and holds none.

    since  query parameter, or the header Last-Event-ID when the browser resumes: the last change that the page knows.
    """
    user = request.user
    if not isinstance(user, User):
        return HttpResponse(status=401)
    resumed = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
    since = int(resumed) if resumed.isdecimal() and len(resumed) < 19 else None
    service_point = _service_point(user, public_id)
    if service_point is None:
        return HttpResponse(status=204)  # tells the browser not to come back
    response = StreamingHttpResponse(_events(user.pk, service_point, since), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # a proxy in front must pass every event on at once
    response["Content-Encoding"] = "identity"  # and nobody may gather them to compress them
    return response


def _service_point(user: User, public_id: str) -> int | None:
    """Return the row id of a service point where the person lives now; None after a move-out; Http404 otherwise."""
    found = visible_service_points(user).filter(public_id=public_id).first()
    if found is None:
        raise Http404
    moment = now()
    return found.pk if any(span.start <= moment < span.end for span in visible_spans(user, found)) else None


def _missed(service_point: int, user: int, since: int) -> int | None:
    """Return the present change number when something changed for this person after `since`."""
    look_after_connections()
    try:
        change = current_change()
        return change if since > change or (service_point, user) in audience([service_point], since=since) else None
    finally:
        look_after_connections()


async def _looked_up(service_point: int, user: int, since: int) -> int | None:
    return await asyncio.get_running_loop().run_in_executor(_threads, _missed, service_point, user, since)


def _release_thread() -> None:
    """Give back the thread that Django keeps for a request's signals: a stream may stay open for long.

    Without this 300 open pages cost 300 idle threads; what follows the request's end gets a fresh one.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and (executor := SyncToAsync.context_to_thread_executor.pop(context, None)):
        executor.shutdown(wait=False)


async def _events(user: int, service_point: int, since: int | None) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    closes_at = loop.time() + STREAM_S_MAX
    with hub.subscribe(user=user, service_point=service_point) as queue:
        yield b"retry: %d\n\n" % RETRY_MS
        _release_thread()
        if since is not None and (change := await _looked_up(service_point, user, since)) is not None:
            yield _event(change)
        while loop.time() < closes_at:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    change = await queue.get()
            except TimeoutError:
                yield b": still here\n\n"
            else:
                yield _event(change)


def _event(change: int) -> bytes:
    return b"id: %d\nevent: usage\ndata: {}\n\n" % change

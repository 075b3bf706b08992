"""Sends a file while it is being made, under ASGI and WSGI alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from django.http import HttpRequest


def streamed(request: HttpRequest, *, name: str, content_type: str, pieces: Iterator[bytes]) -> StreamingHttpResponse:
    """Return the answer to a request for a file; it is made piece by piece as the browser takes it.

    Under ASGI Django would gather a plain iterator whole in memory (and warns of it), so it gets an asynchronous one,
    whose pieces are made in the request's own thread, where its database connection lives.
    """
    content = _later(pieces) if isinstance(request, ASGIRequest) else pieces
    response = StreamingHttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


async def _later(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    def following() -> bytes | None:
        return next(pieces, None)

    while (piece := await sync_to_async(following)()) is not None:
        yield piece

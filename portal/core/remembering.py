"""What one page asks the database for more than once, asked once: remembered while the page is made, not longer."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from django.http import HttpRequest, HttpResponse

T = TypeVar("T")
_known: ContextVar[dict[Hashable, Any] | None] = ContextVar("remembered", default=None)


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Make `remembered` keep what it is told until the block ends. For what only reads: nothing is ever forgotten."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def remembered(key: Hashable, ask: Callable[[], T]) -> T:
    """Return what `ask` says; inside `remembering` it is asked once for a key. Nobody may change what is returned."""
    known = _known.get()
    if known is None:
        return ask()
    if key not in known:
        known[key] = ask()
    found: T = known[key]
    return found


def remembers(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Make a view that changes nothing remember what it asked."""

    @wraps(view)
    def remembering_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with remembering():
            return view(request, *args, **kwargs)

    return remembering_view

"""The staff pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse

if TYPE_CHECKING:
    from django.http import HttpRequest


def collectors(request: HttpRequest) -> HttpResponse:
    """List the collectors."""
    return HttpResponse("")

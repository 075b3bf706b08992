"""What every page may show: the utility, and whether this is a demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.functional import SimpleLazyObject

from portal.core.services import utility_settings

if TYPE_CHECKING:
    from django.http import HttpRequest


def utility(request: HttpRequest) -> dict[str, Any]:
    """Return `utility` (read from the database only when a page uses it) and `demo`."""
    return {"utility": SimpleLazyObject(utility_settings), "demo": settings.DEMO}

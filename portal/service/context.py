"""What every page shows besides its own: the banners of the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.functional import SimpleLazyObject

from portal.core.clock import now
from portal.service.services import banners

if TYPE_CHECKING:
    from django.http import HttpRequest

    from portal.service.models import Banner


def shown(request: HttpRequest) -> dict[str, Any]:
    """Return `banners`, each with its link if it may be followed; read from the database only when a page uses it."""
    return {"banners": SimpleLazyObject(_rows)}


def _rows() -> list[tuple[Banner, str]]:
    moment = now()
    return [(row, row.link_at(moment)) for row in banners(moment)]

"""What every page shows besides its own: the banners of the moment, as far as they are for whoever looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.functional import SimpleLazyObject

from portal.access.viewing import viewer_of
from portal.core.clock import now
from portal.core.remembering import remembered
from portal.customers.permissions import Permission, allowed_accounts
from portal.service.audience import seen_by
from portal.service.services import banners

if TYPE_CHECKING:
    from django.http import HttpRequest

    from portal.service.models import Banner


MOMENT = "the moment of the page"


def shown(request: HttpRequest) -> dict[str, Any]:
    """Return `banners`, each with its link if it may be followed; read from the database only when a page uses it."""
    return {"banners": SimpleLazyObject(lambda: _rows(request))}


def _rows(request: HttpRequest) -> list[tuple[Banner, str]]:
    moment = remembered(MOMENT, now)
    return [(row, row.link_at(moment)) for row in _for(request, banners(moment))]


def _for(request: HttpRequest, rows: list[Banner]) -> list[Banner]:
    """Return the banners for whoever looks: staff see all, and as a customer what the customer sees."""
    if not rows:
        return rows
    user = getattr(request, "user", None)  # a page that says no to a damaged request has none
    if user is None or not user.is_authenticated:
        return seen_by(rows, None)
    viewer = viewer_of(request)
    if user.is_staff and viewer.account is None:
        return rows
    return seen_by(rows, allowed_accounts(viewer, Permission.USAGE))

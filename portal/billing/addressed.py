"""Which accounts something is for: everybody, or those of some billing cycles, routes, or of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def within(audience: Mapping[str, Sequence[str]]) -> Q:
    """Return the condition `this account is in the audience`, for accounts."""
    if not audience:
        return Q()
    return (
        Q(billing__cycle__code__in=audience.get("cycles", ()))
        | Q(billing__route__in=audience.get("routes", ()))
        | Q(public_id__in=audience.get("accounts", ()))
    )

"""Template tags of alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.urls import reverse

from portal.access.viewing import viewer_of
from portal.alerts.services import alert_for_case

if TYPE_CHECKING:
    from collections.abc import Mapping

register = template.Library()


@register.simple_tag(takes_context=True)
def alert_address(context: Mapping[str, Any], case: str) -> str:
    """Return the address of the alert of a leak case, for those who may answer it; empty for others."""
    request = context.get("request")
    alert = None if request is None else alert_for_case(case, viewer_of(request))
    return "" if alert is None else reverse("resident:alert", args=[alert.public_id])

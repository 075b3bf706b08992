"""What the staff's templates ask for besides their context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.utils.timesince import timesince

from portal.core.clock import now
from portal.notifications.standstill import standstill
from portal.staff import listing
from portal.staff.navigation import GROUPS, group_of

if TYPE_CHECKING:
    from datetime import date

register = template.Library()


@register.filter
def last_day(end: date) -> date:
    """Return the last day of a time that is kept with the day after it."""
    return listing.last_day(end)


@register.inclusion_tag("staff/standstill.html")
def messages_held_up() -> dict[str, Any]:
    """Say that messages do not leave, why, and what to do; nothing while they do."""
    found = standstill()
    if found is None:
        return {}
    return {
        "held": {
            "waiting": found.waiting,
            "age": timesince(found.since, now()),
            "said": found.server_said,
            "worker_at": listing.when(found.worker_at).text if found.worker_at else "",
        }
    }


@register.inclusion_tag("staff/navigation.html")
def staff_navigation(name: str) -> dict[str, Any]:
    """Show the groups, and the entries of the one in which the page `name` lies."""
    return {"groups": [group for group in GROUPS if group.entries], "current": group_of(name), "name": name}

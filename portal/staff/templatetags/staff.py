"""What the staff's templates ask for besides their context."""

from __future__ import annotations

from typing import Any

from django import template

from portal.staff.navigation import GROUPS, group_of

register = template.Library()


@register.inclusion_tag("staff/navigation.html")
def staff_navigation(name: str) -> dict[str, Any]:
    """Show the groups, and the entries of the one in which the page `name` lies."""
    return {"groups": [group for group in GROUPS if group.entries], "current": group_of(name), "name": name}

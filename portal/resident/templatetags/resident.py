"""Template tags of the resident pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.utils.translation import ngettext

from portal.access.viewing import viewer_of
from portal.notifications.bounces import is_bad
from portal.resident.navigation import entries_for

if TYPE_CHECKING:
    from django.template.context import RequestContext

register = template.Library()


@register.filter
def kept_for(days: int) -> str:
    """Return for how long something is kept, as people say it: in years where they are whole."""
    years, rest = divmod(days, 365)
    if years and not rest:
        return ngettext("%(years)s year", "%(years)s years", years) % {"years": years}
    return ngettext("%(days)s day", "%(days)s days", days) % {"days": days}


@register.inclusion_tag("resident/tabs.html", takes_context=True)
def resident_tabs(context: RequestContext, tab: str = "") -> dict[str, Any]:
    """Show the tabs of whoever is signed in, the current one marked."""
    request = context["request"]
    entries = entries_for(viewer_of(request)) if request.user.is_authenticated else []
    person = request.user
    came_back = person.email if person.is_authenticated and is_bad(person.email) else ""
    return {"entries": entries, "tab": tab, "came_back": came_back, "csrf_token": context.get("csrf_token")}

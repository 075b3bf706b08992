"""Template tags of the resident pages."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django import template
from django.template.loader import render_to_string
from django.urls import get_script_prefix
from django.utils.translation import get_language, ngettext

from portal.access.viewing import viewer_of
from portal.notifications.bounces import is_bad
from portal.resident.navigation import entries_for
from portal.resident.wording import UNITS

if TYPE_CHECKING:
    from django.template.context import RequestContext
    from django.utils.safestring import SafeString

    from domain.units import Unit
    from portal.resident.navigation import Entry
    from portal.resident.wording import UnitWords

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
    tabs = _tabs(tuple(entries), tab, get_language(), get_script_prefix())
    return {"tabs": tabs, "came_back": came_back, "csrf_token": context.get("csrf_token")}


@lru_cache(maxsize=256)
def _tabs(entries: tuple[Entry, ...], tab: str, language: str | None, mounted: str) -> SafeString:
    return render_to_string("resident/tab_list.html", {"entries": entries, "tab": tab})


@register.simple_tag
def unit_buttons(chosen: UnitWords) -> SafeString:
    """Show the units that a page can be in, the chosen one pressed."""
    return _unit_buttons(chosen.unit, get_language())


@lru_cache(maxsize=256)
def _unit_buttons(chosen: Unit, language: str | None) -> SafeString:
    return render_to_string("resident/unit_buttons.html", {"units": UNITS.values(), "chosen": chosen})
